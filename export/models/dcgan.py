"""DCGAN for frames (Radford et al., 2016), in the layout of TensorFlow's DCGAN tutorial."""

from __future__ import annotations

from typing import Any

from bedside.export.backend import keras
from bedside.export.models.blocks import Seeds
from bedside.export.models.limits import check_side
from bedside.export.models.normalization import BatchNormalization
from bedside.runtime.errors import RecipeError

#: Numbers in the latent vector.
LATENT = 100
#: Filters before the last convolution of the generator, and of the first one of the discriminator.
BASE = 64
#: Stages beyond this one are no wider.
_WIDEST_STAGE = 3
#: The frame is halved until no side is longer than this: 28 and 56 begin at 7, 64 at 8.
LONGEST_START = 8
#: Slope of LeakyReLU, spread of the first weights (Radford et al., section 4).
SLOPE, STDDEV = 0.2, 0.02
#: Of the discriminator.
DROPOUT = 0.3
#: Smallest side that is halved at least twice, as the tutorial does.
SMALLEST_SIDE = 16


def dcgan_generator(
    *,
    width: int = 28,
    height: int = 28,
    channels: int = 1,
    latent: int = LATENT,
    base: int = BASE,
    seed: int | None = None,
) -> Any:
    """From noise to frames: dense, then 5x5 transposed convolutions, the first with stride 1, each after with 2.

    Input `latent (N, latent) float32`, standard normal. Output `frame (N, height, width, channels) float32` in
    -1..1. 28x28x1 is the tutorial's: 7x7x256, 7x7x128, 14x14x64, 28x28x1; a larger frame has further stages
    in front, twice as wide each, up to eight times `base`.

    Args:
        width: Of the frame, in pixels.
        height: Of the frame, in pixels.
        channels: 1 or 3.
        latent: Length of the input.
        base: Filters before the last convolution.
        seed: Makes the initial weights the same in every process; None: drawn anew.

    Returns:
        A functional `keras.Model`, not compiled.

    Raises:
        RecipeError: The frame cannot be reached by doublings from at most 8x8.
    """
    doublings = _doublings(width, height)
    if latent < 1:
        raise RecipeError(f"a latent vector of {latent} numbers is empty", where="model")
    layers, seeds = keras.layers, Seeds(seed)
    filters = [base * 2 ** min(i, _WIDEST_STAGE) for i in reversed(range(doublings + 1))]
    start = (height >> doublings, width >> doublings, filters[0])

    inputs = keras.Input((latent,), dtype="float32", name="latent")
    x = layers.Dense(
        start[0] * start[1] * start[2], use_bias=False, kernel_initializer=seeds.normal(STDDEV), name="dense"
    )(inputs)
    x = BatchNormalization(name="dense_norm")(x)
    x = layers.LeakyReLU(negative_slope=SLOPE, name="dense_relu")(x)
    x = layers.Reshape(start, name="unflatten")(x)
    for index, count in enumerate(filters[1:], start=1):
        x = _transposed(count, 1 if index == 1 else 2, f"stage{index}", seeds)(x)
        x = BatchNormalization(name=f"stage{index}_norm")(x)
        x = layers.LeakyReLU(negative_slope=SLOPE, name=f"stage{index}_relu")(x)
    frame = _transposed(channels, 2, "frame", seeds, activation="tanh", dtype="float32")(x)
    return keras.Model(inputs, frame, name="dcgan_generator")


def dcgan_discriminator(
    *,
    width: int = 28,
    height: int = 28,
    channels: int = 1,
    base: int = BASE,
    dropout: float = DROPOUT,
    seed: int | None = None,
) -> Any:
    """Real or made: 5x5 convolutions with stride 2, one logit.

    Input `frame (N, height, width, channels) float32` in -1..1, as the generator gives it: it is never
    exported, so it takes no pixels. Output `logit (N, 1) float32`, positive for real.

    Args:
        width: Of the frame, in pixels.
        height: Of the frame, in pixels.
        channels: 1 or 3.
        base: Filters of the first convolution; every further one has twice as many, up to eight times.
        dropout: Rate behind every convolution.
        seed: Makes the initial weights the same in every process; None: drawn anew.

    Returns:
        A functional `keras.Model`, not compiled.

    Raises:
        RecipeError: No generator makes frames of that size.
    """
    layers, seeds = keras.layers, Seeds(seed)
    doublings = _doublings(width, height)

    inputs = x = keras.Input((height, width, channels), dtype="float32", name="frame")
    for index in range(doublings):
        name = f"stage{index + 1}"
        x = layers.Conv2D(
            base * 2 ** min(index, _WIDEST_STAGE),
            5,
            strides=2,
            padding="same",
            kernel_initializer=seeds.normal(STDDEV),
            name=name,
        )(x)
        x = layers.LeakyReLU(negative_slope=SLOPE, name=f"{name}_relu")(x)
        x = layers.Dropout(dropout, seed=seeds.take(), name=f"{name}_dropout")(x)
    x = layers.Flatten(name="flatten")(x)
    logit = layers.Dense(1, kernel_initializer=seeds.normal(STDDEV), dtype="float32", name="logit")(x)
    return keras.Model(inputs, logit, name="dcgan_discriminator")


def _doublings(width: int, height: int) -> int:
    check_side(width, height, SMALLEST_SIDE, "for a DCGAN")
    count = 0
    while max(width, height) >> count > LONGEST_START:
        count += 1
    if width % 2**count or height % 2**count or min(width, height) >> count < 2:
        raise RecipeError(
            f"{width}x{height} pixels are no {count} doublings of a start of at most "
            f"{LONGEST_START}x{LONGEST_START}",
            where="model",
            hint="for example 28x28, 56x56 or 64x64",
        )
    return count


def _transposed(filters: int, strides: int, name: str, seeds: Seeds, **kwargs: Any) -> Any:
    return keras.layers.Conv2DTranspose(
        filters,
        5,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer=seeds.normal(STDDEV),
        name=name,
        **kwargs,
    )
