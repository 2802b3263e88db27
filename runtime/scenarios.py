"""MLPerf's scenarios on one session: SingleStream, MultiStream and Offline (mlcommons inference rules, section 3.1,
"Scenarios"; LoadGen's `mlperf.conf`).

SingleStream: the next query is issued when the last one is answered; one sample per query; the metric is the 90th
percentile of latency.
MultiStream: likewise, but eight samples per query; the metric is the 99th percentile of a query's latency.
Offline: all samples are there at once, in one query; the metric is throughput.

Percentiles are early-stopping estimates (see `latency`). A run counts for MLPerf when it lasts 600 seconds, has the
queries that its percentile needs, and, Offline, as many samples as were loaded, at most 24,576. Shorter runs say
what they lack.

A sample is one captured frame: preprocess, guard, invoke and decode are timed, acquiring the frame is not (MLPerf
times from the sample in memory). The model runs on every frame, whatever a guard says of it: that is what a frame
costs. The frames are loaded beforehand, at most `SAMPLES` of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from bedside.runtime.clock import Clock
from bedside.runtime.errors import EngineError
from bedside.runtime.frame import Color, Frame, Pixels
from bedside.runtime.latency import LatencyRecorder, least_samples
from bedside.runtime.loading import Loaded
from bedside.runtime.preprocess import Preprocess
from bedside.runtime.stream.guard import Guard
from bedside.runtime.stream.inference import Inference
from bedside.runtime.tasks import TaskDecoder

Scenario = Literal["SingleStream", "MultiStream", "Offline"]

#: Frames held in memory (MLPerf's performance sample count, small enough for a device).
SAMPLES = 64

#: Samples of one query under MultiStream.
STREAMS = 8

#: Queries that a run makes at least: enough for a p99.
MIN_QUERIES = 700

#: Queries before the clock starts.
WARMUP = 20

#: Shortest run that counts for MLPerf, in seconds.
MLPERF_SECONDS = 600.0

#: Most samples that MLPerf asks of an Offline run.
_OFFLINE_SAMPLES = 24_576

#: Percentile that is the metric, and its name among the percentiles.
_METRICS: dict[Scenario, tuple[str, float]] = {"SingleStream": ("p90", 0.90), "MultiStream": ("p99", 0.99)}


class Metric(msgspec.Struct, frozen=True):
    """The one number that MLPerf reports of a scenario.

    Attributes:
        name: What it is.
        unit: `ms` or `samples/s`.
        value: None where the samples do not carry it.
    """

    name: str
    unit: str
    value: float | None


class ScenarioResult(msgspec.Struct, frozen=True):
    """What was measured.

    Attributes:
        scenario: Its name.
        queries: How many were timed.
        samples: Frames in them.
        seconds: From the first to the last.
        per_second: Frames a second.
        metric: The scenario's own.
        lacks: What keeps the run from counting for MLPerf; empty where nothing does.
        latency_ms: Percentiles per stage, where the count carries them; `total` is a whole frame, `query` the
            frames of one MultiStream query. Empty for Offline.
    """

    scenario: Scenario
    queries: int
    samples: int
    seconds: float
    per_second: float
    metric: Metric
    lacks: tuple[str, ...]
    latency_ms: dict[str, Any]


def run_scenario(
    scenario: Scenario,
    loaded: Loaded,
    preprocess: Preprocess,
    task: TaskDecoder,
    frames: Sequence[tuple[Pixels, Color]],
    clock: Clock,
    *,
    guard: Guard | None = None,
    min_seconds: float = 3.0,
    min_queries: int = MIN_QUERIES,
) -> ScenarioResult:
    """Measure for at least `min_seconds` and `min_queries`.

    Offline differs by what is reported: throughput over the whole batch, without per-query percentiles, since a
    query's latency has no meaning when all were there from the beginning. The batch is processed one frame after
    the other, which is how these engines are compiled (batch 1), and so are the frames of a MultiStream query.

    Args:
        scenario: Which.
        loaded: Session and model.
        preprocess: For its input.
        task: For its outputs.
        frames: At least one, taken in turn.
        clock: For the durations.
        guard: Where the bundle has one.
        min_seconds: At least so long.
        min_queries: At least so many; samples, for Offline.

    Raises:
        EngineError: The engine failed, or an answer is not finite.
        FrameError: A frame does not fit.
    """
    infer = Inference(loaded, preprocess, task, clock, guard=guard, enforce=False)
    samples = [Frame(pixels, i, 0, color=color) for i, (pixels, color) in enumerate(frames)]
    each = STREAMS if scenario == "MultiStream" else 1
    stages = (*infer.stages, "total")
    recorder, queries = LatencyRecorder(stages), LatencyRecorder(("query",))

    def query(first: int) -> None:
        begin = clock.now_ns()
        for i in range(first, first + each):
            answer = infer(samples[i % len(samples)])
            if answer.reason is not None:
                raise EngineError(
                    f"the answer to frame {i % len(samples)} is withheld: {answer.reason}",
                    where=loaded.session.engine,
                )
            recorder.add(*answer.spent_ns, sum(answer.spent_ns))
        queries.add(clock.now_ns() - begin)

    for i in range(WARMUP):
        query(i)
    recorder, queries = LatencyRecorder(stages), LatencyRecorder(("query",))
    begin = clock.now_ns()
    until = begin + int(min_seconds * 1e9)
    count = 0
    while count < min_queries or clock.now_ns() < until:
        query(count * each)
        count += 1
    seconds = (clock.now_ns() - begin) / 1e9
    latency: dict[str, Any] = {}
    if scenario != "Offline":
        latency = recorder.summary() | (queries.summary() if scenario == "MultiStream" else {})
    return ScenarioResult(
        scenario=scenario,
        queries=1 if scenario == "Offline" else count,
        samples=count * each,
        seconds=seconds,
        per_second=count * each / seconds,
        metric=_metric(scenario, latency, count * each / seconds),
        lacks=_lacks(scenario, count, len(samples), seconds),
        latency_ms=latency,
    )


def _metric(scenario: Scenario, latency: dict[str, Any], per_second: float) -> Metric:
    if scenario == "Offline":
        return Metric("throughput", "samples/s", per_second)
    name, _ = _METRICS[scenario]
    of = "query" if scenario == "MultiStream" else "total"
    return Metric(f"{name} latency of a query", "ms", latency[of].get(name))


def _lacks(scenario: Scenario, count: int, loaded: int, seconds: float) -> tuple[str, ...]:
    """What MLPerf's rules ask for beyond what was done."""
    lacks = []
    if seconds < MLPERF_SECONDS:
        lacks.append(f"{seconds:.1f} s of {MLPERF_SECONDS:.0f} s")
    needed, what = min(_OFFLINE_SAMPLES, loaded), "samples"
    if scenario != "Offline":
        needed, what = least_samples(_METRICS[scenario][1]), "queries"
    if count < needed:
        lacks.append(f"{count} of {needed} {what}")
    return tuple(lacks)
