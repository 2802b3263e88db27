"""Cold start: from nothing to the first result, in a process of its own, with the memory that it took.

`python -m bedside.devices.bench.first_result` is the child: it reads a `StreamPlan` as JSON from standard input,
runs it to its first result, and prints one JSON object.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import msgspec

from bedside.devices.sessions.plan import StreamPlan
from bedside.runtime.errors import EngineError

#: A start that takes longer than this hangs.
TIMEOUT_S = 120.0

#: Starts that the median is taken of.
STARTS = 3


class ColdStart(msgspec.Struct, frozen=True):
    """From the moment before the process was made.

    Attributes:
        seconds: To the first publication; the median of several starts.
        peak_mb: Resident memory at its highest, in 10^6 bytes; None where the system does not say.
        starts: How many.
    """

    seconds: float
    peak_mb: float | None
    starts: int


class _First(msgspec.Struct, frozen=True):
    """What the child says: a stamp of the monotonic clock, which both processes share."""

    published_ns: int
    peak_mb: float | None


def cold_start(plan: StreamPlan, starts: int = STARTS) -> ColdStart:
    """Start `starts` processes, one after the other.

    Args:
        plan: What runs; it is stopped after its first result.
        starts: At least 1.

    Raises:
        EngineError: A start hangs or fails; with the last line that it said.
    """
    one = msgspec.structs.replace(
        plan, spec=msgspec.structs.replace(plan.spec, max_frames=1, sinks=(), paced=False, pace_fps=None)
    )
    found = [_start(msgspec.json.encode(one)) for _ in range(starts)]
    peaks = [peak for _, peak in found if peak is not None]
    return ColdStart(statistics.median(s for s, _ in found), max(peaks, default=None), starts)


def _start(plan: bytes) -> tuple[float, float | None]:
    command = [sys.executable, "-m", "bedside.devices.bench.first_result"]
    begin = time.monotonic_ns()
    try:
        done = subprocess.run(command, input=plan, capture_output=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise EngineError(f"no result within {TIMEOUT_S:.0f} s", where="cold start") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise EngineError(said[-1] if said else f"exit code {done.returncode}", where="cold start")
    first = msgspec.json.decode(done.stdout.splitlines()[-1], type=_First)
    return (first.published_ns - begin) / 1e9, first.peak_mb


def main() -> int:
    """The child; see the module."""
    from bedside.devices.bench.readings import peak_mb
    from bedside.devices.sessions.unit import PlannedStream
    from bedside.runtime.errors import BedsideError

    stamps: list[int] = []
    try:
        plan = msgspec.json.decode(sys.stdin.buffer.read(), type=StreamPlan)
        stream = PlannedStream(plan, on_result=lambda result: stamps.append(result.published_ns))
        stream.load()
        error = stream.run().error
        if error is not None:
            raise error
    except BedsideError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    if not stamps:
        sys.stderr.write("the source gave no frame\n")
        return 4
    sys.stdout.write(msgspec.json.encode(_First(stamps[0], peak_mb())).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
