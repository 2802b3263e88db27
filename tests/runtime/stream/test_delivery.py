"""Sinks behind their queues: slow, blocked, raising; nothing of it reaches the loop."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.runtime.errors import BundleError, SinkError
from bedside.runtime.frame import Frame, FramePool
from bedside.runtime.protocols import Sink, SourceInfo
from bedside.runtime.result import Result
from bedside.runtime.stream.delivery import Delivery, DeliverySummary

INFO = SourceInfo("source", 4, 4)

#: Far longer than anything here takes; reached only by a test that is about to fail.
LONG = 20.0


class GatedSink:
    """A sink that writes when it is let, and raises what it is told to."""

    def __init__(self, *, durable: bool = False, needs_frame: bool = False, free: bool = True) -> None:
        self.name, self.durable, self.needs_frame = "gated:", durable, needs_frame
        self.gate, self.entered = threading.Event(), threading.Event()
        self.written: list[int] = []
        self.pixels: list[int] = []
        self.raises: dict[str, BaseException] = {}
        self.blocks_open = False
        self.closed = 0
        self.threads: set[int] = set()
        if free:
            self.gate.set()

    def _enter(self, what: str) -> None:
        self.threads.add(threading.get_ident())
        if what in self.raises:
            raise self.raises[what]

    def open(self, info: SourceInfo) -> None:
        assert info is INFO
        self._enter("open")
        if self.blocks_open:
            self.gate.wait()

    def write(self, result: Result, frame: Frame | None) -> None:
        self.entered.set()
        before = None if frame is None else int(frame.pixels[0, 0, 0])
        self.gate.wait()
        self._enter("write")
        self.written.append(result.seq)
        if frame is not None:
            assert int(frame.pixels[0, 0, 0]) == before, "the pixels were lent to somebody else"
            self.pixels.append(int(frame.pixels[0, 0, 0]))

    def close(self) -> None:
        self.closed += 1
        self._enter("close")


@pytest.fixture
def run() -> Iterator[Callable[..., Delivery]]:
    """Opened deliveries that are let go at the end, whatever happened."""
    made: list[Delivery] = []

    def opened(sink: Sink, **options: Any) -> Delivery:
        delivery = Delivery(sink, **{"wait": False, **options})
        made.append(delivery)
        delivery.open(INFO)
        return delivery

    yield opened
    for delivery in made:
        assert isinstance(delivery.sink, GatedSink)
        delivery.sink.gate.set()
        delivery.close(LONG)
        delivery._thread.join(LONG)
        assert not delivery._thread.is_alive()


def started(target: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def pooled(pool: FramePool, seq: int) -> Frame:
    lease = pool.lease()
    lease.buffer[:] = seq % 256
    return Frame(lease.buffer, seq, 0, lease=lease)


def lent(pool: FramePool) -> int:
    """Buffers that are out."""
    assert pool.misses == 0, "choose more slots: beyond them the pool does not know what is out"
    return pool._made - len(pool._free)


def test_everything_is_written_in_order_on_one_thread(run: Callable[..., Delivery], make_result: Any) -> None:
    sink = GatedSink()
    delivery = run(sink, wait=True, depth=3)
    for seq in range(200):
        assert delivery.offer(make_result(seq), None)
    assert delivery.close() == DeliverySummary("gated:", 200, 0)
    assert sink.written == list(range(200))
    assert sink.closed == 1
    assert sink.threads == {delivery._thread.ident}


def test_a_sink_that_wants_no_pixels_holds_none(run: Callable[..., Delivery], make_result: Any) -> None:
    pool = FramePool((1, 1, 1))
    delivery = run(GatedSink(free=False))
    frame = pooled(pool, 1)
    delivery.offer(make_result(1), frame)
    frame.release()
    assert lent(pool) == 0


@pytest.mark.fault("K2")
def test_a_blocked_sink_loses_its_own_results_only(run: Callable[..., Delivery], make_result: Any) -> None:
    pool = FramePool((1, 1, 1), slots=64)
    blocked, healthy = GatedSink(needs_frame=True, free=False), GatedSink(needs_frame=True)
    slow, other = run(blocked, depth=5), run(healthy, wait=True, depth=5)
    kept = []
    for seq in range(300):
        frame = pooled(pool, seq)
        kept.append(slow.offer(make_result(seq), frame))
        assert other.offer(make_result(seq), frame)
        frame.release()
        if seq == 0:
            assert blocked.entered.wait(LONG)
    assert kept == [True] * 5 + [False] * 295
    assert other.close() == DeliverySummary("gated:", 300, 0)
    assert healthy.pixels == [seq % 256 for seq in range(300)]
    assert slow.summary() == DeliverySummary("gated:", 0, 295)
    blocked.gate.set()
    assert slow.close() == DeliverySummary("gated:", 5, 295)
    assert blocked.pixels == [0, 1, 2, 3, 4], "what it holds is not written over"
    assert lent(pool) == 0


@pytest.mark.fault("K2")
def test_a_loop_beside_a_blocked_sink_never_waits(run: Callable[..., Delivery], make_result: Any) -> None:
    """Not a matter of time: the sink stays blocked until the loop is through."""
    delivery = run(GatedSink(free=False), depth=2)
    loop = started(lambda: [delivery.offer(make_result(seq), None) for seq in range(1000)])
    loop.join(LONG)
    assert not loop.is_alive()
    assert delivery.summary().dropped == 998


def test_a_durable_sink_makes_the_caller_wait(run: Callable[..., Delivery], make_result: Any) -> None:
    sink = GatedSink(durable=True, free=False)
    delivery = run(sink, wait=True, depth=2)
    assert delivery.offer(make_result(0), None)
    assert sink.entered.wait(LONG)
    assert delivery.offer(make_result(1), None)
    offered: list[bool] = []
    caller = started(lambda: offered.append(delivery.offer(make_result(2), None)))
    caller.join(0.05)
    assert caller.is_alive(), "the one that is being written still counts"
    sink.gate.set()
    caller.join(LONG)
    assert offered == [True]
    assert delivery.close() == DeliverySummary("gated:", 3, 0)


ERRORS: list[tuple[BaseException, str]] = [
    (SinkError("disk full", where="a.jsonl", hint="free some space"), "a.jsonl: disk full (free some space)"),
    (OSError(28, "No space left on device"), "gated:: OSError: [Errno 28] No space left on device"),
    (ValueError("two\nlines"), "gated:: ValueError: two lines"),
    (BundleError("odd"), "gated:: odd"),
    (SystemExit(3), "gated:: SystemExit: 3"),
    (MemoryError(), "gated:: MemoryError:"),
]


@pytest.mark.fault("K2")
@pytest.mark.parametrize(("error", "line"), ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("wait", [False, True])
def test_whatever_a_sink_raises_is_its_own_failure(
    error: BaseException, line: str, wait: bool, run: Callable[..., Delivery], make_result: Any
) -> None:
    pool = FramePool((1, 1, 1), slots=64)
    sink = GatedSink(needs_frame=True, free=False)
    sink.raises["write"] = error
    delivery = run(sink, wait=wait, depth=8)
    for seq in range(5):
        frame = pooled(pool, seq)
        assert delivery.offer(make_result(seq), frame)
        frame.release()
    sink.gate.set()
    summary = delivery.close()
    assert summary == DeliverySummary("gated:", 0, 5, line)
    assert isinstance(delivery.error, SinkError)
    assert sink.closed == 1, "a failed sink is closed all the same"
    assert not delivery.offer(make_result(9), pooled(pool, 9)), (
        "a failed sink takes no more, and nobody waits for it"
    )
    assert delivery.summary().dropped == 6
    assert lent(pool) == 1


def test_a_caller_that_waits_for_a_sink_that_fails_goes_on(
    run: Callable[..., Delivery], make_result: Any
) -> None:
    sink = GatedSink(durable=True, free=False)
    sink.raises["write"] = OSError("gone")
    delivery = run(sink, wait=True, depth=1)
    assert delivery.offer(make_result(0), None)
    offered: list[bool] = []
    caller = started(lambda: offered.append(delivery.offer(make_result(1), None)))
    assert sink.entered.wait(LONG)
    sink.gate.set()
    caller.join(LONG)
    assert offered == [False]


@pytest.mark.parametrize(("error", "line"), ERRORS, ids=lambda e: type(e).__name__)
def test_a_sink_that_does_not_open_says_so(error: BaseException, line: str, make_result: Any) -> None:
    sink = GatedSink()
    sink.raises["open"] = error
    delivery = Delivery(sink, wait=True)
    with pytest.raises(SinkError) as caught:
        delivery.open(INFO)
    assert str(caught.value) == line
    assert not delivery.offer(make_result(0), None)
    assert delivery.close() == DeliverySummary("gated:", 0, 1, line)
    assert sink.closed == 1


def test_a_failure_at_the_very_end_is_not_lost(run: Callable[..., Delivery], make_result: Any) -> None:
    sink = GatedSink()
    sink.raises["close"] = OSError("cannot finish the file")
    delivery = run(sink)
    delivery.offer(make_result(0), None)
    assert delivery.close() == DeliverySummary("gated:", 1, 0, "gated:: OSError: cannot finish the file")


def test_the_first_failure_is_the_one_that_is_told(run: Callable[..., Delivery], make_result: Any) -> None:
    sink = GatedSink()
    sink.raises = {"write": OSError("first"), "close": OSError("second")}
    delivery = run(sink)
    delivery.offer(make_result(0), None)
    assert "first" in str(delivery.close().error)


@pytest.mark.fault("K2")
def test_a_sink_that_never_returns_is_given_up(run: Callable[..., Delivery], make_result: Any) -> None:
    pool = FramePool((1, 1, 1), slots=64)
    sink = GatedSink(needs_frame=True, free=False)
    delivery = run(sink, depth=8)
    for seq in range(6):
        frame = pooled(pool, seq)
        delivery.offer(make_result(seq), frame)
        frame.release()
    assert sink.entered.wait(LONG)
    summary = delivery.close(0.01)
    assert summary == DeliverySummary("gated:", 0, 6, "gated:: did not finish in time")
    assert lent(pool) == 1, "the sink still looks at the one it is busy with"
    assert delivery.close(0.01) == summary, "counted once"
    sink.gate.set()
    delivery._thread.join(LONG)
    assert lent(pool) == 0
    assert delivery.summary() == summary, "what was given up stays given up"
    assert sink.closed == 1


def test_a_sink_that_hangs_in_open_can_be_interrupted(run: Callable[..., Delivery]) -> None:
    sink = GatedSink(free=False)
    sink.blocks_open = True
    delivery = Delivery(sink, wait=True)
    caught: list[SinkError] = []

    def opening() -> None:
        try:
            delivery.open(INFO)
        except SinkError as error:
            caught.append(error)

    caller = started(opening)
    delivery.interrupt(0.01)
    caller.join(LONG)
    assert [str(error) for error in caught] == ["gated:: did not open in time"]
    sink.gate.set()
    delivery._thread.join(LONG)
    assert sink.closed == 1
    assert delivery.close().error == "gated:: did not open in time"


@pytest.mark.fault("P4")
def test_an_interruption_frees_a_caller_that_waits(run: Callable[..., Delivery], make_result: Any) -> None:
    sink = GatedSink(durable=True, free=False)
    delivery = run(sink, wait=True, depth=1)
    assert delivery.offer(make_result(0), None)
    offered: list[bool] = []
    caller = started(lambda: offered.append(delivery.offer(make_result(1), None)))
    delivery.interrupt(LONG)
    caller.join(LONG)
    assert offered == [False]
    sink.gate.set()
    assert delivery.close() == DeliverySummary("gated:", 1, 1)


@pytest.mark.fault("P4")
@pytest.mark.parametrize("durable", [True, False])
def test_an_interruption_keeps_what_is_durable(
    durable: bool, run: Callable[..., Delivery], make_result: Any
) -> None:
    pool = FramePool((1, 1, 1), slots=64)
    sink = GatedSink(durable=durable, needs_frame=True, free=False)
    delivery = run(sink, depth=10)
    for seq in range(7):
        frame = pooled(pool, seq)
        delivery.offer(make_result(seq), frame)
        frame.release()
        if seq == 0:
            assert sink.entered.wait(LONG)
    delivery.interrupt(LONG)
    sink.gate.set()
    written = 7 if durable else 1
    assert delivery.close() == DeliverySummary("gated:", written, 7 - written)
    assert sink.written == list(range(written))
    assert lent(pool) == 0


def test_a_close_has_its_time_however_long_ago_the_interruption_was(
    run: Callable[..., Delivery], make_result: Any
) -> None:
    """An invocation may take longer than the grace; its result is written all the same."""
    sink = GatedSink(durable=True, free=False)
    delivery = run(sink)
    delivery.interrupt(LONG)
    delivery._deadline = 0.0
    assert delivery.offer(make_result(0), None)
    assert sink.entered.wait(LONG)
    threading.Timer(0.05, sink.gate.set).start()
    assert delivery.close() == DeliverySummary("gated:", 1, 0)


def test_an_interruption_wakes_a_close_that_waits(run: Callable[..., Delivery], make_result: Any) -> None:
    sink = GatedSink(free=False)
    delivery = run(sink)
    delivery.offer(make_result(0), None)
    assert sink.entered.wait(LONG)
    summaries: list[DeliverySummary] = []
    caller = started(lambda: summaries.append(delivery.close()))
    caller.join(0.05)
    assert caller.is_alive(), "nobody has said that it should hurry"
    delivery.interrupt(0.01)
    caller.join(LONG)
    assert summaries == [DeliverySummary("gated:", 0, 1, "gated:: did not finish in time")]


def test_close_comes_before_open_and_more_than_once(run: Callable[..., Delivery]) -> None:
    sink = GatedSink()
    assert Delivery(sink, wait=True).close() == DeliverySummary("gated:", 0, 0)
    assert sink.closed == 0
    delivery = run(sink)
    assert delivery.close() == delivery.close() == DeliverySummary("gated:", 0, 0)
    assert sink.closed == 1


def test_nothing_is_taken_after_close(run: Callable[..., Delivery], make_result: Any) -> None:
    delivery = run(GatedSink(), wait=True)
    delivery.close()
    assert not delivery.offer(make_result(0), None)
    assert delivery.summary().dropped == 1


@settings(max_examples=25, deadline=None)
@given(
    depth=st.integers(1, 5),
    wait=st.booleans(),
    fail_at=st.none() | st.integers(0, 30),
    interrupt_at=st.none() | st.integers(0, 30),
)
def test_every_result_is_written_or_dropped_and_every_frame_let_go(
    make_result: Any, depth: int, wait: bool, fail_at: int | None, interrupt_at: int | None
) -> None:
    class Failing(GatedSink):
        def write(self, result: Result, frame: Frame | None) -> None:
            if result.seq == fail_at:
                raise OSError("now")
            super().write(result, frame)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        pool = FramePool((1, 1, 1), slots=50)
        sink = Failing(needs_frame=True)
        delivery = Delivery(sink, wait=wait, depth=depth)
        delivery.open(INFO)
        taken = 0
        for seq in range(30):
            if seq == interrupt_at:
                delivery.interrupt(LONG)
            frame = pooled(pool, seq)
            taken += delivery.offer(make_result(seq), frame)
            frame.release()
        summary = delivery.close(LONG)
    finally:
        sys.setswitchinterval(interval)
    assert summary.written + summary.dropped == 30
    assert summary.written == len(sink.written) <= taken
    assert sink.written == sorted(sink.written)
    assert lent(pool) == 0
    if wait and fail_at is None and interrupt_at is None:
        assert summary.dropped == 0
