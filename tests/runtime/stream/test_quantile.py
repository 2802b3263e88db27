from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.runtime.stream.quantile import RunningQuantile

S = 10**9


@given(
    st.lists(st.tuples(st.integers(0, 3 * S), st.integers(0, 10**6)), max_size=60),
    st.integers(1, 12),
    st.floats(0.01, 1.0),
)
def test_it_is_the_nearest_rank_of_what_is_recent(
    samples: list[tuple[int, int]], most: int, q: float
) -> None:
    running, now, kept = RunningQuantile(most, 2.0), 0, list[tuple[int, int]]()
    for gap, value in samples:
        now += gap
        running.add(now, value)
        kept = [*kept, (now, value)][-most:]
        recent = [v for at, v in kept if now - at <= 2 * S] or [kept[-1][1]]
        rank = math.ceil(q * len(recent) - 1e-9)
        assert running.value(q, now) == sorted(recent)[max(0, rank - 1)]
        kept = kept[-len(recent) :]


def test_without_samples_there_is_none() -> None:
    assert RunningQuantile().value(0.5, 0) is None


def test_the_newest_sample_stays_whatever_its_age() -> None:
    running = RunningQuantile()
    for value in (5, 9):
        running.add(0, value)
    assert running.value(0.9, 3600 * S) == 9
    assert len(running) == 1


def test_a_whole_rank_is_that_rank() -> None:
    running = RunningQuantile()
    for value in range(1, 11):
        running.add(0, value)
    assert [running.value(q, 0) for q in (0.1, 0.5, 0.9, 0.91, 1.0)] == [1, 5, 9, 10, 10]


@pytest.mark.parametrize(("most", "seconds"), [(0, 1.0), (1, 0.0)])
def test_it_needs_room(most: int, seconds: float) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        RunningQuantile(most, seconds)
