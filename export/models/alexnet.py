"""AlexNet as a single tower (Krizhevsky, Sutskever & Hinton, 2012)."""

from __future__ import annotations

from typing import Any

from bedside.export.backend import keras
from bedside.export.models.blocks import Seeds
from bedside.export.models.cnn import scaled
from bedside.export.models.limits import check_classes, check_dropout, check_side

#: (filters, kernel, pooled afterwards) of the convolutions behind the first; section 3.5 of the paper.
CONVOLUTIONS = ((256, 5, True), (384, 3, False), (384, 3, False), (256, 3, True))
#: Filters of the first convolution, 11x11 with stride 4.
FIRST = 96
#: Units of the two hidden dense layers.
DENSE = 4096
#: Smallest side that leaves a pixel: 64 + 4 of padding -> 15 -> 7 -> 3 -> 1.
SMALLEST_SIDE = 64


def alexnet(
    *,
    width: int = 224,
    height: int = 224,
    channels: int = 3,
    classes: int = 10,
    width_multiplier: float = 1.0,
    dropout: float = 0.5,
    seed: int | None = None,
) -> Any:
    """Five convolutions, three overlapping 3x3 poolings with stride 2, three dense layers.

    Input `(N, height, width, channels) float32`, pixels 0 to 255, brought to -1..1 by the first layer. Output
    `(N, classes) float32`, a softmax. Two pixels of zeros on each side make 55x55 of 224x224, as the paper
    counts them. It differs from the paper in four points: one tower sees all filters where the paper split
    them over two GPUs (Krizhevsky, One weird trick, 2014); local response normalization is left out, which
    Simonyan & Zisserman (2015, section 4.1) found to cost memory and time and to gain nothing; the weights
    begin as in He et al. (2015), without biases of 1; and a small input ends in fewer pixels before the dense
    layers, 64x64 in a single one.

    Args:
        width: Of the input, in pixels.
        height: Of the input, in pixels.
        channels: 1 or 3.
        classes: At least 2.
        width_multiplier: Scales filters and dense units.
        dropout: Rate in front of both hidden dense layers (section 4.2).
        seed: Makes the initial weights the same in every process; None: drawn anew.

    Returns:
        A functional `keras.Model`, not compiled.

    Raises:
        RecipeError: The input is smaller than 64x64, there are fewer than two classes, or the rate is no
            rate.
    """
    check_side(width, height, SMALLEST_SIDE, "for an 11x11 convolution with stride 4 and three poolings")
    check_classes(classes)
    check_dropout(dropout)
    layers, seeds = keras.layers, Seeds(seed)

    inputs = keras.Input((height, width, channels), dtype="float32", name="pixels")
    x = layers.Rescaling(1.0 / 127.5, offset=-1.0, name="rescale")(inputs)
    x = layers.ZeroPadding2D(2, name="pad")(x)
    x = layers.Conv2D(
        scaled(FIRST, width_multiplier),
        11,
        strides=4,
        activation="relu",
        kernel_initializer=seeds.he(),
        name="conv1",
    )(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    for index, (filters, kernel, pooled) in enumerate(CONVOLUTIONS, start=2):
        x = layers.Conv2D(
            scaled(filters, width_multiplier),
            kernel,
            padding="same",
            activation="relu",
            kernel_initializer=seeds.he(),
            name=f"conv{index}",
        )(x)
        if pooled:
            x = layers.MaxPooling2D(3, strides=2, name=f"pool{index}")(x)
    x = layers.Flatten(name="flatten")(x)
    for index in (6, 7):
        x = layers.Dropout(dropout, seed=seeds.take(), name=f"dropout{index}")(x)
        units = scaled(DENSE, width_multiplier)
        x = layers.Dense(units, activation="relu", kernel_initializer=seeds.he(), name=f"dense{index}")(x)
    outputs = layers.Dense(
        classes,
        activation="softmax",
        kernel_initializer=seeds.glorot(),
        dtype="float32",
        name="probabilities",
    )(x)
    return keras.Model(inputs, outputs, name="alexnet")
