"""Clocks: the host's, and the one that tests move."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.runtime.clock import Clock, ManualClock, MonotonicClock


def test_the_host_clock_is_monotonic_and_its_wall_clock_is_the_wall_clock() -> None:
    clock: Clock = MonotonicClock()
    before = time.monotonic_ns()
    readings = [clock.now_ns() for _ in range(1000)]
    assert before <= readings[0]
    assert readings == sorted(readings)
    assert readings[-1] <= time.monotonic_ns()
    assert abs(clock.unix_ns() - time.time_ns()) < 60e9


def test_the_host_clock_waits_at_least_as_long_as_asked() -> None:
    clock = MonotonicClock()
    for stop in (None, threading.Event()):
        deadline = clock.now_ns() + 3_000_000
        assert clock.sleep_until(deadline, stop)
        assert clock.now_ns() >= deadline


def test_a_deadline_in_the_past_is_no_wait() -> None:
    clock = MonotonicClock()
    assert clock.sleep_until(0)
    assert clock.sleep_until(-1, threading.Event())


def test_a_set_event_ends_the_wait_whenever_the_deadline_is() -> None:
    stop = threading.Event()
    stop.set()
    clock = MonotonicClock()
    assert not clock.sleep_until(clock.now_ns() + 10**12, stop)
    assert not clock.sleep_until(0, stop)
    assert not ManualClock().sleep_until(10**12, stop)
    assert not ManualClock().sleep_until(0, stop)


def test_an_event_that_is_set_later_ends_the_wait() -> None:
    clock, stop, ended = MonotonicClock(), threading.Event(), []
    worker = threading.Thread(target=lambda: ended.append(clock.sleep_until(clock.now_ns() + 10**12, stop)))
    worker.start()
    stop.set()
    worker.join(20)
    assert ended == [False]


@pytest.mark.parametrize("years", [293, 10_000, 10**12])
def test_a_deadline_beyond_what_the_system_can_wait_for_is_a_long_wait(years: int) -> None:
    # A file may declare any cadence; the wait must not overflow.
    clock, stop, ended = MonotonicClock(), threading.Event(), []
    deadline = clock.now_ns() + years * 31_557_600 * 10**9
    worker = threading.Thread(target=lambda: ended.append(clock.sleep_until(deadline, stop)))
    worker.start()
    stop.set()
    worker.join(20)
    assert ended == [False]


@given(st.lists(st.integers(0, 10**12)), st.integers(0, 10**9))
def test_the_manual_clock_moves_only_when_told(steps: list[int], overshoot: int) -> None:
    clock = ManualClock(5, overshoot)
    now, unix = 5, clock.unix_ns()
    for step in steps:
        clock.advance(step)
        now += step
        assert clock.now_ns() == now
        assert clock.unix_ns() - unix == now - 5
    assert clock.sleep_until(now - 1)
    assert clock.now_ns() == now
    assert clock.sleep_until(now + 10)
    assert clock.now_ns() == now + 10 + overshoot


@pytest.mark.fault("S8")
def test_a_jump_of_the_wall_clock_moves_nothing_else() -> None:
    clock = ManualClock(100)
    unix = clock.unix_ns()
    for jump in (-unix, 10**18, -1):
        clock.jump_wall(jump)
    assert clock.now_ns() == 100
    assert clock.unix_ns() == 10**18 - 1
    assert clock.sleep_until(200)
    assert clock.now_ns() == 200
