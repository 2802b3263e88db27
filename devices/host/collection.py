"""Python's cyclic garbage collector, kept off the hot path.

Reference counts free what a frame leaves behind at once; the collector only finds cycles. Python starts it by the
count of new containers, in the middle of whatever runs, and its full pass walks every object that the imports made,
with the interpreter's lock held. So what is there when the models are loaded is frozen (`gc.freeze`: never walked
again), the automatic collections are off, and the inference thread asks here after every publication. A pass over
what came since then takes microseconds.

Memory stays bounded: a pass is made once a second in the time that a live stream has between two frames, and after
`LATEST_S` seconds or `MOST_OBJECTS` containers at the latest, whether there is time or not.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from bedside.devices.host.grants import Grant

#: Between two passes where there is time between frames, in seconds.
EARLIEST_S = 1.0

#: Between two passes where there is none, in seconds.
LATEST_S = 5.0

#: Containers made and not yet freed since the last pass, after which one is made at once.
MOST_OBJECTS = 20_000


class IdleCollector:
    """Collects when asked, between `start` and `stop`. Process-wide: at most one at a time.

    Args:
        now_ns: Monotonic time in ns.

    Attributes:
        passes: How many were made since `start`.
        longest_ns: The longest of them, in ns.
        freed: Unreachable objects that they found.
    """

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self.passes = self.longest_ns = self.freed = 0
        self._now_ns = now_ns
        self._last_ns = 0
        self._started = False
        self._was_enabled = False
        self._froze = False

    def start(self) -> Grant:
        """Collect once, freeze what is left, and turn the automatic passes off."""
        if not self._started:
            self._started = True
            self._was_enabled = gc.isenabled()
            gc.collect()
            # Objects that the program around us has frozen must stay so when we leave: `unfreeze` knows only all.
            self._froze = gc.get_freeze_count() == 0
            if self._froze:
                gc.freeze()
            gc.disable()
            self._last_ns = self._now_ns()
        asked = "between frames"
        return Grant(what="garbage collection", who="process", asked=asked, granted=True, have=asked)

    def tick(self, *, idle: bool) -> None:
        """A frame is done: make a pass if it is time.

        Args:
            idle: Whether the next frame is some time away.
        """
        if not self._started:
            return
        waited_s = (self._now_ns() - self._last_ns) / 1e9
        due = waited_s >= (EARLIEST_S if idle else LATEST_S)
        # Every generation's count begins anew with a full pass, so the youngest has all that came since.
        if due or gc.get_count()[0] >= MOST_OBJECTS:
            self._collect()

    def stop(self) -> None:
        """Put Python's collector back as it was found. May be called more than once."""
        if self._started:
            self._started = False
            if self._froze:
                gc.unfreeze()
            if self._was_enabled:
                gc.enable()

    def summary(self) -> dict[str, Any]:
        """Plain data: `passes`, `longest_ms`, `freed`."""
        return {"passes": self.passes, "longest_ms": self.longest_ns / 1e6, "freed": self.freed}

    def _collect(self) -> None:
        begin = self._now_ns()
        self.freed += gc.collect()
        self._last_ns = self._now_ns()
        self.passes += 1
        self.longest_ns = max(self.longest_ns, self._last_ns - begin)
