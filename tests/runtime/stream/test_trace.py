"""The recorder: what it keeps, what it costs, and what a stream tells it."""

from __future__ import annotations

import threading
import tracemalloc
from collections import Counter

import numpy as np
import pytest

from bedside.runtime.clock import ManualClock
from bedside.runtime.frame import Frame
from bedside.runtime.result import Withheld
from bedside.runtime.stream.trace import (
    CAPTURE,
    FRAME,
    FRAMES,
    INFER,
    PUBLISH,
    QUEUE,
    READ,
    SOURCE,
    WORK,
    Event,
    Trace,
)

PIXELS = np.zeros((1, 1, 3), np.uint8)


def test_what_is_recorded_comes_back_by_beginning() -> None:
    trace = Trace(ManualClock(50), frames=1)
    trace.span("b", "short", 2, 10, 20)
    trace.span("a", "late", 3, 30, 31)
    trace.span("b", "long", 2, 10, 40)
    trace.mark("a", "lost", 4)
    assert trace.events() == [
        Event("b", "long", 2, 10, 40),
        Event("b", "short", 2, 10, 20),
        Event("a", "late", 3, 30, 31),
        Event("a", "lost", 4, 50, None),
    ]
    assert trace.overwritten == 0


def test_the_ring_keeps_the_last_events() -> None:
    trace = Trace(ManualClock(), capacity=8)
    for k in range(21):
        trace.span("t", "e", k, k, k + 1)
    assert [e.seq for e in trace.events()] == list(range(13, 21))
    assert trace.overwritten == 13


@pytest.mark.parametrize("room", [{"frames": 0}, {"capacity": 0}, {"frames": -1}])
def test_a_ring_without_room_is_refused(room: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Trace(**room)


def test_the_way_of_a_frame() -> None:
    clock = ManualClock(1000)
    trace = Trace(clock)
    frame = Frame(PIXELS, 7, 1010)
    clock.advance(50)
    trace.read(frame, asked_ns=1000)
    clock.advance(5)
    trace.queued(7)
    clock.advance(5)
    trace.take()
    trace.stages(7, ("preprocess", "invoke", "decode"), 1060, 1070, 1090, 1095)
    clock.advance(60)
    trace.done(frame, 1100, None)
    assert trace.events() == [
        Event(CAPTURE, SOURCE, 7, 1000, 1010),
        Event(FRAMES, FRAME, 7, 1010, 1100),
        Event(CAPTURE, READ, 7, 1010, 1050),
        Event(CAPTURE, QUEUE, 7, 1050, 1055),
        Event(INFER, WORK, 7, 1060, 1120),
        Event(INFER, "preprocess", 7, 1060, 1070),
        Event(INFER, "invoke", 7, 1070, 1090),
        Event(INFER, "decode", 7, 1090, 1095),
        Event(INFER, PUBLISH, 7, 1100, 1120),
    ]


def test_a_stamp_from_before_the_question_or_from_the_future_gives_no_negative_time() -> None:
    clock = ManualClock(2000)
    trace = Trace(clock)
    trace.read(Frame(PIXELS, 0, 500), asked_ns=1900)  # was due before anybody asked
    trace.read(Frame(PIXELS, 1, 9000), asked_ns=1950)  # a source with a clock of its own
    assert [(e.name, e.seq, e.begin_ns, e.end_ns) for e in trace.events()] == [
        (READ, 0, 1900, 2000),
        (SOURCE, 1, 1950, 2000),
        (READ, 1, 2000, 2000),
    ]


def test_a_result_that_is_withheld_is_marked_and_stages_that_did_not_run_are_absent() -> None:
    trace = Trace(ManualClock(100))
    trace.take()
    trace.stages(1, ("preprocess", "guard", "invoke", "decode"), 10, 20, 30)
    trace.done(Frame(PIXELS, 1, 5), 90, Withheld.OUT_OF_DISTRIBUTION)
    names = [e.name for e in trace.events()]
    assert "invoke" not in names
    (mark,) = [e for e in trace.events() if e.end_ns is None]
    assert mark == Event(INFER, "out-of-distribution", 1, 90, None)


def test_two_threads_never_write_over_each_other() -> None:
    trace = Trace(capacity=40_000)

    def work(name: str) -> None:
        for k in range(4_000):
            trace.span(name, f"e{k % 7}", k, k, k + 1)

    threads = [threading.Thread(target=work, args=(f"t{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = trace.events()
    assert Counter(e.track for e in events) == {f"t{i}": 4_000 for i in range(4)}
    for i in range(4):
        mine = sorted(e.seq for e in events if e.track == f"t{i}")
        assert mine == list(range(4_000))


def test_recording_keeps_nothing_per_frame() -> None:
    clock = ManualClock()
    trace = Trace(clock, frames=16)
    frame = Frame(PIXELS, 300, 1_000_000_000)

    def one() -> None:
        clock.advance(1000)
        trace.read(frame, 1_000_000_000)
        trace.queued(300)
        trace.take()
        trace.stages(300, ("preprocess", "invoke", "decode"), 1, 2, 3, 4)
        trace.done(frame, 5, None)

    for _ in range(100):
        one()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(2_000):
            one()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 2_000, f"{grown} bytes after 2,000 frames"
