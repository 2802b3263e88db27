"""What `gan_uses.py` learns from: a small classification, and a DCGAN that draws more of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.data.loading import load_data
from bedside.export.data.reading import read_examples
from bedside.export.data.recipe import CollectionData, CollectionItem, SyntheticData
from bedside.export.data.types import DataSet
from bedside.export.steps import Steps
from bedside.export.training.augment_recipe import AugmentRecipe
from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.errors import UsageError
from bedside.runtime.preprocess import Preprocessor

Frames = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

#: The augmentation that drawn frames compete with.
USUAL = AugmentRecipe(
    flip_horizontal=0.5, rotate=10, scale=0.1, shift=0.1, brightness=0.1, contrast=0.2, noise=4.0
)
#: The same for classes that are angles.
UPRIGHT = AugmentRecipe(scale=0.1, shift=0.1, brightness=0.1, contrast=0.2, noise=4.0)
_LATENT, _BASE, _BATCH = 100, 16, 16


class Task(msgspec.Struct, frozen=True):
    """A classification, read.

    Attributes:
        name: Of it.
        labels: Of its classes.
        x: `(N, H, W, 1) uint8`, to learn from.
        y: `(N,)`.
        test_x: Of other groups.
        test_y: Of those.
        test_groups: Of those.
        augment: What leaves the class of a frame as it is.
    """

    name: str
    labels: tuple[str, ...]
    x: Frames
    y: Labels
    test_x: Frames
    test_y: Labels
    test_groups: tuple[str, ...]
    augment: AugmentRecipe = USUAL


def read_task(name: str, root: Path | None, side: int, steps: Steps) -> Task:
    """`ultrasound` (real) or `textures` (drawn), as gray squares."""
    if name == "ultrasound":
        if root is None:
            raise UsageError("the task ultrasound needs --data-root", hint="or --task textures")
        items = (
            CollectionItem(label="nerve", glob="ultrasound/nerve/images/*.png", group=r"nerve/images/\d{3}"),
            CollectionItem(
                label="muscle",
                glob="ultrasound/muscle/vastus_lateralis/*/*.png",
                group=r"vastus_lateralis/S\d+",
            ),
        )
        recipe: Any = CollectionData(labels=("nerve", "muscle"), items=items, holdout=0.5, validation=0.1)
    else:
        recipe = SyntheticData(content="classes-hard", samples=400, width=64, height=64, holdout=0.5)
    with steps.step(f"read {name}") as progress:
        data = load_data(recipe, seed=1, root=root, progress=progress)
    spec = InputSpec(width=side, height=side, channels=1, color="gray", interpolation="area")
    x, y, _ = _read(data, "train", spec)
    test_x, test_y, groups = _read(data, "holdout", spec)
    # Of ten overlapping textures every other one of the first eight: neighbours that overlap little.
    kept = (0, 2, 4, 6) if name == "textures" else tuple(range(len(data.labels)))
    train, test = np.isin(y, kept), np.isin(test_y, kept)
    order = {label: index for index, label in enumerate(kept)}
    return Task(
        name=name,
        labels=tuple(data.labels[k] for k in kept),
        x=x[train],
        y=np.array([order[k] for k in y[train]]),
        test_x=test_x[test],
        test_y=np.array([order[k] for k in test_y[test]]),
        augment=UPRIGHT if name == "textures" else USUAL,
        test_groups=tuple(g for g, is_kept in zip(groups, test, strict=True) if is_kept),
    )


def _read(data: DataSet, split: str, spec: InputSpec) -> tuple[Frames, Labels, tuple[str, ...]]:
    found = next(s for s in data.splits if s.name == split)
    examples = read_examples(found, Preprocessor(spec), spec)
    return examples.x, examples.y, tuple(item.group for item in found.items)


class Drawer:
    """A DCGAN that can be trained anew without building its graphs again.

    Args:
        side: Of the pictures, in pixels.
        seed: Of the first weights.
    """

    def __init__(self, side: int, seed: int) -> None:
        from bedside.export.models.dcgan import dcgan_discriminator, dcgan_generator
        from bedside.export.training.adversarial import RATE
        from bedside.export.training.gan import adversaries

        shape = {"width": side, "height": side, "channels": 1, "base": _BASE}
        self._generator = dcgan_generator(**shape, latent=_LATENT, seed=seed)
        # Few frames: five times the usual rate, or most of the steps go by before anything is to be seen.
        self._pair = adversaries(self._generator, dcgan_discriminator(**shape, seed=seed + 100), 5 * RATE)
        self._first = [[v.numpy() for v in variables(m)] for m in self._pair.models.values()]
        self._seed = seed

    def train(self, real: Frames, steps: int, *, mirror: float) -> None:
        """From the first weights on, on these frames alone, mirrored with this probability."""
        from bedside.export.training.gan import scaled

        for model, values in zip(self._pair.models.values(), self._first, strict=True):
            for variable, value in zip(variables(model), values, strict=True):
                variable.assign(value)
        rng = np.random.default_rng(self._seed)
        for _ in range(steps):
            x = real[rng.integers(0, len(real), _BATCH)]
            x = np.where(rng.random((_BATCH, 1, 1, 1)) < mirror, x[:, :, ::-1], x)
            drawn = self._generator(_latents(rng, _BATCH), training=True).numpy()
            y = np.concatenate([np.ones((_BATCH, 1)), np.zeros((_BATCH, 1))]).astype(np.float32)
            self._pair.judge(np.concatenate([scaled(x), drawn]), y)
            self._pair.fool(_latents(rng, _BATCH), np.ones((_BATCH, 1), np.float32))

    def draw(self, count: int) -> Frames:
        """`(count, H, W, 1) uint8`."""
        from bedside.export.training.gan import drawn_pictures

        return drawn_pictures(self._generator, _latents(np.random.default_rng(self._seed + 7), count))


def _latents(rng: np.random.Generator, count: int) -> npt.NDArray[np.float32]:
    return rng.standard_normal((count, _LATENT)).astype(np.float32)


def variables(model: Any) -> list[Any]:
    """Weights and the optimizer's state, each once."""
    return [*model.variables, *model.optimizer.variables]
