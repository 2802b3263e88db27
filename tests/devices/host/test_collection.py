from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from bedside.devices.host import collection
from bedside.devices.host.collection import IdleCollector
from bedside.runtime.clock import ManualClock


class Node:
    """Something that only the collector can free."""

    def __init__(self) -> None:
        self.me = self


def garbage() -> weakref.ref[Node]:
    return weakref.ref(Node())


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def collector(clock: ManualClock) -> Iterator[IdleCollector]:
    enabled, made = gc.isenabled(), IdleCollector(clock.now_ns)
    assert made.start().granted
    yield made
    made.stop()
    assert gc.isenabled() == enabled
    assert gc.get_freeze_count() == 0


def test_python_does_not_collect_by_itself(collector: IdleCollector) -> None:
    assert not gc.isenabled()
    assert gc.get_freeze_count() > 1000, "what was imported is not walked again"
    ref = garbage()
    keep = [[i] for i in range(5000)]
    assert ref() is not None
    assert len(keep) == 5000


def test_it_collects_once_a_second_between_frames(collector: IdleCollector, clock: ManualClock) -> None:
    ref = garbage()
    clock.advance(int(0.9e9))
    collector.tick(idle=True)
    assert ref() is not None and collector.passes == 0
    clock.advance(int(0.2e9))
    collector.tick(idle=False)
    assert collector.passes == 0, "a frame waits"
    collector.tick(idle=True)
    assert ref() is None
    assert collector.summary()["passes"] == 1
    assert collector.summary()["freed"] >= 1


def test_a_stream_without_idle_time_is_collected_too(collector: IdleCollector, clock: ManualClock) -> None:
    ref = garbage()
    clock.advance(int(collection.LATEST_S * 1e9))
    collector.tick(idle=False)
    assert ref() is None


def test_so_is_one_that_makes_much(collector: IdleCollector) -> None:
    refs = [garbage() for _ in range(collection.MOST_OBJECTS)]
    collector.tick(idle=False)
    assert all(ref() is None for ref in refs)
    assert collector.passes == 1


def test_garbage_stays_bounded_over_many_frames(collector: IdleCollector, clock: ManualClock) -> None:
    refs: list[weakref.ref[Node]] = []
    most = 0
    for _ in range(300):  # ten seconds at 30 a second, each frame with a cycle
        refs.append(garbage())
        clock.advance(33_333_333)
        collector.tick(idle=True)
        refs = [ref for ref in refs if ref() is not None]
        most = max(most, len(refs))
    assert 25 <= most <= 31
    assert collector.passes == 9


def test_before_the_start_and_after_the_end_it_does_nothing(clock: ManualClock) -> None:
    collector = IdleCollector(clock.now_ns)
    clock.advance(10**12)
    collector.tick(idle=True)
    collector.start()
    collector.stop()
    collector.stop()
    clock.advance(10**12)
    collector.tick(idle=True)
    assert collector.passes == 0


def test_what_the_program_around_us_froze_stays_frozen(clock: ManualClock) -> None:
    gc.collect()
    gc.freeze()
    try:
        count = gc.get_freeze_count()
        collector = IdleCollector(clock.now_ns)
        collector.start()
        collector.stop()
        assert gc.get_freeze_count() == count > 0
    finally:
        gc.unfreeze()


def test_a_collector_that_was_off_stays_off(clock: ManualClock) -> None:
    gc.disable()
    try:
        collector = IdleCollector(clock.now_ns)
        collector.start()
        collector.stop()
        assert not gc.isenabled()
    finally:
        gc.enable()
