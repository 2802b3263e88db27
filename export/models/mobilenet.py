"""MobileNetV2 (Sandler et al., 2018)."""

from __future__ import annotations

from typing import Any, Literal

from bedside.export.backend import keras
from bedside.export.models.activation_maps import pooled_head
from bedside.export.models.blocks import STAGES, STEM, Seeds, convolution, divisible, inverted_residual
from bedside.export.models.limits import check_classes, check_dropout, check_side

#: The last stage of table 2, which networks for dense prediction do without: expansion, filters, repeats, stride
#: of its output relative to the input.
LAST_STAGE = (6, 320, 1, 32)
#: Features of the last 1x1 convolution; not scaled by multipliers below 1 (section 6.1).
FEATURES = 1280


def mobilenet(
    *,
    width: int = 224,
    height: int = 224,
    channels: int = 3,
    classes: int = 10,
    width_multiplier: float = 1.0,
    output_stride: Literal[8, 16, 32] = 32,
    features: int | None = None,
    dropout: float = 0.2,
    maps: bool = False,
    seed: int | None = None,
) -> Any:
    """Inverted residuals with linear bottlenecks and ReLU6, global average pooling, softmax.

    Input `(N, height, width, channels) float32`, pixels 0 to 255, brought to -1..1 by the first layer. Output
    `(N, classes) float32`; with `maps` also `map (N, height / output_stride, width / output_stride, classes)
    float32`, rounded up.

    Args:
        width: Of the input, in pixels.
        height: Of the input, in pixels.
        channels: 1 or 3.
        classes: At least 2.
        width_multiplier: Scales the channels, rounded to multiples of 8 as in the reference implementation.
        output_stride: Pixels of the input for one position of the last features. The paper's is 32; stages
            that would go beyond a smaller one keep their size, for small inputs and for finer maps.
        features: Of the last convolution; None: 1280, times the multiplier where that is above 1.
        dropout: Rate on the pooled features.
        maps: Class activation maps as a second output.
        seed: Makes the initial weights the same in every process; None: drawn anew.

    Returns:
        A functional `keras.Model`, not compiled.

    Raises:
        RecipeError: A side is smaller than `output_stride`, or there are fewer than two classes.
    """
    check_side(width, height, output_stride, f"for an output stride of {output_stride}")
    check_classes(classes)
    check_dropout(dropout)
    layers, seeds = keras.layers, Seeds(seed)

    inputs = keras.Input((height, width, channels), dtype="float32", name="pixels")
    x = layers.Rescaling(1.0 / 127.5, offset=-1.0, name="rescale")(inputs)
    first = divisible(STEM * width_multiplier)
    x = convolution(x, first, 3, seeds, "stem", strides=2, activation="relu6")
    stride = 2
    for stage, (expansion, filters, repeats, goal) in enumerate((*STAGES, LAST_STAGE), start=1):
        step = min(goal, output_stride) // stride
        stride *= step
        for repeat in range(repeats):
            x = inverted_residual(
                x,
                divisible(filters * width_multiplier),
                seeds,
                f"stage{stage}_{repeat + 1}",
                expansion=expansion,
                strides=step if repeat == 0 else 1,
            )
    last = features if features is not None else divisible(FEATURES * max(1.0, width_multiplier))
    x = convolution(x, last, 1, seeds, "features", activation="relu6")
    outputs = pooled_head(
        x,
        classes,
        dropout=dropout,
        maps=maps,
        kernel_initializer=seeds.glorot(),
        seed=seeds.take(),
    )
    return keras.Model(inputs, outputs if maps else outputs[0], name="mobilenet")
