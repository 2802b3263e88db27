from __future__ import annotations

import pytest

from bedside.devices.overlay.palette import CLASSES, class_colour
from bedside.devices.overlay.wording import NOTHING, Row, area, headline, prediction_set, remark, rows
from bedside.runtime.answers import (
    Classification,
    DetectedBox,
    Detections,
    Generation,
    PredictionSet,
    Raw,
    Reconstruction,
    Region,
    Score,
    Segmentation,
    Smoothing,
    TaskResult,
    Translation,
)
from bedside.runtime.geometry import Box

BOX = Box(0.0, 0.0, 10.0, 10.0)


def region(index: int = 1, label: str = "polyp", fraction: float = 0.12, mm2: float | None = None) -> Region:
    return Region(index, label, 0.9, 100.0, fraction, BOX, (), mm2)


def box(
    index: int = 0, label: str = "polyp", score: float = 0.87, **rest: tuple[float, float]
) -> DetectedBox:
    return DetectedBox(index, label, score, BOX, **rest)


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (Classification("polyp", 0, 0.81, ()), ("polyp", "81 %")),
        (Segmentation(()), (NOTHING, "")),
        (Segmentation((region(), region(2, "tool", 0.01))), ("polyp", "12 % area")),
        (Detections(()), (NOTHING, "")),
        (Detections((box(),)), ("polyp", "87 %")),
        (Detections((box(), box())), ("polyp x 2", "")),
        (Detections((box(), box(1, "ulcer"))), ("2 boxes", "")),
        (Reconstruction(4.21, 4.21), ("error", "4.2 levels")),
        (Reconstruction(4.2, 0.5, None, 1.0), ("within limit", "0.50")),
        (Reconstruction(4.2, 1.0, None, 1.0), ("within limit", "1.00")),
        (Reconstruction(4.2, 1.5, None, 1.0), ("beyond limit", "1.50")),
        (Translation(BOX, 3.0), ("right: made by the model", "")),
        (Generation(100.0, 20.0), ("right: drawn by the model", "")),
        (Raw(()), ("no output", "")),
    ],
)
def test_headlines(shown: TaskResult, said: tuple[str, str]) -> None:
    assert headline(shown) == said


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (Segmentation(()), []),
        (
            Segmentation((region(2, "tool", mm2=44.0), region(1))),
            [
                Row("tool", "44 mm2", colour=CLASSES[1]),
                Row("polyp", "12 % area", colour=CLASSES[0]),
            ],
        ),
        (
            Detections((box(size_mm=(9.6, 7.2)),)),
            [Row("polyp", "10 x 7 mm  87 %", colour=CLASSES[0])],
        ),
        (Reconstruction(4.2, 4.2), [Row("error", "4.2 levels")]),
        (
            Reconstruction(4.2, 0.5, 0.4, 1.0),
            [
                Row("score", "0.50 of 1.00", bar=0.25, mark=0.5),
                Row("error", "4.2 levels"),
                Row("distance", "0.40"),
            ],
        ),
        (Translation(BOX, 3.0), [Row("mean change", "3.0 levels")]),
        (Generation(100.0, 20.0), [Row("mean", "100 levels"), Row("spread", "20 levels")]),
    ],
)
def test_rows(shown: TaskResult, expected: list[Row]) -> None:
    assert rows(shown) == expected


@pytest.mark.parametrize(
    ("mm2", "fraction", "said"),
    [
        (None, 0.12, "12 % area"),
        (None, 0.0042, "0.4 % area"),
        (None, 1.0, "100 % area"),
        (3.14, 0.1, "3.1 mm2"),
        (412.3, 0.1, "412 mm2"),
        (25_000.0, 0.1, "250 cm2"),
    ],
)
def test_an_area_is_never_taken_for_a_probability(mm2: float | None, fraction: float, said: str) -> None:
    assert area(region(fraction=fraction, mm2=mm2)) == said


def test_a_prediction_set_is_whole_or_counted() -> None:
    assert prediction_set(PredictionSet(0.9, ("a", "b"))) == ("{a, b} 90 %", "{2 classes} 90 %")
    assert prediction_set(PredictionSet(0.95, ()))[0] == "{none} 95 %"


def test_remarks() -> None:
    smoothed = Classification("a", 0, 0.9, (Score(0, "a", 0.9),), Smoothing("ema", 0.3, 12))
    assert remark(smoothed) == ("smoothed over 12", "smoothed")
    assert remark(Segmentation((region(),))) == ("mean score 90 %", "score 90 %")
    assert remark(Segmentation(())) == ()


def test_class_colours_differ_and_repeat() -> None:
    assert len({class_colour(k) for k in range(8)}) == 8
    assert class_colour(8) == class_colour(0)
