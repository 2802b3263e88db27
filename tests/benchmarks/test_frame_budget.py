"""The study of a frame's budget, and how benchmarks compare two programs."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a script as its own command does: from its folder."""
    before = set(sys.modules)

    def load(folder: Path, name: str) -> Any:
        monkeypatch.syspath_prepend(str(folder))
        return importlib.import_module(name)

    yield load
    # `support`, `pairs` and the like are names that others may have as well.
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 60.0, (160, 120))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no mp4v")
    picture = np.zeros((120, 160, 3), np.uint8)
    for k in range(60):
        picture[:] = 4 * k
        writer.write(picture)
    writer.release()
    return path


def test_the_study_writes_the_table_and_the_trace(
    module: Any, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = module(BENCHMARKS / "studies", "frame_budget")
    out = tmp_path / "out"
    study.study([str(out), "--clip", str(clip), "--frames", "80", "--fps", "100", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((out / "frame_budget.json").read_bytes())
    stages = {row["stage"]: row for row in found["frame_budget"]}
    assert {
        "capture",
        "wait",
        "preprocess",
        "invoke",
        "decode",
        "age",
        "publish",
        "write jsonl",
    } <= stages.keys()
    assert sum(
        row["share"] for name, row in stages.items() if row["share"] and name != "age"
    ) == pytest.approx(1)
    page = (out / "frame_budget.md").read_text(encoding="utf-8")
    assert "| stage | p50 us |" in page
    assert page.count("\n| ") == len(stages) + 2, "header, rule, rows"
    assert "80 frames" in page
    trace = json.loads((out / "trace.json").read_bytes())
    assert sum(e["name"] == "capture" and e["ph"] == "X" for e in trace["traceEvents"]) == 80


def test_an_interval_lies_between_order_statistics(module: Any) -> None:
    pairs = module(BENCHMARKS, "pairs")
    # n = 20: 2 P(X < 6) = 0.041, 2 P(X < 7) = 0.115 (David and Nagaraja, table of section 7.1).
    found = pairs.interval([float(k) for k in range(1, 21)])
    assert found == (10.5, 6.0, 15.0)
    assert pairs.interval([1.0, 2.0, 3.0, 4.0, 5.0]).low is None
    assert pairs.interval([float(k) for k in range(1, 7)]) == (3.5, 1.0, 6.0)


def test_runs_alternate_and_identical_code_is_compared_with_itself(module: Any) -> None:
    pairs = module(BENCHMARKS, "pairs")
    order: list[str] = []

    def run(name: str, value: float) -> Any:
        def call() -> float:
            order.append(name)
            return value

        return call

    found = pairs.alternate(run("a", 3.0), run("b", 2.0), pairs=4)
    assert "".join(order) == "ab" + "abba" * 2
    assert found.pairs == [(3.0, 2.0)] * 4
    assert found.identical == [(2.0, 2.0)] * 2
    ratio, noise = found.ratios(lambda value: value)
    assert (ratio.median, noise.median) == (1.5, 1.0)


def test_a_criterion_that_is_missed_fails_only_where_asked(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = module(BENCHMARKS, "pairs")
    assert "MISSED" in pairs.verdict(False, "x")
    assert "cannot be said" in pairs.verdict(None, "x")
    monkeypatch.setattr(pairs, "STRICT", True)
    with pytest.raises(AssertionError, match="x"):
        pairs.verdict(False, "x")
    assert pairs.verdict(True, "x").strip() == "met: x"


def test_the_loops_count_every_frame(module: Any, clip: Path, tiny_bundle: Path) -> None:
    from bedside.runtime.bundle.reader import open_bundle
    from bedside.runtime.engines.protocol import SessionOptions
    from bedside.runtime.loading import open_session

    loops = module(BENCHMARKS, "loops")
    with open_bundle(tiny_bundle) as bundle:
        loaded = open_session(
            bundle, variant="tflite-int8", engine="litert", options=SessionOptions(threads=1)
        )
    try:
        spent = loops.bare(str(clip), loaded, 70)
        assert spent["sum"].shape == (70,)
        assert np.allclose(spent["sum"], spent["decode"] + spent["resize"] + spent["invoke"])
        for run in (
            loops.pipeline(str(clip), loaded, 70),
            loops.two_threads_saturated(str(clip), loaded, 70),
        ):
            assert (run.frames, run.dropped) == (70, 0)
            assert run.per_second > 0
        for run in (
            loops.pipeline(str(clip), loaded, 40, 200.0),
            loops.two_threads_paced(str(clip), loaded, 40, 200.0),
            loops.plain_loop(str(clip), loaded, 40, 200.0),
        ):
            assert run.frames + run.dropped == 40
            assert len(run.ages_ms) == run.frames
            assert run.age(50) > 0
        slow = loops.Repeated(loaded.session, 3)
        slow.input()[...] = 0
        assert len(slow.invoke()) == 1
    finally:
        loaded.session.close()
