"""Run the streams of a session side by side: one that fails, hangs or breaks off leaves the others alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Protocol

import msgspec

from bedside.devices.running import signals_noted
from bedside.devices.sessions.events import Ended, Event
from bedside.devices.sessions.loading import Session
from bedside.devices.sessions.processes import ProcessStreams
from bedside.devices.sessions.threads import ThreadStreams

#: After a signal: what a stream may take before it is given up, in seconds. A stop takes about one.
GRACE_S = 5.0


class SessionEnded(msgspec.Struct, frozen=True):
    """How a session ended.

    Attributes:
        streams: In the order of the file.
        interrupted: Exit code of the signal that ended it, 128 + its number; None when it ended by itself.
    """

    streams: tuple[Ended, ...]
    interrupted: int | None = None

    @property
    def code(self) -> int:
        """The worst: of the signal, else the highest of any stream. Codes grow along the way of a frame."""
        return self.interrupted or max(stream.code for stream in self.streams)


class Streams(Protocol):
    """Running streams: `ProcessStreams` or `ThreadStreams`."""

    def start(self) -> None:
        """Begin all of them; events come from now on."""
        ...

    def stop(self) -> None:
        """Ask all of them to end. Returns at once; may be called more than once."""
        ...

    def give_up(self, running: frozenset[str]) -> None:
        """Whatever it takes: these streams did not end."""
        ...

    def close(self) -> None:
        """Leave nothing behind."""
        ...


def run_session(session: Session, on_event: Callable[[Event], None]) -> SessionEnded:
    """Run every stream to its end, while this thread gets the signals.

    Args:
        session: What runs.
        on_event: Called on this thread with whatever the streams report.

    Returns:
        The end of every stream, complete also after a signal.
    """
    # SimpleQueue.put may be called from a signal handler that interrupts its get (queue, "reentrant").
    notes: SimpleQueue[int | Event] = SimpleQueue()
    kind = ProcessStreams if session.isolation == "process" else ThreadStreams
    streams: Streams = kind(session.plans, notes.put)
    running = {plan.name for plan in session.plans}
    ended: dict[str, Ended] = {}
    interrupted: int | None = None
    deadline: float | None = None
    with signals_noted(notes.put):
        try:
            streams.start()
            while running:
                try:
                    note = notes.get(
                        timeout=None if deadline is None else max(0, deadline - time.monotonic())
                    )
                except Empty:
                    streams.give_up(frozenset(running))
                    for name in running:
                        ended[name] = Ended(name, None, "did not end in time, and was given up", 1)
                        on_event(ended[name])
                    break
                if isinstance(note, int):
                    interrupted = interrupted or 128 + note
                    deadline = deadline or time.monotonic() + GRACE_S
                    streams.stop()
                    continue
                if isinstance(note, Ended):
                    running.discard(note.stream)
                    ended[note.stream] = note
                on_event(note)
        finally:
            streams.close()
    return SessionEnded(tuple(ended[plan.name] for plan in session.plans), interrupted)
