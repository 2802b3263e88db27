from __future__ import annotations

import gc
import sys
from collections.abc import Callable

import cv2
import pytest

from bedside.devices.host.process import SWITCH_S, ProcessSetup
from bedside.devices.profiles import HostSection
from bedside.runtime.clock import ManualClock
from bedside.runtime.result import Result


def state() -> tuple[object, ...]:
    return cv2.getNumThreads(), sys.getswitchinterval(), gc.isenabled(), gc.get_freeze_count()


def test_everything_is_put_back() -> None:
    before = state()
    with ProcessSetup(HostSection(opencv_threads=1), shared=True) as setup:
        setup.loaded()
        assert cv2.getNumThreads() == 1
        assert sys.getswitchinterval() == pytest.approx(SWITCH_S)
        assert not gc.isenabled()
        assert all(grant.granted for grant in setup.grants())
        assert [g.what for g in setup.grants()] == [
            *("OpenCV threads", "thread switching", "garbage collection"),
        ]
    assert state() == before


def test_it_is_put_back_after_an_error_too() -> None:
    before = state()
    with pytest.raises(ZeroDivisionError), ProcessSetup(HostSection(opencv_threads=1)) as setup:
        setup.loaded()
        raise ZeroDivisionError
    assert state() == before


def test_a_single_stream_that_asks_for_nothing_changes_the_collector_only() -> None:
    before = state()
    with ProcessSetup(HostSection()) as setup:
        setup.loaded()
        assert state()[:2] == before[:2]
        assert setup.collected() == {"passes": 0, "longest_ms": 0.0, "freed": 0}
    with ProcessSetup(HostSection(collection="automatic")) as setup:
        setup.loaded()
        assert state() == before
        assert setup.collected() is None


def test_idle_is_when_the_next_frame_is_some_time_away(make_result: Callable[..., Result]) -> None:
    clock = ManualClock()
    with ProcessSetup(HostSection(), clock=clock) as setup:
        setup.loaded()

        def passes(age_ms: float) -> int:
            clock.advance(10**9)
            for seq in (0, 1):  # 33 ms apart
                setup.tick(make_result(seq, age_ms=age_ms))
            found = setup.collected()
            assert found is not None
            return int(found["passes"])

        assert passes(20.0) == 0, "the next frame comes in 13 ms"
        assert passes(8.0) == 1
