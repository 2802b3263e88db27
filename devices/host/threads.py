"""Cores and priorities of one stream's threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bedside.devices.host import cores, priority
from bedside.devices.host.grants import Grant, Role
from bedside.devices.profiles import HostSection
from bedside.runtime.frame import Frame
from bedside.runtime.protocols import Sink, Source, SourceInfo
from bedside.runtime.result import Result

_TASKS = Path("/proc/self/task")


class ThreadSetup:
    """Puts the threads of one stream where the profile wants them. Safe to call from all of them.

    Threads inherit cores and priority from the thread that makes them: what an engine makes while it is loaded
    stays with inference, what FFmpeg makes in a source stays with capture.

    Args:
        section: `[host]` of the profile.
        live: Whether frames come at their own pace. A recording is worked through as fast as it goes: before
            everything else on the host, it would leave nothing to anybody, and no frame of it is urgent.
    """

    def __init__(self, section: HostSection, *, live: bool = True) -> None:
        self._section = section
        self._live = live
        self._lock = threading.Lock()
        self._grants: dict[tuple[str, str], Grant] = {}
        # What a thread gets that asks for nothing, but was made by one that did.
        self._cores = cores.allowed()
        self._scheduling = priority.scheduling(0)
        self._helpers: tuple[int, ...] = ()

    @contextmanager
    def loading(self) -> Iterator[None]:
        """On the thread that loads the models: it has the cores of inference meanwhile.

        Engines count the cores that they see, and their workers inherit them. Priority comes afterwards, and only
        to the workers: compiling a model is no reason to keep a running stream waiting.
        """
        before, had = cores.allowed(), _tasks()
        self._place("inference")
        try:
            yield
        finally:
            cores.restore(0, before)
        ours = {thread.native_id for thread in threading.enumerate()}
        self._helpers = (*self._helpers, *sorted(_tasks() - had - ours))
        for task in self._helpers:
            self._raise(task, "inference")

    @contextmanager
    def inference(self) -> Iterator[None]:
        """On the thread that infers, which may belong to somebody else: it is put back afterwards.

        So are threads that an engine keeps for its next session, whoever that belongs to.
        """
        before, how = cores.allowed(), priority.scheduling(0)
        self.enter("inference")
        try:
            yield
        finally:
            priority.restore(0, how)
            cores.restore(0, before)
            if self._section != HostSection():
                for task in self._helpers:
                    with suppress(ProcessLookupError):
                        priority.restore(task, self._scheduling)
                        cores.restore(task, self._cores)

    def enter(self, role: Role) -> None:
        """On a thread that begins to work for the stream, and ends with it."""
        if self._section == HostSection():
            return
        self._place(role)
        if role == "sink":
            priority.restore(0, self._scheduling)
        else:
            self._raise(0, role)

    def grants(self) -> tuple[Grant, ...]:
        """What came of what was asked for; of several threads of one role, the first refusal."""
        with self._lock:
            return tuple(self._grants.values())

    def _place(self, role: Role) -> None:
        section = self._section
        wanted = {
            "inference": section.inference_cores,
            "capture": section.capture_cores,
            "sink": section.sink_cores,
        }[role]
        if wanted:
            self._note(cores.place(0, wanted, role))
        elif cores.allowed() != self._cores:
            cores.restore(0, self._cores)

    def _raise(self, thread: int, role: Role) -> None:
        section = self._section
        wanted = section.priority + (role == "capture")
        real_time = section.real_time if self._live else None
        if section.real_time is not None and not self._live:
            self._note(priority.not_urgent(section.real_time, wanted, role))
        try:
            made = priority.raise_thread(
                thread, role, real_time=real_time, priority=wanted, nice=section.nice
            )
        except ProcessLookupError:  # a worker that ended meanwhile
            return
        for grant in made:
            self._note(grant)

    def _note(self, grant: Grant) -> None:
        with self._lock:
            known = self._grants.get((grant.what, grant.who))
            if known is None or (known.granted and not grant.granted):
                self._grants[grant.what, grant.who] = grant


class AnnouncedSource:
    """A source that says when its thread begins.

    Args:
        source: What to open, read and close.
        begin: Called on the thread that opens it, before.
    """

    def __init__(self, source: Source, begin: Callable[[], None]) -> None:
        self._source, self._begin = source, begin
        # Bound once: nothing stands between the loop and its source.
        self.read: Callable[[], Frame | None] = source.read
        self.cancel: Callable[[], None] = source.cancel
        self.close: Callable[[], None] = source.close

    def open(self) -> SourceInfo:
        """Say so, and open."""
        self._begin()
        return self._source.open()


class AnnouncedSink:
    """A sink that says when its thread begins.

    Args:
        sink: What to open, write and close.
        begin: Called on the thread that opens it, before.
    """

    def __init__(self, sink: Sink, begin: Callable[[], None]) -> None:
        self.name, self.durable, self.needs_frame = sink.name, sink.durable, sink.needs_frame
        self._sink, self._begin = sink, begin
        self.write: Callable[[Result, Frame | None], None] = sink.write
        self.close: Callable[[], None] = sink.close

    def open(self, info: SourceInfo) -> None:
        """Say so, and open."""
        self._begin()
        self._sink.open(info)


def _tasks() -> frozenset[int]:
    """Native ids of every thread of this process; empty where the system does not list them."""
    try:
        return frozenset(int(task.name) for task in _TASKS.iterdir())
    except OSError:
        return frozenset()
