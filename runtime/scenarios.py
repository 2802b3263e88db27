"""MLPerf's scenarios on one session: SingleStream and Offline (mlcommons inference rules, section 3.1).

SingleStream: the next query is issued when the last one is answered; the metric is latency.
Offline: all queries are there at once; the metric is throughput.

A query is one captured frame: preprocess, guard, invoke and decode are timed, acquiring the frame is not (MLPerf
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
from bedside.runtime.latency import LatencyRecorder
from bedside.runtime.loading import Loaded
from bedside.runtime.preprocess import Preprocess
from bedside.runtime.stream.guard import Guard
from bedside.runtime.stream.inference import Inference
from bedside.runtime.tasks import TaskDecoder

Scenario = Literal["SingleStream", "Offline"]

#: Frames held in memory (MLPerf's performance sample count, small enough for a device).
SAMPLES = 64

#: Queries that a run makes at least: enough for a p99 (see `latency`).
MIN_QUERIES = 700

#: Queries before the clock starts.
WARMUP = 20


class ScenarioResult(msgspec.Struct, frozen=True):
    """What was measured.

    Attributes:
        scenario: Its name.
        queries: How many were timed.
        seconds: From the first to the last.
        per_second: Queries a second.
        latency_ms: Percentiles per stage, where the count carries them; `total` is a whole query.
    """

    scenario: Scenario
    queries: int
    seconds: float
    per_second: float
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
    the other, which is how these engines are compiled (batch 1).

    Raises:
        EngineError: The engine failed, or an answer is not finite.
        FrameError: A frame does not fit.
    """
    infer = Inference(loaded, preprocess, task, clock, guard=guard, enforce=False)
    samples = [Frame(pixels, i, 0, color=color) for i, (pixels, color) in enumerate(frames)]

    def query(i: int) -> None:
        answer = infer(samples[i % len(samples)])
        if answer.reason is not None:
            raise EngineError(
                f"the answer to frame {i % len(samples)} is withheld: {answer.reason}",
                where=loaded.session.engine,
            )
        recorder.add(*answer.spent_ns, sum(answer.spent_ns))

    stages = (*infer.stages, "total")
    recorder = LatencyRecorder(stages)
    for i in range(WARMUP):
        query(i)
    recorder = LatencyRecorder(stages)
    begin = clock.now_ns()
    until = begin + int(min_seconds * 1e9)
    count = 0
    while count < min_queries or clock.now_ns() < until:
        query(count)
        count += 1
    seconds = (clock.now_ns() - begin) / 1e9
    latency = recorder.summary() if scenario == "SingleStream" else {}
    return ScenarioResult(scenario, count, seconds, count / seconds, latency)
