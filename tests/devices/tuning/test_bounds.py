from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.devices.tuning.bounds import lower_limit
from bedside.runtime.latency import percentiles


def at_most(m: int, n: int, tail: float) -> float:
    """P(X <= m) for X ~ Binomial(n, tail), by its definition."""
    return sum(math.comb(n, k) * tail**k * (1 - tail) ** (n - k) for k in range(m + 1))


@pytest.mark.parametrize("n", [40, 59, 130, 180, 400])
@pytest.mark.parametrize("p", [0.5, 0.95])
def test_as_many_may_lie_above_as_the_binomial_allows(n: int, p: float) -> None:
    samples = np.random.default_rng(n).permutation(np.arange(1, n + 1) * 1_000_000)
    above = n - round(lower_limit(samples, p))
    assert at_most(above, n, 1 - p) >= 0.99
    assert at_most(above - 1, n, 1 - p) < 0.99


def test_too_few_samples_say_nothing() -> None:
    assert lower_limit([5_000_000], 0.95) == 0.0
    assert lower_limit([5_000_000] * 3, 0.5) == 0.0
    assert lower_limit([5_000_000] * 30, 0.95) == 5.0


@given(st.lists(st.integers(0, 10**10), min_size=130, max_size=300))
def test_it_lies_below_the_upper_bound(samples: list[int]) -> None:
    found = percentiles(samples)
    assert found is not None
    assert found.p95 is not None
    assert found.min <= lower_limit(samples, 0.95) <= found.p95 <= found.max


def test_it_covers_the_percentile() -> None:
    rng = np.random.default_rng(5)
    true = -math.log(0.05)  # p95 of the standard exponential distribution
    below = [lower_limit(rng.exponential(1.0, 200) * 1e6, 0.95) <= true for _ in range(2000)]
    assert np.mean(below) >= 0.98
