import numpy as np
import pytest

from bedside.export.gates.evaluate import Marks, Measured
from bedside.export.gates.gate import FLOAT_TOLERANCE, check_float, check_reference, verdict
from bedside.export.recipe import GateRecipe
from bedside.runtime.errors import GateError

GATE = GateRecipe()


def marks(*right: int, of: int = 100) -> Marks:
    """Every class has `of` samples; mistakes are taken for the next class."""
    confusion = np.diag(right)
    for i, r in enumerate(right):
        confusion[i, (i + 1) % len(right)] += of - r
    return Marks(
        labels=tuple("abcdef"[: len(right)]), confusion=tuple(tuple(int(n) for n in row) for row in confusion)
    )


def measured(found: Marks, agreement: float = 1.0, difference: float = 0.0) -> Measured:
    return Measured(found, agreement, difference, "litert", 1.0)


@pytest.mark.parametrize(
    ("variant", "reference", "passes"),
    [
        ((100, 100), (100, 100), True),
        ((99, 99), (100, 100), True),  # exactly 99 %
        ((98, 100), (100, 100), False),  # accuracy is kept, one class is not
        ((98, 98), (100, 100), False),
        ((100, 100), (90, 90), True),  # better than Keras is no fault
        ((89, 100), (90, 90), False),  # better overall, worse for one class: 89 < 0.99 * 90
        ((0, 100), (0, 100), True),  # a class that Keras never gets right cannot be lost
    ],
)
def test_accuracy_overall_and_for_every_class(
    variant: tuple[int, int], reference: tuple[int, int], passes: bool
) -> None:
    assert (verdict(measured(marks(*variant)), marks(*reference), GATE) is None) is passes


def test_reasons_name_the_class_and_both_numbers() -> None:
    reason = verdict(measured(marks(80, 100), agreement=0.9), marks(100, 100), GATE)
    assert reason is not None
    assert "accuracy 90.00% is 90.0% of Keras' 100.00%" in reason
    assert "recall of 'a' fell from 100.00% to 80.00% of 100" in reason
    assert "90.00% of the holdout" in reason
    assert "'b'" not in reason


def test_agreement_counts_on_its_own() -> None:
    assert verdict(measured(marks(100, 100), agreement=0.96), marks(100, 100), GATE) is not None
    assert verdict(measured(marks(100, 100), agreement=0.97), marks(100, 100), GATE) is None


def test_thresholds_are_the_recipe_s() -> None:
    loose = GateRecipe(relative=0.5, worst_class=0.5, min_agreement=0.5)
    assert verdict(measured(marks(60, 60), agreement=0.5), marks(100, 100), loose) is None
    strict = GateRecipe(min_accuracy=0.999)
    assert verdict(measured(marks(99, 100)), marks(99, 100), strict) is not None


def test_a_model_that_learned_nothing_is_refused() -> None:
    guessing = Marks(labels=("a", "b"), confusion=((90, 0), (10, 0)))
    with pytest.raises(GateError, match=r"90 of 100.*always saying 'a' reaches 90.0%"):
        check_reference(guessing, GATE)
    check_reference(Marks(labels=("a", "b"), confusion=((90, 0), (9, 1))), GATE)
    with pytest.raises(GateError, match=r"asks for 95.0%"):
        check_reference(marks(90, 90), GateRecipe(min_accuracy=0.95))


def test_a_float_conversion_has_to_compute_the_same() -> None:
    check_float("tflite-fp32", measured(marks(100, 100), difference=FLOAT_TOLERANCE))
    with pytest.raises(GateError, match=r"tflite-fp32.*0\.002"):
        check_float("tflite-fp32", measured(marks(100, 100), difference=0.002))
