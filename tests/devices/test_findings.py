from __future__ import annotations

from collections.abc import Callable

import pytest

from bedside.devices.findings import Findings, lines
from bedside.runtime.answers import (
    Classification,
    DetectedBox,
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
from bedside.runtime.geometry import Box
from bedside.runtime.result import GuardScore, Outcome, Result

MakeResult = Callable[..., Result]
BOX = Box(0.0, 0.0, 10.0, 10.0)


def region(label: str, fraction: float) -> Region:
    return Region(1, label, 0.9, 100.0, fraction, BOX, ())


def box(label: str) -> DetectedBox:
    return DetectedBox(0, label, 0.9, BOX)


CASES: dict[str, tuple[list[TaskResult], dict[str, object]]] = {
    "classification": (
        [
            Classification("a", 0, 0.5, (), set=PredictionSet(0.9, ("a", "b"))),
            Classification("b", 1, 1.0, (), set=PredictionSet(0.9, ("b",))),
        ],
        {"classes": {"a": 1, "b": 1}, "means": {"score": 0.75, "labels in the set": 1.5}},
    ),
    "segmentation": (
        [Segmentation((region("polyp", 0.2), region("tool", 0.1))), Segmentation(())],
        {
            "classes": {"polyp": 1, "tool": 1, "nothing": 1},
            "means": {"classes": 1.0, "area": pytest.approx(0.15)},
        },
    ),
    "detection": (
        [Detections((box("polyp"), box("polyp"))), Detections((box("polyp"),))],
        {"classes": {"polyp": 2}, "means": {"boxes": 1.5}},
    ),
    "reconstruction": (
        [Reconstruction(4.0, 0.5, None, 1.0), Reconstruction(8.0, 1.5, None, 1.0)],
        {"means": {"error": 6.0, "score": 1.0}, "beyond_limit": 1},
    ),
    "reconstruction without a limit": (
        [Reconstruction(4.0, 4.0), Reconstruction(8.0, 8.0)],
        {"means": {"error": 6.0, "score": 6.0}},
    ),
    "translation": ([Translation(BOX, 3.0), Translation(BOX, 4.0)], {"means": {"change": 3.5}}),
    "generation": ([Generation(1.0, 2.0)] * 2, {}),
    "raw": ([Raw(())] * 2, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_every_task_is_counted(case: str, make_result: MakeResult) -> None:
    shown, expected = CASES[case]
    found = Findings()
    for seq, answer in enumerate(shown):
        found.add(make_result(seq, result=answer))
    assert found.summary() == {"results": 2, **expected}


def test_what_is_not_shown_is_not_counted_but_its_guard_is(make_result: MakeResult) -> None:
    found = Findings()
    found.add(make_result(0, guard=GuardScore(0.5, 1.0)))
    hidden = make_result(
        1, outcome=Outcome.WITHHELD, reason="out-of-distribution", guard=GuardScore(2.5, 1.0)
    )
    found.add(hidden)
    found.add(make_result(2, outcome=Outcome.FAILED, reason="engine", result=None))
    summary = found.summary()
    assert summary["results"] == 1
    assert summary["classes"] == {"ultrasound": 1}
    assert summary["guard"] == {"results": 2, "mean": 1.5, "max": 2.5, "threshold": 1.0, "beyond": 1}


def test_people_read_lines(make_result: MakeResult) -> None:
    found = Findings()
    found.add(make_result(0, result=Detections((box("polyp"), box("polyp"))), guard=GuardScore(0.5, 1.0)))
    found.add(make_result(1, result=Detections(()), guard=GuardScore(0.25, 1.0)))
    assert lines(found.summary()) == [
        ("found", "polyp 1, nothing 1; in 2 results"),
        ("mean per result", "boxes 1"),
        ("guard", "mean score 0.375, highest 0.5, limit 1; 0 of 2 frames beyond it"),
    ]


def test_a_thousand_classes_stay_one_line(make_result: MakeResult) -> None:
    found = Findings()
    for seq in range(1000):
        found.add(make_result(seq, result=Classification(f"class {seq}", seq, 0.5, ())))
    (line, _) = lines(found.summary())
    assert line[1].endswith("992 more classes; in 1000 results")


def test_nothing_was_found_in_nothing() -> None:
    assert Findings().summary() == {"results": 0}
    assert lines({"results": 0}) == []
