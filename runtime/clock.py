"""Time. Everything that stamps, paces or waits takes a `Clock`, so that tests replace it."""

import threading
import time
from typing import Protocol

_DAY_NS = 86_400 * 10**9


class Clock(Protocol):
    """A monotonic clock in nanoseconds that can also wait."""

    def now_ns(self) -> int:
        """Monotonic time in ns. Never moved by wall-clock changes."""
        ...

    def unix_ns(self) -> int:
        """Wall-clock time in ns since 1970 UTC; only ever an anchor for people, never used in arithmetic."""
        ...

    def sleep_until(self, deadline_ns: int, stop: threading.Event | None = None) -> bool:
        """Wait until `deadline_ns`, or until `stop` is set.

        Returns:
            False when `stop` ended the wait.
        """
        ...


class MonotonicClock:
    """The clock of the host: `time.monotonic_ns`."""

    def now_ns(self) -> int:
        """Monotonic time in ns."""
        return time.monotonic_ns()

    def unix_ns(self) -> int:
        """Wall-clock time in ns since 1970 UTC."""
        return time.time_ns()

    def sleep_until(self, deadline_ns: int, stop: threading.Event | None = None) -> bool:
        """Sleep without spinning; see `Clock.sleep_until`."""
        while (remaining_ns := deadline_ns - time.monotonic_ns()) > 0:
            # In pieces: a cadence out of a file may ask for longer than the system can wait.
            seconds = min(remaining_ns, _DAY_NS) / 1e9
            if stop is None:
                time.sleep(seconds)
            elif stop.wait(seconds):
                return False
        return stop is None or not stop.is_set()


class ManualClock:
    """A clock that only moves when told, or when somebody waits on it.

    Args:
        start_ns: First reading, in ns.
        overshoot_ns: How much later than asked every wait ends, as real schedulers do.
    """

    def __init__(self, start_ns: int = 1_000_000_000, overshoot_ns: int = 0) -> None:
        self._now = start_ns
        self._unix_offset = 1_700_000_000_000_000_000
        self._overshoot = overshoot_ns
        self._lock = threading.Lock()

    def now_ns(self) -> int:
        """The time it was last moved to, in ns."""
        with self._lock:
            return self._now

    def unix_ns(self) -> int:
        """Wall-clock time in ns; `jump_wall` moves it without moving `now_ns`."""
        with self._lock:
            return self._now + self._unix_offset

    def advance(self, delta_ns: int) -> None:
        """Move monotonic time forward by `delta_ns`."""
        with self._lock:
            self._now += delta_ns

    def jump_wall(self, delta_ns: int) -> None:
        """Move only the wall clock, as an NTP step or a person does."""
        with self._lock:
            self._unix_offset += delta_ns

    def sleep_until(self, deadline_ns: int, stop: threading.Event | None = None) -> bool:
        """Jump to `deadline_ns` (plus the overshoot) at once."""
        if stop is not None and stop.is_set():
            return False
        with self._lock:
            if deadline_ns > self._now:
                self._now = deadline_ns + self._overshoot
        return True
