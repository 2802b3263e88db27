"""Run a stream so that Ctrl-C and SIGTERM end it in order: ledger closed, files whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Protocol

import msgspec

from bedside.runtime.stream.pipeline import StreamSummary


class Runnable(Protocol):
    """A stream that is loaded: `compose.Stream`, `sessions.unit.PlannedStream`."""

    def run(self) -> StreamSummary:
        """Run to the end, on this thread."""
        ...

    def stop(self) -> None:
        """End it soon. Any thread may call it."""
        ...


class Ended(msgspec.Struct, frozen=True):
    """How a run ended.

    Attributes:
        summary: Of the stream.
        interrupted: Exit code of the signal that ended it, 128 + its number; None when it ended by itself.
    """

    summary: StreamSummary
    interrupted: int | None


def run_stream(stream: Runnable) -> Ended:
    """Run on a thread while this one, which gets the signals, waits.

    A handler that ran in the middle of the loop would have to take the loop's locks, and one that raises can
    raise anywhere; here a handler only leaves a note for a thread that waits for nothing else. Several
    signals stop the stream once.

    Returns:
        The summary, complete also after a signal.
    """
    ended: list[StreamSummary] = []
    crashed: list[BaseException] = []
    # SimpleQueue.put may be called from a signal handler that interrupts its get (queue, "reentrant").
    notes: SimpleQueue[int | None] = SimpleQueue()

    def work() -> None:
        try:
            ended.append(stream.run())
        except BaseException as error:  # raised again below, on the thread that can report it
            crashed.append(error)
        finally:
            notes.put(None)

    worker = threading.Thread(target=work, name="stream")
    interrupted: int | None = None
    with signals_noted(notes.put):
        worker.start()
        while (number := notes.get()) is not None:
            interrupted = interrupted or 128 + number
            stream.stop()
        worker.join()
    if crashed:
        raise crashed[0]
    return Ended(ended[0], interrupted)


@contextmanager
def signals_noted(note: Callable[[int], None]) -> Iterator[None]:
    """Notes instead of exceptions for SIGINT and SIGTERM, where this is the thread that may say so.

    Args:
        note: Called with the signal's number, in a signal handler: it must not take a lock.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            # An ignored signal stays ignored: a shell starts background jobs like that.
            if signal.getsignal(number) is not signal.SIG_IGN:
                previous[number] = signal.signal(number, lambda received, _: note(received))
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
