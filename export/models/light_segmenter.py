"""An ultra-light segmentation network for processors: half-width MobileNetV2 and a separable decoder."""

from __future__ import annotations

from typing import Any

from bedside.export.backend import keras
from bedside.export.models.blocks import Seeds, check_size, class_map, convolution, normalized, separable
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
    folded: bool = False,
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
        folded: The encoder's convolutions have a bias and no batch norm, for published weights, into which
            batch norms are folded. A step of training takes two thirds of the time. From random weights such an
            encoder hardly trains: leave it False.
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

    def scaled(filters: int) -> int:
        return max(4, round(filters * width_multiplier / 4) * 4)

    inputs = keras.Input((height, width, channels), dtype="float32", name="pixels")
    # -1 to 1, as the published weights expect it.
    x = layers.Rescaling(1.0 / 128.0, offset=-1.0, name="rescale")(inputs)
    x = _encoding(x, scaled(STEM), seeds, "Conv", kernel=3, strides=2, folded=folded)
    features = []
    for index, (filters, expansion, strides) in enumerate(BLOCKS):
        name = f"expanded_conv_{index}" if index else "expanded_conv"
        x = _inverted_residual(x, scaled(filters), seeds, name, expansion, strides, folded)
        if index in TAPS:
            features.append(x)
    for level in reversed(range(len(TAPS))):
        filters, name = scaled(DECODER[level]), f"decoder{2 ** (level + 2)}"
        skip = features[level]
        if level == len(TAPS) - 1:
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


def _inverted_residual(
    x: Any, filters: int, seeds: Seeds, name: str, expansion: int, strides: int, folded: bool
) -> Any:
    """`bedside.export.models.blocks.inverted_residual`, whose batch norms can be left out."""
    start, channels = x, int(x.shape[-1])
    if expansion != 1:
        x = _encoding(x, expansion * channels, seeds, f"{name}_expand", folded=folded)
    x = _encoding(x, None, seeds, f"{name}_depthwise", kernel=3, strides=strides, folded=folded)
    x = _encoding(x, filters, seeds, f"{name}_project", linear=True, folded=folded)
    if strides == 1 and filters == channels:
        x = keras.layers.Add(name=f"{name}_add")([start, x])
    return x


def _encoding(
    x: Any,
    filters: int | None,
    seeds: Seeds,
    name: str,
    *,
    kernel: int = 1,
    strides: int = 1,
    linear: bool = False,
    folded: bool,
) -> Any:
    """A convolution, depthwise where `filters` is None, with batch norm or bias, and ReLU6 unless linear."""
    layers, initializer = keras.layers, seeds.he()
    if filters is None:
        x = layers.DepthwiseConv2D(
            kernel,
            strides=strides,
            padding="same",
            use_bias=folded,
            depthwise_initializer=initializer,
            name=name,
        )(x)
    else:
        x = layers.Conv2D(
            filters,
            kernel,
            strides=strides,
            padding="same",
            use_bias=folded,
            kernel_initializer=initializer,
            name=name,
        )(x)
    if not folded:
        return normalized(x, name, None if linear else "relu6")
    return x if linear else layers.ReLU(6.0, name=f"{name}_relu6")(x)
