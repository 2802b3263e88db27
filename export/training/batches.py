"""Training batches: shuffled and augmented anew in every epoch, the same in every run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bedside.export.backend import keras
from bedside.export.data.reading import Examples
from bedside.export.data.types import Target
from bedside.export.recipe import Recipe
from bedside.export.training.augment import Augmenter
from bedside.export.training.objectives import Objective, Targets
from bedside.runtime.errors import RecipeError


class TrainingBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no stubs
    """Batches of `(B, H, W, C) float32` pixels 0..255 and the objective's targets.

    What a batch holds depends on the seed, the epoch and its index alone, so a training that is resumed sees
    what an uninterrupted one would have seen.

    Args:
        examples: At least one.
        objective: Encodes targets.
        batch: Frames per batch; the last one may be smaller.
        augmenter: Varies frames and targets alike; None for frames as they are, in order (validation).
        screen: Per class whether a frame may be put on a scanner's screen; None: all.
        seed: Of order and variation.
    """

    def __init__(
        self,
        examples: Examples,
        objective: Objective,
        *,
        batch: int,
        augmenter: Augmenter | None,
        screen: Sequence[bool] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self.epoch = 0
        self._examples, self._objective = examples, objective
        self._batch, self._augmenter, self._screen, self._seed = batch, augmenter, screen, seed
        self._order: tuple[int, npt.NDArray[np.int64]] = (-1, np.arange(len(examples.y)))

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-len(self._examples.y) // self._batch)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], Targets]:
        """One batch of the current `epoch`."""
        epoch = self.epoch
        if self._augmenter is not None and self._order[0] != epoch:
            order = np.random.default_rng((self._seed, epoch)).permutation(len(self._examples.y))
            self._order = (epoch, order)
        chosen = self._order[1][index * self._batch : (index + 1) * self._batch]
        labels = self._examples.y[chosen]
        frames: list[npt.NDArray[np.uint8]] = []
        targets: list[Target | None] = []
        rng = np.random.default_rng((self._seed, epoch, index))
        for i in chosen:
            pixels = self._examples.x[i]
            target = self._examples.targets[i] if self._examples.targets else None
            if self._augmenter is not None:
                screen = self._screen is None or self._screen[int(self._examples.y[i])]
                pixels, target = self._augmenter(pixels, rng, target=target, screen=screen)
            frames.append(pixels)
            targets.append(target)
        return np.stack(frames).astype(np.float32), self._objective.encode(frames, labels, targets)


def class_weights(y: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float32] | None:
    """Weights `N / (classes * count)`, so that every class counts the same; None where that changes little.

    Args:
        y: `(N,)`, every class at least once.
        classes: How many.

    Returns:
        `(classes,)`; None where the largest class has at most 1.5 times the samples of the smallest.
    """
    counts = np.bincount(y, minlength=classes)
    if counts.max() <= 1.5 * counts.min():
        return None
    return (len(y) / (classes * counts)).astype(np.float32)


def training_batches(
    recipe: Recipe, examples: Examples, objective: Objective, labels: tuple[str, ...]
) -> TrainingBatches:
    """The batches that a recipe trains on.

    Args:
        recipe: `[training]` and `seed` count.
        examples: Of the training split.
        objective: Encodes targets.
        labels: For `screen_labels`.

    Raises:
        RecipeError: `screen_labels` names what is no class.
    """
    settings = recipe.training
    return TrainingBatches(
        examples,
        objective,
        batch=settings.batch,
        augmenter=Augmenter(settings.augment),
        screen=screen_classes(settings.augment.screen_labels, labels),
        seed=recipe.seed,
    )


def screen_classes(named: tuple[str, ...] | None, labels: tuple[str, ...]) -> list[bool] | None:
    """Per class whether `screen_labels` names it; None where nobody names any.

    Raises:
        RecipeError: A name is no class.
    """
    if named is None:
        return None
    if not set(named) <= set(labels):
        raise RecipeError(
            f"augment.screen_labels names {', '.join(named)}; the classes are {', '.join(labels) or 'not known'}",
            where="training",
        )
    return [label in named for label in labels]
