"""The child: compiles one candidate, replays its goldens, measures it, answers on standard output, ends.

Run as `python -m bedside.devices.tuning.worker` with an `Order` as JSON on standard input.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import BinaryIO

import msgspec
import psutil

from bedside.devices.tuning.visit import Order, Refused, Times
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.engines.protocol import Array, Session, SessionOptions
from bedside.runtime.errors import BedsideError, BundleError
from bedside.runtime.loading import open_session

#: Invocations before any is timed: engines allocate, pack weights and wake their threads in the first ones.
WARM_UP = 5


def measure(order: Order, clock: Clock, cpu_ns: Callable[[], int] = time.process_time_ns) -> Times:
    """Load and measure one candidate.

    Args:
        order: What to do.
        clock: For durations and pacing.
        cpu_ns: Processor time of this process over all threads, in ns.

    Raises:
        BedsideError: The bundle is not the one that is meant, the engine refuses the model, or goldens do not hold.
    """
    process, candidate = psutil.Process(), order.candidate
    options = SessionOptions(threads=candidate.threads, hint=candidate.hint)
    with open_bundle(order.bundle) as bundle:
        if bundle.digest != order.digest:
            raise BundleError("has changed since tuning began", where=order.bundle)
        before = process.memory_info().rss
        loaded = open_session(bundle, variant=candidate.variant, engine=candidate.engine, options=options)
        memory = max(0, process.memory_info().rss - before)
        samples = bundle.array(loaded.model.golden.engine.input)
    session = loaded.session
    try:
        gc.collect()
        gc.disable()  # as `bedside run` keeps it off the hot path
        for i in range(WARM_UP):
            _invoke(session, samples, i, clock)
        fast = back_to_back(session, samples, order, clock)
        used = cpu_ns()
        slow = paced(session, samples, order, clock)
        used = cpu_ns() - used
    finally:
        gc.enable()
        session.close()
    return Times(
        paced_ns=tuple(slow),
        back_to_back_ns=tuple(fast),
        cpu_ns=used,
        memory_bytes=memory,
        golden_error=loaded.golden.error,
    )


def back_to_back(session: Session, samples: Array, order: Order, clock: Clock) -> list[int]:
    """Durations of invocations one after the other, in ns; at least one."""
    spent: list[int] = []
    until = clock.now_ns() + int(order.most_s * 1e9)
    while len(spent) < order.back_to_back and (not spent or clock.now_ns() < until):
        spent.append(_invoke(session, samples, len(spent), clock))
    return spent


def paced(session: Session, samples: Array, order: Order, clock: Clock) -> list[int]:
    """Durations of invocations at a cadence, in ns; at least one.

    Each follows an idle gap, after which caches and clock rates are not what they are under load: that is what a
    live stream feels. One that overruns its frame is followed by the next at once, as on a stream that keeps the
    newest frame only.
    """
    spent: list[int] = []
    interval = round(1e9 / order.fps)
    begin = clock.now_ns()
    due, until = begin + interval, begin + int(order.most_s * 1e9)
    while len(spent) < order.paced and (not spent or clock.now_ns() < until):
        clock.sleep_until(due)
        spent.append(_invoke(session, samples, len(spent), clock))
        due = max(due + interval, clock.now_ns())
    return spent


def _invoke(session: Session, samples: Array, index: int, clock: Clock) -> int:
    """Write one golden sample, run, and say how long running took, in ns."""
    session.input()[0] = samples[index % len(samples)]
    begin = clock.now_ns()
    session.invoke()
    return clock.now_ns() - begin


def main() -> int:
    """Take the order, answer."""
    answers = _own_stdout()
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    if hasattr(signal, "setitimer"):
        # The default action of SIGALRM ends the process from outside of Python: also in the middle of an engine.
        signal.setitimer(signal.ITIMER_REAL, order.ends_s)
    try:
        answer: Times | Refused = measure(order, MonotonicClock())
    except BedsideError as error:
        answer = Refused(str(error))
    with answers:
        answers.write(msgspec.json.encode(answer))
    return 0


def _own_stdout() -> BinaryIO:
    """Standard output for the answer alone: what engines print goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


if __name__ == "__main__":
    sys.exit(main())
