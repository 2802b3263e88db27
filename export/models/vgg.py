"""VGG, configurations A to E (Simonyan & Zisserman, 2015)."""

from __future__ import annotations

from typing import Any, Literal

from bedside.export.backend import keras
from bedside.export.models.activation_maps import pooled_head
from bedside.export.models.blocks import Seeds
from bedside.export.models.cnn import scaled
from bedside.export.models.limits import check_classes, check_dropout, check_side
from bedside.export.models.normalization import BatchNormalization
from bedside.runtime.errors import RecipeError

Configuration = Literal["A", "B", "C", "D", "E"]

#: Table 1: (filters, kernel sizes) of the five blocks. D is known as VGG16, E as VGG19.
CONFIGURATIONS: dict[Configuration, tuple[tuple[int, tuple[int, ...]], ...]] = {
    "A": ((64, (3,)), (128, (3,)), (256, (3, 3)), (512, (3, 3)), (512, (3, 3))),
    "B": ((64, (3, 3)), (128, (3, 3)), (256, (3, 3)), (512, (3, 3)), (512, (3, 3))),
    "C": ((64, (3, 3)), (128, (3, 3)), (256, (3, 3, 1)), (512, (3, 3, 1)), (512, (3, 3, 1))),
    "D": ((64, (3, 3)), (128, (3, 3)), (256, (3, 3, 3)), (512, (3, 3, 3)), (512, (3, 3, 3))),
    "E": ((64, (3, 3)), (128, (3, 3)), (256, (3,) * 4), (512, (3,) * 4), (512, (3,) * 4)),
}
#: Units of the two hidden dense layers.
DENSE = 4096
#: Five poolings halve a side five times.
SMALLEST_SIDE = 32


def vgg(
    *,
    configuration: Configuration = "D",
    width: int = 224,
    height: int = 224,
    channels: int = 3,
    classes: int = 10,
    width_multiplier: float = 1.0,
    batch_norm: bool = False,
    head: Literal["flatten", "gap"] = "flatten",
    dropout: float = 0.5,
    maps: bool = False,
    seed: int | None = None,
) -> Any:
    """Five blocks of small convolutions, each followed by 2x2 max pooling, then a classifier.

    Input `(N, height, width, channels) float32`, pixels 0 to 255, brought to -1..1 by the first layer. Output
    `(N, classes) float32`, a softmax; with `maps` also `map (N, height // 32, width // 32, classes) float32`.
    Trained from scratch, the deeper configurations need `batch_norm` (Ioffe & Szegedy, 2015): the paper began
    them with the layers of a trained A (section 3.1). The weights begin as in He et al. (2015).

    Args:
        configuration: A column of table 1.
        width: Of the input, in pixels.
        height: Of the input, in pixels.
        channels: 1 or 3.
        classes: At least 2.
        width_multiplier: Scales filters and dense units.
        batch_norm: Between every convolution and its ReLU; the convolution then has no bias.
        head: `flatten`: two dense layers of 4096 scaled, as in the paper; `gap`: global average pooling and
            no hidden layer, far smaller, and the only one that maps can be computed of.
        dropout: Rate behind each hidden dense layer (section 3.1), or behind the pooling.
        maps: Class activation maps as a second output.
        seed: Makes the initial weights the same in every process; None: drawn anew.

    Returns:
        A functional `keras.Model`, not compiled.

    Raises:
        RecipeError: The input is smaller than 32x32, there are fewer than two classes, or maps are asked of
            the `flatten` head.
    """
    check_side(width, height, SMALLEST_SIDE, "for five poolings")
    check_classes(classes)
    check_dropout(dropout)
    if maps and head != "gap":
        raise RecipeError("maps need global average pooling", where="model", hint='head = "gap"')
    layers, seeds = keras.layers, Seeds(seed)

    inputs = keras.Input((height, width, channels), dtype="float32", name="pixels")
    x = layers.Rescaling(1.0 / 127.5, offset=-1.0, name="rescale")(inputs)
    for block, (filters, kernels) in enumerate(CONFIGURATIONS[configuration], start=1):
        for index, kernel in enumerate(kernels, start=1):
            name = f"block{block}_conv{index}"
            x = layers.Conv2D(
                scaled(filters, width_multiplier),
                kernel,
                padding="same",
                use_bias=not batch_norm,
                kernel_initializer=seeds.he(),
                name=name,
            )(x)
            if batch_norm:
                x = BatchNormalization(name=f"{name}_norm")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    if head == "flatten":
        x = layers.Flatten(name="flatten")(x)
        for index in (1, 2):
            units = scaled(DENSE, width_multiplier)
            x = layers.Dense(units, activation="relu", kernel_initializer=seeds.he(), name=f"dense{index}")(x)
            x = layers.Dropout(dropout, seed=seeds.take(), name=f"dropout{index}")(x)
        outputs = [
            layers.Dense(
                classes,
                activation="softmax",
                kernel_initializer=seeds.glorot(),
                dtype="float32",
                name="probabilities",
            )(x)
        ]
    else:
        outputs = pooled_head(
            x,
            classes,
            dropout=dropout,
            maps=maps,
            kernel_initializer=seeds.glorot(),
            seed=seeds.take(),
        )
    return keras.Model(inputs, outputs if maps else outputs[0], name=f"vgg_{configuration.lower()}")
