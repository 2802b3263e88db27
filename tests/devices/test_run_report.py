from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bedside.devices.findings import Findings
from bedside.devices.probe import probe
from bedside.devices.run_report import FOOTER, RunReport, Thumbnail, from_results, render, write_report
from bedside.runtime.answers import (
    DetectedBox,
    Detections,
    Raw,
    RawOutput,
    Reconstruction,
    Region,
    Segmentation,
    TaskResult,
)
from bedside.runtime.clock import ManualClock
from bedside.runtime.errors import SinkError
from bedside.runtime.geometry import Box
from bedside.runtime.latency import LatencyRecorder
from bedside.runtime.result import Failed, GuardScore, Outcome, Result, Withheld

MakeResult = Callable[..., Result]


class Text(HTMLParser):
    """The words a reader sees, one string per piece of text."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.feed(document.partition("</style>")[2])
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append(data.strip())


def summary(samples: int = 40, **fields: Any) -> dict[str, Any]:
    recorder = LatencyRecorder(("preprocess", "invoke", "decode", "age"))
    for i in range(samples):
        recorder.add(300_000, 2_000_000 + i, 50_000, 5_000_000 + 1000 * i)
    return {
        "ledger": {
            "captured": samples,
            "processed": samples - 4,
            "dropped": {"replaced": 2},
            "withheld": {"stale": 1},
            "failed": {"undecodable": 1},
            "in_flight": 0,
        },
        "latency_ms": recorder.summary(),
        "bundle": "ab12cd34" * 8,
        "name": "modality-cnn",
        "version": "1.2.3",
        "variant": "tflite-int8",
        "precision": "int8",
        "engine": "litert",
        "engine_version": "2.3.0",
        "threads": 1,
        "hint": None,
        "fps": 29.97,
        "source": {"name": "echo.dcm", "width": 320, "height": 240, "fps": 30.0},
        "sinks": [{"sink": "jsonl:results.jsonl", "written": 38, "dropped": 0, "error": None}],
        "error": None,
        **fields,
    }


@pytest.fixture
def results(make_result: MakeResult) -> list[Result]:
    made = [make_result(seq) for seq in range(36)]
    made.append(make_result(37, outcome=Outcome.WITHHELD, reason=Withheld.STALE, result=None, age_ms=140.0))
    made.append(make_result(38, result=Raw((RawOutput("scores", (1, 12), 0.0, 1.0, 7),))))
    made.append(make_result(39, outcome=Outcome.FAILED, reason=Failed.ENGINE, result=None))
    return made


def test_samples_are_taken_from_results(results: list[Result]) -> None:
    report = from_results("t", summary(), results)
    assert report.captured_s[:2] == [0.0, pytest.approx(1 / 30, abs=1e-6)]
    assert report.ages_ms[36] == 140.0
    assert report.labels[-4:] == ["ultrasound", None, "argmax 7", None]
    assert report.outcomes[-4:] == ["ok", "withheld stale", "ok", "failed engine"]


def test_it_says_what_ran_on_what(results: list[Result]) -> None:
    host = probe(ManualClock())
    words = Text(render(from_results("Echo", summary(), results, host=msgspec.to_builtins(host)))).words
    assert "Echo" in words
    assert "modality-cnn 1.2.3" in words
    assert "ab12cd34" * 8 in words
    assert "tflite-int8, int8" in words
    assert "litert 2.3.0, 1 thread" in words
    assert "echo.dcm (320 x 240 pixels, 30 frames/s)" in words
    assert any(host.cpu.model in word for word in words)
    assert host.fingerprint in words
    assert "2023-11-14 22:13 UTC" in words
    assert words[-1] == FOOTER == "Research use only, not a medical device."


def test_the_equation_is_shown_and_checked(results: list[Result]) -> None:
    words = Text(render(from_results("t", summary(), results))).words
    assert (
        "40 captured = 36 processed + 2 dropped (replaced) + 1 withheld (stale) + 1 failed (undecodable)"
    ) in words
    assert "every frame accounted for" in words
    assert "4 frames without a result" in words


def test_a_ledger_that_does_not_add_up_is_said_aloud(results: list[Result]) -> None:
    wrong = summary()
    wrong["ledger"]["captured"] = 41
    words = Text(render(from_results("t", wrong, results))).words
    assert "frames are missing from the ledger" in words
    assert "every frame accounted for" not in words
    assert any(word.startswith("41 captured ≠ 36 processed") and word.endswith(" = 40") for word in words)


def test_a_perfect_run_has_nothing_red(make_result: MakeResult) -> None:
    whole = {"captured": 5, "processed": 5, "dropped": {}, "withheld": {}, "failed": {}, "in_flight": 0}
    report = from_results("t", summary(5, ledger=whole), [make_result(seq) for seq in range(5)])
    words = Text(render(report)).words
    assert "every frame accounted for" in words
    assert not any("without a result" in word for word in words)
    assert "5 captured = 5 processed" in words


def test_percentiles_appear_only_where_the_samples_carry_them(results: list[Result]) -> None:
    def invoke(samples: int) -> list[str]:
        words = Text(render(RunReport(title="t", summary=summary(samples)))).words
        at = words.index("invoke")
        return words[at + 1 : at + 8]

    assert invoke(40) == ["2.000", "–", "–", "–", "–", "2.000", "40"]
    assert invoke(130)[1:4] != ["–", "–", "–"]
    assert invoke(130)[3:5] == ["–", "–"]


def test_the_limit_is_drawn_where_it_matters(results: list[Result]) -> None:
    near = Text(render(from_results("t", summary(), results, limits={"max_age_ms": 100.0}))).words
    assert "limit: 100 ms" in near
    far = Text(render(from_results("t", summary(), results, limits={"max_age_ms": 10_000.0}))).words
    assert "limit: 10000 ms" not in far
    assert "Results older than 10000 ms are withheld." in far


def test_labels_and_outcomes_are_counted(results: list[Result]) -> None:
    words = Text(render(from_results("t", summary(), results))).words
    assert "36 frames" in words
    assert words.count("withheld stale") == 2  # a row of the timeline, and a bar
    assert "3 changes from one result to the next." in words


def test_the_ladder_is_told(results: list[Result]) -> None:
    rung = {"variant": "tflite-fp32", "engine": "litert", "threads": 2, "every": 1, "expected_ms": 4.25}
    ladder: dict[str, Any] = {
        "rungs": [{**rung, "results": 30}, {**rung, "every": 2, "results": 6}],
        "steps": 1,
        "last_steps": [
            {"at_s": 4.2, "seq": 120, "before": 0, "after": 1, "cause": "heat", "detail": "cpu at 97 °C"}
        ],
        "loaded": [{"candidate": "x", "load_ms": 120.4, "memory_mb": 61.25, "expected_ms": 4.25}],
        "left_out": [{"candidate": "onnx-int8 on onnxruntime", "reason": "not cheaper"}],
    }
    words = Text(render(from_results("t", summary(ladder=ladder), results))).words
    at = words.index("Ladder")
    told = words[at : at + 60]
    for word in (
        *("tflite-fp32 on litert, 2 threads", "tflite-fp32 on litert, 2 threads, every 2nd frame"),
        *("4.25", "120", "61.2", "30", "1 step.", "0 to 1", "heat", "cpu at 97 °C"),
        *("onnx-int8 on onnxruntime", "not cheaper"),
    ):
        assert word in told, word
    quiet = {**ladder, "steps": 0, "last_steps": [], "left_out": []}
    words = Text(render(from_results("t", summary(ladder=quiet), results))).words
    assert "The stream stayed on its preferred rung." in words
    many = Text(render(from_results("t", summary(ladder={**ladder, "steps": 300}), results))).words
    assert "300 steps, the last 1 of them are here." in many
    assert "Ladder" not in Text(render(from_results("t", summary(), results))).words


def test_every_task_has_its_words(make_result: MakeResult) -> None:
    box = Box(0.0, 0.0, 9.0, 9.0)
    shown: list[TaskResult] = [
        Segmentation((Region(1, "polyp", 0.9, 81.0, 0.1, box, ()),)),
        Segmentation(()),
        Detections((DetectedBox(0, "polyp", 0.9, box),) * 2),
        Reconstruction(4.0, 1.5, None, 1.0),
        Raw(()),
    ]
    report = from_results("t", summary(), [make_result(i, result=r) for i, r in enumerate(shown)])
    assert report.labels == ["polyp", "nothing found", "polyp x 2", "beyond limit", None]
    assert report.guards == []


def test_findings_and_the_guard_are_shown(make_result: MakeResult) -> None:
    results = [
        make_result(0, guard=GuardScore(0.25, 1.0)),
        make_result(
            1, outcome=Outcome.WITHHELD, reason=Withheld.OUT_OF_DISTRIBUTION, guard=GuardScore(2.0, 1.0)
        ),
        make_result(2, outcome=Outcome.FAILED, reason=Failed.ENGINE, result=None),
    ]
    found = Findings()
    for result in results:
        found.add(result)
    report = from_results("t", summary(findings=found.summary()), results)
    np.testing.assert_array_equal(report.guards, [0.25, 2.0, np.nan])
    words = Text(render(report)).words
    assert "ultrasound 1; in 1 results" in words
    assert "mean score 1.12, highest 2, limit 1; 1 of 2 frames beyond it" in words
    assert "limit: 1" in words
    assert "Results of frames beyond the limit are withheld." in words


def test_many_classes_are_folded(make_result: MakeResult) -> None:
    labels = [f"class {i % 50}" for i in range(500)]
    count = len(labels)
    report = RunReport(
        title="t",
        summary=summary(count),
        captured_s=[i / 30 for i in range(count)],
        ages_ms=[5.0] * count,
        labels=labels,
        outcomes=["ok"] * count,
    )
    words = Text(render(report)).words
    assert "400 frames" in words
    assert words.count("other") == 2


def test_pictures_errors_and_notes_are_shown(results: list[Result]) -> None:
    picture = Thumbnail(np.zeros((48, 64, 3), np.uint8), "frame 3")
    ended = summary(error="camera:0: gone (plug it in)")
    page = Text(
        render(from_results("t", ended, results, thumbnails=(picture,), notes=("Played at 30 fps.",)))
    )
    assert page.tags.count("img") == 1
    assert "frame 3" in page.words
    assert "ended early" in page.words
    assert "camera:0: gone (plug it in)" in page.words
    assert "Played at 30 fps." in page.words


def test_a_run_without_a_single_result_has_a_report_too() -> None:
    bare = {"ledger": {"captured": 0, "processed": 0, "dropped": {}, "withheld": {}, "failed": {}}}
    words = Text(render(RunReport(title="nothing", summary=bare))).words
    assert "0 captured = 0 processed" in words
    assert "No samples." in words


def test_samples_have_to_fit_each_other() -> None:
    with pytest.raises(ValueError, match="each needs a time, an age, a label and an outcome"):
        render(RunReport(title="t", summary=summary(), ages_ms=[1.0]))


def test_hostile_names_stay_text(results: list[Result]) -> None:
    attack = "<script>alert(1)</script>"
    report = from_results(attack, summary(name=attack, engine=attack), results, notes=(attack,))
    assert "script" not in Text(render(report)).tags


def test_it_is_written_whole(tmp_path: Path, results: list[Result]) -> None:
    write_report(tmp_path / "out" / "report.html", from_results("t", summary(), results))
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8").endswith("</html>\n")
    assert len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.fault("K3")
def test_a_place_that_cannot_be_written_is_one_clear_line() -> None:
    with pytest.raises(SinkError, match="cannot write the report") as caught:
        write_report("/proc/self/report.html", RunReport(title="t", summary=summary()))
    assert caught.value.exit_code == 6
