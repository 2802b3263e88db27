"""From output tensors to a result: what `bundle.json` says of it, one structure per task.

`output`, `map`, `code`, `boxes` and `scores` are indices into the model's outputs. Layouts are NHWC unless a
structure says otherwise; shapes include the batch of 1.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from bedside.runtime.bundle.fields import Fraction, Line, Positive, Strict

Index = Annotated[int, Meta(ge=0, le=15)]
_Labels = Annotated[tuple[Line, ...], Meta(min_length=1, max_length=4096)]
_AboveZero = Annotated[float, Meta(gt=0.0)]


class Conformal(Strict, frozen=True, kw_only=True):
    """Prediction sets that hold the truth with a stated probability, on frames like those of the calibration
    split (split conformal prediction with the score 1 - p: Sadinle, Lei & Wasserman, JASA 2019).

    Attributes:
        coverage: Fraction of sets that hold the truth, marginal over frames, at least.
        threshold: A class is in the set where its calibrated probability is at least this.
        samples: Size of the calibration split.
    """

    coverage: Fraction
    threshold: Fraction
    samples: Positive


class ClassificationDecode(Strict, frozen=True, kw_only=True, tag="classification", tag_field="task"):
    """How class scores are read.

    Attributes:
        labels: One per class, in the order of the output.
        output: The score tensor.
        scores: `probabilities` (used as they are) or `logits` (softmax is applied).
        temperature: Scores are `softmax(log p / T)`, or `softmax(logits / T)` (Guo et al., ICML 2017); None:
            never calibrated.
        conformal: Prediction sets, where they were calibrated.
        map: Class activation maps `(1, h, w, K)`, where the model gives them.
    """

    labels: Annotated[tuple[Line, ...], Meta(min_length=2, max_length=4096)]
    output: Index = 0
    scores: Literal["probabilities", "logits"] = "probabilities"
    temperature: _AboveZero | None = None
    conformal: Conformal | None = None
    map: Index | None = None


class SegmentationDecode(Strict, frozen=True, kw_only=True, tag="segmentation", tag_field="task"):
    """How a map of class scores is read.

    The tensor is `(1, h, w, K)`, or `(1, h, w, 1)` with two labels for one foreground class, or `(1, h, w)`
    class indices where `scores` is `labels`; `(1, K, h, w)` where `layout` is `nchw`.

    Attributes:
        labels: One per class, the background first.
        output: The score tensor.
        scores: What it holds. One channel: `probabilities` or `logits` of the foreground.
        layout: Of the tensor.
        threshold: One channel: a pixel is foreground where its probability is above this.
        min_area: Regions with fewer captured-frame pixels than this fraction of the region of interest are
            left out.
    """

    labels: Annotated[tuple[Line, ...], Meta(min_length=2, max_length=256)]
    output: Index = 0
    scores: Literal["probabilities", "logits", "labels"] = "probabilities"
    layout: Literal["nhwc", "nchw"] = "nhwc"
    threshold: Fraction = 0.5
    min_area: Fraction = 0.0


class DetectionDecode(Strict, frozen=True, kw_only=True, tag="detection", tag_field="task"):
    """How boxes and their scores are read.

    Attributes:
        labels: One per class, without a background.
        boxes: Box tensors, one per level: `(1, N, 4)`, or `(1, h, w, 4)` for `ltrb`.
        scores: Score tensors in the order of `boxes`: `(1, N, K)` or `(1, h, w, K)`; K is one more than the
            labels where there is a background.
        coding: `xyxy`, `yxyx` or `cxcywh`; `ltrb`: distances from the centre of the cell to the four sides
            (Tian et al., FCOS, ICCV 2019).
        units: `normalized` 0..1 of the input, `pixels` of the input, or `cells` of the grid (`ltrb` only).
        activation: What the scores still need.
        background: Where the class "nothing" stands among the scores.
        threshold: Boxes with a lower score are left out.
        iou: Non-maximum suppression per class drops a box that overlaps a better one by more; None: none is
            needed (set prediction).
        limit: Boxes per result, best first.
    """

    labels: _Labels
    boxes: Annotated[tuple[Index, ...], Meta(min_length=1, max_length=8)] = (0,)
    scores: Annotated[tuple[Index, ...], Meta(min_length=1, max_length=8)] = (1,)
    coding: Literal["xyxy", "yxyx", "cxcywh", "ltrb"] = "xyxy"
    units: Literal["normalized", "pixels", "cells"] = "normalized"
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    background: Literal["none", "first", "last"] = "none"
    threshold: Fraction = 0.5
    iou: Fraction | None = 0.5
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class OutOfDistribution(Strict, frozen=True, kw_only=True):
    """When a frame is unlike the frames that a model was made for.

    `score = max(error / error_scale, distance / distance_scale)`: the mean absolute reconstruction error in
    grey levels, and the root mean square of the whitened code (its Mahalanobis distance over the root of its
    dimension). A black frame reconstructs well, and lies far from every code.

    Attributes:
        error_scale: In grey levels.
        distance_scale: Without a unit; None: the error alone decides.
        threshold: Frames with a higher score are out.
        false_alarm: Fraction of holdout frames beyond the threshold that it was chosen for.
        samples: Frames that the threshold was chosen on.
    """

    error_scale: _AboveZero
    distance_scale: _AboveZero | None = None
    threshold: _AboveZero
    false_alarm: Fraction
    samples: Positive


class ReconstructionDecode(Strict, frozen=True, kw_only=True, tag="reconstruction", tag_field="task"):
    """How a reconstruction is compared with the input.

    Attributes:
        output: The reconstruction, the shape of the input.
        low: Value of the reconstruction that means pixel 0.
        high: Value of the reconstruction that means pixel 255.
        code: The whitened code `(1, D)`, where the model gives it.
        out: When a frame is out of distribution; None: no threshold was set.
    """

    output: Index = 0
    low: float = 0.0
    high: float = 1.0
    code: Index | None = None
    out: OutOfDistribution | None = None


class TranslationDecode(Strict, frozen=True, kw_only=True, tag="translation", tag_field="task"):
    """How an output picture is read, `(1, h, w, 1 or 3)`.

    Attributes:
        output: The picture.
        low: Value that means pixel 0.
        high: Value that means pixel 255.
        color: Channel order of the output.
    """

    output: Index = 0
    low: float = 0.0
    high: float = 1.0
    color: Literal["rgb", "bgr", "gray"] = "rgb"


class GenerationDecode(Strict, frozen=True, kw_only=True, tag="generation", tag_field="task"):
    """How a drawn picture is read, `(1, h, w, 1 or 3)`. Its model's input is a latent, see `InputSpec.latent`.

    Attributes:
        output: The picture.
        low: Value that means pixel 0.
        high: Value that means pixel 255.
        color: Channel order of the output.
    """

    output: Index = 0
    low: float = -1.0
    high: float = 1.0
    color: Literal["rgb", "bgr", "gray"] = "rgb"


class RawDecode(Strict, frozen=True, kw_only=True, tag="raw", tag_field="task"):
    """Outputs are handed on undecoded, for third-party models whose task bedside does not know."""


Decode = (
    ClassificationDecode
    | SegmentationDecode
    | DetectionDecode
    | ReconstructionDecode
    | TranslationDecode
    | GenerationDecode
    | RawDecode
)
