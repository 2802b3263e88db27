"""Between the loop and a sink: a bounded queue, a thread, and a drop counter of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from bedside.runtime.errors import BedsideError, SinkError
from bedside.runtime.frame import Frame
from bedside.runtime.protocols import Sink, SourceInfo
from bedside.runtime.result import Result
from bedside.runtime.stream.trace import WRITE, Trace

#: Unwritten results per sink; with pixels, eight 1080p frames are 50 MB.
DEPTH = 64
DEPTH_PIXELS = 8


class DeliverySummary(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of the results that one sink was offered."""

    sink: str
    written: int
    dropped: int
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"sink": self.sink, "written": self.written, "dropped": self.dropped, "error": self.error}


class Delivery:
    """Runs one sink on a thread of its own, so that it never slows the loop.

    Every result that was offered ends up written or dropped, and every frame that was held is let go: the one
    that a sink is busy with when the delivery is given up, only when the sink returns, since it still looks
    at it.

    Args:
        sink: What to run.
        wait: Whether a full queue makes the caller wait (a durable sink behind a recording) instead of losing
            the result.
        depth: Results that may be unwritten; None for `DEPTH`, or `DEPTH_PIXELS` where the sink holds the
            frames too.
        trace: Records how long each write took.
    """

    def __init__(
        self, sink: Sink, *, wait: bool, depth: int | None = None, trace: Trace | None = None
    ) -> None:
        self.sink = sink
        self.wait = wait
        self.error: SinkError | None = None
        self._depth = depth or (DEPTH_PIXELS if sink.needs_frame else DEPTH)
        self._trace = trace
        self._queue: deque[tuple[Result, Frame | None]] = deque()
        self._changed = threading.Condition()
        self._written = 0
        self._dropped = 0
        self._opened = False
        self._writing = False
        self._closing = False
        self._given_up = False
        self._ended = False
        self._grace_s = 0.0
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"sink-{sink.name}"[:60], daemon=True)
        self._info: SourceInfo | None = None

    def open(self, info: SourceInfo) -> None:
        """Start the thread and open the sink on it.

        Raises:
            SinkError: The sink cannot be opened, or did not in the time that `interrupt` left.
        """
        self._info = info
        self._thread.start()
        with self._changed:
            if not self._wait_for(lambda: self._opened):
                self._give_up("did not open in time")
        if self.error is not None:
            raise self.error

    def offer(self, result: Result, frame: Frame | None) -> bool:
        """Queue a result.

        Returns:
            False when it was lost: the queue is full, or the sink has failed.
        """
        pixels = frame if self.sink.needs_frame else None
        with self._changed:
            while self._full() and self.wait and self._deadline is None and self._accepts():
                self._changed.wait()
            if self._full() or not self._accepts():
                self._dropped += 1
                return False
            self._queue.append((result, pixels.retain() if pixels is not None else None))
            self._changed.notify_all()
        return True

    def interrupt(self, grace_s: float) -> None:
        """The run is to end now. Any thread may call it.

        `offer` waits no longer, a sink that is not durable loses what it has not begun, and `open` and
        `close` give up after `grace_s` seconds. A close that begins later has that long from its own
        beginning.
        """
        with self._changed:
            if self._deadline is None:
                self._grace_s = grace_s
                self._deadline = time.monotonic() + grace_s
            if not self.sink.durable:
                self._clear()
            self._changed.notify_all()

    def begin_close(self) -> None:
        """No more results. Returns at once, so that several sinks can finish side by side."""
        with self._changed:
            if self._deadline is not None and not self._closing:
                self._deadline = time.monotonic() + self._grace_s
            self._closing = True
            self._changed.notify_all()

    def close(self, timeout_s: float | None = None) -> DeliverySummary:
        """Write what waits, close the sink, end the thread. May be called more than once.

        Args:
            timeout_s: How long a sink may take; afterwards what it still holds counts as dropped.
        """
        self.begin_close()
        with self._changed:
            if self._thread.ident is not None and not self._wait_for(lambda: self._ended, timeout_s):
                self._give_up("did not finish in time")
        return self.summary()

    def summary(self) -> DeliverySummary:
        """Counts so far."""
        with self._changed:
            return DeliverySummary(
                self.sink.name, self._written, self._dropped, str(self.error) if self.error else None
            )

    # With `_changed` held.

    def _full(self) -> bool:
        return len(self._queue) + self._writing >= self._depth

    def _accepts(self) -> bool:
        return self.error is None and not self._closing

    def _wait_for(self, done: Callable[[], bool], timeout_s: float | None = None) -> bool:
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while not done():
            ends = [t for t in (until, self._deadline) if t is not None]
            left = min(ends) - time.monotonic() if ends else None
            if left is not None and left <= 0:
                return False
            self._changed.wait(left)
        return True

    def _give_up(self, what: str) -> None:
        if not self._given_up:
            self._given_up = True
            self._dropped += self._writing
            self._clear()
        self.error = self.error or SinkError(what, where=self.sink.name)

    def _clear(self) -> None:
        self._dropped += len(self._queue)
        for _, frame in self._queue:
            if frame is not None:
                frame.release()
        self._queue.clear()

    # On the sink's thread.

    def _run(self) -> None:
        assert self._info is not None
        # A sink may be anybody's code: whatever it raises is its failure, `SystemExit` included, not the
        # loop's.
        try:
            self.sink.open(self._info)
        except BaseException as error:
            self._fail(error)
        with self._changed:
            self._opened = True
            self._changed.notify_all()
        try:
            self._write_all()
        except BaseException as error:
            self._fail(error)
        try:
            self.sink.close()
        except BaseException as error:
            self._fail(error)
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        if not isinstance(error, SinkError):
            what = str(error) if isinstance(error, BedsideError) else f"{type(error).__name__}: {error}"
            error = SinkError(what, where=self.sink.name)
        with self._changed:
            self.error = self.error or error
            self._clear()
            self._changed.notify_all()

    def _write_all(self) -> None:
        while True:
            with self._changed:
                while not self._queue and self._accepts():
                    self._changed.wait()
                if not self._queue:
                    return
                result, frame = self._queue.popleft()
                self._writing = True
            written = False
            begin = 0 if self._trace is None else self._trace.clock.now_ns()
            try:
                self.sink.write(result, frame)
                written = True
                if self._trace is not None:
                    self._trace.span(self.sink.name, WRITE, result.seq, begin, self._trace.clock.now_ns())
            finally:
                if frame is not None:
                    frame.release()
                with self._changed:
                    self._writing = False
                    if not self._given_up:  # else `close` has counted it
                        self._written += written
                        self._dropped += not written
                    self._changed.notify_all()
