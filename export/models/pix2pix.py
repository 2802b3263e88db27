"""pix2pix: image to image by a U-Net against a PatchGAN (Isola et al., 2017)."""

from __future__ import annotations

from typing import Any, Literal

from bedside.export.backend import keras
from bedside.export.models.blocks import Seeds, check_size
from bedside.export.models.limits import check_side, halvings
from bedside.export.models.normalization import BatchNormalization
from bedside.runtime.errors import RecipeError

#: Filters of the first stage in the paper; every stage has twice as many, up to eight times (appendix 6.1).
BASE = 64
_WIDEST_STAGE = 3
#: Halvings of the paper's 256x256.
MOST_HALVINGS = 8
#: Decoder stages with dropout, from the bottom.
DROPPED_STAGES = 3
SLOPE, STDDEV = 0.2, 0.02


def pix2pix_generator(
    *,
    width: int = 256,
    height: int = 256,
    channels: int = 3,
    output_channels: int | None = None,
    depth: int | None = None,
    base: int = BASE,
    upsampling: Literal["bilinear", "transposed"] = "bilinear",
    dropout: float = 0.5,
    seed: int | None = None,
) -> Any:
    """A U-Net of 4x4 convolutions with stride 2 and skips between stages of equal size.

    Input `pixels (N, height, width, channels) float32`, 0 to 255, brought to -1..1 by the first layer. Output
    `translation (N, height, width, output_channels) float32` in 0..1, a sigmoid. With `transposed` it is the
    paper's (appendix 6.1.1) but for the sigmoid, which stands for its tanh, and for the bottleneck, which has
    no batch norm: with one pixel and a batch of one that norm would erase it (the paper's errata). `bilinear`
    enlarges and convolves 3x3 instead, which leaves no checkerboard (Odena et al., 2016) and survives int8.

    Args:
        width: Of the frames, in pixels.
        height: Of the frames, in pixels.
        channels: Of the input, 1 or 3.
        output_channels: Of the output; None: as the input.
        depth: Halvings, which must divide both sides; None: as many as both sides allow, up to the paper's 8.
        base: Filters of the first stage; every stage has twice as many, up to eight times.
        upsampling: How the decoder enlarges.
        dropout: Rate in the three lowest decoder stages. The paper keeps it on when the network is used, for
            variety; here a frame has one answer, so it is off outside of training.
        seed: Makes the initial weights the same in every process; None: drawn anew.

    Returns:
        A functional `keras.Model`, not compiled.

    Raises:
        RecipeError: The sides do not halve as often as asked, or less than twice.
    """
    if depth is None:
        depth = max(2, halvings(width, height, most=MOST_HALVINGS, leave=1))
    if depth < 2:
        raise RecipeError(f"a depth of {depth} leaves no skip", where="model", hint="at least 2")
    check_size(width, height, 2**depth)
    layers, seeds = keras.layers, Seeds(seed)
    stages = [base * 2 ** min(i, _WIDEST_STAGE) for i in range(depth)]

    inputs = keras.Input((height, width, channels), dtype="float32", name="pixels")
    x = layers.Rescaling(1.0 / 127.5, offset=-1.0, name="rescale")(inputs)
    skips = []
    for index, count in enumerate(stages, start=1):
        norm = 1 < index < depth
        x = _down(x, count, f"down{index}", seeds, norm=norm)
        skips.append(x)
    for step, index in enumerate(range(depth - 1, 0, -1)):
        name = f"up{index}"
        x = _up(x, stages[index - 1], name, seeds, upsampling, use_bias=False)
        x = BatchNormalization(name=f"{name}_norm")(x)
        if step < DROPPED_STAGES:
            x = layers.Dropout(dropout, seed=seeds.take(), name=f"{name}_dropout")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.Concatenate(name=f"{name}_skip")([x, skips[index - 1]])
    x = _up(x, output_channels or channels, "up0", seeds, upsampling, use_bias=True)
    translation = layers.Activation("sigmoid", dtype="float32", name="translation")(x)
    return keras.Model(inputs, translation, name="pix2pix_generator")


def patch_discriminator(
    *,
    width: int = 256,
    height: int = 256,
    channels: int = 3,
    output_channels: int | None = None,
    stages: int = 3,
    base: int = BASE,
    seed: int | None = None,
) -> Any:
    """Real or made, patch by patch, given the input (appendix 6.1.2).

    Inputs `[pixels (N, height, width, channels) float32 in 0..255, target (N, height, width, output_channels)
    float32 in 0..1]`, which are what the generator takes and gives; both are brought to -1..1 and
    concatenated. Output `logits (N, h, w, 1) float32`, positive for real, one for every patch of 70x70 pixels
    with the paper's three stages, 34x34 with two, 16x16 with one; 256x256 gives 30x30 of them.

    Args:
        width: Of the frames, in pixels.
        height: Of the frames, in pixels.
        channels: Of the generator's input.
        output_channels: Of the generator's output; None: as the input.
        stages: Convolutions with stride 2; they decide the size of the patch. Fewer for small frames.
        base: Filters of the first stage; every stage has twice as many, up to eight times.
        seed: Makes the initial weights the same in every process; None: drawn anew.

    Returns:
        A functional `keras.Model`, not compiled. It is never exported.

    Raises:
        RecipeError: The frame is smaller than three patch positions, or `stages` is below 1.
    """
    if stages < 1:
        raise RecipeError(f"{stages} stages look at no patch", where="model", hint="at least 1")
    # The two last convolutions are 4x4 over one pixel of zeros on each side: each takes one away.
    check_side(width, height, 3 * 2**stages, f"for a discriminator of {stages} stages")
    layers, seeds = keras.layers, Seeds(seed)

    source = keras.Input((height, width, channels), dtype="float32", name="pixels")
    target = keras.Input((height, width, output_channels or channels), dtype="float32", name="target")
    x = layers.Concatenate(name="pair")(
        [
            layers.Rescaling(1.0 / 127.5, offset=-1.0, name="rescale")(source),
            layers.Rescaling(2.0, offset=-1.0, name="rescale_target")(target),
        ]
    )
    for index in range(stages):
        count = base * 2 ** min(index, _WIDEST_STAGE)
        x = _down(x, count, f"down{index + 1}", seeds, norm=index > 0)
    x = layers.ZeroPadding2D(name="pad1")(x)
    x = layers.Conv2D(
        base * 2 ** min(stages, _WIDEST_STAGE),
        4,
        use_bias=False,
        kernel_initializer=seeds.normal(STDDEV),
        name="conv",
    )(x)
    x = BatchNormalization(name="conv_norm")(x)
    x = layers.LeakyReLU(negative_slope=SLOPE, name="conv_relu")(x)
    x = layers.ZeroPadding2D(name="pad2")(x)
    logits = layers.Conv2D(1, 4, kernel_initializer=seeds.normal(STDDEV), dtype="float32", name="logits")(x)
    return keras.Model([source, target], logits, name="patch_discriminator")


def _down(x: Any, filters: int, name: str, seeds: Seeds, *, norm: bool) -> Any:
    layers = keras.layers
    x = layers.Conv2D(
        filters,
        4,
        strides=2,
        padding="same",
        use_bias=not norm,
        kernel_initializer=seeds.normal(STDDEV),
        name=name,
    )(x)
    if norm:
        x = BatchNormalization(name=f"{name}_norm")(x)
    return layers.LeakyReLU(negative_slope=SLOPE, name=f"{name}_relu")(x)


def _up(x: Any, filters: int, name: str, seeds: Seeds, upsampling: str, *, use_bias: bool) -> Any:
    layers = keras.layers
    shared = {
        "padding": "same",
        "use_bias": use_bias,
        "kernel_initializer": seeds.normal(STDDEV),
        "name": name,
    }
    if upsampling == "transposed":
        return layers.Conv2DTranspose(filters, 4, strides=2, **shared)(x)
    x = layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_enlarge")(x)
    return layers.Conv2D(filters, 3, **shared)(x)
