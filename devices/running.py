"""Run a stream so that Ctrl-C and SIGTERM end it in order: ledger closed, files whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import msgspec

from bedside.devices.compose import Stream
from bedside.runtime.stream.pipeline import StreamSummary


class Ended(msgspec.Struct, frozen=True):
    """How a run ended.

    Attributes:
        summary: Of the stream.
        interrupted: Exit code of the signal that ended it, 128 + its number; None when it ended by itself.
    """

    summary: StreamSummary
    interrupted: int | None


def run_stream(stream: Stream) -> Ended:
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
    with _handled(notes.put):
        worker.start()
        while (number := notes.get()) is not None:
            interrupted = interrupted or 128 + number
            stream.pipeline.stop()
        worker.join()
    if crashed:
        raise crashed[0]
    return Ended(ended[0], interrupted)


@contextmanager
def _handled(note: Callable[[int], None]) -> Iterator[None]:
    """Notes instead of exceptions for SIGINT and SIGTERM, where this is the thread that may say so."""
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
