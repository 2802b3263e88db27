"""The order of calls on a source, enforced once: numbering, stamps, the end, closing."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.errors import FrameError, SourceError
from bedside.runtime.frame import Frame
from bedside.runtime.protocols import SourceInfo


class SourceBase(ABC):
    """A source that only has to say how it opens, gives its next frame, and closes.

    What it enforces: `seq` counts from 0 without gaps, unusable frames included; the stamp is taken before
    the read; behind the end, a loss or a `cancel` every `read` returns None; an `open` that fails leaves
    nothing open; `close` may come at any time and more than once, and a closed source can be opened again.

    Args:
        name: For results and errors.
        clock: For the stamps; the host's by default.
    """

    def __init__(self, name: str, clock: Clock | None = None) -> None:
        self.name = name
        self.clock: Clock = clock or MonotonicClock()
        self._cancelled = threading.Event()
        self._opened = False
        self._ended = False
        self._seq = 0

    def open(self) -> SourceInfo:
        """Acquire the device or file; see `Source.open`."""
        if self._opened:
            raise SourceError("is open already", where=self.name)
        self._opened, self._ended, self._seq = True, False, 0
        try:
            return self._open()
        except BaseException:
            self.close()
            raise

    def read(self) -> Frame | None:
        """The next frame; see `Source.read`."""
        if not self._opened:
            raise SourceError("read before open", where=self.name)
        if self._ended or self._cancelled.is_set():
            return None
        seq, self._seq = self._seq, self._seq + 1
        try:
            frame = self._next(seq, self.clock.now_ns())
        except FrameError:
            raise
        except SourceError:
            self._ended = True
            raise
        if frame is None:
            self._ended = True
        return frame

    def cancel(self) -> None:
        """Make this `read` and later ones return None; see `Source.cancel`."""
        self._cancelled.set()

    def close(self) -> None:
        """Release the device or file; see `Source.close`."""
        if self._opened:
            self._opened = False
            self._close()

    @abstractmethod
    def _open(self) -> SourceInfo:
        """Acquire; `_close` follows even where this raises."""

    @abstractmethod
    def _next(self, seq: int, now_ns: int) -> Frame | None:
        """Frame number `seq`, stamped `now_ns` unless the device gives a better moment; None at the end."""

    @abstractmethod
    def _close(self) -> None:
        """Release whatever `_open` acquired, however far it came."""
