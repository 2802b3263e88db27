"""Run a stream so that Ctrl-C and SIGTERM end it in order: ledger closed, files whole."""

from __future__ import annotations

import threading

import msgspec

from bedside.devices.compose import Stream
from bedside.runtime.pipeline import StreamSummary


class Ended(msgspec.Struct, frozen=True):
    """How a run ended.

    Attributes:
        summary: Of the stream.
        interrupted: Exit code of the signal that ended it, None when it ended by itself.
    """

    summary: StreamSummary
    interrupted: int | None


def run_stream(stream: Stream) -> Ended:
    """Run on a thread while this one, which gets the signals, waits.

    A handler that ran in the middle of the loop would have to take the loop's locks; a thread that only waits has
    none.

    Returns:
        The summary, complete also after a signal.
    """
    ended: list[StreamSummary] = []
    crashed: list[BaseException] = []

    def work() -> None:
        try:
            ended.append(stream.run())
        except BaseException as error:  # raised again below, on the thread that can report it
            crashed.append(error)

    worker = threading.Thread(target=work, name="stream")
    interrupted: int | None = None
    worker.start()
    while worker.is_alive():
        try:
            worker.join()
        except KeyboardInterrupt:
            interrupted = 130
            stream.pipeline.stop()
        except SystemExit as signalled:
            interrupted = signalled.code if isinstance(signalled.code, int) else 1
            stream.pipeline.stop()
    if crashed:
        raise crashed[0]
    return Ended(ended[0], interrupted)
