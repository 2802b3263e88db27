"""Marks of perfect, empty and wrong answers, task by task."""

from typing import Any

import numpy as np
import pytest

from bedside.export.metrics.precision import Found
from bedside.export.tasks.detection import DetectionKit, best_threshold
from bedside.export.tasks.kits import kit_for
from bedside.export.tasks.pictures import Rebuilt
from bedside.export.tasks.protocol import Samples, float_specs
from bedside.runtime.bundle.decode import (
    ClassificationDecode,
    GenerationDecode,
    ReconstructionDecode,
    SegmentationDecode,
    TranslationDecode,
)
from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.errors import EngineError, RecipeError, UsageError

RNG = np.random.default_rng(1)
SIDE = 32


def samples(inputs: np.ndarray, truth: list[Any]) -> Samples:
    names = tuple(str(i) for i in range(len(truth)))
    return Samples(inputs, truth, names, names)


def test_classification() -> None:
    kit = kit_for("classification", ("a", "b", "c"))
    truth = [0, 0, 0, 1, 1, 0]
    held = samples(np.zeros((6, 8, 8, 3), np.uint8), truth)
    perfect = [np.eye(3, dtype=np.float32)[k] for k in truth]
    marks = kit.mark(perfect, held)
    assert (marks.metric, marks.value, marks.higher_is_better) == ("accuracy", 1.0, True)
    assert [(c.label, c.samples, c.value) for c in marks.classes] == [
        ("a", 4, 1.0),
        ("b", 2, 1.0),
        ("c", 0, None),
    ]
    assert marks.baseline == pytest.approx(4 / 6)
    assert marks.others["calibration error"] == 0.0
    always = [np.eye(3, dtype=np.float32)[0]] * 6
    marks = kit.mark(always, held)
    assert marks.value == marks.baseline
    assert [c.value for c in marks.classes] == [1.0, 0.0, None]
    assert marks.confusion[1] == (2, 0, 0)
    assert kit.agreement(always, perfect) == pytest.approx(4 / 6)
    assert kit.agreement(perfect, perfect) == 1.0


def test_segmentation() -> None:
    kit = kit_for("segmentation", ("background", "nerve", "vessel"))
    truth = [np.zeros((SIDE, SIDE), np.uint8) for _ in range(3)]
    truth[0][4:20, 4:20] = 1
    truth[1][4:20, 4:20] = 2
    truth[1][:, 28:] = 255
    held = samples(np.zeros((3, SIDE, SIDE, 3), np.uint8), truth)
    perfect = [np.where(t == 255, 1, t).astype(np.uint8) for t in truth]
    marks = kit.mark(perfect, held)
    assert (marks.metric, marks.value, marks.others["boundary F1"]) == ("Dice", 1.0, 1.0)
    assert [(c.label, c.samples, c.value) for c in marks.classes] == [("nerve", 1, 1.0), ("vessel", 1, 1.0)]
    empty = [np.zeros((SIDE, SIDE), np.uint8)] * 3
    marks = kit.mark(empty, held)
    # The third picture has nothing in it, and nothing is found: right.
    assert marks.value == marks.baseline == pytest.approx(1 / 3)
    assert [c.value for c in marks.classes] == [0.0, 0.0]
    assert kit.agreement(empty, empty) == 1.0
    assert kit.agreement(truth[:1], empty[:1]) == pytest.approx(1 - 256 / SIDE**2)


def found(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Found:
    return Found(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, np.int64)
    )


NOTHING = found([], [], [])


def test_detection() -> None:
    kit = kit_for("detection", ("polyp", "tool"))
    truth = [
        found([[0, 0, 10, 10], [15, 15, 25, 30]], [1, 1], [0, 1]),
        found([[5, 5, 20, 20]], [1], [0]),
        NOTHING,
    ]
    held = samples(np.zeros((3, SIDE, SIDE, 3), np.uint8), truth)
    marks = kit.mark(truth, held)
    assert (marks.metric, marks.value, marks.others["AP50:95"]) == ("AP50", 1.0, 1.0)
    assert (marks.others["precision"], marks.others["recall"]) == (1.0, 1.0)
    assert [(c.label, c.samples, c.value) for c in marks.classes] == [("polyp", 2, 1.0), ("tool", 1, 1.0)]
    marks = kit.mark([NOTHING] * 3, held)
    assert (marks.value, marks.others["recall"], marks.reliability) == (0.0, 0.0, ())
    # Plausible scores on boxes that are nowhere: what a collapsed detector looks like.
    wild = [found([[25, 0, 31, 4]], [0.9], [0])] * 3
    marks = kit.mark(wild, held)
    assert marks.value == 0.0
    assert marks.others["calibration error"] == pytest.approx(0.9, abs=1e-6)
    assert kit.agreement(truth, truth) == 1.0
    assert kit.agreement(wild, truth) == 0.0
    assert kit.agreement([NOTHING], [NOTHING]) == 1.0


def test_a_detector_cannot_be_measured_without_a_box() -> None:
    kit = DetectionKit(("polyp",))
    with pytest.raises(RecipeError, match="has a box"):
        kit.mark([NOTHING] * 2, samples(np.zeros((2, SIDE, SIDE, 3), np.uint8), [NOTHING] * 2))


def test_the_threshold_with_the_best_f1() -> None:
    truth = [found([[0, 0, 10, 10]], [1], [0])] * 10
    said = [found([[0, 0, 10, 10], [20, 20, 30, 30]], [0.6, 0.4], [0, 0])] * 10
    chosen = best_threshold(said, samples(np.zeros((10, SIDE, SIDE, 3), np.uint8), truth), 1)
    assert 0.4 < chosen <= 0.6


def test_reconstruction() -> None:
    kit = kit_for("reconstruction", ())
    frames = RNG.integers(0, 256, (5, SIDE, SIDE, 3)).astype(np.uint8)
    held = samples(frames, list(frames))
    rows = [Rebuilt(e, None, e) for e in (1.0, 2.0, 3.0, 4.0, 5.0)]
    marks = kit.mark(rows, held)
    assert (marks.metric, marks.value, marks.higher_is_better) == ("error", 3.0, False)
    flat = np.abs(frames - frames.mean(axis=(1, 2), keepdims=True)).mean()
    assert marks.baseline == pytest.approx(flat, rel=1e-4)
    assert kit.agreement(rows, rows) == 1.0
    assert kit.agreement(rows[::-1], rows) == pytest.approx(-1.0)


def test_translation() -> None:
    kit = kit_for("translation", ())
    noisy = RNG.integers(0, 256, (4, SIDE, SIDE, 1)).astype(np.uint8)
    wanted = [np.full((SIDE, SIDE, 1), 40 * k, np.uint8) for k in range(4)]
    held = samples(noisy, wanted)
    marks = kit.mark(wanted, held)
    assert (marks.metric, marks.value, marks.others["PSNR"]) == ("SSIM", 1.0, 100.0)
    assert marks.baseline is not None and marks.baseline < 0.2
    assert kit.mark(list(noisy), held).value == pytest.approx(marks.baseline)
    assert kit.agreement(wanted, wanted) == 1.0
    assert kit.agreement(list(noisy), wanted) < 0.2


def test_generation() -> None:
    kit = kit_for("generation", ())
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    real = [
        np.clip(100 + 50 * np.sin(x / a) + 20 * np.cos(y / b), 0, 255).astype(np.uint8)[:, :, None]
        for a, b in RNG.uniform(2, 6, (24, 2))
    ]
    held = samples(np.zeros((24, 8), np.float32), real)
    good = kit.mark(real[::-1], held)
    assert (good.metric, good.higher_is_better) == ("texture distance", False)
    assert good.value == pytest.approx(0.0, abs=1e-3)
    assert good.others["variety"] == pytest.approx(1.0, abs=0.2)
    # One picture over and over: plausible, and worth nothing.
    collapsed = kit.mark(real[:1] * 24, held)
    assert collapsed.others["variety"] == 0.0
    assert collapsed.value > good.others["halves"]
    assert good.baseline is not None and good.baseline > collapsed.value
    assert kit.agreement(real, real) == 1.0


SPEC = InputSpec(width=SIDE, height=SIDE)
GRAY = InputSpec(width=SIDE, height=SIDE, channels=1, color="gray")


@pytest.mark.parametrize(
    ("task", "labels", "decode", "spec", "outputs"),
    [
        (
            "classification",
            ("a", "b"),
            ClassificationDecode(labels=("a", "b")),
            SPEC,
            [np.array([[0.25, 0.75]], np.float32)],
        ),
        (
            "segmentation",
            ("a", "b"),
            SegmentationDecode(labels=("a", "b")),
            SPEC,
            [RNG.random((1, SIDE, SIDE, 1), np.float32)],
        ),
        (
            "translation",
            (),
            TranslationDecode(color="gray"),
            GRAY,
            [np.full((1, SIDE, SIDE, 1), 0.5, np.float32)],
        ),
        ("generation", (), GenerationDecode(color="gray"), GRAY, [np.zeros((1, SIDE, SIDE, 1), np.float32)]),
        ("reconstruction", (), ReconstructionDecode(), GRAY, [np.full((1, SIDE, SIDE, 1), 0.5, np.float32)]),
    ],
)
def test_rows_come_from_the_devices_own_code(
    task: Any, labels: tuple[str, ...], decode: Any, spec: InputSpec, outputs: list[np.ndarray]
) -> None:
    kit = kit_for(task, labels)
    read = kit.reader(decode, spec)
    specs = float_specs(["out"], outputs)
    pixels = np.full(spec.shape, 100, np.uint8)
    row = read(tuple(outputs), specs, pixels)
    match task:
        case "classification":
            assert row.tolist() == [0.25, 0.75]
        case "segmentation":
            assert np.array_equal(row, (outputs[0][0, :, :, 0] > 0.5).astype(np.uint8))
        case "reconstruction":
            assert row.error == pytest.approx(27.5, abs=0.51)
        case _:
            assert row.shape == (SIDE, SIDE, 1) and row.dtype == np.uint8
            assert abs(int(row[0, 0, 0]) - 127.5) <= 0.5
    outputs[0][0, 0] = np.nan
    with pytest.raises(EngineError):
        read(tuple(outputs), specs, pixels)


def test_other_tasks_are_not_exported() -> None:
    with pytest.raises(UsageError, match="raw models are not exported"):
        kit_for("raw", ())
