"""The gate: what may leave the workstation."""

from __future__ import annotations

from bedside.export.gates.marks import Marks, Measured
from bedside.export.recipe import GateRecipe
from bedside.runtime.errors import GateError

#: fp32 files compute the same function as Keras, with sums in another order. Measured on CNNs, U-Nets,
#: MobileNetV2 and transformers: up to 3e-5 of the largest value of an output; more than this is a conversion
#: error.
FLOAT_TOLERANCE = 1e-3
#: Metrics are ratios of counts; this only keeps `0.99 * x >= 0.99 * x` true in floating point.
_EPSILON = 1e-9
#: A detector whose scores have lost their meaning keeps plausible boxes: its calibration error may rise by so
#: much (facts: mAP 0.55 to 0.07 with scores that looked as before).
_CALIBRATION_SLACK = 0.05
_CALIBRATION = "calibration error"


def check_reference(reference: Marks, gate: GateRecipe) -> None:
    """Refuse to export a model that has learned nothing: quantization would 'keep' all of it.

    Raises:
        GateError: With what it reaches and what always giving the same answer reaches.
    """
    told = (
        f"the Keras model reaches {_tell(reference, reference.value)} on {reference.samples} holdout frames"
    )
    if reference.baseline is not None and not _better(reference, reference.value, reference.baseline):
        raise GateError(
            f"{told}; an answer that ignores the frame reaches {_tell(reference, reference.baseline)}",
            where="gate",
            hint="train longer, or check labels, their order and the preprocessing",
        )
    if reference.higher_is_better and reference.value < gate.minimum - _EPSILON:
        raise GateError(f"{told}, the gate asks for {gate.minimum:.1%}", where="gate")


def check_float(variant: str, measured: Measured) -> None:
    """Refuse everything when a float conversion does not compute what Keras computes.

    Raises:
        GateError: With the size of the difference.
    """
    if not measured.difference <= FLOAT_TOLERANCE:  # NaN is no match
        raise GateError(
            f"differs from Keras by up to {measured.difference:.3g} of an output's largest value, a float "
            f"conversion may by {FLOAT_TOLERANCE:g}",
            where=variant,
            hint="the converter changed the model, so no variant of it can be trusted",
        )


def verdict(measured: Measured, reference: Marks, gate: GateRecipe) -> str | None:
    """Why a variant may not leave, None when it may.

    Args:
        measured: The variant on the holdout.
        reference: The Keras model on the same frames.
        gate: What is asked for.
    """
    marks = measured.marks
    reasons = []
    if not _holds(reference, marks.value, reference.value, gate.relative):
        reasons.append(
            f"{marks.metric} {_tell(marks, marks.value)} against Keras' {_tell(marks, reference.value)}, "
            f"{_asked(reference, gate.relative)}"
        )
    wanted = {c.label: c.value for c in reference.classes}
    for mark in marks.classes:
        was = wanted.get(mark.label)
        if was is not None and not _holds(reference, mark.value or 0.0, was, gate.worst_class):
            reasons.append(
                f"{mark.label!r} fell from {_tell(marks, was)} to {_tell(marks, mark.value or 0.0)} "
                f"({mark.samples} samples), {_asked(reference, gate.worst_class)}"
            )
    if not measured.agreement >= gate.min_agreement - _EPSILON:  # NaN is no agreement
        reasons.append(
            f"agrees with Keras on {measured.agreement:.2%}, at least {gate.min_agreement:.1%} is asked for"
        )
    before, after = reference.others.get(_CALIBRATION), marks.others.get(_CALIBRATION)
    if before is not None and after is not None and after > before + _CALIBRATION_SLACK:
        reasons.append(
            f"the calibration error rose from {before:.3f} to {after:.3f}, by at most "
            f"{_CALIBRATION_SLACK:g} is allowed: its scores no longer mean what Keras' mean"
        )
    return "; ".join(reasons) or None


def _better(marks: Marks, value: float, than: float) -> bool:
    return value > than + _EPSILON if marks.higher_is_better else value < than - _EPSILON


def _holds(reference: Marks, value: float, wanted: float, fraction: float) -> bool:
    if reference.higher_is_better:
        return value >= fraction * wanted - _EPSILON
    return fraction * value <= wanted + _EPSILON


def _asked(reference: Marks, fraction: float) -> str:
    if reference.higher_is_better:
        return f"at least {fraction:.1%} of it is asked for"
    return f"at most {1 / max(fraction, _EPSILON):.1%} of it is allowed"


def _tell(marks: Marks, value: float) -> str:
    """With the digits that a threshold of 99 % can be seen in."""
    return f"{value:.2%}" if marks.metric == "accuracy" else f"{value:.4g}"
