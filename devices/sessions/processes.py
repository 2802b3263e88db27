"""One worker process for each stream."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

import msgspec

from bedside.devices.sessions.events import Ended, Event
from bedside.devices.sessions.plan import StreamPlan
from bedside.runtime.errors import EngineError

#: What a worker may take to leave once its stream has ended, in seconds.
_LEAVE_S = 3.0


class ProcessStreams:
    """Streams in processes of their own.

    A worker is a fresh interpreter, never a fork: engines do not survive one. It is in a process group of its own,
    so that a Ctrl-C in the terminal reaches whoever started it and nobody else.

    Args:
        plans: One per stream.
        note: Takes the events, on any thread.
    """

    def __init__(self, plans: Sequence[StreamPlan], note: Callable[[Event], None]) -> None:
        self._plans = plans
        self._note = note
        self._workers: dict[str, _Worker] = {}

    def start(self) -> None:
        """Start all of them, side by side."""
        for plan in self._plans:
            try:
                self._workers[plan.name] = _Worker(plan, self._note)
            except OSError as error:
                what = f"the stream's process cannot be started: {error.strerror or error}"
                self._note(Ended(plan.name, None, what, EngineError.exit_code))

    def stop(self) -> None:
        """Ask all of them to end."""
        for worker in self._workers.values():
            worker.stop()

    def give_up(self, running: frozenset[str]) -> None:
        """Kill those workers."""
        for name, worker in self._workers.items():
            if name in running:
                worker.kill()

    def close(self) -> None:
        """End whatever still runs, and wait for it."""
        for worker in self._workers.values():
            worker.stop()
        for worker in self._workers.values():
            worker.leave()


class _Worker:
    """One process, and the thread that reads what it reports."""

    def __init__(self, plan: StreamPlan, note: Callable[[Event], None]) -> None:
        self._name = plan.name
        self._note = note
        # -P: nothing in the working directory stands in for a module.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bedside.devices.sessions.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0 if os.name == "posix" else None,
        )
        # It may have broken off already; then its output ends, which says so.
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.write(msgspec.json.encode(plan) + b"\n")
            self._process.stdin.flush()
        self._reader = threading.Thread(target=self._follow, name=f"worker-{plan.name}"[:60], daemon=True)
        self._reader.start()

    def stop(self) -> None:
        """Close its standard input, which asks it to end."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended, with something unwritten
            self._process.stdin.close()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def leave(self) -> None:
        """Wait until it is gone, and not for ever."""
        try:
            self._process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(_LEAVE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _follow(self) -> None:
        assert self._process.stdout is not None
        decoder = msgspec.json.Decoder(Event)
        ended = False
        for line in self._process.stdout:
            try:
                event = decoder.decode(line)
            except msgspec.DecodeError:  # the last line of a worker that was killed
                continue
            ended |= isinstance(event, Ended)
            self._note(event)
        if not ended:
            self._note(Ended(self._name, None, _how(self._process.wait()), EngineError.exit_code))


def _how(code: int) -> str:
    """How a process ended that did not say."""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"the stream's process was ended by {signal.Signals(-code).name}"
        return f"the stream's process was ended by signal {-code}"
    return f"the stream's process broke off with exit code {code}; standard error says more"
