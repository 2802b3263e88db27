"""An ultra-light segmentation network for processors: half-width MobileNetV2 and a separable decoder."""

from __future__ import annotations

from typing import Any

from bedside.export.backend import keras
from bedside.export.models.blocks import (
    Seeds,
    check_size,
    class_map,
    convolution,
    inverted_residual,
    separable,
)
from bedside.runtime.errors import RecipeError

#: Filters, expansion and stride of the encoder's blocks: MobileNetV2 (Sandler et al., 2018, table 2) at half
#: width, as TensorFlow's DeepLab model zoo publishes it (`mobilenetv2_dm05`, model_zoo.md), up to the first
#: block of the stage at stride 32. Later blocks would double the parameters.
BLOCKS = (
    (8, 1, 1),
    (12, 6, 2), (12, 6, 1),
    (16, 6, 2), (16, 6, 1), (16, 6, 1),
    (32, 6, 2), (32, 6, 1), (32, 6, 1), (32, 6, 1), (48, 6, 1), (48, 6, 1), (48, 6, 1),
    (80, 6, 2),
)  # fmt: skip
#: Filters of the first convolution.
STEM = 16
#: Last blocks of the strides 4, 8, 16 and 32: what the decoder sees.
TAPS = (2, 5, 12, 13)
#: Filters of the decoder at the strides 4, 8, 16 and 32.
DECODER = (24, 32, 48, 96)


def light_segmenter(
    *,
    width: int = 256,
    height: int = 256,
    channels: int = 3,
    classes: int = 2,
    width_multiplier: float = 1.0,
    seed: int | None = None,
) -> Any:
    """A U-shaped network of about 0.24 million parameters and 0.1 GFLOP for 256x256.

    Input `(N, height, width, channels) float32`, pixels 0 to 255. Output `(N, height, width, 1) float32`, a
    sigmoid, where there are two classes, else `(N, height, width, classes) float32`, a softmax.

    The encoder's layers are named as in TensorFlow's MobileNetV2 (`Conv`, `expanded_conv_3_expand`, ...), so
    that published weights find their place: see `bedside.export.models.pretrained`. The decoder works at a
    quarter of the resolution, where a separable convolution costs a sixteenth, and its scores are upsampled
    bilinearly. Every activation is a ReLU6 or linear behind a batch norm: ranges stay narrow, which int8 needs.

    Args:
        width: Of the input, in pixels; a multiple of 32.
        height: Of the input, in pixels; a multiple of 32.
        channels: 1 or 3.
        classes: At least 2, the background among them.
        width_multiplier: Scales all filters; published weights fit 1 only.
        seed: Makes the initial weights the same in every process; None: drawn anew.

    Returns:
        A functional `keras.Model`, not compiled.

    Raises:
        RecipeError: A side is no multiple of 32, or there are fewer than two classes.
    """
    check_size(width, height, 32)
    if not width_multiplier > 0:
        raise RecipeError(f"width_multiplier is {width_multiplier}, it has to be above 0", where="model")
    layers, seeds = keras.layers, Seeds(seed)
    inputs = keras.Input((height, width, channels), dtype="float32", name="pixels")
    # -1 to 1, as the published weights expect it.
    x = layers.Rescaling(1.0 / 128.0, offset=-1.0, name="rescale")(inputs)
    features = half_mobilenet(x, seeds, width_multiplier=width_multiplier)
    for level in reversed(range(len(DECODER))):
        filters, name = scaled(DECODER[level], width_multiplier), f"decoder{2 ** (level + 2)}"
        skip = features[level]
        if level == len(DECODER) - 1:
            x = separable(skip, filters, seeds, f"{name}_conv1", activation="relu6")
            continue
        # A 1x1 convolution commutes with interpolation, and costs a quarter before it.
        x = convolution(x, filters, 1, seeds, f"{name}_reduce", activation="relu6")
        x = layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_upsampled")(x)
        skip = convolution(skip, filters, 1, seeds, f"{name}_skip", activation="relu6")
        x = layers.Concatenate(name=f"{name}_concat")([x, skip])
        for index in (1, 2):
            x = separable(x, filters, seeds, f"{name}_conv{index}", activation="relu6")
    return keras.Model(inputs, class_map(x, classes, seeds, upsampling=4), name="light_segmenter")


def half_mobilenet(x: Any, seeds: Seeds, *, width_multiplier: float = 1.0) -> list[Any]:
    """The encoder: layers and filters as published, so that `bedside.export.models.pretrained` can fill it.

    Args:
        x: Pixels between -1 and 1, `(N, H, W, C)`.
        seeds: Of the initial weights.
        width_multiplier: Scales all filters.

    Returns:
        The last feature maps at the strides 4, 8, 16 and 32.
    """
    x = convolution(x, scaled(STEM, width_multiplier), 3, seeds, "Conv", strides=2, activation="relu6")
    features = []
    for index, (filters, expansion, strides) in enumerate(BLOCKS):
        name = f"expanded_conv_{index}" if index else "expanded_conv"
        x = inverted_residual(
            x, scaled(filters, width_multiplier), seeds, name, expansion=expansion, strides=strides
        )
        if index in TAPS:
            features.append(x)
    return features


def scaled(filters: int, width_multiplier: float) -> int:
    """The nearest multiple of 4, at least 4: the published widths are such."""
    return max(4, round(filters * width_multiplier / 4) * 4)
