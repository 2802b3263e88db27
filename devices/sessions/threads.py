"""One thread for each stream, all in this process: less memory, one interpreter lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from bedside.devices.host import ProcessSetup
from bedside.devices.profiles import HostSection
from bedside.devices.sessions.events import Ended, Event
from bedside.devices.sessions.plan import StreamPlan
from bedside.devices.sessions.unit import PlannedStream, load_reported, run_reported

#: Between two reports of progress, in seconds.
PROGRESS_S = 0.5


class ThreadStreams:
    """Streams on threads of this process.

    Models are loaded one after the other, before any stream begins: the threads that an engine makes can then be
    told from all others.

    Args:
        plans: One per stream.
        note: Takes the events, on any thread.
    """

    def __init__(self, plans: Sequence[StreamPlan], note: Callable[[Event], None]) -> None:
        self._note = note
        self._setup = ProcessSetup(_together([plan.host for plan in plans]), shared=True)
        self._streams = [PlannedStream(plan, process=self._setup) for plan in _pooled(plans)]
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._given_up = False

    def start(self) -> None:
        """Load and begin on a thread, so that a signal is heard meanwhile."""
        self._setup.__enter__()
        self._spawn(self._begin, "streams")
        self._spawn(self._watch, "progress")

    def stop(self) -> None:
        """Ask all of them to end."""
        self._stopped.set()
        for stream in self._streams:
            stream.stop()

    def give_up(self, running: frozenset[str]) -> None:
        """Threads cannot be ended: they are left behind, and end with the process."""
        self._given_up = True

    def close(self) -> None:
        """End whatever still runs, and put the process back."""
        self.stop()
        if not self._given_up:
            for thread in self._threads:
                thread.join()
        self._setup.__exit__()

    def _begin(self) -> None:
        loaded = [stream for stream in self._streams if self._load(stream)]
        self._setup.loaded()
        for stream in loaded:
            self._spawn(partial(self._run, stream), f"stream-{stream.plan.name}"[:60])

    def _load(self, stream: PlannedStream) -> bool:
        if self._stopped.is_set():
            self._note(Ended(stream.plan.name))
            return False
        return self._guarded(stream, partial(load_reported, stream, self._note))

    def _run(self, stream: PlannedStream) -> None:
        def run() -> bool:
            run_reported(stream, self._note)
            return True

        self._guarded(stream, run)

    def _guarded(self, stream: PlannedStream, work: Callable[[], bool]) -> bool:
        """A bug ends one stream, with its traceback where Python puts those of threads."""
        try:
            return work()
        except BaseException as error:
            what = f"the stream broke off with {type(error).__name__}: {error}"
            self._note(Ended(stream.plan.name, None, what, 1))
            raise

    def _watch(self) -> None:
        while not self._stopped.wait(PROGRESS_S):
            for stream in self._streams:
                self._note(stream.progress())

    def _spawn(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()


def _pooled(plans: Sequence[StreamPlan]) -> list[StreamPlan]:
    """The plans with the memory of all of them as the budget of each: they share one process."""
    budgets = [plan.spec.memory_mb for plan in plans]
    total = None if None in budgets else sum(budget or 0 for budget in budgets)
    replace = msgspec.structs.replace
    return [replace(plan, spec=replace(plan.spec, memory_mb=total)) for plan in plans]


def _together(sections: Sequence[HostSection]) -> HostSection:
    """What holds for the process: whatever any of its streams asks for."""
    threads = [section.opencv_threads for section in sections if section.opencv_threads is not None]
    automatic = all(section.collection == "automatic" for section in sections)
    return msgspec.structs.replace(
        HostSection(),
        opencv_threads=max(threads, default=None),
        lock_memory=any(section.lock_memory for section in sections),
        collection="automatic" if automatic else "idle",
    )
