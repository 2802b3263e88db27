"""The way of a frame: every one accounted for, aged, and let go, whatever breaks."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bedside.runtime import engines
from bedside.runtime.answers import Classification
from bedside.runtime.bundle.decode import ClassificationDecode
from bedside.runtime.bundle.manifest import (
    EngineGolden,
    FileRef,
    Golden,
    InputSpec,
    Model,
    TensorSpec,
    Variant,
    VariantGolden,
)
from bedside.runtime.clock import ManualClock
from bedside.runtime.engines.protocol import Array, Session, SessionOptions
from bedside.runtime.errors import BedsideError, EngineError, FrameError, SinkError, SourceError
from bedside.runtime.frame import Frame, FramePool, Lease, Pixels
from bedside.runtime.geometry import Rect
from bedside.runtime.golden import GoldenReport
from bedside.runtime.loading import Loaded
from bedside.runtime.preprocess import Preprocessor
from bedside.runtime.protocols import SourceInfo
from bedside.runtime.result import Outcome, Result
from bedside.runtime.source_base import SourceBase
from bedside.runtime.stream import pipeline
from bedside.runtime.stream.ledger import LedgerSnapshot
from bedside.runtime.stream.pipeline import Pipeline, StreamIdentity, StreamLimits, StreamSummary
from bedside.runtime.tasks import make_task
from bedside.runtime.testing import sources as testing_sources
from bedside.runtime.testing.sessions import FakeSession
from bedside.runtime.testing.sources import ArraySource

ASSETS = Path(__file__).resolve().parents[2] / "assets"
LABELS = ("a", "b", "c", "d", "e")
SIZE = 16
PIXELS = TensorSpec(name="pixels", shape=(1, SIZE, SIZE, 3), dtype="uint8")
SCORES = TensorSpec(name="scores", shape=(1, len(LABELS)), dtype="float32")
IDENTITY = StreamIdentity(session="s", stream="main", boot="b", task="classification", bundle="0" * 64)
REF = FileRef(file="golden/x.npy", sha256="0" * 64, bytes=1)

#: Far longer than anything here takes; reached only by a test that is about to fail.
LONG = 20.0


def loaded(session: Session, precision: Any = "fp32") -> Loaded:
    variant = Variant(
        id="v",
        format="tflite",
        precision=precision,
        sha256="0" * 64,
        bytes=1,
        inputs=(PIXELS,),
        outputs=(SCORES,),
    )
    model = Model(
        input=InputSpec(width=SIZE, height=SIZE),
        outputs=("scores",),
        decode=ClassificationDecode(labels=LABELS),
        variants=(variant,),
        golden=Golden(
            engine=EngineGolden(input=REF),
            variants=(VariantGolden(variant="v", outputs=(REF,), tolerance=0.01),),
        ),
        default="v",
    )
    report = GoldenReport(
        engine=session.engine, variant="v", tolerance=0.01, samples=1, error=0.0, errors=(0.0,)
    )
    return Loaded(session, model, variant, report)


def fake(answer: Callable[[int], Any] | None = None, **options: Any) -> FakeSession:
    """A session that answers with the class whose index is the frame's first pixel; `answer` may say
    otherwise."""

    def respond(inputs: tuple[Array, ...]) -> Sequence[Array]:
        mark = int(inputs[0][0, 0, 0, 0])
        scores = np.zeros((1, len(LABELS)), np.float32)
        scores[0, mark % len(LABELS)] = 1.0
        said = None if answer is None else answer(mark)
        return [scores if said is None else np.full_like(scores, said)]

    return FakeSession((PIXELS,), (SCORES,), respond, **options)


def marked(count: int) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Frames that carry their number, modulo 256, in every pixel."""
    return [np.full((SIZE, SIZE, 3), seq % 256, np.uint8) for seq in range(count)]


class Sink:
    """Keeps results, and does what it is told to."""

    def __init__(self, *, durable: bool = True, needs_frame: bool = False) -> None:
        self.name, self.durable, self.needs_frame = "test:", durable, needs_frame
        self.results: list[Result] = []
        self.marks: list[int] = []
        self.opened = self.closed = 0
        self.refuses: BaseException | None = None
        self.fails_at: int | None = None
        self.hangs_in: str | None = None
        self.let_go = threading.Event()

    def _hang(self, what: str) -> None:
        if self.hangs_in == what:
            self.let_go.wait(LONG)

    def open(self, info: SourceInfo) -> None:
        self.opened += 1
        self._hang("open")
        if self.refuses is not None:
            raise self.refuses

    def write(self, result: Result, frame: Frame | None) -> None:
        self._hang("write")
        if result.seq == self.fails_at:
            raise SinkError("disk full", where=self.name)
        self.results.append(result)
        if frame is not None:
            self.marks.append(int(frame.pixels[0, 0, 0]))

    def close(self) -> None:
        self.closed += 1


class Watch:
    """Looks at the ledger all the time, on a thread of its own."""

    def __init__(self, stream: Pipeline) -> None:
        self.seen: list[LedgerSnapshot] = []
        self._stream, self._stop = stream, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._stop.is_set():
            snapshot = self._stream.ledger.snapshot()
            if not self.seen or self.seen[-1] != snapshot:
                self.seen.append(snapshot)

    def __enter__(self) -> Watch:
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-4)  # threads take turns more often, in odder places
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        sys.setswitchinterval(self._interval)
        self._stop.set()
        self._thread.join(LONG)
        self.check()

    def check(self) -> None:
        assert all(snapshot.balanced for snapshot in self.seen)
        for before, after in zip(self.seen, self.seen[1:], strict=False):
            assert before.captured <= after.captured
            assert before.settled <= after.settled


def build(
    source: Any,
    session: Session | None = None,
    sinks: Sequence[Any] = (),
    *,
    roi: Rect | None = None,
    **options: Any,
) -> Pipeline:
    ready = loaded(session or fake())
    preprocess, task = Preprocessor(ready.model.input, roi=roi), make_task(ready.model.decode)
    return Pipeline(source, ready, preprocess, task, sinks, IDENTITY, **options)


def run(stream: Pipeline) -> StreamSummary:
    """Run it watched; whatever happened, the books are closed and balance."""
    with Watch(stream):
        summary = stream.run()
    closed(stream)
    assert summary.ledger == stream.ledger.snapshot()
    return summary


def closed(stream: Pipeline) -> None:
    snapshot = stream.ledger.snapshot()
    assert snapshot.in_flight == 0
    assert snapshot.balanced


class CountingPool(FramePool):
    """Knows what is out, also beyond its slots."""

    out = 0

    def lease(self) -> Lease:
        lease = super().lease()
        with self._lock:
            self.out += 1
        return lease

    def _give_back(self, buffer: Pixels) -> None:
        with self._lock:
            self.out -= 1
        super()._give_back(buffer)


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing_sources, "FramePool", CountingPool)


def all_returned(pool: FramePool | None) -> bool:
    assert isinstance(pool, CountingPool)
    return pool.out == 0


class Lockstep(SourceBase):
    """Reads a frame only when the one before has been worked on, so that a manual clock gives exact ages."""

    def __init__(self, count: int, clock: ManualClock, *, live: bool = True, period_ns: int = 0) -> None:
        super().__init__("lockstep", clock)
        self._count, self._live, self._period = count, live, period_ns
        self.turn = threading.Semaphore(1)

    def done(self, _: Result) -> None:
        self.turn.release()

    def _open(self) -> SourceInfo:
        return SourceInfo(self.name, SIZE, SIZE, live=self._live)

    def _next(self, seq: int, now_ns: int) -> Frame | None:
        if seq >= self._count:
            return None
        while not self.turn.acquire(timeout=0.1):
            if self._cancelled.is_set():
                return None
        assert isinstance(self.clock, ManualClock)
        self.clock.advance(self._period)
        return Frame(np.full((SIZE, SIZE, 3), seq % 256, np.uint8), seq, self.clock.now_ns(), self.name)

    def _close(self) -> None:
        """Nothing is held."""


def lockstep(
    count: int, answer: Callable[[int, ManualClock], Any], **options: Any
) -> tuple[StreamSummary, list[Result]]:
    """Run frames one by one; `answer(mark, clock)` moves the clock."""
    clock = ManualClock()
    source = Lockstep(count, clock, live=options.pop("live", True), period_ns=options.pop("period_ns", 0))
    results: list[Result] = []

    def on_result(result: Result) -> None:
        results.append(result)
        source.done(result)

    summary = run(
        build(source, fake(lambda mark: answer(mark, clock)), clock=clock, on_result=on_result, **options)
    )
    return summary, results


# What comes out.


@pytest.fixture(scope="module")
def tiny() -> Iterator[Session]:
    session = engines.compile_model(
        "litert", (ASSETS / "tiny_uint8.tflite").read_bytes(), "tflite", SessionOptions(threads=1)
    )
    yield session
    session.close()


def test_a_recording_through_a_real_model(tiny: Session) -> None:
    with np.load(ASSETS / "tiny.npz") as reference:
        frames, scores = reference["frames"], reference["scores"]
    source = ArraySource([frames[i % len(frames)] for i in range(60)], color="rgb", fps=25.0, pooled=True)
    sink, pixels = Sink(), Sink(durable=False, needs_frame=True)
    stream = build(source, tiny, [sink, pixels])
    summary = run(stream)
    assert summary.error is None
    assert summary.ledger == LedgerSnapshot(captured=60, processed=60)
    assert [(s.written, s.dropped, s.error) for s in summary.sinks] == [(60, 0, None)] * 2
    assert [r.seq for r in sink.results] == list(range(60))
    assert pixels.marks == [int(frames[i % len(frames)][0, 0, 0]) for i in range(60)]
    for result in sink.results:
        wanted = scores[result.seq % len(frames)]
        assert result.outcome == Outcome.OK
        assert isinstance(result.result, Classification)
        assert result.result.index == int(wanted.argmax())
        assert result.result.score == pytest.approx(float(wanted.max()), rel=1e-4)
        assert result.age_ms == (result.published_ns - result.captured_ns) / 1e6 >= 0
        assert result.pts_ns == result.seq * 40_000_000
        assert (result.engine, result.variant, result.precision) == ("litert", "v", "fp32")
    assert len({r.anchor for r in sink.results}) == 1
    assert stream.latency.stages == ("preprocess", "invoke", "decode", "age")
    assert all(stream.latency.summary()[stage]["samples"] == 60 for stage in stream.latency.stages)
    assert all_returned(source.pool)


def test_the_precision_hint_is_told() -> None:
    results: list[Result] = []
    session = fake(options=SessionOptions(hint="bf16"))
    run(build(ArraySource(marked(1)), session, on_result=results.append))
    assert results[0].precision == "fp32+bf16"


def test_results_carry_what_the_source_knew() -> None:
    sink = Sink()
    run(build(ArraySource(marked(3), fps=10.0, name="probe"), sinks=[sink]))
    assert [r.reference.frame_index for r in sink.results if r.reference] == [0, 1, 2]
    assert [r.pts_ns for r in sink.results] == [0, 100_000_000, 200_000_000]


# The ledger.


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("policy", ["all", "latest"])
def test_the_books_balance_at_every_moment(policy: Any, pooled: bool) -> None:
    looks: list[bool] = []

    class Looking(ArraySource):
        def read(self) -> Frame | None:
            looks.append(stream.ledger.snapshot().balanced)
            return super().read()

    source = Looking(marked(3000), pooled=pooled)
    sink = Sink(durable=policy == "all", needs_frame=True)
    stream = build(
        source,
        sinks=[sink],
        policy=policy,
        on_result=lambda _: looks.append(stream.ledger.snapshot().balanced),
    )
    with Watch(stream):
        summary = stream.run()
    assert summary.error is None
    assert summary.ledger.captured == 3000
    assert len(looks) == 3001 + summary.ledger.processed
    assert all(looks)
    assert set(summary.ledger.dropped) <= {"replaced"}
    assert summary.ledger.processed == summary.sinks[0].written + summary.sinks[0].dropped
    assert sink.marks == [r.seq % 256 for r in sink.results], "pixels of one frame with the result of another"
    if policy == "all":
        assert summary.ledger.processed == 3000 == len(sink.results)
    assert not pooled or all_returned(source.pool)


class TwiceTooFast(SourceBase):
    """A live source that gives two frames in the time that one invocation takes, whatever the host."""

    def __init__(self, count: int) -> None:
        super().__init__("fast")
        self.count, self.given = count, threading.Semaphore(0)
        self.pool = CountingPool((SIZE, SIZE, 3), slots=16)
        self.room = threading.Semaphore(2)
        self.newest = -1

    def _open(self) -> SourceInfo:
        return SourceInfo(self.name, SIZE, SIZE, live=True)

    def _next(self, seq: int, now_ns: int) -> Frame | None:
        if seq >= self.count:
            for _ in range(2 * self.count):
                self.given.release()
            return None
        self.room.acquire(timeout=LONG)
        lease = self.pool.lease()
        lease.buffer[:] = seq % 256
        self.newest = seq
        self.given.release()
        return Frame(lease.buffer, seq, now_ns, self.name, lease=lease)

    def invoke(self, _: int) -> None:
        """One invocation: as long as two frames take."""
        for _ in range(2):
            self.room.release()
        for _ in range(2):
            self.given.acquire(timeout=LONG)

    def _close(self) -> None:
        """Nothing is held."""


@pytest.mark.fault("S7")
def test_latest_at_twice_the_possible_rate() -> None:
    source = TwiceTooFast(1200)
    lag: list[int] = []
    sink = Sink(durable=False, needs_frame=True)
    stream = build(source, fake(source.invoke), [sink], on_result=lambda r: lag.append(source.newest - r.seq))
    with Watch(stream) as watch:
        summary = stream.run()
    closed(stream)
    ledger = summary.ledger
    assert ledger.captured == 1200
    assert ledger.dropped.keys() == {"replaced"}
    assert ledger.processed + ledger.dropped["replaced"] == 1200
    assert 400 <= ledger.processed <= 800, "half of them can be processed"
    assert max(lag) <= 5, "a frame that is worked on is never much older than the newest"
    assert len(watch.seen) > 10, "nobody looked"
    assert max(snapshot.in_flight for snapshot in watch.seen) <= 4
    assert all_returned(source.pool)


@pytest.mark.fault("S7")
def test_all_at_twice_the_possible_rate_makes_the_source_wait() -> None:
    source = ArraySource(marked(400), live=True, pooled=True)
    sink = Sink(durable=True)
    summary = run(build(source, sinks=[sink], policy="all"))
    assert summary.ledger == LedgerSnapshot(captured=400, processed=400)
    assert [r.seq for r in sink.results] == list(range(400))
    assert all_returned(source.pool)


@pytest.mark.parametrize(("live", "policy"), [(True, "latest"), (False, "all")])
def test_the_policy_follows_the_source(live: bool, policy: str) -> None:
    stream = build(ArraySource(marked(1), live=live))
    stream.run()
    mailbox = stream._capture.mailbox
    assert mailbox is not None
    assert mailbox.policy == policy


@pytest.mark.fault("S3")
def test_unusable_frames_are_counted_and_skipped() -> None:
    sink = Sink()
    summary = run(build(ArraySource(marked(20), unusable={0, 7, 8, 19}), sinks=[sink]))
    assert summary.error is None
    assert summary.ledger == LedgerSnapshot(captured=20, processed=16, failed={"undecodable": 4})
    assert [r.seq for r in sink.results] == [seq for seq in range(20) if seq not in (0, 7, 8, 19)]


@pytest.mark.fault("S3")
def test_a_stream_of_nothing_but_unusable_frames() -> None:
    summary = run(build(ArraySource(marked(50), unusable=range(50))))
    assert summary.ledger == LedgerSnapshot(captured=50, failed={"undecodable": 50})
    assert summary.elapsed_s == 0.0


@pytest.mark.fault("S3")
def test_a_source_that_does_not_count_from_0_is_counted_all_the_same() -> None:
    """`seq` is the source's; the books must not mix it up with those of unusable frames."""

    class Odd(ArraySource):
        def read(self) -> Frame | None:
            frame = super().read()
            return None if frame is None else Frame(frame.pixels, frame.seq + 1, frame.captured_ns)

    summary = run(build(Odd(marked(200), unusable=range(0, 200, 2))))
    assert summary.ledger == LedgerSnapshot(captured=200, processed=100, failed={"undecodable": 100})


def test_an_empty_recording() -> None:
    sink = Sink()
    summary = run(build(ArraySource([]), sinks=[sink]))
    assert summary.ledger == LedgerSnapshot()
    assert summary.error is None
    assert (sink.opened, sink.closed) == (1, 1)


# Limits.


@pytest.mark.parametrize("policy", ["all", "latest"])
def test_max_frames_counts_captured_frames(policy: Any) -> None:
    stream = build(ArraySource(marked(50), unusable={1}), policy=policy, limits=StreamLimits(max_frames=10))
    summary = run(stream)
    assert summary.ledger.captured == 10
    assert summary.ledger.failed == {"undecodable": 1}
    assert summary.error is None


def test_seconds_are_those_of_the_clock() -> None:
    summary, _ = lockstep(
        1000, lambda mark, clock: None, period_ns=10_000_000, limits=StreamLimits(seconds=0.25), live=False
    )
    assert summary.ledger == LedgerSnapshot(captured=25, processed=25)
    assert summary.elapsed_s == pytest.approx(0.24)


# Ages.


def test_an_age_is_from_capture_to_publication() -> None:
    summary, results = lockstep(4, lambda mark, clock: clock.advance(1_000_000 * (mark + 1)))
    assert [r.age_ms for r in results] == [1.0, 2.0, 3.0, 4.0]
    assert summary.ledger.processed == 4


def test_a_stale_result_is_withheld_on_a_live_stream() -> None:
    limits = StreamLimits(max_age_ms=50.0)
    summary, results = lockstep(6, lambda mark, clock: clock.advance(50_000_000 + (mark % 2)), limits=limits)
    assert summary.ledger == LedgerSnapshot(captured=6, processed=3, withheld={"stale": 3})
    stale = [r for r in results if r.seq % 2]
    assert all(r.outcome == Outcome.WITHHELD and r.reason == "stale" and r.result is None for r in stale)
    assert all(r.age_ms > 50 for r in stale)
    assert all(r.outcome == Outcome.OK and r.result is not None for r in results if r.seq % 2 == 0)


def test_a_recording_has_no_stale_results() -> None:
    limits = StreamLimits(max_age_ms=1.0)
    summary, _ = lockstep(3, lambda mark, clock: clock.advance(10**9), limits=limits, live=False)
    assert summary.ledger == LedgerSnapshot(captured=3, processed=3)


@pytest.mark.fault("S8")
def test_a_jump_of_the_wall_clock_moves_no_age() -> None:
    def jumping(mark: int, clock: ManualClock) -> None:
        clock.advance(7_000_000)
        clock.jump_wall((-1) ** mark * 10**18)

    limits = StreamLimits(max_age_ms=50.0, seconds=3600)
    summary, results = lockstep(6, jumping, limits=limits)
    assert summary.ledger == LedgerSnapshot(captured=6, processed=6)
    assert {r.age_ms for r in results} == {7.0}
    assert len({r.anchor for r in results}) == 1


@pytest.mark.fault("B12")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_withheld(value: float) -> None:
    sink = Sink()
    session = fake(lambda mark: value if mark in (1, 2) else None)
    summary = run(build(ArraySource(marked(5)), session, [sink]))
    assert summary.error is None
    assert summary.ledger == LedgerSnapshot(captured=5, processed=3, withheld={"not-finite": 2})
    withheld = [r for r in sink.results if r.seq in (1, 2)]
    assert all((r.outcome, r.reason, r.result) == ("withheld", "not-finite", None) for r in withheld)


# What breaks.


def test_an_engine_that_fails_ends_the_stream() -> None:
    def answer(mark: int) -> None:
        if mark == 5:
            raise EngineError("out of memory", where="fake")

    sink = Sink()
    source = ArraySource(marked(500), pooled=True)
    summary = run(build(source, fake(answer), [sink]))
    assert isinstance(summary.error, EngineError)
    assert summary.ledger.processed == 5
    assert summary.ledger.failed == {"engine": 1}
    assert set(summary.ledger.dropped) <= {"shutdown"}
    assert (sink.results[-1].outcome, sink.results[-1].reason) == ("failed", "engine")
    assert all_returned(source.pool)


def test_a_region_outside_the_frame_ends_the_stream() -> None:
    summary = run(build(ArraySource(marked(5)), roi=Rect(10, 10, 10, 10)))
    assert isinstance(summary.error, FrameError)
    assert summary.ledger.failed == {"geometry": 1}
    assert summary.ledger.processed == 0


@pytest.mark.parametrize("policy", ["all", "latest"])
def test_a_source_that_is_lost_in_mid_stream(policy: Any) -> None:
    sink = Sink()
    source = ArraySource(marked(50), lost_at=30, pooled=True)
    summary = run(build(source, sinks=[sink], policy=policy))
    assert isinstance(summary.error, SourceError)
    assert summary.error.exit_code == 4
    assert summary.ledger.captured == 30
    assert sink.closed == 1
    if policy == "all":
        assert summary.ledger.processed == 30, "what was captured before is still worth a result"
    assert all_returned(source.pool)


def test_a_source_that_does_not_open() -> None:
    sink = Sink()
    summary = run(build(ArraySource(marked(5), refuse_open=True), sinks=[sink]))
    assert isinstance(summary.error, SourceError)
    assert summary.ledger == LedgerSnapshot()
    assert summary.info is None
    assert summary.sinks == ()
    assert sink.opened == 0, "no file is touched for a stream that never began"


def test_a_sink_that_does_not_open() -> None:
    first, second, third = Sink(), Sink(), Sink()
    second.refuses = SinkError("read-only", where="test:")
    source = ArraySource(marked(500))
    summary = run(build(source, sinks=[first, second, third]))
    assert isinstance(summary.error, SinkError)
    assert summary.ledger.captured == 0
    assert (first.opened, first.closed) == (1, 1)
    assert third.opened == 0
    assert not source._opened


@pytest.mark.fault("K2")
@pytest.mark.parametrize("durable", [True, False])
def test_a_recording_stops_when_its_results_are_lost(durable: bool) -> None:
    sink, other = Sink(durable=durable), Sink()
    sink.fails_at = 3
    summary = run(build(ArraySource(marked(5000)), sinks=[sink, other], policy="all"))
    assert isinstance(summary.error, SinkError)
    assert summary.ledger.captured < 5000
    failing = summary.sinks[0]
    assert failing.written == 3
    assert failing.written + failing.dropped == summary.ledger.processed == summary.sinks[1].written


@pytest.mark.fault("K2")
@pytest.mark.parametrize("durable", [True, False])
def test_a_live_stream_goes_on_without_a_sink_that_failed(durable: bool) -> None:
    clock = ManualClock()
    source = Lockstep(300, clock)
    sink, other = Sink(durable=durable), Sink()
    sink.fails_at = 3
    summary = run(build(source, sinks=[sink, other], clock=clock, on_result=source.done))
    assert summary.ledger.captured == 300
    assert summary.ledger.processed == 300
    assert isinstance(summary.error, SinkError), "and it is told at the end"
    assert summary.sinks[0].written == 3
    assert summary.sinks[0].dropped == 297


@pytest.mark.fault("K2")
def test_a_blocked_sink_does_not_slow_a_live_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "FLUSH_S", 0.05)
    clock = ManualClock()
    source = Lockstep(300, clock)
    blocked, healthy = Sink(durable=False, needs_frame=True), Sink()
    blocked.hangs_in = "write"
    try:
        summary = run(build(source, sinks=[blocked, healthy], clock=clock, on_result=source.done))
        assert summary.ledger == LedgerSnapshot(captured=300, processed=300)
        assert summary.sinks[0].dropped == 300
        assert summary.sinks[1].written + summary.sinks[1].dropped == 300
        assert str(summary.error) == "test:: did not finish in time"
    finally:
        blocked.let_go.set()


@pytest.mark.parametrize(
    ("where", "kind"),
    [
        *((where, ZeroDivisionError) for where in ("open", "read", "close", "cancel")),
        # In `cancel` it would be raised on the caller's own thread, where it means what it says.
        *((where, SystemExit) for where in ("open", "read", "close")),
    ],
)
def test_a_bug_in_a_source_surfaces(where: str, kind: type[BaseException]) -> None:
    class Buggy(ArraySource):
        def _fail(self, what: str) -> None:
            if what == where:
                raise kind("bug")

        def open(self) -> SourceInfo:
            self._fail("open")
            return super().open()

        def read(self) -> Frame | None:
            frame = super().read()
            if frame is not None and frame.seq == 10:
                self._fail("read")
            return frame

        def close(self) -> None:
            super().close()
            self._fail("close")

        def cancel(self) -> None:
            super().cancel()
            self._fail("cancel")

    sink = Sink()
    stream = build(
        Buggy(marked(2000)), sinks=[sink], on_result=lambda r: stream.stop() if r.seq == 30 else None
    )
    with pytest.raises(kind):
        stream.run()
    closed(stream)
    assert sink.opened == sink.closed


@pytest.mark.parametrize("where", ["session", "on_result"])
def test_a_bug_on_the_inference_thread_surfaces(where: str) -> None:
    def bug(mark: int) -> None:
        if mark == 5 and where == "session":
            raise ZeroDivisionError("bug")

    def on_result(result: Result) -> None:
        if result.seq == 5 and where == "on_result":
            raise ZeroDivisionError("bug")

    source, sink = ArraySource(marked(500), pooled=True), Sink(needs_frame=True)
    stream = build(source, fake(bug), [sink], on_result=on_result)
    with pytest.raises(ZeroDivisionError):
        stream.run()
    closed(stream)
    assert sink.closed == 1
    assert all_returned(source.pool)
    assert not source._opened


def test_any_error_of_ours_while_a_frame_is_worked_on_ends_the_stream_in_order() -> None:
    stream = build(ArraySource(marked(5)))

    def refuse(*_: object) -> None:
        raise BedsideError("cannot")

    stream._inferences = [refuse]  # type: ignore[list-item]
    summary = run(stream)
    assert str(summary.error) == "cannot"
    assert summary.ledger.failed == {"engine": 1}


# Stopping.


@pytest.mark.fault("P4")
@pytest.mark.parametrize("policy", ["all", "latest"])
def test_stopping_in_mid_stream_drops_what_waits(policy: Any) -> None:
    source = ArraySource(marked(100_000), pooled=True)
    sink = Sink(needs_frame=True)
    stream = build(source, sinks=[sink], policy=policy)

    def on_result(result: Result) -> None:
        if len(stream.latency.samples("age")) == 20:
            stopper = threading.Thread(target=stream.stop)
            stopper.start()
            stopper.join(LONG)

    stream._publisher.on_result = on_result
    summary = run(stream)
    assert summary.error is None
    assert summary.ledger.processed == 20
    assert set(summary.ledger.dropped) <= {"shutdown", "replaced"}
    assert sink.closed == 1
    assert all_returned(source.pool)
    if policy == "all":
        assert summary.ledger.captured < 40
        assert len(sink.results) == 20, "what was processed is written"


@pytest.mark.fault("P4")
def test_stopping_again_and_after_the_end_is_harmless() -> None:
    stream = build(ArraySource(marked(100)), on_result=lambda _: [stream.stop(), stream.stop()])  # type: ignore[func-returns-value]
    summary = run(stream)
    stream.stop()
    assert stream.ledger.snapshot() == summary.ledger


@pytest.mark.fault("P4")
def test_stopping_before_the_start() -> None:
    sink = Sink()
    stream = build(ArraySource(marked(100)), sinks=[sink])
    stream.stop()
    assert run(stream).ledger.captured == 0
    assert sink.opened == sink.closed


def stopped_while(stream: Pipeline, ready: Callable[[], bool]) -> StreamSummary:
    """Run on a thread, stop once `ready`, and see it end."""
    ended: list[StreamSummary] = []
    worker = threading.Thread(target=lambda: ended.append(run(stream)), daemon=True)
    worker.start()
    pause = threading.Event()
    for _ in range(2000):
        if ready():
            break
        pause.wait(0.005)
    assert ready()
    stream.stop()
    worker.join(LONG)
    assert ended, "it does not end"
    return ended[0]


@pytest.mark.fault("P4")
def test_stopping_while_the_source_waits() -> None:
    source = ArraySource(marked(50), hang_at=10, pooled=True)
    stream = build(source)
    summary = stopped_while(stream, lambda: stream.ledger.snapshot().processed == 10)
    assert summary.ledger == LedgerSnapshot(captured=10, processed=10)
    assert all_returned(source.pool)


class Deaf(ArraySource):
    """A driver that returns when it likes: neither `cancel` nor anything else wakes it."""

    def __init__(self, hangs_in: str, **options: Any) -> None:
        super().__init__(marked(50), **options)
        self.hangs_in, self.let_go, self.hanging = hangs_in, threading.Event(), threading.Event()

    def _hang(self, what: str) -> None:
        if self.hangs_in == what:
            self.hanging.set()
            self.let_go.wait(LONG)

    def _open(self) -> SourceInfo:
        self._hang("open")
        return super()._open()

    def _next(self, seq: int, now_ns: int) -> Frame | None:
        if seq == 5:
            self._hang("read")
        return super()._next(seq, now_ns)

    def cancel(self) -> None:
        """Ignored."""


@pytest.mark.fault("P4")
@pytest.mark.parametrize("hangs_in", ["open", "read"])
def test_stopping_while_a_driver_hangs(hangs_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "SHUTDOWN_S", 0.05)
    source, sink = Deaf(hangs_in, pooled=True), Sink()
    stream = build(source, sinks=[sink])
    try:
        summary = stopped_while(stream, source.hanging.is_set)
        captured = 5 if hangs_in == "read" else 0
        assert summary.ledger.captured == captured
        assert sink.opened == sink.closed == (hangs_in == "read")
    finally:
        source.let_go.set()
    for thread in threading.enumerate():
        if thread.name == "capture":
            thread.join(LONG)
    # The frame that it comes back with is let go, and changes no books.
    assert stream.ledger.snapshot() == summary.ledger
    assert source.pool is None or all_returned(source.pool)
    assert not source._opened


def test_a_source_that_waits_is_woken_when_the_stream_breaks() -> None:
    """A paced source may wait long for its next frame; after an error nobody wants that one."""

    def answer(mark: int) -> None:
        if mark == 9:
            raise EngineError("broken")

    source = ArraySource(marked(50), hang_at=10, pooled=True)
    summary = run(build(source, fake(answer)))
    assert isinstance(summary.error, EngineError)
    assert not source._opened, "it was left waiting"
    assert all_returned(source.pool)


def test_a_source_at_its_end_can_be_used_again() -> None:
    source = ArraySource(marked(5))
    for _ in range(2):
        assert run(build(source)).ledger.processed == 5


@pytest.mark.fault("P4")
def test_stopping_while_the_source_opens_reaches_a_sink_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "SHUTDOWN_S", 0.05)

    class Stopping(ArraySource):
        def _open(self) -> SourceInfo:
            stream.stop()
            stream._capture.opened.clear()
            return super()._open()

    sink = Sink()
    sink.hangs_in = "open"
    stream = build(Stopping(marked(5)), sinks=[sink])
    ended: list[StreamSummary] = []
    worker = threading.Thread(target=lambda: ended.append(run(stream)), daemon=True)
    worker.start()
    worker.join(LONG / 2)
    try:
        assert ended, "it waits for the sink"
    finally:
        sink.let_go.set()


@pytest.mark.fault("P4")
@pytest.mark.parametrize("hangs_in", ["open", "write"])
@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("policy", ["all", "latest"])
def test_stopping_while_a_sink_hangs(
    hangs_in: str, durable: bool, policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "SHUTDOWN_S", 0.05)
    sink, healthy = Sink(durable=durable), Sink()
    sink.hangs_in = hangs_in
    stream = build(ArraySource(marked(3000), pooled=True), sinks=[healthy, sink], policy=policy)

    def ready() -> bool:
        if hangs_in == "open":
            return sink.opened == 1
        delivery = stream._publisher.deliveries[1:]
        return bool(delivery) and (delivery[0]._full() or stream.ledger.snapshot().captured == 3000)

    try:
        summary = stopped_while(stream, ready)
        assert summary.sinks[1].written == 0
        assert healthy.closed == 1
        assert isinstance(summary.error, SinkError)
    finally:
        sink.let_go.set()


def test_no_thread_is_left_behind() -> None:
    run(build(ArraySource(marked(20)), sinks=[Sink(), Sink(needs_frame=True)]))
    left = [t.name for t in threading.enumerate() if t.name == "capture" or t.name.startswith("sink-test:")]
    assert left == []
