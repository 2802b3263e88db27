"""How metrics are told to people, the same in report, card and terminal. Needs no TensorFlow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bedside.export.gates.marks import Marks
    from bedside.export.reports.outcome import ExportOutcome, SplitSummary, VariantResult

#: What stands where there is no number.
NOTHING = "-"

_PERCENT = ("accuracy", "recall", "precision")
_UNITS = {"error": "grey levels", "PSNR": "dB"}
_LONG = {
    "Dice": "mean Dice",
    "error": "mean absolute error",
    "SSIM": "structural similarity (SSIM)",
    "halves": "distance of one half of the real frames from the other",
    "variety": "variety, real frames being 1",
    "calibration error": "expected calibration error",
    "texture distance": "texture distance from real frames",
}
_AGREEMENT = {
    "classification": "same decision",
    "segmentation": "same pixels",
    "detection": "same boxes",
    "reconstruction": "same ranking",
    "translation": "SSIM to Keras",
    "generation": "SSIM to Keras",
}
_BASELINE = {
    "classification": "always saying the most frequent class",
    "segmentation": "the same mask for every frame",
    "detection": "the same box for every frame",
    "reconstruction": "a uniform frame of the mean colour",
    "translation": "the input itself",
    "generation": "noise with the mean and deviation of real frames",
}
_CLASS_METRIC = {"accuracy": "recall", "Dice": "Dice", "AP50": "AP50"}
_COUNTED = {"accuracy": "holdout frames", "Dice": "holdout frames with it", "AP50": "holdout boxes"}


def long_name(metric: str) -> str:
    """A metric with its name in full."""
    return _LONG.get(metric, metric)


def unit(metric: str) -> str:
    """Of a metric, empty where it has none."""
    return "%" if metric in _PERCENT else _UNITS.get(metric, "")


def tell(metric: str, value: float | None, *, with_unit: bool = True) -> str:
    """A value: proportions of frames in percent, everything else as the field states it.

    Args:
        metric: For example `accuracy`, `Dice` or `PSNR`.
        value: None and NaN become a dash.
        with_unit: Whether a unit other than % is named.
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    if metric in _PERCENT:
        return percent(value)
    digits = 2 if metric in ("error", "PSNR", "texture distance", "halves") else 3
    text = f"{value:.{digits}f}"
    return f"{text} {_UNITS[metric]}" if with_unit and metric in _UNITS else text


def span(metric: str, interval: tuple[float, float]) -> str:
    """An interval, without a unit other than %."""
    low, high = (tell(metric, end, with_unit=False) for end in interval)
    return NOTHING if NOTHING in (low, high) else f"{low.removesuffix(' %')} to {high}"


def percent(value: float, digits: int = 1) -> str:
    """A proportion."""
    return f"{100 * value:.{digits}f} %"


def cost(reference: Marks, marks: Marks) -> float:
    """How much worse than the Keras model, in the metric's own unit; negative where it is better."""
    loss = reference.value - marks.value
    return loss if marks.higher_is_better else -loss


def tell_cost(reference: Marks, marks: Marks) -> str:
    """The same for people."""
    return tell_loss(marks.metric, cost(reference, marks))


def tell_loss(metric: str, lost: float) -> str:
    """A difference of a metric: positive is worse."""
    if metric in _PERCENT:
        text, unit = f"{100 * lost:+.2f}", " points"
    else:
        text, unit = f"{lost:+.{4 if metric in ('Dice', 'AP50', 'SSIM') else 3}f}", ""
    return f"{text}{unit}" if float(text) else "0"


def agreement(task: str) -> str:
    """What agreement with the Keras model means for a task."""
    return _AGREEMENT.get(task, "agreement")


def tell_agreement(task: str, value: float) -> str:
    """Fractions of decisions as a percentage, similarities and correlations as they are."""
    if task in ("classification", "segmentation", "detection"):
        return percent(value, 2)
    return f"{value:.4f}"


def baseline(task: str) -> str:
    """Which answer ignores the frame, in words; empty where the comparison says nothing."""
    return _BASELINE.get(task, "")


def class_metric(metric: str) -> str:
    """What is stated per class."""
    return _CLASS_METRIC.get(metric, metric)


def counted(metric: str) -> str:
    """What the samples of a class are."""
    return _COUNTED.get(metric, "samples")


def worst(marks: Marks) -> str:
    """The worst class with its value; a dash where there are no classes."""
    found = marks.worst
    return NOTHING if found is None else f"{found[0]} {tell(class_metric(marks.metric), found[1])}"


def grouping(splits: tuple[SplitSummary, ...]) -> str:
    """Whether frames that belong together were kept together, as far as the data says."""
    if all(s.groups == s.samples for s in splits):
        return "Every frame is a group of its own: frames of one subject may be in two splits."
    return "No group (subject, sequence, video, object) is in two splits."


def sentence(text: str) -> str:
    """A note as a sentence."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def kilobytes(size: int | None) -> str:
    """A file size for people, in units of 1000 bytes."""
    if size is None:
        return NOTHING
    return f"{size / 1000:.1f} kB" if size < 1_000_000 else f"{size / 1_000_000:.2f} MB"


def verdict(v: VariantResult) -> str:
    """`shipped`, `passed` (and not shipped) or `refused`."""
    return "refused" if v.refused is not None else "shipped" if v.shipped else "passed"


def default_marks(o: ExportOutcome) -> Marks | None:
    """What the default variant reaches."""
    return next((v.measured.marks for v in o.variants if v.id == o.default and v.measured), None)
