"""Between the loop and a sink: a bounded queue, a thread, and a drop counter of its own."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import msgspec

from bedside.runtime.errors import BedsideError, SinkError
from bedside.runtime.frame import Frame
from bedside.runtime.protocols import Sink, SourceInfo
from bedside.runtime.result import Result


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

    Args:
        sink: What to run.
        wait: Whether a full queue makes the caller wait (a durable sink behind a recording) instead of losing
            the result.
        depth: Results that may wait. A sink that wants pixels holds that many frames.
    """

    def __init__(self, sink: Sink, *, wait: bool, depth: int = 64) -> None:
        self.sink = sink
        self.wait = wait
        self.error: SinkError | None = None
        self._depth = depth
        self._queue: deque[tuple[Result, Frame | None]] = deque()
        self._changed = threading.Condition()
        self._written = 0
        self._dropped = 0
        self._closing = False
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sink-{sink.name}"[:60], daemon=True)
        self._info: SourceInfo | None = None

    def open(self, info: SourceInfo) -> None:
        """Start the thread and open the sink on it.

        Raises:
            SinkError: The sink cannot be opened.
        """
        self._info = info
        self._thread.start()
        self._opened.wait()
        if self.error is not None:
            raise self.error

    def offer(self, result: Result, frame: Frame | None) -> bool:
        """Queue a result.

        Returns:
            False when it was lost: the queue is full, or the sink has failed.
        """
        pixels = frame if self.sink.needs_frame else None
        with self._changed:
            while self.wait and len(self._queue) >= self._depth and self.error is None and not self._closing:
                self._changed.wait()
            if self.error is not None or self._closing or len(self._queue) >= self._depth:
                self._dropped += 1
                return False
            self._queue.append((result, pixels.retain() if pixels is not None else None))
            if len(self._queue) == 1:
                self._changed.notify_all()
        return True

    def close(self, timeout_s: float | None = None) -> DeliverySummary:
        """Write what waits, close the sink, end the thread.

        Args:
            timeout_s: How long a sink may take; afterwards what it still holds counts as dropped.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                with self._changed:
                    self._dropped += self._clear()
                    self.error = self.error or SinkError(f"did not finish within {timeout_s} s", where=self.sink.name)
        return self.summary()

    def summary(self) -> DeliverySummary:
        """Counts so far."""
        with self._changed:
            return DeliverySummary(
                self.sink.name, self._written, self._dropped, str(self.error) if self.error else None
            )

    def _clear(self) -> int:
        count = len(self._queue)
        for _, frame in self._queue:
            if frame is not None:
                frame.release()
        self._queue.clear()
        return count

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, SinkError):
            # A sink may be anybody's code: whatever it raises is its failure, not the loop's.
            what = str(error) if isinstance(error, BedsideError) else f"{type(error).__name__}: {error}"
            error = SinkError(what, where=self.sink.name)
        with self._changed:
            self.error = self.error or error
            self._dropped += self._clear()
            self._changed.notify_all()

    def _run(self) -> None:
        assert self._info is not None
        try:
            self.sink.open(self._info)
        except Exception as error:  # the boundary to foreign code, see _fail
            self._fail(error)
        self._opened.set()
        if self.error is None:
            try:
                self._write_all()
            except Exception as error:
                self._fail(error)
        try:
            self.sink.close()
        except Exception as error:
            self._fail(error)

    def _write_all(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closing:
                    self._changed.wait()
                if not self._queue:
                    return
                # Left in the queue until written, so that `depth` bounds what is unwritten.
                result, frame = self._queue[0]
            self.sink.write(result, frame)
            with self._changed:
                if not self._queue:  # given up on by `close`, which has counted and released it
                    return
                self._queue.popleft()
                self._written += 1
                if frame is not None:
                    frame.release()
                if len(self._queue) == self._depth - 1:
                    self._changed.notify_all()
