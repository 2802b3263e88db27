import math

import pytest

from bedside.export.gates.gate import FLOAT_TOLERANCE, check_float, check_reference, verdict
from bedside.export.gates.marks import ClassMark, Marks, Measured
from bedside.export.recipe import GateRecipe
from bedside.runtime.errors import GateError

GATE = GateRecipe()


def marks(*values: float, metric: str = "accuracy", baseline: float | None = None, **others: float) -> Marks:
    """Every class has 100 samples and its own value; the metric is their mean."""
    return Marks(
        metric=metric,
        value=sum(values) / len(values),
        interval=(0.0, 1.0),
        method="none",
        samples=100 * len(values),
        higher_is_better=metric not in ("error", "texture distance"),
        classes=tuple(ClassMark("abcdef"[i], 100, v) for i, v in enumerate(values))
        if len(values) > 1
        else (),
        others={name.replace("_", " "): value for name, value in others.items()},
        baseline=baseline,
    )


def measured(found: Marks, agreement: float = 1.0, difference: float = 0.0) -> Measured:
    return Measured(marks=found, agreement=agreement, difference=difference, engine="litert", invoke_ms=1.0)


@pytest.mark.parametrize(
    ("variant", "reference", "passes"),
    [
        ((1.0, 1.0), (1.0, 1.0), True),
        ((0.99, 0.99), (1.0, 1.0), True),  # exactly 99 %
        ((0.98, 1.0), (1.0, 1.0), False),  # the mean is kept, one class is not
        ((0.98, 0.98), (1.0, 1.0), False),
        ((1.0, 1.0), (0.9, 0.9), True),  # better than Keras is no fault
        ((0.89, 1.0), (0.9, 0.9), False),  # better overall, worse for one class: 89 < 0.99 * 90
        ((0.0, 1.0), (0.0, 1.0), True),  # a class that Keras never gets right cannot be lost
    ],
)
def test_the_metric_overall_and_for_every_class(
    variant: tuple[float, float], reference: tuple[float, float], passes: bool
) -> None:
    assert (verdict(measured(marks(*variant)), marks(*reference), GATE) is None) is passes


def test_reasons_name_the_class_and_both_numbers() -> None:
    reason = verdict(measured(marks(0.8, 1.0), agreement=0.9), marks(1.0, 1.0), GATE)
    assert reason is not None
    assert "accuracy 90.00% against Keras' 100.00%, at least 99.0% of it is asked for" in reason
    assert "'a' fell from 100.00% to 80.00% (100 samples)" in reason
    assert "agrees with Keras on 90.00%" in reason
    assert "'b'" not in reason


@pytest.mark.parametrize(("value", "passes"), [(4.0, True), (4.04, True), (4.05, False), (3.0, True)])
def test_errors_may_rise_by_as_little_as_others_may_fall(value: float, passes: bool) -> None:
    found = verdict(measured(marks(value, metric="error")), marks(4.0, metric="error"), GATE)
    assert (found is None) is passes
    if found is not None:
        assert found == "error 4.05 against Keras' 4, at most 101.0% of it is allowed"


def test_agreement_counts_on_its_own() -> None:
    assert verdict(measured(marks(1.0, 1.0), agreement=0.96), marks(1.0, 1.0), GATE) is not None
    assert verdict(measured(marks(1.0, 1.0), agreement=0.97), marks(1.0, 1.0), GATE) is None


def test_a_detector_whose_scores_lost_their_meaning_is_refused_whatever_its_boxes_reach() -> None:
    reference = marks(0.5, 0.5, metric="AP50", calibration_error=0.05)
    kept = marks(0.5, 0.5, metric="AP50", calibration_error=0.09)
    lost = marks(0.5, 0.5, metric="AP50", calibration_error=0.11)
    assert verdict(measured(kept), reference, GATE) is None
    reason = verdict(measured(lost), reference, GATE)
    assert reason is not None
    assert "calibration error rose from 0.050 to 0.110" in reason


@pytest.mark.parametrize("metric", ["accuracy", "error"])
def test_what_is_no_number_passes_nothing(metric: str) -> None:
    reference, nan = marks(0.5, metric=metric), math.nan
    assert verdict(measured(marks(nan, metric=metric)), reference, GATE) is not None
    assert verdict(measured(reference, agreement=nan), reference, GATE) is not None
    with pytest.raises(GateError):
        check_float("onnx-fp32", measured(reference, difference=nan))
    with pytest.raises(GateError):
        check_reference(marks(nan, metric=metric, baseline=0.5), GATE)


def test_thresholds_are_the_recipe_s() -> None:
    loose = GateRecipe(relative=0.5, worst_class=0.5, min_agreement=0.5)
    assert verdict(measured(marks(0.6, 0.6), agreement=0.5), marks(1.0, 1.0), loose) is None
    strict = GateRecipe(relative=0.999, worst_class=0.999)
    assert verdict(measured(marks(0.995, 0.995)), marks(1.0, 1.0), strict) is not None
    assert verdict(measured(marks(0.995, 0.995)), marks(1.0, 1.0), GATE) is None


def test_a_model_that_learned_nothing_is_refused() -> None:
    with pytest.raises(GateError, match=r"reaches 90.00% on 200 holdout.*ignores the frame reaches 90.00%"):
        check_reference(marks(0.9, 0.9, baseline=0.9), GATE)
    check_reference(marks(0.91, 0.9, baseline=0.9), GATE)
    with pytest.raises(GateError, match=r"reaches 5 on 100 .* reaches 4"):
        check_reference(marks(5.0, metric="error", baseline=4.0), GATE)
    check_reference(marks(3.0, metric="error", baseline=4.0), GATE)
    with pytest.raises(GateError, match=r"asks for 95.0%"):
        check_reference(marks(0.9, 0.9), GateRecipe(minimum=0.95))


def test_a_float_conversion_has_to_compute_the_same() -> None:
    check_float("tflite-fp32", measured(marks(1.0, 1.0), difference=FLOAT_TOLERANCE))
    with pytest.raises(GateError, match=r"tflite-fp32.*0\.002"):
        check_float("tflite-fp32", measured(marks(1.0, 1.0), difference=0.002))
