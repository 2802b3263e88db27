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
from bedside.runtime.result import Dropped, Failed, Reason, Result, Withheld
from bedside.runtime.stream.capture import Capture, StreamLimits
from bedside.runtime.stream.delivery import Delivery, DeliverySummary
from bedside.runtime.stream.ending import Ending
from bedside.runtime.stream.guard import Guard
from bedside.runtime.stream.inference import Answer, Inference
from bedside.runtime.stream.ladder import Ladder, Rung
from bedside.runtime.stream.ledger import Ledger, LedgerSnapshot
from bedside.runtime.stream.mailbox import Mailbox, Policy
from bedside.runtime.stream.publication import Publisher, StreamIdentity
from bedside.runtime.stream.trace import INFER, Trace
from bedside.runtime.tasks import TaskDecoder

__all__ = ["Pipeline", "StreamIdentity", "StreamLimits", "StreamSummary"]

#: How long a stream that is stopped waits for its source and its sinks to return, in seconds.
SHUTDOWN_S = 1.0

#: How long sinks may take for what they hold when a stream ends by itself, in seconds.
FLUSH_S = 30.0

#: A frame without an answer from the model.
_NOTHING = Answer(None)


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
        ladder: Of which `loaded` is the first rung; None where there is no other.
        policy: None chooses `latest` for live sources and `all` for recordings.
        limits: See `StreamLimits`.
        clock: For stamps and ages.
        on_result: Called with every result on the inference thread, for progress; must be quick.
        trace: Records where the time of every frame goes.

    Attributes:
        ledger: Of the stream; any thread may look at it.
        ladder: Of the stream.
        latency: Of every frame that got a result, whatever rung it was on.
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
        ladder: Ladder | None = None,
        policy: Policy | None = None,
        limits: StreamLimits | None = None,
        clock: Clock | None = None,
        on_result: Callable[[Result], None] | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.ledger = Ledger()
        self.ladder = ladder or Ladder([Rung(loaded)])
        if self.ladder.rungs[0].loaded is not loaded:
            raise ValueError("the first rung of the ladder is another session")
        self._clock = clock or MonotonicClock()

        def inference(model: Loaded) -> Inference:
            return Inference(model, preprocess, task, self._clock, guard=guard, trace=trace)

        self._inferences = [inference(rung.loaded) for rung in self.ladder.rungs]
        self._standing = 0
        self.latency = LatencyRecorder((*self._inferences[0].stages, "age"))
        self._task = task
        self._sinks = tuple(sinks)
        self._policy = policy
        self._limits = limits or StreamLimits()
        self._trace = trace
        self._max_age_ns: int | None = None
        self._asked = threading.Event()
        self._ending = Ending()
        self._capture = Capture(source, self.ledger, self._limits, self._clock, self._ending, trace)
        self._publisher = Publisher(identity, self.ledger, self._clock, on_result)

    def stop(self) -> None:
        """End the stream soon: what waits is dropped and counted. Any thread may call it."""
        self._ending.stop.set()
        self._asked.set()
        self._capture.cancel()
        self._capture.drain()
        for delivery in self._publisher.deliveries:
            delivery.interrupt(SHUTDOWN_S)
        # A source or a sink may hang in `open`.
        self._capture.opened.set()

    def run(self) -> StreamSummary:
        """Process the stream to its end.

        Returns:
            The summary; its `error` says what ended the stream early, if anything did.
        """
        capture, publisher, ending = self._capture, self._publisher, self._ending
        capture.start()
        capture.opened.wait()
        mailbox: Mailbox | None = None
        try:
            if capture.info is not None:
                mailbox = self._prepare(capture.info)
        except SinkError as error:
            ending.end_with(error)
        finally:
            capture.read_into(mailbox)
        try:
            if mailbox is not None:
                self._infer(mailbox)
        finally:
            ending.stop.set()
            capture.finish()
            capture.drain()
            for delivery in publisher.deliveries:
                delivery.begin_close()
            capture.join(SHUTDOWN_S)
            summaries = tuple(d.close(FLUSH_S) for d in publisher.deliveries)
            ledger = self.ledger.close()
        if ending.crash is not None:
            raise ending.crash
        for delivery in publisher.deliveries:
            if delivery.error is not None:
                ending.note(delivery.error)
        elapsed, fps = publisher.rate()
        return StreamSummary(ledger, elapsed, fps, capture.info, summaries, ending.error)

    def _prepare(self, info: SourceInfo) -> Mailbox:
        policy: Policy = self._policy or ("latest" if info.live else "all")
        if policy == "latest":
            if self._limits.max_age_ms is not None:
                self._max_age_ns = int(self._limits.max_age_ms * 1e6)
            self.ladder.begin(self._max_age_ns)
        for sink in self._sinks:
            waits = policy == "all" and (sink.durable or not info.live)
            delivery = Delivery(sink, wait=waits, trace=self._trace)
            # Known before it opens, and `_asked` looked at after it is known, so that `stop` reaches it.
            self._publisher.deliveries = (*self._publisher.deliveries, delivery)
            if self._asked.is_set():
                delivery.interrupt(SHUTDOWN_S)
            delivery.open(info)
        return Mailbox(policy)

    # On the caller's thread.

    def _infer(self, mailbox: Mailbox) -> None:
        while not self._ending.stop.is_set():
            frame = mailbox.get()
            if frame is None:
                return
            if self._trace is not None:
                self._trace.take()
            try:
                begun = self._clock.now_ns()
                refused = self.ladder.refusal(frame.seq, frame.captured_ns, begun)
                if refused is None:
                    self._process(frame, begun)
                else:
                    self._refuse(frame, refused)
            finally:
                frame.release()

    def _refuse(self, frame: Frame, reason: Dropped) -> None:
        self.ledger.lose(frame.seq, reason)
        if self._trace is not None:
            self._trace.mark(INFER, reason.value, frame.seq)

    def _process(self, frame: Frame, begun: int) -> None:
        ladder = self.ladder
        index, rung, state = ladder.index, ladder.rung, ladder.state()
        if index != self._standing:
            # Scores of two variants are not averaged into one.
            self._task.reset()
            self._standing = index
        answer = _NOTHING
        reason: Reason | None = None
        try:
            answer = self._inferences[index](frame)
            reason = answer.reason
        except FrameError as error:
            reason = Failed.GEOMETRY
            self._ending.end_with(error)
        except BedsideError as error:
            reason = Failed.ENGINE
            self._ending.end_with(error)
        published = self._clock.now_ns()
        age = published - frame.captured_ns
        if reason is None:
            self.latency.add(*answer.spent_ns, age)
            if self._max_age_ns is not None and age > self._max_age_ns:
                reason = Withheld.STALE
        broken = self._publisher.publish(frame, published, reason, answer, rung, state)
        if broken is not None:
            self._ending.end_with(broken)
        ladder.done(frame.seq, frame.captured_ns, begun, published)
        if self._trace is not None:
            self._trace.done(frame, published, reason)
            if ladder.index != index:
                self._trace.mark(INFER, f"step to rung {ladder.index}", frame.seq)
