"""Frames and the pool their pixels are lent from."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from bedside.runtime.frame import Frame, FramePool, Lease


def test_a_buffer_comes_back_with_the_last_holder() -> None:
    pool = FramePool((4, 6, 3), slots=1)
    lease = pool.lease()
    assert lease.buffer.shape == (4, 6, 3)
    assert lease.buffer.dtype == np.uint8
    frame = Frame(lease.buffer, 0, 0, lease=lease)
    assert frame.retain() is frame
    frame.release()
    assert pool.lease().buffer is not lease.buffer, "it is still held once"
    assert pool.misses == 1
    frame.release()
    assert pool.lease().buffer is lease.buffer


def test_a_lease_cannot_be_given_back_twice_or_taken_up_again() -> None:
    lease = FramePool((1, 1, 1)).lease()
    lease.release()
    with pytest.raises(RuntimeError, match="given back"):
        lease.release()
    with pytest.raises(RuntimeError, match="given back"):
        lease.retain()


def test_a_frame_that_owns_its_pixels_needs_no_lease() -> None:
    frame = Frame(np.zeros((2, 2, 3), np.uint8), 0, 0)
    for _ in range(3):
        frame.release()
    assert frame.retain() is frame


def test_slow_holders_cost_memory_that_is_counted_never_a_wrong_picture() -> None:
    pool = FramePool((2, 2, 1), slots=3)
    leases = [pool.lease() for _ in range(10)]
    assert pool.misses == 7
    assert len({id(lease.buffer) for lease in leases}) == 10
    for i, lease in enumerate(leases):
        lease.buffer[:] = i
    assert [int(lease.buffer[0, 0, 0]) for lease in leases] == list(range(10))
    for lease in leases:
        lease.release()
    again = [pool.lease() for _ in range(3)]
    assert {id(lease.buffer) for lease in again} <= {id(lease.buffer) for lease in leases}
    assert pool.misses == 7
    pool.lease()
    assert pool.misses == 8, "no more than its slots are kept"


def test_holders_on_many_threads_never_share_a_buffer() -> None:
    pool = FramePool((8, 8, 1), slots=4)
    wrong: list[int] = []

    def hold(mark: int) -> None:
        for _ in range(300):
            lease = pool.lease()
            lease.buffer[:] = mark
            lease.retain()
            lease.release()
            if not (lease.buffer == mark).all():
                wrong.append(mark)
            lease.release()

    threads = [threading.Thread(target=hold, args=(mark,)) for mark in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


class Pool(RuleBasedStateMachine):
    """Any order of lending, holding and giving back."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.pool = FramePool((1, 1, 1), slots=2)
        self.held: dict[int, list[Lease]] = {}

    @rule(target=leases)
    def lend(self) -> Lease:
        lease = self.pool.lease()
        assert id(lease.buffer) not in self.held, "lent to two"
        self.held[id(lease.buffer)] = [lease]
        return lease

    @rule(target=leases, lease=leases)
    def retain(self, lease: Lease) -> Lease:
        lease.retain()
        self.held[id(lease.buffer)].append(lease)
        return lease

    @rule(lease=consumes(leases))
    def release(self, lease: Lease) -> None:
        holders = self.held[id(lease.buffer)]
        holders.pop()
        if not holders:
            del self.held[id(lease.buffer)]
        lease.release()

    @invariant()
    def only_what_is_free_is_kept(self) -> None:
        assert len(self.pool._free) <= 2
        assert not {id(b) for b in self.pool._free} & set(self.held)


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=40, stateful_step_count=30)
