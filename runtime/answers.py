"""What a model says of a frame, one structure per task.

Geometry is in captured-frame pixels (`bedside.runtime.geometry`), and in millimetres where the spacing is
known. Told apart in JSON by `kind`. Pictures and maps are bytes, base64 in JSON; full pictures are left out of
result files (`bedside.runtime.results_file`).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from bedside.runtime.geometry import Box, Point


class Score(msgspec.Struct, frozen=True):
    """One class and its score."""

    index: int
    label: str
    score: float


class Smoothing(msgspec.Struct, frozen=True):
    """Temporal smoothing that was applied to the scores: `s = alpha * new + (1 - alpha) * old`."""

    method: str
    alpha: float
    frames: int


class HeatMap(msgspec.Struct, frozen=True):
    """A coarse map over a part of the captured frame.

    Attributes:
        width: Cells per row.
        height: Rows.
        box: What the cells cover, in captured-frame pixels.
        low: Value of code 0.
        high: Value of code 255.
        codes: `height * width` bytes, row by row; the value is `low + code / 255 * (high - low)`.
    """

    width: int
    height: int
    box: Box
    low: float
    high: float
    codes: bytes


class Picture(msgspec.Struct, frozen=True):
    """A picture that a model made.

    Attributes:
        width: In pixels.
        height: In pixels.
        color: Channel order.
        pixels: `height * width * channels` bytes, row by row, channels interleaved.
    """

    width: int
    height: int
    color: Literal["rgb", "bgr", "gray"]
    pixels: bytes


class PredictionSet(msgspec.Struct, frozen=True):
    """A conformal prediction set: it holds the truth in at least `coverage` of frames like the calibration
    set's."""

    coverage: float
    labels: tuple[str, ...]


class Classification(msgspec.Struct, frozen=True, omit_defaults=True, tag="classification", tag_field="kind"):
    """The best classes, best first.

    Attributes:
        label: Of the best.
        index: Of the best.
        score: Of the best; calibrated where `temperature` is set.
        top: The best few.
        smoothing: Set where the scores are not this frame's alone.
        temperature: The scores were calibrated with it.
        set: Prediction set of this frame alone.
        map: Where the model looked for the best class.
    """

    label: str
    index: int
    score: float
    top: tuple[Score, ...]
    smoothing: Smoothing | None = None
    temperature: float | None = None
    set: PredictionSet | None = None
    map: HeatMap | None = None


class Region(msgspec.Struct, frozen=True, omit_defaults=True):
    """All pixels of one class.

    Attributes:
        index: Of the class.
        label: Of the class.
        score: Mean probability over the region; 1.0 where the model gives classes alone.
        area_px: In captured-frame pixels.
        fraction: Of the region that the model sees.
        box: Around it.
        contours: Closed outlines, outer ones and holes alike (even-odd rule).
        area_mm2: Where the spacing is known.
    """

    index: int
    label: str
    score: float
    area_px: float
    fraction: float
    box: Box
    contours: tuple[tuple[Point, ...], ...]
    area_mm2: float | None = None


class Segmentation(msgspec.Struct, frozen=True, omit_defaults=True, tag="segmentation", tag_field="kind"):
    """The classes that are present, largest first; the background is not listed."""

    regions: tuple[Region, ...]


class DetectedBox(msgspec.Struct, frozen=True, omit_defaults=True):
    """One box. `size_mm` is `(width, height)` where the spacing is known."""

    index: int
    label: str
    score: float
    box: Box
    size_mm: tuple[float, float] | None = None


class Detections(msgspec.Struct, frozen=True, tag="detection", tag_field="kind"):
    """Boxes, best first; empty where nothing was found."""

    boxes: tuple[DetectedBox, ...]


class Reconstruction(msgspec.Struct, frozen=True, omit_defaults=True, tag="reconstruction", tag_field="kind"):
    """How well an autoencoder could reproduce the frame.

    Attributes:
        error: Mean absolute error, in grey levels.
        score: See `bedside.runtime.bundle.decode.OutOfDistribution`; the error where no threshold was set.
        distance: Root mean square of the whitened code.
        threshold: Scores beyond it are out of distribution.
        map: Absolute error, in grey levels.
    """

    error: float
    score: float
    distance: float | None = None
    threshold: float | None = None
    map: HeatMap | None = None


class Translation(msgspec.Struct, frozen=True, omit_defaults=True, tag="translation", tag_field="kind"):
    """A frame turned into another picture.

    Attributes:
        box: What the picture shows of the captured frame.
        change: Mean absolute difference from the input, in grey levels.
        picture: The picture; None in result files.
    """

    box: Box
    change: float
    picture: Picture | None = None


class Generation(msgspec.Struct, frozen=True, omit_defaults=True, tag="generation", tag_field="kind"):
    """A drawn picture: no frame went into it.

    Attributes:
        mean: Mean grey level.
        std: Standard deviation of the grey levels.
        picture: The picture; None in result files.
    """

    mean: float
    std: float
    picture: Picture | None = None


class RawOutput(msgspec.Struct, frozen=True):
    """An undecoded output, summarised: a result line is no place for tensors."""

    name: str
    shape: tuple[int, ...]
    min: float
    max: float
    argmax: int


class Raw(msgspec.Struct, frozen=True, tag="raw", tag_field="kind"):
    """Undecoded outputs of a model whose task bedside does not know."""

    outputs: tuple[RawOutput, ...]


#: Told apart in JSON by `kind`, so that a results file can be read back.
TaskResult = Classification | Segmentation | Detections | Reconstruction | Translation | Generation | Raw
