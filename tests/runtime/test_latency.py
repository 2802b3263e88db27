"""Latency: the numbers that may be printed, and the ring they come from."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.runtime.latency import LatencyRecorder, Percentiles, least_samples, overruns, percentiles


def tail(n: int, h: int, p: float) -> float:
    """P(X <= h), X ~ Binomial(n, 1 - p), term by term and exactly."""
    return math.fsum(math.comb(n, k) * (1 - p) ** k * p ** (n - k) for k in range(h + 1))


@pytest.mark.parametrize(("p", "least"), [(0.90, 64), (0.95, 130), (0.99, 662), (0.999, 6636)])
def test_the_counts_are_those_of_mlperf(p: float, least: int) -> None:
    assert least_samples(p) == least
    assert overruns(least - 1, p) is None
    assert overruns(least, p) == 1
    assert tail(least, 1, p) <= 0.01 < tail(least - 1, 1, p)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 1000), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_overruns_against_the_exact_sum(n: int, p: float) -> None:
    h = overruns(n, p)
    if h is None:
        assert tail(n, 1, p) > 0.01
    else:
        assert h >= 1
        assert tail(n, h, p) <= 0.01 < tail(n, h + 1, p)


@pytest.mark.parametrize("p", [0.9, 0.99, 0.999])
def test_large_counts_approach_the_percentile(p: float) -> None:
    """The normal approximation of the binomial: h = nq - 2.326 sqrt(nqp)."""
    n = 1_000_000
    h = overruns(n, p)
    assert h is not None
    assert h == pytest.approx(n * (1 - p) - 2.326 * math.sqrt(n * (1 - p) * p), rel=0.01)


def test_at_the_threshold_the_bound_is_the_second_largest() -> None:
    summary = percentiles(np.arange(1, 65) * 1_000_000)
    assert summary == Percentiles(samples=64, mean=32.5, min=1.0, max=64.0, p50=32.5, p90=63.0)


def test_the_bound_holds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    true = -math.log(1 - 0.9)
    held = 0
    for _ in range(2000):
        summary = percentiles((rng.exponential(size=200) * 1e6).astype(np.int64))
        assert summary is not None
        assert summary.p90 is not None
        held += summary.p90 >= true
    assert held / 2000 > 0.98  # 0.99 by the rule; three standard errors of 2,000 trials below it


@pytest.mark.parametrize(
    ("count", "keys"),
    [
        (1, {"p50"}),
        (63, {"p50"}),
        (64, {"p50", "p90"}),
        (130, {"p50", "p90", "p95"}),
        (662, {"p50", "p90", "p95", "p99"}),
        (6636, {"p50", "p90", "p95", "p99", "p99.9"}),
    ],
)
def test_json_has_what_the_count_carries(count: int, keys: set[str]) -> None:
    recorder = LatencyRecorder(("invoke",), capacity=8000)
    for k in range(count):
        recorder.add(1_000_000 + k)
    plain = json.loads(json.dumps(recorder.summary()))["invoke"]
    assert set(plain) == keys | {"samples", "mean", "min", "max"}
    assert plain["samples"] == count
    assert plain["min"] <= plain["p50"] <= plain["max"]


def test_no_samples_no_numbers() -> None:
    recorder = LatencyRecorder(("preprocess", "invoke"))
    assert recorder.summary() == {"preprocess": {"samples": 0}, "invoke": {"samples": 0}}
    assert recorder.percentiles("invoke") is None
    assert percentiles([]) is None


def test_stages_are_kept_apart() -> None:
    recorder = LatencyRecorder(("preprocess", "invoke"), capacity=4)
    for k in range(3):
        recorder.add(k, 10 * k)
    assert recorder.samples("preprocess").tolist() == [0, 1, 2]
    assert recorder.samples("invoke").tolist() == [0, 10, 20]


@given(st.integers(1, 7), st.lists(st.integers(0, 10**12), max_size=30))
def test_the_ring_keeps_the_newest_in_order(capacity: int, values: list[int]) -> None:
    recorder = LatencyRecorder(("age",), capacity)
    for value in values:
        recorder.add(value)
    assert recorder.samples("age").tolist() == values[-capacity:]
    assert recorder.count == len(values)


def test_a_copy_is_given_out() -> None:
    recorder = LatencyRecorder(("age",), 2)
    recorder.add(5)
    kept = recorder.samples("age")
    recorder.add(6)
    recorder.add(7)
    assert kept.tolist() == [5]


def test_misuse() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        LatencyRecorder(())
    with pytest.raises(ValueError, match="at least 1"):
        LatencyRecorder(("age",), 0)
    recorder = LatencyRecorder(("preprocess", "invoke"))
    for values in ((1,), (1, 2, 3)):
        with pytest.raises(ValueError, match="zip"):
            recorder.add(*values)
    assert recorder.count == 0
    with pytest.raises(ValueError, match="not in tuple"):
        recorder.samples("age")
