"""One stream, from its plan to its end: the same in this process, on a thread beside others, or in a worker."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import msgspec

from bedside.devices.compose import Stream
from bedside.devices.findings import Findings
from bedside.devices.host import ProcessSetup, ThreadSetup
from bedside.devices.ladder_words import step_line
from bedside.devices.overlay.wording import headline
from bedside.devices.sessions.events import Begun, Ended, Event, Progress, Stepped
from bedside.devices.sessions.plan import StreamPlan
from bedside.runtime.clock import Clock
from bedside.runtime.errors import BedsideError
from bedside.runtime.result import Outcome, Result
from bedside.runtime.stream.ladder import Step
from bedside.runtime.stream.pipeline import StreamSummary
from bedside.runtime.stream.trace import Trace


class PlannedStream:
    """A stream that sets up its host, loads, runs once and puts the host back.

    `load` and `run` may be called on different threads, one after the other. Whoever loads also has to `run`, which
    frees everything; after `stop` that takes a moment.

    Args:
        plan: What runs.
        process: The setup of the process, where several streams share it; None makes one for this stream alone.
        clock: For stamps and pacing.
        on_result: Called with every result on the inference thread; must be quick.
        trace: Records where the time of every frame goes.
        on_step: Called with every step of the ladder on the inference thread; must be quick.
    """

    def __init__(
        self,
        plan: StreamPlan,
        *,
        process: ProcessSetup | None = None,
        clock: Clock | None = None,
        on_result: Callable[[Result], None] | None = None,
        trace: Trace | None = None,
        on_step: Callable[[Step], None] | None = None,
    ) -> None:
        self.plan = plan
        self.findings = Findings()
        self._alone = process is None
        self._process = process or ProcessSetup(plan.host, clock=clock)
        self._threads = ThreadSetup(plan.host, live=plan.live)
        self._clock = clock
        self._on_result = on_result
        self._trace = trace
        self.on_step = on_step
        self._stream: Stream | None = None
        self._latest: Result | None = None
        self._cpu_s = 0.0
        self._lock = threading.Lock()
        self._stopped = False
        self._opened = ExitStack()

    @property
    def stream(self) -> Stream:
        """What was loaded.

        Raises:
            RuntimeError: Nothing was.
        """
        if self._stream is None:
            raise RuntimeError("load() comes first")
        return self._stream

    def load(self) -> None:
        """Compile everything and replay the goldens, on the cores that inference has.

        Raises:
            BedsideError: Something named in the plan is missing or refused; the host is as it was.
        """
        if self._alone:
            self._opened.enter_context(self._process)
        try:
            self._cpu_s = time.process_time()
            with self._threads.loading():
                stream = Stream(
                    self.plan.spec,
                    clock=self._clock,
                    on_result=self._see,
                    trace=self._trace,
                    on_thread=self._threads.enter,
                    on_step=self.on_step,
                )
            if self._alone:
                self._process.loaded()
        except BaseException:
            self._opened.close()
            raise
        with self._lock:
            self._stream = stream
            if self._stopped:
                stream.stop()

    def run(self) -> StreamSummary:
        """Run to the end, on this thread.

        Returns:
            The summary; its `error` says what ended the stream early, if anything did.
        """
        try:
            with self._threads.inference():
                return self.stream.run()
        finally:
            self._opened.close()

    def stop(self) -> None:
        """End the stream soon, or at once when it is loaded. Any thread may call it."""
        with self._lock:
            self._stopped = True
            stream = self._stream
        if stream is not None:
            stream.stop()

    def progress(self) -> Progress:
        """Where it stands. Any thread may ask."""
        with self._lock:
            stream, result = self._stream, self._latest
        if stream is None:
            return Progress(self.plan.name, 0, 0)
        ledger = stream.pipeline.ledger.snapshot()
        if result is None:
            return Progress(self.plan.name, ledger.captured, ledger.processed)
        return Progress(
            self.plan.name, ledger.captured, ledger.processed, result.age_ms, in_few_words(result)
        )

    def summary(self, ended: StreamSummary) -> dict[str, Any]:
        """The object that `bedside run --json` ends with."""
        grants = (*self._process.grants(), *self._threads.grants())
        plain: dict[str, Any] = {
            "stream": self.plan.name,
            "device": self.plan.device,
            **self.stream.summary(ended),
            "findings": self.findings.summary(),
            "host": {
                "setup": [msgspec.to_builtins(grant) for grant in grants],
                "collected": self._process.collected(),
            },
        }
        if self._alone:
            plain["process"] = process_use(self.plan.spec.memory_mb, self._cpu_s)
        return plain

    def _see(self, result: Result) -> None:
        self.findings.add(result)
        self._latest = result
        if self._on_result is not None:
            self._on_result(result)
        # Last: whatever it takes, this frame's result is out.
        self._process.tick(result)


def run_plan(stream: PlannedStream, report: Callable[[Event], None]) -> None:
    """Load and run one plan on this thread, and report how it goes. Errors of bedside are reported, not raised.

    Args:
        stream: Not loaded yet.
        report: Takes `Begun`, `Stepped` for steps of a ladder, and `Ended` at the end.
    """
    if load_reported(stream, report):
        run_reported(stream, report)


def load_reported(stream: PlannedStream, report: Callable[[Event], None]) -> bool:
    """The first half of `run_plan`.

    Returns:
        Whether it may run.
    """
    stream.on_step = lambda step: report(Stepped(stream.plan.name, step_line(step)))
    try:
        stream.load()
    except BedsideError as error:
        report(Ended(stream.plan.name, None, str(error), error.exit_code))
        return False
    report(Begun(stream.plan.name, what_runs(stream.stream)))
    return True


def run_reported(stream: PlannedStream, report: Callable[[Event], None]) -> None:
    """The second half of `run_plan`."""
    summary = stream.run()
    error = summary.error
    plain = stream.summary(summary)
    if error is None:
        report(Ended(stream.plan.name, plain))
    else:
        report(Ended(stream.plan.name, plain, str(error), error.exit_code))


def what_runs(stream: Stream) -> str:
    """One line: which variant runs on which engine, and why that one."""
    spec, session = stream.spec, stream.loaded.session
    why = "as asked" if spec.variant and spec.engine else stream.choice.why
    threads = session.options.threads
    return (
        f"{stream.manifest.name} {stream.manifest.version}: {stream.loaded.variant.id} on {session.engine}, "
        f"{threads} thread{'' if threads == 1 else 's'}, {why}; goldens hold"
    )


def in_few_words(result: Result) -> str:
    """What a result says, or why it is not shown."""
    if result.outcome is Outcome.OK and result.result is not None:
        return " ".join(headline(result.result)).rstrip()
    return str(result.reason or result.outcome)


def process_use(memory_mb: int | None, cpu_before_s: float = 0.0) -> dict[str, Any]:
    """What this process took: processor time in s, peak resident memory in 10^6 bytes, and its budget.

    Args:
        memory_mb: The budget.
        cpu_before_s: Processor time that was taken before.
    """
    peak = None
    if sys.platform != "win32":
        import resource

        # In KiB, but on macOS in bytes (getrusage(2)).
        unit = 1 if sys.platform == "darwin" else 1024
        peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)
    return {
        "cpu_s": round(time.process_time() - cpu_before_s, 3),
        "peak_mb": peak,
        "budget_mb": memory_mb,
        "within_budget": None if memory_mb is None or peak is None else peak <= memory_mb,
    }
