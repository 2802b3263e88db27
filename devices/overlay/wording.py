"""What the strip says of a result: one headline, and a few rows."""

from __future__ import annotations

import msgspec

from bedside.devices.overlay.lettering import Bgr
from bedside.devices.overlay.palette import class_colour
from bedside.runtime.answers import (
    Classification,
    Detections,
    Generation,
    PredictionSet,
    Raw,
    Reconstruction,
    Region,
    Segmentation,
    TaskResult,
    Translation,
)

NOTHING = "nothing found"
#: More boxes than this stand in narrow columns, which have no room for their sizes.
_WITH_SIZES = 3


class Row(msgspec.Struct, frozen=True):
    """One row of the strip's right half.

    Attributes:
        label: At its left.
        value: At its right.
        bar: Length of a bar between them, 0..1; None for no bar.
        mark: Where a limit stands on the bar, 0..1.
        colour: Of a swatch before the label, as in the drawing.
    """

    label: str
    value: str = ""
    bar: float | None = None
    mark: float | None = None
    colour: Bgr | None = None


def headline(shown: TaskResult) -> tuple[str, str]:
    """The one thing to read: words, and a number that may be left out where there is no room."""
    match shown:
        case Classification():
            return shown.label, percent(shown.score)
        case Segmentation():
            if not shown.regions:
                return NOTHING, ""
            return shown.regions[0].label, area(shown.regions[0])
        case Detections():
            if len(shown.boxes) == 1:
                return shown.boxes[0].label, percent(shown.boxes[0].score)
            labels = {box.label for box in shown.boxes}
            if len(labels) == 1:
                return f"{shown.boxes[0].label} x {len(shown.boxes)}", ""
            return (f"{len(shown.boxes)} boxes" if labels else NOTHING), ""
        case Reconstruction():
            if shown.threshold is None:
                return "error", f"{shown.error:.1f} levels"
            return (
                "within limit" if shown.score <= shown.threshold else "beyond limit"
            ), f"{shown.score:.2f}"
        case Translation():
            return "right: made by the model", ""
        case Generation():
            return "right: drawn by the model", ""
        case Raw():
            return (f"argmax {shown.outputs[0].argmax}" if shown.outputs else "no output"), ""


def rows(shown: TaskResult) -> list[Row]:
    """Details, the most important first."""
    match shown:
        case Classification():
            return [Row(s.label, percent(s.score), bar=s.score) for s in shown.top[:3]]
        case Segmentation():
            return [Row(r.label, area(r), colour=class_colour(r.index - 1)) for r in shown.regions]
        case Detections():
            found = []
            for box in shown.boxes:
                size = ""
                if box.size_mm is not None and len(shown.boxes) <= _WITH_SIZES:
                    size = f"{box.size_mm[0]:.0f} x {box.size_mm[1]:.0f} mm  "
                found.append(Row(box.label, size + percent(box.score), colour=class_colour(box.index)))
            return found
        case Reconstruction():
            error = Row("error", f"{shown.error:.1f} levels")
            if shown.threshold is None:
                return [error]
            limit = f"{shown.score:.2f} of {shown.threshold:.2f}"
            first = Row("score", limit, bar=shown.score / (2 * shown.threshold), mark=0.5)
            return [first, error] + (
                [] if shown.distance is None else [Row("distance", f"{shown.distance:.2f}")]
            )
        case Translation():
            return [Row("mean change", f"{shown.change:.1f} levels")]
        case Generation():
            return [Row("mean", f"{shown.mean:.0f} levels"), Row("spread", f"{shown.std:.0f} levels")]
        case Raw():
            return [Row(f"{o.name}: {o.min:.3g} .. {o.max:.3g}") for o in shown.outputs]


def remark(shown: TaskResult) -> tuple[str, ...]:
    """What must be known beside the age, from the longest form to the shortest."""
    if isinstance(shown, Classification) and shown.smoothing is not None:
        return f"smoothed over {shown.smoothing.frames}", "smoothed"
    if isinstance(shown, Segmentation) and shown.regions and shown.regions[0].score < 1:
        score = percent(shown.regions[0].score)
        return f"mean score {score}", f"score {score}"
    return ()


def prediction_set(found: PredictionSet) -> tuple[str, ...]:
    """A prediction set, from the longest form to the shortest: never a part of one."""
    coverage = f"{100 * found.coverage:.3g} %"
    listed = ", ".join(found.labels) or "none"
    return f"{{{listed}}} {coverage}", f"{{{len(found.labels)} classes}} {coverage}"


def area(region: Region) -> str:
    """In mm2 or cm2 where the spacing is known, else as a part of what the model saw."""
    if region.area_mm2 is not None:
        if region.area_mm2 >= 1e4:
            return f"{region.area_mm2 / 100:.0f} cm2"
        return f"{region.area_mm2:.0f} mm2" if region.area_mm2 >= 10 else f"{region.area_mm2:.1f} mm2"
    # "area" stands there because a bare percentage would be taken for a probability.
    share = 100 * region.fraction
    return f"{share:.0f} % area" if share >= 1 else f"{share:.1f} % area"


def percent(score: float) -> str:
    """A probability as a percentage that never claims certainty; any other score as a number."""
    if not 0 <= score <= 1:
        return f"{score:.3g}"
    if score >= 0.995:
        return ">99 %"
    return "<1 %" if score < 0.005 else f"{100 * score:.0f} %"
