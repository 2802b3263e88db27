"""Augmentation in front of a discriminator: real and drawn pictures alike, and gradients pass.

A discriminator remembers a few hundred frames by heart and then teaches nothing. Varying the real frames alone
would teach the generator to draw varied ones; varying both does not (Zhao et al., Differentiable Augmentation for
Data-Efficient GAN Training, NeurIPS 2020; policies and their strengths are theirs).
"""

from __future__ import annotations

from typing import Any

from bedside.export.backend import keras

#: Largest shift, and side of the square that is blanked, as fractions of the side.
SHIFT, CUTOUT = 0.125, 0.5
#: Width of the range of added brightness; contrast changes by half of it up or down.
BRIGHTNESS = 1.0


class SameForBoth(keras.layers.Layer):  # type: ignore[misc]  # Keras has no stubs
    """Brightness, contrast, shift (the border repeats) and a blanked square, drawn anew per picture.

    `(N, H, W, C) float32` in -1..1, the same out; outside of training unchanged.

    Args:
        seed: Of the random numbers.
    """

    def __init__(self, seed: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, pictures: Any, training: bool = False) -> Any:
        """Varied pictures."""
        if not training:
            return pictures
        ops = keras.ops
        count = ops.shape(pictures)[0]
        height, width = pictures.shape[1:3]

        def uniform(least: float, most: float) -> Any:
            return keras.random.uniform((count, 1, 1, 1), least, most, seed=self.seed_generator)

        x = pictures + uniform(-BRIGHTNESS / 2, BRIGHTNESS / 2)
        mean = ops.mean(x, axis=(1, 2, 3), keepdims=True)
        x = (x - mean) * uniform(0.5, 1.5) + mean
        rows, columns = self._places(height, 1), self._places(width, 2)
        x = ops.take_along_axis(x, _shifted(rows, uniform(-SHIFT, SHIFT), height), axis=1)
        x = ops.take_along_axis(x, _shifted(columns, uniform(-SHIFT, SHIFT), width), axis=2)
        # The centre lies anywhere inside, so a part of the square may lie outside.
        blank = ops.logical_and(
            _near(rows, uniform(0.0, 1.0), height), _near(columns, uniform(0.0, 1.0), width)
        )
        return ops.where(blank, ops.zeros_like(x), x)

    @staticmethod
    def _places(side: int, axis: int) -> Any:
        shape = [1, 1, 1, 1]
        shape[axis] = side
        return keras.ops.reshape(keras.ops.arange(side, dtype="float32"), shape)


def _shifted(places: Any, fraction: Any, side: int) -> Any:
    moved = keras.ops.clip(keras.ops.round(places + fraction * side), 0, side - 1)
    return keras.ops.cast(moved, "int32")


def _near(places: Any, centre: Any, side: int) -> Any:
    return keras.ops.abs(places - centre * side) < CUTOUT * side / 2
