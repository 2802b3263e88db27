"""Threads of a real stream, asked where they are while it runs."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from bedside.devices.host import cores, priority
from bedside.devices.host.threads import ThreadSetup
from bedside.devices.profiles import HostSection
from bedside.devices.sessions.plan import StreamPlan
from bedside.devices.sessions.unit import PlannedStream
from bedside.runtime import engines
from bedside.runtime.result import Result

CORES = sorted(cores.allowed())
FIRST, LAST = (CORES[0],), (CORES[-1],)

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="needs Linux's scheduler")


def plan(bundle: Path, host: HostSection, **spec: Any) -> StreamPlan:
    from bedside.devices.compose import PipelineSpec

    given = {"source": "synthetic:ultrasound?frames=30&size=64x64&fps=200", "paced": True, **spec}
    return StreamPlan(spec=PipelineSpec(bundle=str(bundle), **given), host=host)


def where() -> dict[str, Any]:
    """Cores and policy of every Python thread here, by name, and of the others together."""
    known = {t.native_id: t.name for t in threading.enumerate()}
    seen: dict[str, Any] = {"helpers": []}
    for task in (int(path.name) for path in Path("/proc/self/task").iterdir()):
        try:
            here = (tuple(sorted(os.sched_getaffinity(task))), os.sched_getscheduler(task))
        except ProcessLookupError:
            continue
        if task in known:
            seen[known[task]] = here
        else:
            seen["helpers"].append(here)
    return seen


def test_each_thread_of_a_stream_is_where_the_profile_wants_it(bundle: Path, tmp_path: Path) -> None:
    host = HostSection(inference_cores=LAST, capture_cores=FIRST, real_time="rr", priority=5)
    before = cores.allowed(), priority.scheduling(0)
    seen: list[dict[str, Any]] = []

    def look(result: Result) -> None:
        if result.seq == 15:
            seen.append(where())

    stream = PlannedStream(
        plan(bundle, host, sinks=(f"jsonl:{tmp_path / 'r.jsonl'}",), policy="all"), on_result=look
    )
    stream.load()
    assert (cores.allowed(), priority.scheduling(0)) == before, "the thread that loaded is put back"
    summary = stream.run()
    assert (cores.allowed(), priority.scheduling(0)) == before, "the thread that inferred is put back"
    assert summary.ledger.processed == 30
    setup = {(g["what"], g["who"]): g for g in stream.summary(summary)["host"]["setup"]}
    real_time = setup["real-time priority", "inference"]["granted"]
    policy = os.SCHED_RR if real_time else os.SCHED_OTHER
    threads = seen[0]
    assert threads["capture"] == (FIRST, policy)
    assert threads["MainThread"] == (LAST, policy)
    sink = next(value for name, value in threads.items() if name.startswith("sink-"))
    assert sink == (tuple(CORES), os.SCHED_OTHER), "sinks give way, on any core"
    assert setup["cores", "inference"]["granted"] and setup["cores", "capture"]["granted"]
    assert ("cores", "sink") not in setup


def test_an_engines_own_threads_come_along(bundle: Path) -> None:
    """Two engine threads: the second belongs to the engine, and was made while it was loaded."""
    reads = {s.id: s.formats for s in engines.statuses() if s.available}
    if "litert" not in reads:
        pytest.skip("needs LiteRT")
    host = HostSection(inference_cores=LAST, real_time="fifo", priority=5)
    seen: list[dict[str, Any]] = []

    def look(result: Result) -> None:
        if result.seq == 5:
            seen.append(where())

    spec = {"engine": "litert", "variant": "tflite-int8", "threads": 3}
    known = len(where()["helpers"])
    stream = PlannedStream(plan(bundle, host, **spec), on_result=look)
    stream.load()
    stream.run()
    helpers = seen[0]["helpers"]
    made = [helper for helper in helpers if helper[0] == LAST]
    assert len(helpers) > known
    assert len(made) >= 2
    if seen[0]["MainThread"][1] == os.SCHED_FIFO:
        assert sum(policy == os.SCHED_FIFO for _, policy in made) >= 2
    after = where()["helpers"]
    assert not [helper for helper in after if helper[1] != os.SCHED_OTHER], "none stays real-time"


def test_threads_that_an_engine_keeps_are_put_back(bundle: Path) -> None:
    """OpenVINO's workers outlive the session that made them."""
    if "openvino" not in {s.id for s in engines.statuses() if s.available}:
        pytest.skip("needs OpenVINO")
    core = (CORES[0],)
    host = HostSection(inference_cores=core, real_time="rr", priority=3)
    stream = PlannedStream(plan(bundle, host, engine="openvino", threads=1))
    stream.load()
    stream.run()
    assert all(policy == os.SCHED_OTHER for _, policy in where()["helpers"])


def test_niceness_is_for_recordings_too(bundle: Path) -> None:
    host = HostSection(nice=19, real_time="fifo")
    seen: list[int] = []
    made = plan(bundle, host, source="synthetic:ultrasound?frames=3&size=64x64", paced=False)
    stream = PlannedStream(
        made, on_result=lambda result: seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    )
    stream.load()
    # On a thread of its own: without privileges it could not be put back.
    runner = threading.Thread(target=stream.run)
    runner.start()
    runner.join()
    assert seen == [19] * 3


def test_a_recording_is_worked_through_at_ordinary_priority(bundle: Path) -> None:
    host = HostSection(real_time="fifo")
    seen: list[dict[str, Any]] = []
    made = plan(bundle, host, source="synthetic:ultrasound?frames=8&size=64x64", paced=False)
    stream = PlannedStream(made, on_result=lambda result: seen.append(where()))
    stream.load()
    summary = stream.run()
    assert {policy for threads in seen for _, policy in threads["helpers"]} <= {os.SCHED_OTHER}
    assert seen[0]["MainThread"][1] == os.SCHED_OTHER
    setup = stream.summary(summary)["host"]["setup"]
    refused = [g for g in setup if g["what"] == "real-time priority"]
    assert refused and all(g["reason"] == "a recording has no deadline" for g in refused)


def test_a_stream_that_asks_for_nothing_is_left_alone() -> None:
    setup = ThreadSetup(HostSection())
    before = cores.allowed(), priority.scheduling(0)
    with setup.loading(), setup.inference():
        setup.enter("capture")
        assert (cores.allowed(), priority.scheduling(0)) == before
    assert setup.grants() == ()


def test_a_refused_core_is_said_once_for_all_threads_of_a_role() -> None:
    setup = ThreadSetup(HostSection(sink_cores=(CORES[0], 4000)))
    threads = [threading.Thread(target=setup.enter, args=("sink",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(g.what, g.who, g.granted) for g in setup.grants()] == [("cores", "sink", False)]
