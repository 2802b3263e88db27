"""Stamps by a stream's own time, against what is known to have happened."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.devices.sources.stream_time import DRIFT, RESTART_NS, StreamTime

FRAME = 40_000_000


def run(times: StreamTime, delays: list[int], drift: float = 0.0, first: int = 0) -> list[int]:
    """Lags of frames that are sent every `FRAME` ns and take `delays`, by a sender whose clock is off."""
    lags = []
    for index, delay in enumerate(delays, first):
        received = 10_000_000_000 + index * FRAME + delay
        stamp = times.stamp(round(index * FRAME * (1 - drift)), received)
        assert stamp.captured_ns == received - stamp.lag_ns
        lags.append(stamp.lag_ns)
    return lags


def test_a_frame_that_was_held_up_is_stamped_back() -> None:
    delays = [3, 1, 5, 900, 700, 500, 2, 1]
    lags = run(StreamTime(True), [delay * 1_000_000 for delay in delays])
    # Against the least delay so far; the first frame has nothing to be held against.
    assert lags == pytest.approx([0, 0, 4e6, 899e6, 699e6, 499e6, 1e6, 0], abs=1e9 * DRIFT)


@given(st.lists(st.integers(0, 3_000_000_000), min_size=1, max_size=60))
def test_stamps_grow_and_lie_between_sending_and_receipt(delays: list[int]) -> None:
    """In the order of TCP: a delay holds up what comes behind it."""
    times, received, captured = StreamTime(True), 0, 0
    least = min(delays)
    for index, delay in enumerate(delays):
        received = max(received + 1, 10_000_000_000 + index * FRAME + delay)
        stamp = times.stamp(index * FRAME, received)
        assert captured <= stamp.captured_ns <= received
        assert stamp.captured_ns >= 10_000_000_000 + index * FRAME + least
        assert stamp.pts_ns == index * FRAME
        captured = stamp.captured_ns


def test_a_usual_difference_of_two_clocks_makes_nothing_old() -> None:
    lags = run(StreamTime(True), [0] * 20_000, drift=100e-6)
    assert max(lags) == 0
    assert max(run(StreamTime(True), [0] * 20_000, drift=-100e-6)) == 0


def test_a_clock_that_runs_wrong_shows_as_age() -> None:
    """It cannot be told from a network that falls behind: the profile has to say `stream_time = false`."""
    assert run(StreamTime(True), [0] * 2000, drift=0.02)[-1] > 1_000_000_000
    assert max(run(StreamTime(False), [0] * 2000, drift=0.02)) == 0


def test_a_sender_that_counts_anew_begins_anew() -> None:
    times = StreamTime(True)
    run(times, [0] * 100)
    assert run(times, [0] * 10, drift=0.0, first=0) == [0] * 10
    stamp = times.stamp(10 * FRAME, 10_000_000_000 + 500 * FRAME)
    assert stamp.pts_ns is not None


def test_a_time_that_repeats_or_goes_back_a_little_belongs_to_no_frame() -> None:
    times = StreamTime(True)
    times.stamp(2 * FRAME, 1000 * FRAME)
    for pts in (2 * FRAME, FRAME, 2 * FRAME - RESTART_NS // 2):
        stamp = times.stamp(pts, 1001 * FRAME)
        assert (stamp.pts_ns, stamp.captured_ns) == (None, 1001 * FRAME)


def test_what_is_not_a_sampling_clock_is_never_used() -> None:
    times = StreamTime(False)
    rng = np.random.default_rng(0)
    for index in range(50):
        stamp = times.stamp(int(rng.integers(0, 10**12)), index * FRAME)
        assert (stamp.captured_ns, stamp.pts_ns, stamp.lag_ns) == (index * FRAME, None, 0)
