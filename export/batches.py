"""Training batches: shuffled and augmented anew in every epoch, the same in every run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bedside.export.augment import Augmenter
from bedside.export.backend import keras


class TrainingBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no stubs
    """Batches of `(B, H, W, C) float32` pixels 0..255 and `(B, classes) float32` one-hot labels.

    What a batch holds depends on the seed, the epoch and its index alone, so a training that is resumed sees
    what an uninterrupted one would have seen.

    Args:
        x: `(N, H, W, C) uint8`.
        y: `(N,) int64`.
        classes: How many.
        batch: Frames per batch; the last one may be smaller.
        augmenter: Varies frames.
        screen: Per class whether a frame may be put on a scanner's screen; None: all.
        seed: Of order and variation.
    """

    def __init__(
        self,
        x: npt.NDArray[np.uint8],
        y: npt.NDArray[np.int64],
        *,
        classes: int,
        batch: int,
        augmenter: Augmenter,
        screen: Sequence[bool] | None = None,
        seed: int,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self.epoch = 0
        self._x, self._y = x, y
        self._classes, self._batch, self._augmenter, self._seed = classes, batch, augmenter, seed
        self._screen = (True,) * classes if screen is None else tuple(screen)
        self._order: tuple[int, npt.NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-len(self._x) // self._batch)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """One batch of the current `epoch`."""
        epoch = self.epoch
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng((self._seed, epoch)).permutation(len(self._x)))
        chosen = self._order[1][index * self._batch : (index + 1) * self._batch]
        rng = np.random.default_rng((self._seed, epoch, index))
        varied = [self._augmenter(self._x[i], rng, screen=self._screen[self._y[i]]) for i in chosen]
        frames = np.stack(varied).astype(np.float32)
        return frames, one_hot(self._y[chosen], self._classes)


def one_hot(y: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float32]:
    """`(N,)` labels as `(N, classes) float32`."""
    return np.eye(classes, dtype=np.float32)[y]


def class_weights(y: npt.NDArray[np.int64], classes: int) -> dict[int, float] | None:
    """Weights `N / (classes * count)`, so that every class counts the same; None where that changes little.

    Args:
        y: `(N,)`, every class at least once.
        classes: How many.

    Returns:
        None where the largest class has at most 1.5 times the samples of the smallest.
    """
    counts: npt.NDArray[Any] = np.bincount(y, minlength=classes)
    if counts.max() <= 1.5 * counts.min():
        return None
    return {label: float(len(y) / (classes * count)) for label, count in enumerate(counts)}
