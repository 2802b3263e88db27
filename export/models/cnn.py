"""The textbook convolutional classifier."""

from __future__ import annotations

from typing import Any

from bedside.export.backend import keras
from bedside.runtime.errors import RecipeError

#: Filters of the three convolutions at width multiplier 1.
FILTERS = (32, 64, 128)
#: Units of the hidden dense layer at width multiplier 1.
DENSE = 128
#: Smallest side that leaves a pixel after three times "3x3 without padding, then halve": 22 -> 20/2 -> 8/2 ->
#: 2/2.
SMALLEST_SIDE = 22


def textbook_cnn(
    *,
    width: int = 224,
    height: int = 224,
    channels: int = 3,
    classes: int = 10,
    width_multiplier: float = 1.0,
    dense: int | None = None,
    seed: int | None = None,
) -> Any:
    """Three 3x3 convolutions, each followed by 2x2 max pooling, then two dense layers.

    Input `(N, height, width, channels) float32`, pixels 0 to 255; the division by 255 is the first layer, so
    that it travels with every variant. Convolutions are `valid` (no padding), as in the textbooks and as
    Keras has it by default: a side of `s` pixels becomes `(s - 2) // 2` at every step, 224 becomes 26 and the
    flattened vector 86,528. Output `(N, classes) float32`, a softmax.

    Args:
        width: Of the input, in pixels.
        height: Of the input, in pixels.
        channels: 1 or 3.
        classes: At least 2.
        width_multiplier: Scales the filters (Howard et al., MobileNets, 2017, section 3.3), and the dense
            layer where `dense` is None.
        dense: Units of the hidden dense layer.
        seed: Makes the initial weights the same in every process; None: drawn anew.

    Returns:
        A functional `keras.Model`, not compiled.

    Raises:
        RecipeError: The input is too small for three poolings, or there are fewer than two classes.
    """
    if min(width, height) < SMALLEST_SIDE:
        raise RecipeError(
            f"{width}x{height} pixels are too few for three convolutions with pooling",
            where="model",
            hint=f"at least {SMALLEST_SIDE} on each side",
        )
    if classes < 2:
        raise RecipeError(f"{classes} classes, a classifier needs at least 2", where="model")
    layers = keras.layers

    def initializer(index: int) -> Any:
        return keras.initializers.GlorotUniform(seed=None if seed is None else seed + index)

    inputs = keras.Input((height, width, channels), dtype="float32", name="pixels")
    x = layers.Rescaling(1.0 / 255.0, name="rescale")(inputs)
    for index, filters in enumerate(FILTERS, start=1):
        x = layers.Conv2D(
            scaled(filters, width_multiplier),
            3,
            activation="relu",
            kernel_initializer=initializer(index),
            name=f"conv{index}",
        )(x)
        x = layers.MaxPooling2D(2, name=f"pool{index}")(x)
    x = layers.Flatten(name="flatten")(x)
    hidden = dense if dense is not None else scaled(DENSE, width_multiplier)
    x = layers.Dense(hidden, activation="relu", kernel_initializer=initializer(4), name="dense")(x)
    outputs = layers.Dense(
        classes, activation="softmax", kernel_initializer=initializer(5), name="probabilities"
    )(x)
    return keras.Model(inputs, outputs, name="textbook_cnn")


def scaled(units: int, width_multiplier: float) -> int:
    """A layer's width, at least 1."""
    return max(1, round(units * width_multiplier))
