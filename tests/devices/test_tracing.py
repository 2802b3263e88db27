"""The trace file against the Trace Event Format, and the table that is made of a trace."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.devices.frame_budget import frame_budget, to_rows
from bedside.devices.tracing import trace_events, trace_path, write_trace
from bedside.runtime.clock import ManualClock
from bedside.runtime.errors import SinkError
from bedside.runtime.stream.trace import (
    CAPTURE,
    FRAME,
    FRAMES,
    INFER,
    PUBLISH,
    QUEUE,
    READ,
    WORK,
    WRITE,
    Trace,
)

#: What each phase must have, beside `name`, `ph` and `pid` (Trace Event Format, "Event Descriptions").
NEEDED = {
    "X": {"ts", "dur", "tid"},
    "i": {"ts", "tid", "s"},
    "b": {"ts", "id2", "cat"},
    "e": {"ts", "id2", "cat"},
    "s": {"ts", "tid", "id", "cat"},
    "t": {"ts", "tid", "id", "cat"},
    "f": {"ts", "tid", "id", "cat"},
    "C": {"ts", "args"},
    "M": {"args"},
}


def check(events: list[dict[str, Any]]) -> None:
    """Every rule of the format that a viewer would trip over in silence."""
    slices: dict[int, list[tuple[float, float]]] = defaultdict(list)
    open_async: dict[tuple[str, str], list[str]] = defaultdict(list)
    for event in events:
        assert {"name", "ph", "pid"} <= event.keys(), event
        assert NEEDED[event["ph"]] <= event.keys(), event
        assert event.get("ts", 0) >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0
            slices[event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for tid, spans in slices.items():
        stack: list[float] = []
        for begin, end in sorted(spans, key=lambda s: (s[0], -s[1])):
            while stack and stack[-1] <= begin:
                stack.pop()
            assert not stack or end <= stack[-1], f"slices of thread {tid} overlap at {begin}"
            stack.append(end)
    for event in sorted((e for e in events if e["ph"] in "be"), key=lambda e: e["ts"]):
        names = open_async[event["cat"], event["id2"]["local"]]
        if event["ph"] == "b":
            names.append(event["name"])
        else:
            assert names.pop() == event["name"]
    assert not any(open_async.values())
    flows: dict[int, str] = defaultdict(str)
    for event in sorted((e for e in events if e["ph"] in "stf"), key=lambda e: e["ts"]):
        flows[event["id"]] += event["ph"]
        inside = [s for s in slices[event["tid"]] if s[0] <= event["ts"] <= s[1]]
        assert inside, "an arrow touches no slice"
    assert all(phases[:1] == "s" and phases[1:2] == "t" for phases in flows.values()), flows
    named = {e["tid"] for e in events if e["name"] == "thread_name"}
    assert set(slices) <= named
    assert all(value >= 0 for e in events if e["ph"] == "C" for value in e["args"].values())


def frame(trace: Trace, seq: int, begin: int, *, late: int = 0, wait: int = 100) -> None:
    """A frame captured from `begin` on, 1,000 ns to read, 300, 2,000 and 200 ns to work on."""
    trace.span(CAPTURE, READ, seq, begin, begin + 1000)
    trace.span(CAPTURE, QUEUE, seq, begin + 1000, begin + 1050)
    work = begin + 1000 + wait
    trace.stages(seq, ("preprocess", "invoke", "decode"), work + 10, work + 310, work + 2310, work + 2510)
    trace.span(INFER, WORK, seq, work, work + 2600)
    trace.span(INFER, PUBLISH, seq, work + 2540, work + 2600)
    trace.span(FRAMES, FRAME, seq, begin - late, work + 2540)
    trace.span("null:", WRITE, seq, work + 2700, work + 2800)


@given(
    starts=st.lists(st.integers(0, 10**12), min_size=1, max_size=20, unique=True),
    lost=st.sets(st.integers(0, 19)),
)
def test_whatever_was_recorded_makes_a_valid_trace(starts: list[int], lost: set[int]) -> None:
    trace = Trace(ManualClock(10**12))
    for seq, start in enumerate(sorted(starts)):
        begin = 5000 * seq + start
        if seq in lost:
            trace.span(CAPTURE, READ, seq, begin, begin + 1000)
            trace.span(CAPTURE, "replaced", seq, begin + 1500, -1)
        else:
            frame(trace, seq, begin, wait=start % 977)
    events = list(trace_events(trace.events(), "main"))
    check(events)
    assert sum(e["ph"] == "i" for e in events) == len(lost & set(range(len(starts))))


def test_a_ring_that_lost_the_beginning_of_a_frame_makes_a_valid_trace() -> None:
    trace = Trace(ManualClock(), capacity=20)
    for seq in range(9):
        frame(trace, seq, 10_000 * seq)
    assert trace.overwritten > 0
    check(list(trace_events(trace.events(), "main")))


def test_no_events_make_a_valid_file(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    write_trace(path, Trace(), {"stream": "main"})
    read = json.loads(path.read_bytes())
    check(read["traceEvents"])
    assert read["otherData"]["overwritten_events"] == 0


def test_many_events_are_one_list(tmp_path: Path) -> None:
    trace = Trace(ManualClock(), frames=1000)
    for seq in range(900):
        frame(trace, seq, 10_000 * seq)
    write_trace(tmp_path / "t.json", trace, {})
    events = json.loads((tmp_path / "t.json").read_bytes())["traceEvents"]
    check(events)
    assert sum(e["name"] == READ for e in events) == 900


def test_a_file_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "t.json").mkdir()
    with pytest.raises(SinkError, match="regular file"):
        write_trace(tmp_path / "t.json", Trace(), {})


@pytest.mark.parametrize("text", ["clip.mp4", "x.bedside", "trace", ""])
def test_a_slip_does_not_write_over_a_clip(text: str) -> None:
    with pytest.raises(ValueError, match=r"\.json"):
        trace_path(text)


def test_the_parts_of_the_table_add_up_to_the_age() -> None:
    trace = Trace(ManualClock())
    for seq in range(10):
        frame(trace, seq, 100_000 * seq, late=500 if seq == 3 else 0, wait=100 + seq)
    rows = {stage.name: stage for stage in frame_budget(trace.events())}
    assert list(rows) == [
        *("late", "capture", "wait", "preprocess", "invoke", "decode", "other", "age"),
        *("queue", "publish", "write null:"),
    ]
    assert rows["invoke"].us.p50 == 2.0
    assert rows["wait"].us.max == pytest.approx(0.109)
    assert rows["late"].us.max == 0.5
    parts = [stage.share for name, stage in rows.items() if stage.share is not None and name != "age"]
    assert sum(parts) == pytest.approx(1.0)
    assert rows["age"].share == 1.0
    assert rows["publish"].share is None
    assert rows["invoke"].us.p99 is None, "ten samples carry no p99"
    shown = {row[0]: row for row in to_rows([stage.to_dict() for stage in rows.values()])}
    assert shown["invoke"][1:5] == ("2.0", "-", "-", "54.1%")


def test_frames_without_a_result_are_not_in_the_table() -> None:
    trace = Trace(ManualClock())
    frame(trace, 0, 0)
    frame(trace, 1, 100_000)
    trace.mark(INFER, "stale", 1)
    trace.span(CAPTURE, READ, 2, 300_000, 301_000)
    rows = frame_budget(trace.events())
    assert {stage.us.samples for stage in rows} == {1}
    assert frame_budget([]) == []


def test_run_writes_a_trace(cli: Callable[..., Any], bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    source = "synthetic:ultrasound?size=96x64&frames=40&loop=4&fps=200"
    done = cli("run", bundle, "--source", source, "--trace", path, "--json", "--sink", "null:")
    assert done.code == 0
    trace = json.loads(path.read_bytes())
    check(trace["traceEvents"])
    assert trace["otherData"]["ledger"]["processed"] == 40
    threads = {e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "thread_name"}
    assert threads == {"capture", "infer", "null:"}
    stages = {row["stage"]: row for row in done.json["frame_budget"]}
    assert stages["invoke"]["us"]["samples"] == 40
    assert {"capture", "wait", "preprocess", "decode", "age", "write null:"} <= stages.keys()


def test_run_shows_the_table_and_names_lost_frames(
    cli: Callable[..., Any], bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "t.json"
    source = "synthetic:ultrasound?size=96x64&frames=600&loop=4"
    done = cli("run", bundle, "--source", source, "--policy", "latest", "--trace", path)
    assert done.code == 0
    assert "Where the time of a frame goes" in done.out
    events = json.loads(path.read_bytes())["traceEvents"]
    check(events)
    assert any(e["ph"] == "i" and e["name"] == "replaced" for e in events), (
        "600 frames at once, and none was lost"
    )


def test_a_trace_that_would_write_over_a_clip_is_refused(cli: Callable[..., Any], bundle: Path) -> None:
    done = cli("run", bundle, "--source", "sample:echo-cine", "--trace", bundle)
    assert done.code == 2
    assert ".json" in done.err
