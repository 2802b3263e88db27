"""One plan, run on this thread."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import pytest

from bedside.devices.compose import PipelineSpec
from bedside.devices.host import cores
from bedside.devices.profiles import HostSection
from bedside.devices.sessions.events import Begun, Ended, Event
from bedside.devices.sessions.plan import StreamPlan
from bedside.devices.sessions.unit import PlannedStream, process_use, run_plan
from bedside.runtime.errors import BundleError

SOURCE = "synthetic:ultrasound?frames=20&size=64x64"


def plan(bundle: Path | str, **spec: Any) -> StreamPlan:
    made = PipelineSpec(
        **{"bundle": str(bundle), "source": SOURCE, "stream": "us", "memory_mb": 64_000, **spec}
    )
    return StreamPlan(spec=made, device="bench")


def test_it_reports_its_beginning_and_its_end(bundle: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    out = tmp_path / "r.jsonl"
    run_plan(PlannedStream(plan(bundle, sinks=(f"jsonl:{out}",))), events.append)
    begun, ended = events
    assert isinstance(begun, Begun) and "tiny 1.0.0" in begun.runs
    assert isinstance(ended, Ended) and (ended.stream, ended.error, ended.code) == ("us", None, 0)
    summary = ended.summary
    assert summary is not None
    assert (summary["stream"], summary["device"]) == ("us", "bench")
    assert summary["ledger"]["processed"] == 20
    assert summary["findings"]["results"] == 20
    assert summary["process"]["within_budget"] is True
    assert summary["process"]["cpu_s"] > 0
    assert {g["what"] for g in summary["host"]["setup"]} == {"garbage collection"}
    assert all('"stream":"us"' in line for line in out.read_text().splitlines())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"bundle": "none.bedside"}, 3),
        ({"variant": "none"}, 2),
        ({"source": "none.mp4"}, 4),
    ],
)
def test_what_cannot_be_loaded_is_reported_and_the_host_put_back(
    change: dict[str, str], code: int, bundle: Path
) -> None:
    before = gc.isenabled(), cores.allowed()
    events: list[Event] = []
    run_plan(PlannedStream(plan(**{"bundle": bundle, **change})), events.append)
    (ended,) = events
    assert isinstance(ended, Ended)
    assert (ended.summary, ended.code) == (None, code)
    assert ended.error
    assert (gc.isenabled(), cores.allowed()) == before


def test_an_error_in_the_middle_comes_with_the_summary(bundle: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    run_plan(PlannedStream(plan(bundle, sinks=(f"jsonl:{tmp_path}",))), events.append)
    ended = events[-1]
    assert isinstance(ended, Ended)
    assert ended.code == 6
    assert ended.summary is not None and ended.summary["ledger"]["in_flight"] == 0


def test_the_collector_is_off_while_it_runs_and_on_again(bundle: Path) -> None:
    enabled: list[bool] = []
    stream = PlannedStream(plan(bundle), on_result=lambda result: enabled.append(gc.isenabled()))
    assert gc.isenabled()
    stream.load()
    stream.run()
    assert enabled == [False] * 20
    assert gc.isenabled() and gc.get_freeze_count() == 0


def test_a_bug_leaves_no_trace_on_the_host(bundle: Path) -> None:
    stream = PlannedStream(plan(bundle), on_result=lambda result: 1 / 0)
    stream.load()
    with pytest.raises(ZeroDivisionError):
        stream.run()
    assert gc.isenabled() and gc.get_freeze_count() == 0


def test_stop_from_another_thread_ends_an_endless_stream(bundle: Path) -> None:
    seen = threading.Event()
    endless = "synthetic:ultrasound?size=64x64&fps=100"
    stream = PlannedStream(
        plan(bundle, source=endless, paced=True),
        on_result=lambda result: seen.set() if result.seq > 3 else None,
    )
    stream.load()
    assert stream.progress().captured == 0
    runner: list[Any] = []
    worker = threading.Thread(target=lambda: runner.append(stream.run()))
    worker.start()
    assert seen.wait(30)
    progress = stream.progress()
    assert progress.captured >= progress.processed >= 4
    assert progress.age_ms is not None and progress.age_ms > 0
    assert progress.said
    stream.stop()
    worker.join(30)
    assert runner[0].ledger.in_flight == 0 and runner[0].error is None


def test_stop_before_it_was_loaded_is_remembered(bundle: Path) -> None:
    stream = PlannedStream(plan(bundle, source="synthetic:ultrasound?size=64x64"))
    stream.stop()
    stream.load()
    summary = stream.run()
    assert summary.ledger.captured == summary.ledger.settled


def test_it_has_to_be_loaded_first(bundle: Path) -> None:
    with pytest.raises(RuntimeError):
        PlannedStream(plan(bundle)).run()
    with pytest.raises(BundleError):
        PlannedStream(plan("none.bedside")).load()


def test_a_memory_budget_that_does_not_hold_is_said() -> None:
    assert process_use(1)["within_budget"] is False
    assert process_use(None)["within_budget"] is None
    assert process_use(10**6)["peak_mb"] > 10


def test_cores_hold_while_the_model_is_compiled(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import bedside.devices.compose as compose

    seen: list[frozenset[int]] = []
    real = compose.load
    monkeypatch.setattr(
        compose, "load", lambda *args, **options: (seen.append(cores.allowed()), real(*args, **options))[1]
    )
    core = max(cores.allowed())
    made = StreamPlan(spec=plan(bundle).spec, host=HostSection(inference_cores=(core,)))
    stream = PlannedStream(made)
    stream.load()
    stream.run()
    assert seen == [frozenset({core})]
    assert stream.stream.loaded.session.options.threads == 1, "the engine saw one core"
