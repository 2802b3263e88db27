"""What is measured on the holdout, and what the manifest keeps of it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.export.convert.artifact import Artifact
from bedside.export.data.types import DataSet
from bedside.export.gates.evaluate import evaluate_keras, keras_rows, measure
from bedside.export.gates.marks import ClassMark, Marks, Measured, evaluation
from bedside.export.metrics.intervals import wilson
from bedside.export.tasks.classification import ClassificationKit
from bedside.export.tasks.protocol import Samples
from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.errors import EngineError, GateError

LABELS = ("a", "b", "c")


def mark(scores: Any, truth: list[int]) -> Marks:
    groups = tuple(str(i) for i in range(len(truth)))
    samples = Samples(np.zeros((len(truth), 2, 2, 3), np.uint8), truth, groups, groups)
    return ClassificationKit(LABELS).mark(list(scores), samples)


def test_marks() -> None:
    marks = mark(np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 1, 0]], [0, 0, 0, 1, 1, 2])
    assert marks.confusion == ((2, 1, 0), (0, 2, 0), (1, 0, 0))
    assert (marks.metric, marks.samples, marks.value) == ("accuracy", 6, 4 / 6)
    assert [(c.label, c.samples, c.value) for c in marks.classes] == [
        ("a", 3, 2 / 3),
        ("b", 2, 1.0),
        ("c", 1, 0.0),
    ]
    assert marks.worst == ("c", 0.0)
    assert marks.baseline == 0.5
    assert marks.interval == wilson(4, 6)
    assert marks.others["calibration error"] == pytest.approx(2 / 6)  # always sure, wrong twice


def test_a_class_without_samples_has_no_recall_and_is_not_the_worst() -> None:
    marks = mark(np.eye(3, dtype=np.float32)[[0, 1, 0, 1]], [0, 0, 0, 1])
    assert [c.value for c in marks.classes] == [2 / 3, 1.0, None]
    assert marks.worst == ("a", 2 / 3)


def test_equal_scores_decide_for_the_first_as_the_device_does() -> None:
    assert mark(np.full((1, 3), 1 / 3, np.float32), [0]).value == 1.0


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


def found(value: float, *classes: float | None, higher: bool = True) -> Marks:
    return Marks(
        metric="Dice" if higher else "error",
        value=value,
        interval=(value - 0.1, value + 0.1),
        method="bootstrap",
        samples=20,
        higher_is_better=higher,
        classes=tuple(ClassMark(label, 10, v) for label, v in zip(LABELS, classes, strict=False)),
        others={"boundary F1": 0.5},
    )


def test_the_manifest_keeps_the_comparison() -> None:
    measured = Measured(
        marks=found(0.9, 0.8, 1.0, None), agreement=0.95, difference=0.02, engine="litert 2", invoke_ms=0.1
    )
    kept = evaluation(measured, found(0.95, 0.9, 1.0, None), ("up1",))
    assert (kept.metric, kept.value, kept.reference, kept.agreement) == ("Dice", 0.9, 0.95, 0.95)
    assert kept.drop == pytest.approx(0.05)
    assert kept.interval == pytest.approx((0.8, 1.0))
    assert [(c.label, c.samples, c.value, c.reference) for c in kept.classes] == [
        ("a", 10, 0.8, 0.9),
        ("b", 10, 1.0, 1.0),
    ]
    assert (kept.worst_class, kept.kept_float, kept.others) == ("a", ("up1",), {"boundary F1": 0.5})


def test_a_drop_is_positive_where_a_variant_is_worse_for_errors_too() -> None:
    measured = Measured(
        marks=found(5.0, higher=False), agreement=1.0, difference=0.0, engine="litert 2", invoke_ms=0.1
    )
    assert evaluation(measured, found(4.0, higher=False)).drop == pytest.approx(1.0)
    assert evaluation(measured, found(6.0, higher=False)).drop == pytest.approx(-1.0)


def test_every_variant_was_measured_through_the_device_s_code(exported: Any) -> None:
    for variant in exported.outcome.variants:
        measured = variant.measured
        assert measured.marks.samples == len(measured.rows) == 90
        assert measured.marks.value >= 0.99 * exported.outcome.reference.value
        assert measured.agreement >= 0.97
        assert measured.difference <= {"fp32": 1e-5, "fp16": 1e-2}.get(variant.precision, 0.1)
        assert measured.engine.split()[0] == {"tflite": "litert", "onnx": "onnxruntime"}[variant.format]
        assert measured.invoke_ms > 0


def test_weights_that_are_not_finite_are_no_reference(learned: Any, data: DataSet) -> None:
    from bedside.export.adopt.graph import adopt
    from bedside.export.backend import keras

    adopted = adopt(keras.models.clone_model(learned), "classification", data.labels)
    weights = adopted.model.reference.get_weights()
    adopted.model.reference.set_weights([*weights[:-1], np.full_like(weights[-1], np.nan)])
    kit, spec = ClassificationKit(data.labels), InputSpec(width=16, height=16)
    samples = kit.read(data.holdout, spec)
    with pytest.raises(GateError, match="NaN or Inf"):
        keras_rows(adopted.model, kit, adopted.decode, spec, samples)


def test_a_file_that_no_engine_reads_is_not_measured(learned: Any, data: DataSet, exported: Any) -> None:
    from bedside.export.adopt.graph import adopt

    adopted = adopt(learned, "classification", data.labels)
    kit, spec = ClassificationKit(data.labels), InputSpec(width=16, height=16)
    holdout = evaluate_keras(adopted.model, kit, adopted.decode, spec, kit.read(data.holdout, spec))
    with open_bundle(exported.path) as bundle:
        variant = bundle.manifest.main.variants[0]
        assert variant.file is not None
        file = bundle.read(variant.file)
    whole = Artifact(variant.id, variant.format, variant.precision, file, variant.inputs, variant.outputs)
    assert measure(whole, holdout).difference < 1e-5
    half = file[: len(file) // 2]
    torn = Artifact(variant.id, variant.format, variant.precision, half, variant.inputs, variant.outputs)
    with pytest.raises(EngineError):
        measure(torn, holdout)
