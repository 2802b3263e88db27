"""Intervals against published and simulated values."""

import math

import numpy as np
import pytest

from bedside.export.metrics.intervals import bootstrap, how, wilson


@pytest.mark.parametrize(
    ("correct", "samples", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17, 1998, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_is_newcombes(correct: int, samples: int, low: float, high: float) -> None:
    assert wilson(correct, samples) == pytest.approx((low, high), abs=6e-5)
    mirrored = wilson(samples - correct, samples)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=6e-5)


def test_bootstrap_of_a_mean_is_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    low, high = bootstrap(lambda chosen: float(values[chosen].mean()), [str(i) for i in range(400)])
    half = 1.96 * values.std() / math.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)


def test_frames_of_one_group_are_drawn_together() -> None:
    """Ten frames that are all alike in each of 20 groups say no more than one each."""
    each = np.random.default_rng(2).normal(0.0, 1.0, 20)
    values, groups = np.repeat(each, 10), np.repeat(np.arange(20), 10).astype(str)

    def mean(chosen: np.ndarray) -> float:
        return float(values[chosen].mean())

    grouped, single = bootstrap(mean, groups.tolist()), bootstrap(mean, [str(i) for i in range(200)])
    assert grouped[1] - grouped[0] > 2.5 * (single[1] - single[0])
    assert bootstrap(mean, groups.tolist()) == grouped, "the same frames, the same interval"


def test_undefined_resamples_are_left_out() -> None:
    low, high = bootstrap(lambda chosen: 1.0 if 0 in chosen else math.nan, ["a", "b"])
    assert (low, high) == (1.0, 1.0)
    assert all(math.isnan(v) for v in bootstrap(lambda chosen: math.nan, ["a", "b"]))


def test_one_group_alone_is_drawn_frame_by_frame_and_it_is_said() -> None:
    values = np.random.default_rng(1).normal(size=60)

    def mean(chosen: np.ndarray) -> float:
        return float(values[chosen].mean())

    assert bootstrap(mean, ["one"] * 60) == bootstrap(mean, [str(i) for i in range(60)])
    assert "one group" in how(["one"] * 60)
    assert how(["a", "b"]) == "bootstrap over groups, 1000 resamples"
