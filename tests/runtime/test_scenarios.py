"""MLPerf's scenarios on a session that answers at once, with a clock that moves when told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bedside.runtime.bundle.decode import ClassificationDecode
from bedside.runtime.bundle.manifest import (
    EngineGolden,
    FileRef,
    Golden,
    InputSpec,
    Model,
    TensorSpec,
    Variant,
    VariantGolden,
)
from bedside.runtime.clock import ManualClock
from bedside.runtime.errors import EngineError
from bedside.runtime.golden import GoldenReport
from bedside.runtime.loading import Loaded
from bedside.runtime.preprocess import Preprocessor
from bedside.runtime.scenarios import STREAMS, WARMUP, run_scenario
from bedside.runtime.tasks import make_task
from bedside.runtime.testing.sessions import FakeSession

REF = FileRef(file="golden/x.npy", sha256="0" * 64, bytes=1)
FRAMES = [(np.full((8, 8, 3), i, np.uint8), "bgr") for i in range(3)]


class Ticking(FakeSession):
    """Each invocation takes the next of some durations; the pictures that it saw are remembered."""

    def __init__(self, clock: ManualClock, durations_ns: list[int], scores: list[float]) -> None:
        def answer(inputs: tuple[Any, ...]) -> list[Any]:
            self.seen.append(int(inputs[0].max()))
            clock.advance(durations_ns[len(self.seen) % len(durations_ns)])
            return [np.array([scores], np.float32)]

        inputs = [TensorSpec(name="x", shape=(1, 8, 8, 3), dtype="uint8")]
        super().__init__(inputs, [TensorSpec(name="y", shape=(1, 2), dtype="float32")], answer)
        self.seen: list[int] = []


def loaded(session: Ticking) -> Loaded:
    variant = Variant(
        id="tflite-fp32",
        format="tflite",
        precision="fp32",
        sha256="0" * 64,
        bytes=1,
        inputs=session.inputs,
        outputs=session.outputs,
    )
    model = Model(
        input=InputSpec(width=8, height=8),
        outputs=("y",),
        decode=ClassificationDecode(labels=("a", "b")),
        variants=(variant,),
        golden=Golden(
            engine=EngineGolden(input=REF),
            variants=(VariantGolden(variant=variant.id, outputs=(REF,), tolerance=0.05),),
        ),
        default=variant.id,
    )
    report = GoldenReport(engine="fake", variant=variant.id, tolerance=0.05, samples=0, error=0.0, errors=())
    return Loaded(session, model, variant, report)


def measure(scenario: Any, durations_ns: list[int], scores: list[float] | None = None, **options: Any) -> Any:
    clock = ManualClock()
    session = Ticking(clock, durations_ns, scores or [0.3, 0.7])
    model = loaded(session)
    task = make_task(model.model.decode)
    options = {"min_seconds": 0.0, **options}
    result = run_scenario(scenario, model, Preprocessor(model.model.input), task, FRAMES, clock, **options)
    return result, session


def test_single_stream_reports_the_early_stopping_p90() -> None:
    # One in ten takes 9 ms: the 90th percentile lies at the edge, the bound at 0.99 confidence above it.
    result, session = measure("SingleStream", [1_000_000] * 9 + [9_000_000], min_queries=200)
    assert (result.queries, result.samples) == (200, 200)
    assert session.invocations == 200 + WARMUP
    assert session.seen[:4] == [0, 1, 2, 0]
    assert result.metric.unit == "ms"
    assert result.metric.value == result.latency_ms["total"]["p90"] == 9.0
    assert result.latency_ms["total"]["p50"] == 1.0
    assert result.per_second == pytest.approx(200 / 0.36)


def test_multi_stream_asks_for_eight_frames_at_once() -> None:
    result, session = measure("MultiStream", [1_000_000], min_queries=662)
    assert result.queries == 662
    assert result.samples == 662 * STREAMS == session.invocations - WARMUP * STREAMS
    assert result.metric.name == "p99 latency of a query"
    assert result.metric.value == result.latency_ms["query"]["p99"] == 8.0
    assert result.latency_ms["query"]["samples"] == 662
    assert result.latency_ms["invoke"]["samples"] == 662 * 8
    assert result.latency_ms["invoke"]["p50"] == 1.0


def test_offline_is_one_query_and_has_no_latency() -> None:
    result, _ = measure("Offline", [2_000_000], min_queries=50)
    assert (result.queries, result.samples) == (1, 50)
    assert result.latency_ms == {}
    assert result.metric.unit == "samples/s"
    assert result.metric.value == pytest.approx(500.0)


@pytest.mark.parametrize(
    ("scenario", "queries", "lacks"),
    [
        ("SingleStream", 63, ("0.1 s of 600 s", "63 of 64 queries")),
        ("SingleStream", 64, ("0.1 s of 600 s",)),
        ("MultiStream", 661, ("5.3 s of 600 s", "661 of 662 queries")),
        ("Offline", 2, ("0.0 s of 600 s", "2 of 3 samples")),
        ("Offline", 3, ("0.0 s of 600 s",)),
    ],
)
def test_what_a_run_lacks_for_mlperf(scenario: str, queries: int, lacks: tuple[str, ...]) -> None:
    result, _ = measure(scenario, [1_000_000], min_queries=queries)
    assert result.lacks == lacks
    if any("queries" in lack for lack in lacks):
        assert result.metric.value is None


def test_ten_minutes_with_enough_queries_lack_nothing() -> None:
    result, _ = measure("SingleStream", [1_000_000_000], min_seconds=600.0, min_queries=1)
    assert result.queries == 600
    assert result.lacks == ()


def test_an_answer_that_is_not_finite_ends_the_run() -> None:
    with pytest.raises(EngineError, match="not-finite"):
        measure("SingleStream", [1], [float("nan"), 0.0], min_queries=5)
