"""The accuracy gate: what may leave the workstation."""

from __future__ import annotations

from bedside.export.gates.evaluate import Marks, Measured
from bedside.export.recipe import GateRecipe
from bedside.runtime.errors import GateError

#: fp32 files compute the same function as Keras, with sums in another order. Measured on CNNs and
#: MobileNetV2: up to 3e-6 in a probability; more than this is a conversion error.
FLOAT_TOLERANCE = 1e-3
#: Accuracies are ratios of counts; this only keeps `0.99 * x >= 0.99 * x` true in floating point.
_EPSILON = 1e-9


def check_reference(reference: Marks, gate: GateRecipe) -> None:
    """Refuse to export a model that has learned nothing: quantization would 'keep' all of its accuracy.

    Raises:
        GateError: With what it reaches and what always guessing the most frequent class reaches.
    """
    told = f"the Keras model is right on {reference.correct} of {reference.samples} holdout samples"
    if reference.accuracy <= reference.majority + _EPSILON:
        label = reference.labels[reference.counts.index(max(reference.counts))]
        raise GateError(
            f"{told} ({reference.accuracy:.1%}); always saying {label!r} reaches {reference.majority:.1%}",
            where="gate",
            hint="train longer, or check labels, their order and the preprocessing",
        )
    if reference.accuracy < gate.min_accuracy - _EPSILON:
        raise GateError(
            f"{told} ({reference.accuracy:.1%}), the gate asks for {gate.min_accuracy:.1%}", where="gate"
        )


def check_float(variant: str, measured: Measured) -> None:
    """Refuse everything when a float conversion does not compute what Keras computes.

    Raises:
        GateError: With the size of the difference.
    """
    if measured.difference > FLOAT_TOLERANCE:
        raise GateError(
            f"differs from Keras by up to {measured.difference:.3g} in a probability, a float conversion "
            "may by "
            f"{FLOAT_TOLERANCE:g}",
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
    if marks.accuracy < gate.relative * reference.accuracy - _EPSILON:
        reasons.append(
            f"accuracy {marks.accuracy:.2%} is {marks.accuracy / reference.accuracy:.1%} of Keras' "
            f"{reference.accuracy:.2%}, at least {gate.relative:.1%} is asked for"
        )
    for label, count, value, wanted in zip(
        marks.labels, marks.counts, marks.recalls, reference.recalls, strict=True
    ):
        if value is not None and wanted is not None and value < gate.worst_class * wanted - _EPSILON:
            reasons.append(
                f"recall of {label!r} fell from {wanted:.2%} to {value:.2%} of {count}, at least "
                f"{gate.worst_class:.1%} of it is asked for"
            )
    if measured.agreement < gate.min_agreement - _EPSILON:
        reasons.append(
            f"decides as Keras on {measured.agreement:.2%} of the holdout, {gate.min_agreement:.1%} is "
            "asked for"
        )
    if marks.accuracy < gate.min_accuracy - _EPSILON:
        reasons.append(f"accuracy {marks.accuracy:.2%}, at least {gate.min_accuracy:.1%} is asked for")
    return "; ".join(reasons) or None
