"""An anchor-free convolutional detector in the manner of FCOS."""

from __future__ import annotations

import math
from typing import Any, Literal

from bedside.export.backend import keras
from bedside.export.models.blocks import Seeds, check_size, convolution, inverted_residuals, separable
from bedside.export.models.levels import Level, levels
from bedside.export.models.light_segmenter import half_mobilenet
from bedside.runtime.errors import RecipeError

#: Score of every cell before training, so that the many empty ones do not drown the first steps (Lin et al.,
#: RetinaNet, 2017, section 4.1).
PRIOR = 0.01
#: Distances are this activation, scaled: its range is fixed, so int8 resolves `bound / 255` cells whatever the
#: calibration set shows, and it is fused into the convolution.
CLIP = 6.0
#: Distance that every cell gives before training, in cells: inside the linear part, so that gradients flow.
FIRST_DISTANCE = 2.0


def anchor_free_detector(
    *,
    width: int = 256,
    height: int = 256,
    channels: int = 3,
    classes: int = 1,
    strides: tuple[int, ...] = (8, 16),
    backbone: Literal["mobilenet", "half-mobilenet"] = "mobilenet",
    width_multiplier: float = 0.5,
    filters: int = 64,
    towers: int = 2,
    context: bool = True,
    seed: int | None = None,
) -> Any:
    """One prediction per cell of a feature map: distances to the four sides of a box, and class scores.

    FCOS (Tian et al., 2019) with a MobileNetV2 backbone and a feature pyramid (Lin et al., 2017), everything
    behind the backbone separable. There is no centre-ness branch: the scores learn the overlap of their box
    (`bedside.export.losses.detection`).

    Input `(N, height, width, channels) float32`, pixels 0 to 255. Two outputs per stride `s`, finest first, with
    `h = height / s` and `w = width / s`:

    - `boxes_s (N, h, w, 4) float32`: left, top, right, bottom, in cells, 0 or more: the box of the cell in column
      c begins at `((c + 0.5) - left) * s` pixels.
    - `scores_s (N, h, w, classes) float32`: sigmoid, one per class; there is no background class.

    Boxes and scores are tensors of their own because an int8 tensor has one scale: beside distances of 16
    cells, scores below 0.06 would be one step.

    Args:
        width: Of the input, in pixels; a multiple of 32, or of the coarsest stride without `context`.
        height: The same.
        channels: 1 or 3.
        classes: At least 1, no background.
        strides: One or more neighbours out of 8, 16, 32, finest first.
        backbone: `mobilenet`: MobileNetV2. `half-mobilenet`: the one of `light_segmenter`, which published
            weights fit (`bedside.export.models.pretrained`).
        width_multiplier: Of the backbone; published weights fit `half-mobilenet` at 1 only.
        filters: Of the pyramid and of the heads.
        towers: Separable convolutions in front of each prediction; the paper has 4.
        context: Run the backbone to stride 32 even where no boxes are predicted there; finer levels then know
            what surrounds them.
        seed: Makes the initial weights the same in every process; None: drawn anew.

    Returns:
        A functional `keras.Model` with a list of outputs, not compiled.

    Raises:
        RecipeError: The strides or the sides do not fit, or there is no class.
    """
    if classes < 1:
        raise RecipeError("a detector needs at least 1 class", where="model")
    grid = levels(width, height, strides)
    deepest = 32 if context else strides[-1]
    check_size(width, height, deepest)
    layers, seeds = keras.layers, Seeds(seed)
    inputs = keras.Input((height, width, channels), dtype="float32", name="pixels")
    if backbone == "half-mobilenet":
        x = layers.Rescaling(1.0 / 128.0, offset=-1.0, name="rescale")(inputs)
        found = half_mobilenet(x, seeds, width_multiplier=width_multiplier)
        features = dict(zip((4, 8, 16, 32), found, strict=True))
    else:
        x = layers.Rescaling(1.0 / 255.0, name="rescale")(inputs)
        features = inverted_residuals(x, seeds, width_multiplier=width_multiplier, deepest=deepest)
    pyramid = _pyramid(features, strides[0], deepest, filters, seeds)
    outputs: list[Any] = []
    for level in grid:
        x = separable(pyramid[level.stride], filters, seeds, f"pyramid_{level.stride}", activation="relu6")
        outputs += _head(x, level, classes, filters, towers, seeds)
    return keras.Model(inputs, outputs, name="anchor_free_detector")


def _pyramid(
    features: dict[int, Any], finest: int, deepest: int, filters: int, seeds: Seeds
) -> dict[int, Any]:
    """Top-down sums: each level's features reduced, plus the coarser level doubled."""
    layers = keras.layers
    pyramid: dict[int, Any] = {}
    stride, above = deepest, None
    while stride >= finest:
        x = convolution(features[stride], filters, 1, seeds, f"lateral_{stride}", activation=None)
        if above is not None:
            above = layers.UpSampling2D(2, name=f"lateral_{stride}_above")(above)
            x = layers.Add(name=f"lateral_{stride}_sum")([x, above])
        pyramid[stride] = above = x
        stride //= 2
    return pyramid


def _head(x: Any, level: Level, classes: int, filters: int, towers: int, seeds: Seeds) -> tuple[Any, Any]:
    """Boxes and scores of one level. Levels share no weights: each has activation ranges of its own in int8."""
    layers, stride = keras.layers, level.stride
    box = score = x
    for index in range(1, towers + 1):
        box = separable(box, filters, seeds, f"boxes_{stride}_tower{index}", activation="relu6")
        score = separable(score, filters, seeds, f"scores_{stride}_tower{index}", activation="relu6")
    scale = level.bound / CLIP
    box = layers.Conv2D(
        4,
        1,
        kernel_initializer=seeds.normal(0.01),
        bias_initializer=keras.initializers.Constant(min(FIRST_DISTANCE / scale, CLIP / 2)),
        dtype="float32",
        name=f"boxes_{stride}_raw",
    )(box)
    box = layers.ReLU(max_value=CLIP, dtype="float32", name=f"boxes_{stride}_clipped")(box)
    box = layers.Rescaling(scale, dtype="float32", name=f"boxes_{stride}")(box)
    score = layers.Conv2D(
        classes,
        1,
        kernel_initializer=seeds.normal(0.01),
        bias_initializer=keras.initializers.Constant(prior_bias()),
        dtype="float32",
        name=f"scores_{stride}_raw",
    )(score)
    return box, layers.Activation("sigmoid", dtype="float32", name=f"scores_{stride}")(score)


def prior_bias() -> float:
    """Bias in front of a sigmoid that gives `PRIOR`."""
    return -math.log((1.0 - PRIOR) / PRIOR)
