"""Which frames are begun. Times are told; nothing waits."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bedside.runtime.result import Dropped
from bedside.runtime.stream.admission import RETRY_NS, Admission
from bedside.runtime.stream.quantile import RunningQuantile

MS = 1_000_000
LIMIT = 100 * MS


def took(durations_ms: Sequence[float], now: int = 0) -> RunningQuantile:
    times = RunningQuantile()
    for duration in durations_ms:
        times.add(now, int(duration * MS))
    return times


def begun(limit: int | None = LIMIT) -> Admission:
    """One that has begun a frame at time 0, so that nothing has waited for long."""
    admission = Admission(limit)
    assert admission.refusal(0, 0, 0, every=1, times=RunningQuantile()) is None
    return admission


def refusal(age_ms: float, durations_ms: Sequence[float], *, seq: int = 1, every: int = 1) -> Dropped | None:
    now = 200 * MS
    times = took(durations_ms, now)
    return begun().refusal(seq, now - int(age_ms * MS), now, every=every, times=times)


@pytest.mark.parametrize(("age_ms", "wanted"), [(0, None), (39, None), (40, None), (41, Dropped.LATE)])
def test_a_frame_that_cannot_be_done_in_time_is_not_begun(age_ms: float, wanted: Dropped | None) -> None:
    assert refusal(age_ms, [60.0] * 10) is wanted


def test_the_90th_percentile_is_what_is_expected() -> None:
    durations = [20.0] * 9 + [70.0]
    assert refusal(75, durations) is None, "nine in ten take 20 ms"
    assert refusal(75, [20.0] * 8 + [70.0] * 2) is Dropped.LATE


def test_where_no_frame_is_safe_the_median_decides() -> None:
    # Every second frame takes longer than the limit. A younger frame would be no better off.
    mixed = [30.0, 150.0] * 8
    assert refusal(60, mixed) is None
    assert refusal(75, mixed) is Dropped.LATE
    assert refusal(0, [30.0, 150.0, 150.0]) is Dropped.LATE


def test_a_model_that_is_too_slow_is_tried_now_and_then() -> None:
    admission, times = begun(), took([500.0] * 10)
    asked = range(1, 1000, 10)
    tried = [ms for ms in asked if admission.refusal(ms, ms * MS, ms * MS, every=1, times=times) is None]
    assert tried == [501], "it was measured once, and not again before its time"
    later = 501 * MS + RETRY_NS
    assert admission.refusal(2000, later - LIMIT, later - 1, every=1, times=times) is Dropped.LATE
    assert admission.refusal(2001, later - LIMIT, later, every=1, times=times) is None


def test_it_is_taken_back_as_soon_as_a_try_was_fast() -> None:
    admission = begun()
    times = took([500.0] * 64, 0)
    now = RETRY_NS
    assert admission.refusal(1, now, now, every=1, times=times) is None
    now += 3000 * MS
    times.add(now, 10 * MS)  # the slow ones are older than two seconds
    assert admission.refusal(2, now - 80 * MS, now, every=1, times=times) is None


def test_before_the_first_measurement_the_expectation_counts() -> None:
    now, empty = 200 * MS, RunningQuantile()
    assert begun().refusal(1, now - 50 * MS, now, every=1, times=empty) is None
    late = begun().refusal(1, now - 50 * MS, now, every=1, times=empty, expected_ns=51 * MS)
    assert late is Dropped.LATE


def test_without_a_limit_nothing_is_late() -> None:
    now = 10**12
    assert begun(None).refusal(1, 0, now, every=1, times=took([1e5], now)) is None


def test_every_second_frame_is_counted_from_the_last_one_begun() -> None:
    admission, fast = begun(), took([1.0])
    kept = [s for s in range(1, 9) if admission.refusal(s, s * MS, s * MS, every=2, times=fast) is None]
    assert kept == [2, 4, 6, 8]
    # It was busy until frame 11 came: that one is fresh, 10 has waited for a frame interval.
    assert admission.refusal(11, 11 * MS, 11 * MS, every=2, times=fast) is None
    assert admission.refusal(12, 12 * MS, 12 * MS, every=2, times=fast) is Dropped.SKIPPED
    # A source that counts anew is not waited for.
    assert admission.refusal(0, 13 * MS, 13 * MS, every=2, times=fast) is None


def test_a_frame_that_was_late_is_not_counted_as_begun() -> None:
    admission, slow = begun(), took([90.0])
    assert admission.refusal(2, 0, 50 * MS, every=2, times=slow) is Dropped.LATE
    assert admission.refusal(3, 50 * MS, 51 * MS, every=2, times=slow) is None
