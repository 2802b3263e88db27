"""The ledger: every captured frame is accounted for, exactly, at any moment.

`captured = processed + dropped(reason) + withheld(reason) + failed(reason) + in_flight`
"""

from __future__ import annotations

import threading
from typing import Any

import msgspec

from bedside.runtime.result import Dropped, Failed, Reason, Withheld


class LedgerSnapshot(msgspec.Struct, frozen=True):
    """All columns at one moment. Reasons with no frame are absent."""

    captured: int = 0
    processed: int = 0
    dropped: dict[str, int] = {}
    withheld: dict[str, int] = {}
    failed: dict[str, int] = {}
    in_flight: int = 0

    @property
    def settled(self) -> int:
        """Frames whose fate is known."""
        lost = (self.dropped, self.withheld, self.failed)
        return self.processed + sum(sum(column.values()) for column in lost)

    @property
    def balanced(self) -> bool:
        """Whether the equation holds."""
        return self.captured == self.settled + self.in_flight

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


class Ledger:
    """Counts frames in and out. Thread-safe.

    Which frames are in flight is remembered one by one, so that a frame that is settled twice, or never
    captured, is an error where it happens and not a wrong sum at the end.

    A closed ledger does not change any more. A thread that hung in a driver may return after that, with a
    frame in its hands that was written off or never counted: it may go on settling it, to no effect.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._captured = 0
        self._processed = 0
        self._in_flight: set[int] = set()
        self._columns: dict[Reason, int] = {}
        self._closed = False

    def capture(self, seq: int) -> None:
        """A frame was captured.

        Raises:
            ValueError: `seq` is in flight already.
        """
        with self._lock:
            if self._closed:
                return
            if seq in self._in_flight:
                raise ValueError(f"frame {seq} is captured twice")
            self._captured += 1
            self._in_flight.add(seq)

    def process(self, seq: int) -> None:
        """A result of this frame was published.

        Raises:
            ValueError: `seq` is not in flight.
        """
        with self._lock:
            if not self._closed:
                self._leave(seq)
                self._processed += 1

    def lose(self, seq: int, reason: Reason) -> None:
        """This frame has no result, and why.

        Raises:
            ValueError: `seq` is not in flight.
        """
        with self._lock:
            if not self._closed:
                self._leave(seq)
                self._add(reason, 1)

    def _add(self, reason: Reason, count: int) -> None:
        self._columns[reason] = self._columns.get(reason, 0) + count

    def _leave(self, seq: int) -> None:
        try:
            self._in_flight.remove(seq)
        except KeyError:
            raise ValueError(f"frame {seq} is not in flight") from None

    def close(self) -> LedgerSnapshot:
        """Whatever is still in flight becomes `dropped(shutdown)`; the last snapshot. May be called more than
        once."""
        with self._lock:
            if self._in_flight:
                self._add(Dropped.SHUTDOWN, len(self._in_flight))
                self._in_flight.clear()
            self._closed = True
        return self.snapshot()

    def snapshot(self) -> LedgerSnapshot:
        """All columns at this moment."""
        with self._lock:
            columns = dict(self._columns)
            captured, processed, in_flight = self._captured, self._processed, len(self._in_flight)

        def column(kind: type[Dropped] | type[Withheld] | type[Failed]) -> dict[str, int]:
            return {
                str(reason): count for reason, count in sorted(columns.items()) if isinstance(reason, kind)
            }

        return LedgerSnapshot(
            captured, processed, column(Dropped), column(Withheld), column(Failed), in_flight
        )
