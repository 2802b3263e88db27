"""Autoencoders: a convolutional one and the textbook dense one."""

from __future__ import annotations

from typing import Any, Literal

from bedside.export.backend import keras
from bedside.export.models.blocks import Seeds, check_size, convolution
from bedside.export.models.limits import check_side, halvings
from bedside.runtime.errors import RecipeError

#: Numbers in the code.
CODE = 64
#: Deepest convolutional encoder that is chosen by itself, and the fewest pixels it leaves on a side.
MOST_HALVINGS, LEAST_LEFT = 5, 4
#: Stages beyond this one are no wider.
_WIDEST_STAGE = 3


def dense_autoencoder(
    *, width: int = 224, height: int = 224, channels: int = 3, code: int = CODE, seed: int | None = None
) -> Any:
    """The textbook's: flatten, a code of 64 with ReLU, a sigmoid for every pixel, reshape.

    Input `(N, height, width, channels) float32`, pixels 0 to 255, divided by 255 by the first layer. Outputs
    `[reconstruction (N, height, width, channels) float32 in 0..1, code (N, code) float32 of at least 0]`.
    Nearly all of its `2 * code * height * width * channels` weights are per pixel: 19.4 million at the default
    size. Train it with the mean squared error to pixels / 255.

    Args:
        width: Of the input, in pixels.
        height: Of the input, in pixels.
        channels: 1 or 3.
        code: Units of the code.
        seed: Makes the initial weights the same in every process; None: drawn anew.

    Returns:
        A functional `keras.Model`, not compiled.

    Raises:
        RecipeError: The code or the input is empty.
    """
    check_side(width, height, 1, "for an autoencoder")
    _check_code(code)
    layers, seeds = keras.layers, Seeds(seed)
    shape = (height, width, channels)

    inputs = keras.Input(shape, dtype="float32", name="pixels")
    x = layers.Rescaling(1.0 / 255.0, name="rescale")(inputs)
    x = layers.Flatten(name="flatten")(x)
    codes = layers.Dense(
        code, activation="relu", kernel_initializer=seeds.he(), dtype="float32", name="code"
    )(x)
    x = layers.Dense(
        height * width * channels,
        activation="sigmoid",
        kernel_initializer=seeds.glorot(),
        dtype="float32",
        name="decoder",
    )(codes)
    reconstruction = layers.Reshape(shape, dtype="float32", name="reconstruction")(x)
    return keras.Model(inputs, [reconstruction, codes], name="dense_autoencoder")


def conv_autoencoder(
    *,
    width: int = 224,
    height: int = 224,
    channels: int = 3,
    code: int = CODE,
    base: int = 16,
    depth: int | None = None,
    bottleneck: int = 16,
    interpolation: Literal["nearest", "bilinear"] = "bilinear",
    seed: int | None = None,
) -> Any:
    """Convolutions with stride 2 down to a code vector, upsampling and convolutions back to pixels.

    Input `(N, height, width, channels) float32`, pixels 0 to 255, divided by 255 by the first layer. Outputs
    `[reconstruction (N, height, width, channels) float32 in 0..1, code (N, code) float32]`. The decoder
    enlarges and then convolves, so it leaves no checkerboard (Odena et al., Deconvolution and checkerboard
    artifacts, 2016), and int8 has no transposed convolution to spoil.

    Args:
        width: Of the input, in pixels.
        height: Of the input, in pixels.
        channels: 1 or 3.
        code: Numbers in the code vector.
        base: Filters of the first stage; every stage has twice as many, up to eight times.
        depth: Halvings of the input, which must divide by `2 ** depth`; None: as many as fit, up to 5, down to
            4 pixels on a side.
        bottleneck: Feature maps around the code; they and not the filters decide the size of its two dense
            layers.
        interpolation: Of the upsampling. Keras makes `nearest` of repetitions, which TFLite runs as TILE and
            RESHAPE outside of its fast kernels; `bilinear` is one operator.
        seed: Makes the initial weights the same in every process; None: drawn anew.

    Returns:
        A functional `keras.Model`, not compiled.

    Raises:
        RecipeError: The input does not halve as often as asked, or not at all, or the code is empty.
    """
    _check_code(code)
    if depth is None:
        depth = max(1, halvings(width, height, most=MOST_HALVINGS, leave=LEAST_LEFT))
    if depth < 1:
        raise RecipeError(f"a depth of {depth} does not halve", where="model", hint="at least 1")
    check_size(width, height, 2**depth)
    layers, seeds = keras.layers, Seeds(seed)
    stages = [base * 2 ** min(i, _WIDEST_STAGE) for i in range(depth)]
    neck = (height >> depth, width >> depth, bottleneck)

    inputs = keras.Input((height, width, channels), dtype="float32", name="pixels")
    x = layers.Rescaling(1.0 / 255.0, name="rescale")(inputs)
    for index, count in enumerate(stages, start=1):
        x = convolution(x, count, 3, seeds, f"encode{index}", strides=2)
    x = convolution(x, bottleneck, 1, seeds, "narrow")
    x = layers.Flatten(name="flatten")(x)
    codes = layers.Dense(code, kernel_initializer=seeds.glorot(), dtype="float32", name="code")(x)
    x = layers.Dense(
        neck[0] * neck[1] * neck[2], activation="relu", kernel_initializer=seeds.he(), name="widen"
    )(codes)
    x = layers.Reshape(neck, name="unflatten")(x)
    for index, count in reversed(list(enumerate(stages, start=1))):
        x = layers.UpSampling2D(2, interpolation=interpolation, name=f"enlarge{index}")(x)
        x = convolution(x, count, 3, seeds, f"decode{index}")
    reconstruction = layers.Conv2D(
        channels,
        3,
        padding="same",
        activation="sigmoid",
        kernel_initializer=seeds.glorot(),
        dtype="float32",
        name="reconstruction",
    )(x)
    return keras.Model(inputs, [reconstruction, codes], name="conv_autoencoder")


def _check_code(code: int) -> None:
    if code < 1:
        raise RecipeError(f"a code of {code} numbers is empty", where="model")
