"""The study of the ladder under load: what it calls a miss, and that it runs."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rich")

from bedside.devices.compose import PipelineSpec
from bedside.devices.profiles import LadderSection
from bedside.runtime.clock import MonotonicClock
from bedside.runtime.stream.control import Move

STUDIES = Path(__file__).resolve().parents[2] / "benchmarks" / "studies"
S, MS = 10**9, 10**6


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(STUDIES))
    return importlib.import_module("ladder_under_load")


def step(at: int, before: int, after: int) -> Any:
    class Taken:
        move = Move(at, before, after, "misses" if after > before else "calm", "why")

        def describe(self, _: int) -> dict[str, Any]:
            return {}

    return Taken()


def test_what_it_finds(study: Any) -> None:
    # 20 frames a second: 10 ms each, from 5 s on 80 ms, from 5.5 s on 20 ms on a lower rung.
    def result(k: int) -> Any:
        captured = k * S // 20
        took = 80 if 100 <= k < 110 else 10
        return study.Seen(captured, captured + took * MS, "stale" if k == 105 else "ok", 1)

    seen = [result(k) for k in range(400)]
    marks = study.Marks(0, 5 * S, 10 * S, 20 * S)
    found = study.judge(seen, [step(11 * S // 2, 0, 1), step(16 * S, 1, 0)], marks, 20.0)
    assert [p["results"] for p in found["phases"]] == [100, 100, 200]
    assert found["phases"][1]["withheld"] == {"stale": 1}
    assert found["phases"][0]["age_ms"]["p50"] == pytest.approx(10.0)
    assert found["phases"][1]["age_ms"]["max"] == pytest.approx(80.0)
    assert found["first_miss_s"] == pytest.approx(0.08)
    assert found["step_down_s"] == pytest.approx(0.42)
    assert found["top_again_s"] == pytest.approx(6.0)
    calm = study.judge(seen[:90], [], marks, 20.0)
    assert (calm["first_miss_s"], calm["step_down_s"], calm["top_again_s"]) == (None, None, None)
    assert calm["phases"][2]["age_ms"] is None


def test_it_runs_and_leaves_no_load_behind(
    study: Any, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(command: list[str]) -> subprocess.Popen[bytes]:
        started.append(real([sys.executable, "-c", "import time; time.sleep(60)"]))
        return started[-1]

    real = subprocess.Popen
    monkeypatch.setattr(study.subprocess, "Popen", start)
    spec = PipelineSpec(
        bundle=str(tiny_bundle),
        source="synthetic:ultrasound?size=320x240&loop=4",
        pace_fps=50.0,
        max_age_ms=200.0,
        ladder=LadderSection(enabled=True, rungs=1),
    )
    found = study.study(spec, 0.3, 0.3, 0.3, 2, MonotonicClock())
    assert len(started) == 2
    assert all(process.returncode is not None for process in started)
    assert sum(p["results"] for p in found["phases"]) > 0
    ledger = found["summary"]["ledger"]
    assert ledger["in_flight"] == 0
    study.report(found)
    assert "top again after the load ended:" in capsys.readouterr().out
