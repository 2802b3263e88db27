"""Paced: frames at the device's cadence, the only scenario that predicts the cart.

A recording is played at a frame rate, over and over, or a live source at its own; the stream is the one that
`bedside run` makes, with its host setup, guard, ladder and age limit. What is reported is what a clinician gets:
ages, misses, losses, and how all of it drifts while the box gets warm.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from bedside.devices.bench.readings import Reading, Sampler, peak_mb
from bedside.devices.running import run_stream
from bedside.devices.sessions.plan import StreamPlan
from bedside.devices.sessions.unit import PlannedStream
from bedside.devices.sources.uri import SCHEMES, parse_uri
from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.latency import percentiles
from bedside.runtime.result import Outcome, Result, Withheld
from bedside.runtime.stream.pipeline import StreamSummary

#: One row of the drift table, in seconds.
WINDOW_S = 60.0

#: A last window shorter than this part of a window is left out of the drift.
_WHOLE = 0.5


class Window(msgspec.Struct, frozen=True):
    """One minute of a run.

    Attributes:
        begin_s: From the first result.
        results: Published, those that were withheld included.
        misses: Of those, older than the deadline.
        lost: Frames without a result.
        age_ms: p50, p90, p95, p99 and max, where the count carries them.
        celsius: Mean temperature; None where it cannot be read.
        mhz: Mean clock frequency; None where it cannot be read.
        cpu_percent: Processor use of this process, in percent of one core.
        rss_mb: Resident memory at its highest, in 10^6 bytes.
    """

    begin_s: float
    results: int
    misses: int
    lost: int
    age_ms: dict[str, float]
    celsius: float | None
    mhz: float | None
    cpu_percent: float | None
    rss_mb: float | None


class PacedResult(msgspec.Struct, frozen=True):
    """A run.

    Attributes:
        begin_ns: When the first result was published, monotonic.
        seconds: From the first result to the last.
        fps: Frames per second that came in; None where the source does not say.
        deadline_ms: Beyond it a result is a miss: the profile's `max_age_ms`, else one frame interval; None
            where neither is known.
        peak_mb: Resident memory of this process at its highest, in 10^6 bytes; None where nobody says.
        misses: Results beyond the deadline, withheld ones included.
        miss_share: Of the results.
        drift: p50 and p99 of the age in the last window over those in the first; empty with fewer than two.
        windows: Minute by minute.
        readings: Once a second.
        summary: The object that `bedside run --json` ends with: ledger, latencies, what ran.
        times_s: When each result was published, from the first.
        ages_ms: How old it was then.
        interrupted: Exit code of the signal that ended it.
    """

    begin_ns: int
    seconds: float
    fps: float | None
    deadline_ms: float | None
    peak_mb: float | None
    misses: int
    miss_share: float | None
    drift: dict[str, float]
    windows: tuple[Window, ...]
    readings: tuple[Reading, ...]
    summary: dict[str, Any]
    times_s: np.ndarray[Any, np.dtype[np.float64]]
    ages_ms: np.ndarray[Any, np.dtype[np.float64]]
    interrupted: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without the samples."""
        plain = {
            name: msgspec.to_builtins(getattr(self, name))
            for name in self.__struct_fields__
            if name not in ("times_s", "ages_ms", "summary", "interrupted")
        }
        return {"scenario": "Paced", **plain, **self.summary}


def paced_plan(plan: StreamPlan, *, fps: float | None, seconds: float) -> StreamPlan:
    """The plan of a run as a benchmark: recordings paced and looped, live sources as they are.

    Args:
        plan: What the command line and the profile say.
        fps: Frames per second; None for the recording's own.
        seconds: How long.
    """
    scheme = parse_uri(plan.spec.source).scheme
    recording = scheme == "path" or (scheme in SCHEMES and scheme != "camera")
    spec = msgspec.structs.replace(
        plan.spec,
        seconds=seconds,
        paced=recording,
        loop=recording,
        pace_fps=fps if recording else None,
    )
    return msgspec.structs.replace(plan, spec=spec)


def run_paced(
    plan: StreamPlan,
    *,
    clock: Clock | None = None,
    window_s: float = WINDOW_S,
    period_s: float = 1.0,
    on_result: Callable[[Result], None] | None = None,
) -> PacedResult:
    """Run a plan to its end and measure.

    Args:
        plan: From `paced_plan`.
        clock: For stamps and pacing.
        window_s: Length of a window.
        period_s: Between two readings of the host.
        on_result: For progress; must be quick.

    Raises:
        BedsideError: Something named in the plan is missing or refused, or ended the stream early.
    """
    clock = clock or MonotonicClock()
    published, ages, shown = array("q"), array("q"), array("b")

    def see(result: Result) -> None:
        published.append(result.published_ns)
        ages.append(result.published_ns - result.captured_ns)
        # A frame that the guard withholds is old or young as any other; one that failed has no age to speak of.
        shown.append(result.outcome is Outcome.OK or result.reason == Withheld.STALE)
        if on_result is not None:
            on_result(result)

    stream = PlannedStream(plan, clock=clock, on_result=see)
    stream.load()
    with Sampler(clock, lambda: stream.stream.pipeline.ledger, period_s) as sampler:
        ended = run_stream(stream)
    if ended.summary.error is not None:
        raise ended.summary.error
    kept = np.frombuffer(shown, np.int8).astype(bool)
    times_ns = np.frombuffer(published, np.int64)[kept]
    ages_ns = np.frombuffer(ages, np.int64)[kept]
    result = _assemble(
        plan, ended.summary, stream.summary(ended.summary), times_ns, ages_ns, sampler.readings, window_s
    )
    return msgspec.structs.replace(result, interrupted=ended.interrupted)


def _assemble(
    plan: StreamPlan,
    ended: StreamSummary,
    summary: dict[str, Any],
    times_ns: Any,
    ages_ns: Any,
    readings: Sequence[Reading],
    window_s: float,
) -> PacedResult:
    fps = ended.info.fps if ended.info is not None else None
    deadline_ms = plan.spec.max_age_ms or (1e3 / fps if fps else None)
    begin = int(times_ns[0]) if times_ns.size else 0
    windows = windows_of(times_ns, ages_ns, readings, deadline_ms, window_s)
    misses = 0 if deadline_ms is None else int((ages_ns > deadline_ms * 1e6).sum())
    return PacedResult(
        begin_ns=begin,
        seconds=float(times_ns[-1] - begin) / 1e9 if times_ns.size else 0.0,
        fps=fps,
        deadline_ms=deadline_ms,
        peak_mb=peak_mb(),
        misses=misses,
        miss_share=misses / times_ns.size if times_ns.size else None,
        drift=drift_of(windows, window_s, float(times_ns[-1] - begin) / 1e9 if times_ns.size else 0.0),
        windows=windows,
        readings=tuple(readings),
        summary=summary,
        times_s=(times_ns - begin) / 1e9,
        ages_ms=ages_ns / 1e6,
    )


def windows_of(
    times_ns: Any, ages_ns: Any, readings: Sequence[Reading], deadline_ms: float | None, window_s: float
) -> tuple[Window, ...]:
    """Minute by minute.

    Args:
        times_ns: When results were published, ascending, `(n,) int64`.
        ages_ns: Their ages, `(n,) int64`.
        readings: Of the host.
        deadline_ms: Beyond it a result is a miss.
        window_s: Length of a window.
    """
    if not len(times_ns):
        return ()
    begin, length = int(times_ns[0]), int(window_s * 1e9)
    windows = []
    for k in range(int(times_ns[-1] - begin) // length + 1):
        low, high = begin + k * length, begin + (k + 1) * length
        first, last = np.searchsorted(times_ns, (low, high))
        ages = ages_ns[first:last]
        found = percentiles(ages)
        names = ("p50", "p90", "p95", "p99", "max")
        plain = {} if found is None else {n: v for n, v in found.to_dict().items() if n in names}
        inside = [r for r in readings if low <= r.at_ns < high]
        # The reading before a window closes the gap to the one before it. What was before the first result is
        # the opening of the source.
        before = [r for r in readings if r.at_ns < low][-1:] if k else []
        span = (*before, *inside)
        use = None
        if len(span) > 1 and span[-1].at_ns > span[0].at_ns:
            use = 1e11 * (span[-1].cpu_s - span[0].cpu_s) / (span[-1].at_ns - span[0].at_ns)
        windows.append(
            Window(
                begin_s=k * window_s,
                results=int(last - first),
                misses=0 if deadline_ms is None else int((ages > deadline_ms * 1e6).sum()),
                lost=span[-1].lost - (before[0].lost if before else 0) if span else 0,
                age_ms=plain,
                celsius=_mean([r.celsius for r in inside]),
                mhz=_mean([r.mhz for r in inside]),
                cpu_percent=use,
                rss_mb=max((r.rss_mb for r in inside), default=None),
            )
        )
    return tuple(windows)


def drift_of(windows: Sequence[Window], window_s: float, seconds: float) -> dict[str, float]:
    """The last window's percentiles over the first one's; a stump of a window at the end does not count."""
    whole = list(windows)
    if whole and seconds - whole[-1].begin_s < _WHOLE * window_s:
        whole.pop()
    if len(whole) < 2:
        return {}
    first, last = whole[0].age_ms, whole[-1].age_ms
    return {n: last[n] / first[n] for n in ("p50", "p99") if n in first and n in last and first[n] > 0}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
