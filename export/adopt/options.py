"""What an author may say of a model where it cannot be read from it. Importable without TensorFlow."""

from __future__ import annotations

from typing import Literal

import msgspec

from bedside.runtime.errors import UsageError

Scores = Literal["probabilities", "logits"]
Coding = Literal["xyxy", "yxyx", "cxcywh", "ltrb"]
Units = Literal["normalized", "pixels", "cells"]
Activation = Literal["none", "sigmoid", "softmax"]
Background = Literal["none", "first", "last"]
Color = Literal["rgb", "bgr", "gray"]
#: An output by its position or its name.
Which = int | str


class AdoptOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Statements about a model; None: read from the model, or refused.

    Attributes:
        output: The one output that counts, where a model has several (not for detection).
        scores: Classification and segmentation: what the scores are.
        maps: Classification: add class activation maps where the model's end allows it.
        threshold: Segmentation with one channel: a pixel above it is foreground. Detection: boxes with a
            lower score are left out.
        min_area: Segmentation: smaller regions are left out, as a fraction of the region of interest.
        boxes: Detection: the box outputs, one per level.
        box_scores: Detection: the score outputs, in the order of `boxes`.
        coding: Detection: what the four numbers of a box are.
        units: Detection: what they are measured in.
        activation: Detection: what the scores still need.
        background: Detection: where the class "nothing" stands among the scores.
        iou: Detection: overlap above which non-maximum suppression drops the weaker box; None: none is needed
            (set prediction).
        limit: Detection: boxes per result.
        code: Reconstruction: the output that holds the code.
        low: Pictures: the output value that means pixel 0.
        high: Pictures: the output value that means pixel 255.
        color: Pictures: channel order of the output.
    """

    output: Which | None = None
    scores: Scores | None = None
    maps: bool = True
    threshold: float | None = None
    min_area: float = 0.0
    boxes: tuple[Which, ...] = ()
    box_scores: tuple[Which, ...] = ()
    coding: Coding | None = None
    units: Units | None = None
    activation: Activation | None = None
    background: Background | None = None
    iou: float | None = 0.5
    limit: int = 100
    code: Which | None = None
    low: float | None = None
    high: float | None = None
    color: Color | None = None

    def check(self) -> None:
        """Refuse what contradicts itself whatever the model is.

        Raises:
            UsageError: Half a range, an empty one, a fraction out of 0..1, or boxes without their scores.
        """
        if (self.low is None) != (self.high is None):
            raise UsageError("a range of pictures has two ends", where="--range", hint="--range LOW,HIGH")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise UsageError(f"{self.low:g} is not below {self.high:g}", where="--range")
        fractions = {"--threshold": self.threshold, "min_area": self.min_area, "--iou": self.iou}
        for option, value in fractions.items():
            if value is not None and not 0.0 <= value <= 1.0:
                raise UsageError(f"{value:g} is not within 0..1", where=option)
        if len(self.boxes) != len(self.box_scores):
            what = f"{len(self.boxes)} box outputs and {len(self.box_scores)} score outputs"
            raise UsageError(what, where="--boxes", hint="name one of each per level")
        if not 1 <= self.limit <= 1000:
            raise UsageError(f"{self.limit} is not within 1..1000", where="limit")
