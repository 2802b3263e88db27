"""MLPerf's scenarios on one session: SingleStream and Offline (mlcommons inference rules, section 3.1).

SingleStream: the next query is issued when the last one is answered; the metric is latency.
Offline: all queries are there at once; the metric is throughput.

A query is one captured frame: preprocess, invoke and decode are timed, acquiring the frame is not (MLPerf times
from the sample in memory). The frames are loaded beforehand, at most `SAMPLES` of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from bedside.runtime.clock import Clock
from bedside.runtime.frame import Color, Pixels
from bedside.runtime.latency import LatencyRecorder
from bedside.runtime.loading import Loaded
from bedside.runtime.preprocess import Preprocessor
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
    preprocess: Preprocessor,
    task: TaskDecoder,
    frames: Sequence[tuple[Pixels, Color]],
    clock: Clock,
    *,
    min_seconds: float = 3.0,
    min_queries: int = MIN_QUERIES,
) -> ScenarioResult:
    """Measure for at least `min_seconds` and `min_queries`.

    Offline differs by what is reported: throughput over the whole batch, without per-query percentiles, since a
    query's latency has no meaning when all were there from the beginning. The batch is processed one frame after
    the other, which is how these engines are compiled (batch 1).

    Raises:
        EngineError: The engine failed.
        FrameError: A frame does not fit.
    """
    session, outputs_of = loaded.session, loaded.variant.outputs
    recorder = LatencyRecorder(("preprocess", "invoke", "decode", "total"))

    def query(i: int) -> None:
        pixels, color = frames[i % len(frames)]
        t0 = clock.now_ns()
        preprocess(pixels, color, session.input())
        t1 = clock.now_ns()
        outputs = session.invoke()
        t2 = clock.now_ns()
        task.decode(outputs, outputs_of)
        t3 = clock.now_ns()
        recorder.add(t1 - t0, t2 - t1, t3 - t2, t3 - t0)

    for i in range(WARMUP):
        query(i)
    recorder = LatencyRecorder(("preprocess", "invoke", "decode", "total"))
    begin = clock.now_ns()
    until = begin + int(min_seconds * 1e9)
    count = 0
    while count < min_queries or clock.now_ns() < until:
        query(count)
        count += 1
    seconds = (clock.now_ns() - begin) / 1e9
    latency = recorder.summary() if scenario == "SingleStream" else {}
    return ScenarioResult(scenario, count, seconds, count / seconds, latency)
