"""A process that runs one stream: `python -m bedside.devices.sessions.worker`, started by `supervise`.

Standard input brings the plan, one line of JSON; its end asks the stream to end, so that no worker outlives whoever
started it. Standard output takes events, a line of JSON each. What libraries print goes to standard error.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from queue import Empty, SimpleQueue

import msgspec

from bedside.devices.sessions.events import Begun, Ended, Event
from bedside.devices.sessions.plan import StreamPlan
from bedside.devices.sessions.unit import PlannedStream, run_plan

#: Between two reports of progress, in seconds.
PROGRESS_S = 0.5

#: Notes beside the numbers of signals: standard input has ended, the stream has ended.
_STOP, _DONE = 0, -1


class Reporter:
    """Writes events as lines. Thread-safe; once nobody reads, it writes no more.

    Args:
        descriptor: Of the pipe.

    Attributes:
        begun: Whether the stream has its models; sinks are opened after that only.
    """

    def __init__(self, descriptor: int) -> None:
        self.begun = False
        self._descriptor = descriptor
        self._encoder = msgspec.json.Encoder()
        self._lock = threading.Lock()
        self._ended = False
        self._signal = 0

    def __call__(self, event: Event) -> None:
        """Write one event; nothing comes behind `Ended`."""
        with self._lock:
            if self._ended:
                return
            if isinstance(event, Ended) and self._signal and event.error is None:
                event = self._signalled(event)
            self.begun |= isinstance(event, Begun)
            self._ended = isinstance(event, Ended)
            self._write(self._encoder.encode(event) + b"\n")

    def end_unbegun(self, stream: str) -> bool:
        """Report the end of a stream that has not begun; from now on it cannot.

        Returns:
            False where it has begun.
        """
        with self._lock:
            if self.begun:
                return False
            self._ended = True
            self._write(self._encoder.encode(self._signalled(Ended(stream))) + b"\n")
            return True

    def blame(self, number: int) -> None:
        """A signal to this process alone ends the stream: whoever reads has not asked for it."""
        self._signal = self._signal or number

    def _signalled(self, event: Ended) -> Ended:
        if not self._signal:
            return event
        what = f"the stream's process was asked to end by {signal.Signals(self._signal).name}"
        return msgspec.structs.replace(event, error=what, code=128 + self._signal)

    def _write(self, line: bytes) -> None:
        view = memoryview(line)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:  # nobody reads any more
            self._ended = True


def serve(plan: StreamPlan, report: Reporter, notes: SimpleQueue[int]) -> None:
    """Run a plan on a thread of its own while this one waits for notes.

    Args:
        plan: What runs.
        report: Takes the events.
        notes: The number of a signal, or 0, ends the stream.
    """
    stream = PlannedStream(plan)
    crashed: list[BaseException] = []

    def work() -> None:
        try:
            run_plan(stream, report)
        except BaseException as error:  # raised again below, where it ends the process with its traceback
            crashed.append(error)
        finally:
            notes.put(_DONE)

    threading.Thread(target=work, name="stream", daemon=True).start()
    while True:
        try:
            note = notes.get(timeout=PROGRESS_S)
        except Empty:
            if report.begun:
                report(stream.progress())
            continue
        if note == _DONE:
            break
        report.blame(note)
        if report.end_unbegun(plan.name):
            # Nothing was opened, and an engine that compiles cannot be interrupted.
            os._exit(0)
        stream.stop()
    if crashed:
        raise crashed[0]


def main() -> int:
    """Take the plan from standard input and run it."""
    events = os.dup(1)
    os.dup2(2, 1)
    # SimpleQueue.put may be called from a signal handler that interrupts its get (queue, "reentrant").
    notes: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: notes.put(received))
    plan = msgspec.json.decode(_first_line(), type=StreamPlan)

    def follow() -> None:
        while os.read(0, 4096):
            pass
        notes.put(_STOP)

    threading.Thread(target=follow, name="lifeline", daemon=True).start()
    serve(plan, Reporter(events), notes)
    return 0


def _first_line() -> bytes:
    """Of standard input, and not a byte more than the pipe has with it."""
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(0, 65536)
        if not more:
            break
        line += more
    return line


if __name__ == "__main__":
    sys.exit(main())
