"""The way of a frame: `source -> mailbox -> preprocess -> session -> decode -> result -> sinks`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import msgspec

from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.errors import BedsideError, FrameError, SinkError
from bedside.runtime.frame import Frame
from bedside.runtime.latency import LatencyRecorder
from bedside.runtime.loading import Loaded
from bedside.runtime.preprocess import Preprocess
from bedside.runtime.protocols import Sink, Source, SourceInfo
from bedside.runtime.result import SCHEMA, Anchor, Dropped, Failed, Outcome, Reason, Result, Withheld
from bedside.runtime.stream.delivery import Delivery, DeliverySummary
from bedside.runtime.stream.guard import Guard
from bedside.runtime.stream.inference import Answer, Inference
from bedside.runtime.stream.ledger import Ledger, LedgerSnapshot
from bedside.runtime.stream.mailbox import Mailbox, Policy
from bedside.runtime.tasks import TaskDecoder

#: How long a stream that is stopped waits for its source and its sinks to return, in seconds.
SHUTDOWN_S = 1.0

#: How long sinks may take for what they hold when a stream ends by itself, in seconds.
FLUSH_S = 30.0

#: A frame without an answer from the model.
_NOTHING = Answer(None)


class StreamIdentity(msgspec.Struct, frozen=True):
    """What every result of a stream says about where it came from.

    Attributes:
        session: Random id of the run.
        stream: Name of the stream.
        boot: Id of the boot that monotonic stamps belong to.
        task: Of the bundle.
        bundle: Digest of the bundle.
    """

    session: str
    stream: str
    boot: str
    task: str
    bundle: str


class StreamLimits(msgspec.Struct, frozen=True):
    """When a stream ends by itself, and which results are too old.

    Attributes:
        max_frames: Stop capturing after so many frames.
        seconds: Stop capturing so long after the first frame was awaited.
        max_age_ms: On a live stream, older results are withheld.
    """

    max_frames: int | None = None
    seconds: float | None = None
    max_age_ms: float | None = None


class StreamSummary(msgspec.Struct, frozen=True):
    """How a stream went.

    Attributes:
        ledger: Closed: nothing in flight.
        elapsed_s: From the first publication to the last.
        fps: Publications per second in that time; None with fewer than two.
        info: Of the source; None if it never opened.
        sinks: What became of the results.
        error: What ended the stream early.
    """

    ledger: LedgerSnapshot
    elapsed_s: float
    fps: float | None
    info: SourceInfo | None
    sinks: tuple[DeliverySummary, ...]
    error: BedsideError | None = None


class Pipeline:
    """One stream. Build it, `run` it once.

    `run` captures on a thread of its own and infers on the caller's.

    Args:
        source: Opened, read and closed by the capture thread.
        loaded: A session whose goldens were replayed; stays the caller's.
        preprocess: For the session's input.
        task: Decodes the session's outputs.
        sinks: Each runs on a thread of its own.
        identity: For results.
        guard: Where the bundle has one: withholds frames that are out of distribution.
        policy: None chooses `latest` for live sources and `all` for recordings.
        limits: See `StreamLimits`.
        clock: For stamps and ages.
        on_result: Called with every result on the inference thread, for progress; must be quick.
    """

    def __init__(
        self,
        source: Source,
        loaded: Loaded,
        preprocess: Preprocess,
        task: TaskDecoder,
        sinks: Sequence[Sink],
        identity: StreamIdentity,
        *,
        guard: Guard | None = None,
        policy: Policy | None = None,
        limits: StreamLimits | None = None,
        clock: Clock | None = None,
        on_result: Callable[[Result], None] | None = None,
    ) -> None:
        self.ledger = Ledger()
        self._clock = clock or MonotonicClock()
        self._inference = Inference(loaded, preprocess, task, self._clock, guard=guard)
        self.latency = LatencyRecorder((*self._inference.stages, "age"))
        self._source = source
        self._engine = loaded.session.engine
        self._variant = loaded.variant.id
        hint = loaded.session.options.hint
        self._precision = loaded.variant.precision + (f"+{hint}" if hint else "")
        self._sinks = tuple(sinks)
        self._identity = identity
        self._policy = policy
        self._limits = limits or StreamLimits()
        self._on_result = on_result
        self._anchor = Anchor(self._clock.now_ns(), self._clock.unix_ns())
        self._stop = threading.Event()
        self._asked = threading.Event()
        self._opened = threading.Event()
        self._prepared = threading.Event()
        self._reading = True
        self._crash: BaseException | None = None
        self._info: SourceInfo | None = None
        self._error: BedsideError | None = None
        self._mailbox: Mailbox | None = None
        self._deliveries: tuple[Delivery, ...] = ()
        self._max_age_ns: int | None = None
        self._published = 0
        self._first_ns = self._last_ns = 0

    def stop(self) -> None:
        """End the stream soon: what waits is dropped and counted. Any thread may call it."""
        self._stop.set()
        self._asked.set()
        self._cancel_source()
        self._drain()
        for delivery in self._deliveries:
            delivery.interrupt(SHUTDOWN_S)
        # A source or a sink may hang in `open`.
        self._opened.set()

    def run(self) -> StreamSummary:
        """Process the stream to its end.

        Returns:
            The summary; its `error` says what ended the stream early, if anything did.
        """
        capture = threading.Thread(target=self._capture, name="capture", daemon=True)
        capture.start()
        self._opened.wait()
        try:
            # The mailbox needs the policy, and the policy needs to know whether the source is live.
            if self._info is not None:
                self._prepare(self._info)
        except SinkError as error:
            self._end_with(error)
        finally:
            self._prepared.set()
        try:
            self._infer()
        finally:
            self._stop.set()
            if self._reading:  # else it is at its end, and may be opened again by whoever owns it
                self._cancel_source()
            self._drain()
            for delivery in self._deliveries:
                delivery.begin_close()
            # A driver may block in `read` for ever; the thread is a daemon, and shutdown does not wait for
            # it.
            capture.join(SHUTDOWN_S)
            summaries = tuple(d.close(FLUSH_S) for d in self._deliveries)
            ledger = self.ledger.close()
        if self._crash is not None:
            raise self._crash
        for delivery in self._deliveries:
            if delivery.error is not None and self._error is None:
                self._error = delivery.error
        elapsed = (self._last_ns - self._first_ns) / 1e9
        fps = (self._published - 1) / elapsed if elapsed > 0 else None
        return StreamSummary(ledger, elapsed, fps, self._info, summaries, self._error)

    def _prepare(self, info: SourceInfo) -> None:
        policy: Policy = self._policy or ("latest" if info.live else "all")
        if policy == "latest" and self._limits.max_age_ms is not None:
            self._max_age_ns = int(self._limits.max_age_ms * 1e6)
        self._mailbox = Mailbox(policy)
        for sink in self._sinks:
            delivery = Delivery(sink, wait=policy == "all" and (sink.durable or not info.live))
            # Known before it opens, and `_asked` looked at after it is known, so that `stop` reaches it.
            self._deliveries = (*self._deliveries, delivery)
            if self._asked.is_set():
                delivery.interrupt(SHUTDOWN_S)
            delivery.open(info)

    def _end_with(self, error: BedsideError) -> None:
        if self._error is None:
            self._error = error
        self._stop.set()

    def _cancel_source(self) -> None:
        try:
            self._source.cancel()
        except Exception as error:  # whatever a source does, the rest of the shutdown has to happen
            self._crash = self._crash or error

    def _drain(self) -> None:
        if self._mailbox is not None:
            for frame in self._mailbox.drain():
                self._lose(frame, Dropped.SHUTDOWN)

    # Capture thread.

    def _capture(self) -> None:
        try:
            try:
                self._info = self._source.open()
            finally:
                self._opened.set()
            self._prepared.wait()
            if self._mailbox is not None:
                self._capture_all(self._mailbox)
        except BedsideError as error:
            # What was captured before it is still worth a result: the stream ends when the mailbox is empty.
            self._error = self._error or error
        except BaseException as error:  # a bug in a source must surface in `run`, not die with this thread
            self._crash = error
        finally:
            self._reading = False
            if self._mailbox is not None:
                self._mailbox.close()
            self._close_source()

    def _close_source(self) -> None:
        try:
            self._source.close()
        except BedsideError as error:
            self._error = self._error or error
        except BaseException as error:
            self._crash = self._crash or error

    def _capture_all(self, mailbox: Mailbox) -> None:
        limits = self._limits
        begin = self._clock.now_ns()
        until = None if limits.seconds is None else begin + int(limits.seconds * 1e9)
        captured = 0
        while not self._stop.is_set():
            if limits.max_frames is not None and captured >= limits.max_frames:
                return
            if until is not None and self._clock.now_ns() >= until:
                return
            try:
                frame = self._source.read()
            except FrameError:
                captured += 1
                # It has no frame to ask for its number; a negative one is nobody else's.
                self.ledger.capture(-captured)
                self.ledger.lose(-captured, Failed.UNDECODABLE)
                continue
            if frame is None:
                return
            captured += 1
            self.ledger.capture(frame.seq)
            lost = mailbox.put(frame)
            if lost is not None:
                self._lose(lost, Dropped.SHUTDOWN if lost is frame else Dropped.REPLACED)

    def _lose(self, frame: Frame, reason: Reason) -> None:
        self.ledger.lose(frame.seq, reason)
        frame.release()

    # Inference thread.

    def _infer(self) -> None:
        mailbox = self._mailbox
        if mailbox is None:
            return
        while not self._stop.is_set():
            frame = mailbox.get()
            if frame is None:
                return
            try:
                self._process(frame)
            finally:
                frame.release()

    def _process(self, frame: Frame) -> None:
        answer = _NOTHING
        reason: Reason | None = None
        try:
            answer = self._inference(frame)
            reason = answer.reason
        except FrameError as error:
            reason = Failed.GEOMETRY
            self._end_with(error)
        except BedsideError as error:
            reason = Failed.ENGINE
            self._end_with(error)
        published = self._clock.now_ns()
        age = published - frame.captured_ns
        if reason is None:
            self.latency.add(*answer.spent_ns, age)
            if self._max_age_ns is not None and age > self._max_age_ns:
                reason = Withheld.STALE
        self._publish(frame, published, reason, answer)

    def _publish(self, frame: Frame, published: int, reason: Reason | None, answer: Answer) -> None:
        if reason is None:
            outcome = Outcome.OK
        else:
            outcome = Outcome.FAILED if isinstance(reason, Failed) else Outcome.WITHHELD
        identity = self._identity
        result = Result(
            schema=SCHEMA,
            session=identity.session,
            stream=identity.stream,
            boot=identity.boot,
            anchor=self._anchor,
            seq=frame.seq,
            captured_ns=frame.captured_ns,
            published_ns=published,
            age_ms=(published - frame.captured_ns) / 1e6,
            pts_ns=frame.pts_ns,
            reference=frame.reference,
            outcome=outcome,
            reason=reason,
            task=identity.task,
            result=answer.result if reason is None else None,
            bundle=identity.bundle,
            variant=self._variant,
            engine=self._engine,
            precision=self._precision,
            guard=answer.guard,
        )
        self._first_ns = self._first_ns if self._published else published
        self._last_ns = published
        self._published += 1
        for delivery in self._deliveries:
            if not delivery.offer(result, frame) and delivery.wait and delivery.error is not None:
                # A recording can be run again; going on without its results would waste an hour to lose them.
                self._end_with(delivery.error)
        if reason is None:
            self.ledger.process(frame.seq)
        else:
            self.ledger.lose(frame.seq, reason)
        if self._on_result is not None:
            self._on_result(result)
