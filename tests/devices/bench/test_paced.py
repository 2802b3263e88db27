"""Paced: windows, drift and misses of made-up runs, and a real one of a second."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from bedside.devices.bench import readings
from bedside.devices.bench.paced import drift_of, paced_plan, run_paced, windows_of
from bedside.devices.bench.readings import Reading
from bedside.devices.compose import PipelineSpec
from bedside.devices.sessions.plan import StreamPlan
from bedside.runtime.errors import SourceError

SECOND = 10**9
SOURCE = "synthetic:blank?size=64x64&fps=30&loop=2"


def reading(second: float, cpu_s: float = 0.0, lost: int = 0, celsius: float | None = None) -> Reading:
    return Reading(int(second * SECOND), celsius, 2000.0, cpu_s, 100.0 + second, 0, lost)


def run_of(seconds: float, fps: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Ages of 5 ms in the first minute, 10 ms afterwards; every hundredth 50 ms."""
    times = np.arange(int(seconds * fps), dtype=np.int64) * (SECOND // fps) + 7 * SECOND
    ages = np.where(times < 67 * SECOND, 5_000_000, 10_000_000)
    ages[::100] = 50_000_000
    return times, ages


def test_minute_by_minute() -> None:
    times, ages = run_of(150)
    host = [
        reading(6.0, 5.0),
        *(reading(7 + s, 5 + 0.2 * s, lost=s // 60, celsius=40 + s / 10) for s in range(150)),
    ]
    first, second, third = windows_of(times, ages, host, 30.0, 60.0)
    assert [w.results for w in (first, second, third)] == [6000, 6000, 3000]
    assert [w.misses for w in (first, second, third)] == [60, 60, 30]
    assert first.age_ms["p50"] == 5.0
    assert second.age_ms["p50"] == 10.0
    assert first.age_ms["max"] == 50.0
    # What was taken before the first result, opening the source, is in no window.
    assert first.cpu_percent == pytest.approx(20.0)
    assert second.cpu_percent == pytest.approx(20.0)
    assert [w.lost for w in (first, second, third)] == [0, 1, 1]
    assert second.celsius == pytest.approx(48.95, abs=0.1)
    assert third.rss_mb == pytest.approx(256.0)
    assert third.begin_s == 120.0


def test_drift_is_the_last_whole_minute_over_the_first() -> None:
    times, ages = run_of(150)
    windows = windows_of(times, ages, [], None, 60.0)
    assert drift_of(windows, 60.0, 150.0)["p50"] == 2.0
    assert drift_of(windows[:2], 60.0, 80.0) == {}, "twenty seconds of the second minute are a stump"
    assert drift_of(windows[:1], 60.0, 60.0) == {}
    assert windows_of(np.zeros(0, np.int64), np.zeros(0, np.int64), [], 1.0, 60.0) == ()


def test_a_host_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        Process = staticmethod(readings.psutil.Process)

        @staticmethod
        def cpu_freq() -> None:
            return None

    monkeypatch.setattr(readings, "psutil", Silent)
    assert readings.temperature() is None
    assert readings.frequency() is None


def test_the_hottest_processor_sensor_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sensor(msgspec.Struct):
        current: float | None

    class Host:
        @staticmethod
        def sensors_temperatures() -> dict[str, list[Sensor]]:
            return {
                "coretemp": [Sensor(51.0), Sensor(63.0)],
                "nvme": [Sensor(80.0)],
                "cpu_thermal": [Sensor(None)],
            }

        @staticmethod
        def cpu_freq() -> None:
            raise OSError("hidden")

    monkeypatch.setattr(readings, "psutil", Host)
    assert readings.temperature() == 63.0
    assert readings.frequency() is None


@pytest.mark.parametrize(
    ("source", "paced"),
    [
        ("clip.mp4", True),
        (SOURCE, True),
        ("sample:echo-cine", True),
        ("camera:0", False),
        ("rtsp://a/b", False),
    ],
)
def test_recordings_are_paced_and_live_sources_are_not(source: str, paced: bool) -> None:
    plan = StreamPlan(spec=PipelineSpec(bundle="x", source=source))
    spec = paced_plan(plan, fps=50.0, seconds=3.0).spec
    assert (spec.paced, spec.loop, spec.seconds) == (paced, paced, 3.0)
    assert spec.pace_fps == (50.0 if paced else None)


def test_a_real_run(tiny_bundle: Path) -> None:
    plan = StreamPlan(spec=PipelineSpec(bundle=str(tiny_bundle), source=SOURCE, threads=1))
    result = run_paced(paced_plan(plan, fps=100.0, seconds=1.0), window_s=0.25, period_s=0.05)
    ledger = result.summary["ledger"]
    assert result.fps == 100.0
    assert result.deadline_ms == pytest.approx(10.0)
    assert ledger["processed"] == result.times_s.size == sum(w.results for w in result.windows)
    assert result.misses == sum(w.misses for w in result.windows) == int((result.ages_ms > 10.0).sum())
    assert result.times_s[0] == 0.0
    assert result.seconds == pytest.approx(result.times_s[-1])
    assert len(result.readings) > 3
    assert result.readings[-1].captured == ledger["captured"]
    plain = msgspec.json.decode(msgspec.json.encode(result.to_dict()))
    assert plain["scenario"] == "Paced"
    assert "ages_ms" not in plain
    assert plain["latency_ms"]["age"]["samples"] == ledger["processed"]


def test_results_that_are_withheld_as_stale_are_misses(tiny_bundle: Path) -> None:
    spec = PipelineSpec(bundle=str(tiny_bundle), source=SOURCE, threads=1, max_age_ms=0.001)
    result = run_paced(paced_plan(StreamPlan(spec=spec), fps=100.0, seconds=0.3), period_s=0.1)
    ledger = result.summary["ledger"]
    assert ledger["processed"] == 0
    assert result.misses == ledger["withheld"].get("stale", 0)
    assert result.misses == result.times_s.size


def test_a_source_that_is_not_there_is_an_error(tiny_bundle: Path, tmp_path: Path) -> None:
    clip = tmp_path / "gone.mp4"
    clip.write_bytes(b"")
    plan = StreamPlan(spec=PipelineSpec(bundle=str(tiny_bundle), source=str(clip), threads=1))
    with pytest.raises(SourceError):
        run_paced(paced_plan(plan, fps=None, seconds=0.2))
