"""A recorded trace as a file for Perfetto (ui.perfetto.dev) and chrome://tracing.

The format is the JSON object form of the Trace Event Format (Google, "Trace Event Format", 2016), which both read:

- complete events (`X`) for what a thread did, one track a thread, named by metadata events (`M`);
- nestable asynchronous events (`b`, `e`), with the frame's number as their id, from capture to publication, since
  several frames are under way at once;
- flow events (`s`, `t`, `f`): arrows from a frame's capture to the work on it and to every sink's write;
- instants (`i`) for frames that were lost, with the reason as their name, and for steps of the ladder;
- counters (`C`) for frames that wait and for results that a sink has not written.

Times are microseconds from the first event, in eighths: what is exact in binary does not overlap by a rounding.
Perfetto drops slices of a thread that overlap without lying in each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bedside.runtime.bundle.writer import replacing
from bedside.runtime.stream.trace import CAPTURE, FRAME, FRAMES, INFER, READ, WORK, WRITE, Event, Trace

_PID = 1

#: Lines that are encoded before they are written.
_CHUNK = 4096


def trace_path(text: str) -> Path:
    """Where a trace goes.

    Raises:
        ValueError: It does not end in `.json`: a slip must not write over a clip or a bundle.
    """
    if not text.endswith(".json"):
        raise ValueError("a trace ends in .json")
    return Path(text)


def write_trace(path: str | Path, trace: Trace, about: Mapping[str, Any]) -> None:
    """Write what a stream recorded; the name only ever stands for a whole file.

    Args:
        path: See `trace_path`.
        trace: Of a stream that has ended.
        about: What ran, for `otherData`; plain data, its `stream` names the process.

    Raises:
        SinkError: It cannot be written.
    """
    events = trace.events()
    begin = events[0].begin_ns if events else 0
    other = {**about, "begin_monotonic_ns": begin, "overwritten_events": trace.overwritten}
    encoder = msgspec.json.Encoder()
    head = b'{"displayTimeUnit":"ms","otherData":' + encoder.encode(other) + b',"traceEvents":[\n'
    with replacing(Path(path)) as file:
        file.write(head)
        chunk: list[bytes] = []
        for line in trace_events(events, str(about.get("stream", "bedside"))):
            chunk.append(encoder.encode(line))
            if len(chunk) == _CHUNK:
                file.write(b",\n".join(chunk) + b",\n")
                chunk.clear()
        # There is always one, so that the last comma of a chunk is never the last of the list.
        chunk.append(encoder.encode(_meta("process_sort_index", 0, sort_index=0)))
        file.write(b",\n".join(chunk) + b"\n]}\n")


def trace_events(events: Iterable[Event], stream: str) -> Iterator[dict[str, Any]]:
    """Trace events as plain data, see the module.

    Args:
        events: By beginning, as `Trace.events` gives them.
        stream: Names the process.
    """
    events = list(events)
    begin = events[0].begin_ns if events else 0
    tracks = dict.fromkeys((CAPTURE, INFER, *(e.track for e in events if e.track != FRAMES)))
    numbers = {track: number for number, track in enumerate(tracks, start=1)}
    yield _meta("process_name", 0, name=f"bedside {stream}")
    for track, number in numbers.items():
        yield _meta("thread_name", number, name=track)
        yield _meta("thread_sort_index", number, sort_index=number)

    def at(ns: int) -> float:
        return _eighths(ns - begin)

    read = {e.seq: e for e in events if e.name == READ}
    work = {e.seq: e for e in events if e.name == WORK}
    for event in events:
        if event.track == FRAMES:
            yield from _frame(event, read.get(event.seq), work.get(event.seq), at)
            continue
        line = {"name": event.name, "cat": "bedside", "ts": at(event.begin_ns), "pid": _PID}
        line |= {"tid": numbers[event.track], "args": {"seq": event.seq} if event.seq >= 0 else {}}
        if event.end_ns is None:
            yield {**line, "ph": "i", "s": "t"}
            continue
        yield {**line, "ph": "X", "dur": at(event.end_ns) - at(event.begin_ns)}
        phase = _flow(event, read, work)
        if phase is not None:
            flow = {"name": FRAME, "cat": "flow", "ph": phase, "id": event.seq, "ts": at(event.begin_ns)}
            flow |= {"pid": _PID, "tid": numbers[event.track]}
            yield flow if phase == "s" else {**flow, "bp": "e"}
    for name, ns, value in _counters(events):
        yield {"name": name, "ph": "C", "ts": at(ns), "pid": _PID, "args": {"count": value}}


def _frame(
    event: Event, read: Event | None, work: Event | None, at: Callable[[int], float]
) -> Iterator[dict[str, Any]]:
    """A frame from its capture stamp to its publication, and the part of it in which it waited."""
    line = {"cat": "frame", "id2": {"local": hex(event.seq)}, "pid": _PID, "tid": 0}
    yield {**line, "name": FRAME, "ph": "b", "ts": at(event.begin_ns), "args": {"seq": event.seq}}
    if read is not None and work is not None and read.end_ns is not None:
        waits = {**line, "name": "waits for its turn", "args": {}}
        yield {**waits, "ph": "b", "ts": at(read.end_ns)}
        yield {**waits, "ph": "e", "ts": at(max(read.end_ns, work.begin_ns))}
    yield {**line, "name": FRAME, "ph": "e", "ts": at(event.end_ns or event.begin_ns), "args": {}}


def _flow(event: Event, read: Mapping[int, Event], work: Mapping[int, Event]) -> str | None:
    """The phase of an arrow that touches an event; an arrow needs both its ends in the ring."""
    if event.name == READ and event.seq in work:
        return "s"
    if event.name == WORK and event.seq in read:
        return "t"
    return "f" if event.name == WRITE and event.seq in work and event.seq in read else None


def _counters(events: Iterable[Event]) -> Iterator[tuple[str, int, int]]:
    """Frames captured and not begun, and results published and not written, after every change."""
    changes: dict[str, list[tuple[int, int]]] = defaultdict(list)
    waiting: set[int] = set()
    published: dict[int, int] = {}
    for event in events:
        if event.end_ns is None and event.seq in waiting:
            changes["frames waiting"].append((event.begin_ns, -1))
            waiting.discard(event.seq)
        elif event.name == READ and event.end_ns is not None:
            changes["frames waiting"].append((event.end_ns, 1))
            waiting.add(event.seq)
        elif event.name == WORK and event.seq in waiting:
            changes["frames waiting"].append((event.begin_ns, -1))
            waiting.discard(event.seq)
        elif event.track == FRAMES and event.end_ns is not None:
            published[event.seq] = event.end_ns
        elif event.name == WRITE and event.end_ns is not None and event.seq in published:
            changes[f"unwritten: {event.track}"] += [(published[event.seq], 1), (event.end_ns, -1)]
    for name, steps in changes.items():
        count = 0
        for ns, step in sorted(steps):
            count += step
            # Stamps are taken outside of locks: one step may be seen before the one that it answers.
            yield name, ns, max(0, count)


def _meta(name: str, tid: int, /, **args: Any) -> dict[str, Any]:
    return {"name": name, "ph": "M", "pid": _PID, "tid": tid, "args": args}


def _eighths(ns: int) -> float:
    """Microseconds, to the nearest eighth."""
    return round(ns / 125) * 0.125
