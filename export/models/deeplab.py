"""DeepLab v3+ with a MobileNetV2 backbone."""

from __future__ import annotations

from typing import Any

from bedside.export.backend import keras
from bedside.export.models.blocks import (
    Seeds,
    check_size,
    class_map,
    convolution,
    divisible,
    inverted_residuals,
    separable,
)

#: Atrous rates at output stride 16 (Chen et al., DeepLab v3, 2017, section 3.3), for training crops of 513 pixels
#: (section 4.1), which are 33 cells.
RATES = (6, 12, 18)
CELLS = 33
#: Of the backbone. The paper's other choice, 8, costs four times as much there.
OUTPUT_STRIDE = 16
#: Filters of the reduced low-level features (Chen et al., DeepLab v3+, 2018, section 4.1: 48 beside 256), as a
#: fraction.
LOW_LEVEL = 48 / 256


def deeplab_v3_plus(
    *,
    width: int = 256,
    height: int = 256,
    channels: int = 3,
    classes: int = 2,
    width_multiplier: float = 0.35,
    filters: int = 64,
    dropout: float = 0.1,
    seed: int | None = None,
) -> Any:
    """DeepLab v3+ (Chen et al., 2018): atrous separable convolutions, ASPP, and a decoder at stride 4.

    Input `(N, height, width, channels) float32`, pixels 0 to 255. Output `(N, height, width, 1) float32`, a
    sigmoid, where there are two classes, else `(N, height, width, classes) float32`, a softmax.

    The backbone is MobileNetV2 without its last stage's stride, which dilation 2 replaces: its features stay
    at stride 16. Spatial pyramid pooling looks at them through a 1x1 convolution, three atrous separable ones,
    and their mean over the picture. The decoder joins the result, upsampled by 4, with features of stride 4.

    Args:
        width: Of the input, in pixels; a multiple of 16.
        height: Of the input, in pixels; a multiple of 16.
        channels: 1 or 3.
        classes: At least 2, the background among them.
        width_multiplier: Of the backbone.
        filters: Of the pyramid's branches and of the decoder; the paper has 256.
        dropout: Fraction behind the pyramid, as in the reference code.
        seed: Makes the initial weights the same in every process; None: drawn anew.

    Returns:
        A functional `keras.Model`, not compiled.

    Raises:
        RecipeError: The sides are no multiples of 16, or there are fewer than two classes.
    """
    check_size(width, height, OUTPUT_STRIDE)
    layers, seeds = keras.layers, Seeds(seed)
    inputs = keras.Input((height, width, channels), dtype="float32", name="pixels")
    x = layers.Rescaling(1.0 / 255.0, name="rescale")(inputs)
    features = inverted_residuals(
        x, seeds, width_multiplier=width_multiplier, deepest=OUTPUT_STRIDE, atrous=True
    )
    deep, low = features[OUTPUT_STRIDE], features[4]
    rows, columns = height // OUTPUT_STRIDE, width // OUTPUT_STRIDE

    branches = [convolution(deep, filters, 1, seeds, "aspp_1x1")]
    branches += [
        separable(deep, filters, seeds, f"aspp_rate{rate}", dilation=rate)
        for rate in atrous_rates(columns, rows)
    ]
    mean = layers.GlobalAveragePooling2D(keepdims=True, name="aspp_mean")(deep)
    mean = convolution(mean, filters, 1, seeds, "aspp_image")
    # One pixel: whichever interpolation, it becomes constant.
    branches.append(layers.UpSampling2D((rows, columns), name="aspp_image_upsampled")(mean))
    x = layers.Concatenate(name="aspp_concat")(branches)
    x = convolution(x, filters, 1, seeds, "aspp_project")
    if dropout > 0:
        x = layers.Dropout(dropout, seed=seed, name="aspp_dropout")(x)

    x = layers.UpSampling2D(OUTPUT_STRIDE // 4, interpolation="bilinear", name="decoder_upsampled")(x)
    low = convolution(low, divisible(filters * LOW_LEVEL), 1, seeds, "decoder_low_level")
    x = layers.Concatenate(name="decoder_concat")([x, low])
    for index in (1, 2):
        x = separable(x, filters, seeds, f"decoder_conv{index}")
    return keras.Model(inputs, class_map(x, classes, seeds, upsampling=4), name="deeplab_v3_plus")


def atrous_rates(columns: int, rows: int) -> tuple[int, int, int]:
    """The paper's rates, scaled to a feature map of this size, each larger than the one before.

    A rate as wide as the map reads padding only and shrinks to a 1x1 convolution (DeepLab v3, section 3.3).
    """
    scale = min(columns, rows) / CELLS
    first, second, third = (max(1, round(rate * scale)) for rate in RATES)
    second = max(second, first + 1)
    return first, second, max(third, second + 1)
