from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.export.gates.evaluate import Marks, Measured, evaluation, mark, wilson

LABELS = ("a", "b", "c")


def test_marks() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2])
    decided = np.array([0, 0, 1, 1, 1, 0])
    marks = mark(np.eye(3, dtype=np.float32)[decided], truth, LABELS)
    assert marks.confusion == ((2, 1, 0), (0, 2, 0), (1, 0, 0))
    assert (marks.samples, marks.correct, marks.accuracy) == (6, 4, 4 / 6)
    assert marks.recalls == (2 / 3, 1.0, 0.0)
    assert marks.worst == ("c", 0.0)
    assert marks.majority == 0.5
    assert marks.counts == (3, 2, 1)


def test_a_class_without_samples_has_no_recall_and_is_not_the_worst() -> None:
    marks = Marks(labels=LABELS, confusion=((3, 1, 0), (0, 4, 0), (0, 0, 0)))
    assert marks.recalls == (0.75, 1.0, None)
    assert marks.worst == ("a", 0.75)


def test_equal_scores_decide_for_the_first_as_the_device_does() -> None:
    assert mark(np.full((1, 3), 0.5, np.float32), np.array([0]), LABELS).correct == 1


@pytest.mark.parametrize(
    ("correct", "samples", "low", "high"),
    # R, prop.test(correct = FALSE); Newcombe 1998, table I.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_matches_published_values(correct: int, samples: int, low: float, high: float) -> None:
    assert wilson(correct, samples) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_proportion(pair: tuple[int, int]) -> None:
    low, high = wilson(*pair)
    assert 0.0 <= low <= pair[0] / pair[1] + 1e-12
    assert pair[0] / pair[1] - 1e-12 <= high <= 1.0


def test_the_manifest_keeps_the_comparison() -> None:
    reference = Marks(labels=("a", "b", "c"), confusion=((9, 1, 0), (0, 10, 0), (0, 0, 0)))
    marks = Marks(labels=("a", "b", "c"), confusion=((8, 2, 0), (0, 10, 0), (0, 0, 0)))
    kept = evaluation(Measured(marks, 0.95, 0.02, "litert 2", 0.1), reference)
    assert (kept.value, kept.reference) == (0.9, 0.95)
    assert kept.drop == pytest.approx(0.05)
    assert kept.interval == wilson(18, 20)
    assert [(c.label, c.samples, c.value, c.reference) for c in kept.classes] == [
        ("a", 10, 0.8, 0.9),
        ("b", 10, 1, 1),
    ]


def test_every_variant_was_measured_through_the_device_s_code(exported: Any) -> None:
    for variant in exported.outcome.variants:
        measured = variant.measured
        assert measured.marks.samples == 90
        assert measured.marks.accuracy >= 0.99 * exported.outcome.reference.accuracy
        assert measured.agreement >= 0.97
        assert measured.difference <= {"fp32": 1e-5, "fp16": 1e-2}.get(variant.precision, 0.1)
        assert measured.engine.split()[0] == {"tflite": "litert", "onnx": "onnxruntime"}[variant.format]
        assert measured.invoke_ms > 0
