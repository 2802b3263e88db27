"""Blocks that several networks share: convolution with batch norm, separable convolution, inverted residual.

Every convolution is followed by batch norm and ReLU or ReLU6, which the converters fold into it: an int8 file
then has one integer operator per convolution.
"""

from __future__ import annotations

from typing import Any, Literal

from bedside.export.backend import keras
from bedside.export.models.normalization import BatchNormalization
from bedside.runtime.errors import RecipeError

Activation = Literal["relu", "relu6"]

#: Of the running statistics. Keras' 0.99 needs some 500 steps to forget its start, and small data sets give
#: 20 to 40 steps an epoch: the first validations would judge statistics that nothing has.
MOMENTUM = 0.9

#: MobileNetV2 (Sandler et al., 2018, table 2): expansion, filters, repeats, and the stride of the stage's
#: output relative to the input. The first row follows a 3x3 convolution with 32 filters and stride 2.
STAGES = ((1, 16, 1, 2), (6, 24, 2, 4), (6, 32, 3, 8), (6, 64, 4, 16), (6, 96, 3, 16), (6, 160, 3, 32))
STEM = 32


class Seeds:
    """Initializers with consecutive seeds, so that a network's first weights depend on one number.

    One seed for all would make layers of equal shape equal.
    """

    def __init__(self, seed: int | None) -> None:
        self._next = seed

    def take(self) -> int | None:
        """The next seed, for layers that take one themselves: dropout."""
        taken = self._next
        if taken is not None:
            self._next = taken + 1
        return taken

    def he(self) -> Any:
        """For layers in front of a ReLU (He et al., 2015)."""
        return keras.initializers.HeNormal(seed=self.take())

    def glorot(self) -> Any:
        """For all others (Glorot and Bengio, 2010)."""
        return keras.initializers.GlorotUniform(seed=self.take())

    def normal(self, stddev: float) -> Any:
        """For prediction layers whose bias has to decide at first."""
        return keras.initializers.RandomNormal(stddev=stddev, seed=self.take())


def normalized(x: Any, name: str, activation: Activation | None = "relu") -> Any:
    """Batch norm, then the activation; None for a linear bottleneck."""
    x = BatchNormalization(momentum=MOMENTUM, name=f"{name}_bn")(x)
    if activation is None:
        return x
    return keras.layers.ReLU(max_value=6.0 if activation == "relu6" else None, name=f"{name}_{activation}")(x)


def convolution(
    x: Any,
    filters: int,
    kernel: int,
    seeds: Seeds,
    name: str,
    *,
    strides: int = 1,
    activation: Activation | None = "relu",
) -> Any:
    """Convolution with same padding, batch norm, activation."""
    x = keras.layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer=seeds.he(),
        name=name,
    )(x)
    return normalized(x, name, activation)


def depthwise(
    x: Any,
    seeds: Seeds,
    name: str,
    *,
    strides: int = 1,
    dilation: int = 1,
    activation: Activation = "relu",
) -> Any:
    """3x3 depthwise convolution with same padding, batch norm, activation."""
    x = keras.layers.DepthwiseConv2D(
        3,
        strides=strides,
        dilation_rate=dilation,
        padding="same",
        use_bias=False,
        depthwise_initializer=seeds.he(),
        name=name,
    )(x)
    return normalized(x, name, activation)


def separable(
    x: Any,
    filters: int,
    seeds: Seeds,
    name: str,
    *,
    dilation: int = 1,
    activation: Activation = "relu",
) -> Any:
    """Depthwise 3x3, then 1x1, each with batch norm and activation.

    Howard et al., MobileNets, 2017, figure 3; DeepLab v3+ adds the same norm and ReLU after its atrous depthwise
    convolutions (Chen et al., 2018, section 3.2).
    """
    x = depthwise(x, seeds, f"{name}_depthwise", dilation=dilation, activation=activation)
    return convolution(x, filters, 1, seeds, f"{name}_pointwise", activation=activation)


def inverted_residual(
    x: Any,
    filters: int,
    seeds: Seeds,
    name: str,
    *,
    expansion: int,
    strides: int = 1,
    dilation: int = 1,
) -> Any:
    """Expand, filter in depth, project without activation, add (Sandler et al., 2018, table 1).

    The sum is taken where the shape stays: stride 1 and as many filters as channels.
    """
    start, channels = x, int(x.shape[-1])
    if expansion != 1:
        x = convolution(x, expansion * channels, 1, seeds, f"{name}_expand", activation="relu6")
    x = depthwise(x, seeds, f"{name}_depthwise", strides=strides, dilation=dilation, activation="relu6")
    x = convolution(x, filters, 1, seeds, f"{name}_project", activation=None)
    if strides == 1 and filters == channels:
        x = keras.layers.Add(name=f"{name}_add")([start, x])
    return x


def inverted_residuals(
    x: Any,
    seeds: Seeds,
    *,
    width_multiplier: float,
    deepest: int,
    atrous: bool = False,
) -> dict[int, Any]:
    """The body of MobileNetV2 up to a stride.

    Args:
        x: Normalized pixels `(N, H, W, C)`.
        seeds: Of the initial weights.
        width_multiplier: Scales the filters (Sandler et al., 2018, section 4).
        deepest: Stride of the last feature map: 8, 16 or 32.
        atrous: Also run the stage behind `deepest`, at dilation 2 in place of its stride, so that it sees as
            far (Chen et al., DeepLab v3, 2017, section 3.1).

    Returns:
        The last feature map at each stride: 2, 4, 8, ... up to `deepest`.
    """
    features: dict[int, Any] = {}
    x = convolution(x, divisible(STEM * width_multiplier), 3, seeds, "stem", strides=2, activation="relu6")
    features[2], stride = x, 2
    behind = deepest * 2 if atrous else deepest
    for stage, (expansion, filters, repeats, goal) in enumerate(STAGES, start=1):
        if goal > behind:
            break
        for repeat in range(repeats):
            step = goal // stride if repeat == 0 and goal <= deepest else 1
            x = inverted_residual(
                x,
                divisible(filters * width_multiplier),
                seeds,
                f"stage{stage}_{repeat + 1}",
                expansion=expansion,
                strides=step,
                dilation=2 if goal > deepest else 1,
            )
            stride *= step
        features[stride] = x
    return features


def divisible(filters: float, divisor: int = 8) -> int:
    """The nearest multiple of 8, at least 8, never more than 10 % below.

    The rule of the reference code of MobileNets (`_make_divisible`): integer kernels work on lanes of 8.
    """
    rounded = max(divisor, int(filters + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * filters else rounded


def check_size(width: int, height: int, stride: int) -> None:
    """Refuse sides that cannot be halved down to `stride` and doubled back.

    Raises:
        RecipeError: A side is no multiple of `stride`.
    """
    if width % stride or height % stride or min(width, height) < stride:
        lower, upper = (
            f"{max(1, w // stride) * stride}x{max(1, h // stride) * stride}"
            for w, h in ((width, height), (width + stride - 1, height + stride - 1))
        )
        near = lower if lower == upper else f"{lower} or {upper}"
        raise RecipeError(
            f"{width}x{height} pixels: both sides have to be multiples of {stride}",
            where="model",
            hint=f"for example {near}",
        )


def class_map(x: Any, classes: int, seeds: Seeds, *, upsampling: int = 1) -> Any:
    """The output of a segmentation network: `(N, H, W, 1)` sigmoid for two classes, else `(N, H, W, K)` softmax.

    Two classes need one channel: the probability of the foreground, class 1. Scores are upsampled before the
    activation, as the papers do. Computed in float32 under every precision policy.

    Args:
        x: Features.
        classes: At least 2, the background among them.
        seeds: Of the initial weights.
        upsampling: Factor from `x` to the output.

    Raises:
        RecipeError: Fewer than two classes.
    """
    if classes < 2:
        raise RecipeError(
            f"{classes} classes, a segmentation needs at least 2",
            where="model",
            hint="the background counts as a class",
        )
    layers = keras.layers
    channels = 1 if classes == 2 else classes
    x = layers.Conv2D(channels, 1, kernel_initializer=seeds.glorot(), dtype="float32", name="logits")(x)
    if upsampling > 1:
        x = layers.UpSampling2D(
            upsampling, interpolation="bilinear", dtype="float32", name="logits_upsampled"
        )(x)
    activation = "sigmoid" if channels == 1 else "softmax"
    return layers.Activation(activation, dtype="float32", name="mask")(x)
