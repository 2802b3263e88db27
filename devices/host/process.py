"""What is set for the whole process while its streams run, and put back afterwards."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Any

import cv2

from bedside.devices.host import memory
from bedside.devices.host.collection import IdleCollector
from bedside.devices.host.grants import Grant
from bedside.devices.profiles import HostSection
from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.result import Result

#: How long one thread's Python code may keep others of its process waiting, in seconds; Python's own 5 ms are a
#: third of a frame at 60 a second.
SWITCH_S = 0.0005

#: A frame whose result took less of the frame interval than this leaves time for a pass of the collector.
_SLACK = 0.5


class ProcessSetup:
    """Garbage collection, locked memory, OpenCV's threads, switching between Python threads.

    Used as a context around loading and running: `loaded` is called in between, when nothing large is allocated
    any more. Whatever it changed is put back on leaving.

    Args:
        section: `[host]` of the profile.
        shared: Whether several streams run in this process, whose Python code has to take turns.
        clock: For the passes of the collector.
    """

    def __init__(self, section: HostSection, *, shared: bool = False, clock: Clock | None = None) -> None:
        self._section = section
        self._shared = shared
        self._collector = IdleCollector((clock or MonotonicClock()).now_ns)
        self._undo = ExitStack()
        self._grants: list[Grant] = []
        self._captured_ns = 0

    def __enter__(self) -> ProcessSetup:
        threads = self._section.opencv_threads
        if threads is not None:
            self._undo.callback(cv2.setNumThreads, cv2.getNumThreads())
            self._grants.append(_opencv(threads))
        if self._shared:
            before = sys.getswitchinterval()
            if before > SWITCH_S:
                self._undo.callback(sys.setswitchinterval, before)
                sys.setswitchinterval(SWITCH_S)
            have = f"after {1e3 * sys.getswitchinterval():g} ms"
            switching = Grant(what="thread switching", who="process", asked=have, granted=True, have=have)
            self._grants.append(switching)
        return self

    def __exit__(self, *exception: object) -> None:
        self._undo.close()

    def loaded(self) -> None:
        """Every model of this process is loaded and has run once."""
        if self._section.collection == "idle":
            self._undo.callback(self._collector.stop)
            self._grants.append(self._collector.start())
        if self._section.lock_memory:
            # Where the program around us has locked pages, they stay: they cannot be told from ours.
            foreign = memory.held() > 0
            grant = memory.lock()
            if grant.granted and not foreign:
                self._undo.callback(memory.unlock)
            self._grants.append(grant)

    def tick(self, result: Result) -> None:
        """A result was published. Called on the inference thread, after everything that the frame needs."""
        # A recording is read ahead: its frames come closer together than they are worked on, and none is idle.
        before_ns, self._captured_ns = self._captured_ns or result.captured_ns, result.captured_ns
        interval_ns = result.captured_ns - before_ns
        self._collector.tick(idle=result.age_ms * 1e6 < _SLACK * interval_ns)

    def grants(self) -> tuple[Grant, ...]:
        """What came of what was asked for."""
        return tuple(self._grants)

    def collected(self) -> dict[str, Any] | None:
        """What `IdleCollector.summary` says; None where Python collects by itself."""
        return self._collector.summary() if self._section.collection == "idle" else None


def _opencv(threads: int) -> Grant:
    cv2.setNumThreads(threads)
    have = cv2.getNumThreads()
    reason = "" if have == threads else "this build of OpenCV takes no more"
    return Grant(
        what="OpenCV threads",
        who="process",
        asked=str(threads),
        granted=have == threads,
        have=str(have),
        reason=reason,
    )
