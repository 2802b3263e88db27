"""Between capture and inference: newest, or every, frame; no loss without somebody knowing."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.runtime.frame import Frame
from bedside.runtime.stream.mailbox import Mailbox, Policy

PIXELS = np.zeros((1, 1, 1), np.uint8)


def frame(seq: int) -> Frame:
    return Frame(PIXELS, seq, seq)


def started(target: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def ended(thread: threading.Thread) -> bool:
    thread.join(20)
    return not thread.is_alive()


def test_latest_keeps_the_newest_and_hands_back_what_it_replaced() -> None:
    box = Mailbox("latest")
    first, second, third = frame(0), frame(1), frame(2)
    assert box.put(first) is None
    assert box.put(second) is first
    assert box.get() is second
    assert box.put(third) is None
    assert box.get() is third


def test_latest_ignores_the_depth() -> None:
    box = Mailbox("latest", depth=10)
    box.put(frame(0))
    lost = box.put(frame(1))
    assert lost is not None and lost.seq == 0


def test_all_keeps_the_order_and_makes_the_source_wait() -> None:
    box = Mailbox("all", depth=3)
    for seq in range(3):
        assert box.put(frame(seq)) is None
    waiting = started(lambda: box.put(frame(3)))
    waiting.join(0.05)
    assert waiting.is_alive(), "there was no room"
    first = box.get()
    assert first is not None and first.seq == 0
    assert ended(waiting)
    assert [f.seq for f in box.drain()] == [1, 2, 3]


@pytest.mark.parametrize("policy", ["latest", "all"])
def test_close_lets_the_rest_be_taken_and_then_says_none(policy: Policy) -> None:
    box = Mailbox(policy)
    box.put(frame(0))
    box.close()
    late = frame(1)
    assert box.put(late) is late, "the caller has to account for it"
    taken = box.get()
    assert taken is not None and taken.seq == 0
    assert box.get() is None
    assert box.get() is None
    assert box.drain() == []


@pytest.mark.parametrize("end", ["close", "drain"])
@pytest.mark.parametrize("policy", ["latest", "all"])
def test_whoever_waits_wakes_up_at_the_end(policy: Policy, end: str) -> None:
    empty = Mailbox(policy)
    got: list[Frame | None] = []
    readers = [started(lambda: got.append(empty.get())) for _ in range(3)]
    getattr(empty, end)()
    assert all(ended(reader) for reader in readers)
    assert got == [None, None, None]
    if policy == "all":
        full = Mailbox("all", depth=1)
        full.put(frame(0))
        lost: list[Frame | None] = []
        writers = [started(lambda seq=seq: lost.append(full.put(frame(seq)))) for seq in (1, 2)]  # type: ignore[misc]
        left = getattr(full, end)() or []
        assert all(ended(writer) for writer in writers)
        assert sorted(f.seq for f in lost if f is not None) == [1, 2]
        assert [f.seq for f in left] == ([0] if end == "drain" else [])


def test_drain_closes_and_hands_over_everything() -> None:
    box = Mailbox("all", depth=4)
    for seq in range(3):
        box.put(frame(seq))
    assert [f.seq for f in box.drain()] == [0, 1, 2]
    assert box.drain() == []
    assert box.get() is None


@given(
    st.sampled_from(["latest", "all"]),
    st.lists(st.sampled_from(["put", "get", "drain", "close"]), max_size=40),
)
def test_no_frame_is_lost_without_being_handed_back(policy: Policy, steps: list[str]) -> None:
    box = Mailbox(policy, depth=3)
    offered, seen, waiting, closed = 0, [], 0, False
    for step in steps:
        if step == "put" and (policy == "latest" or waiting < 3 or closed):
            lost = box.put(frame(offered))
            offered += 1
            waiting += lost is None
            if lost is not None:
                seen.append(lost.seq)
        elif step == "get" and (waiting or closed):
            got = box.get()
            assert (got is None) == (waiting == 0)
            if got is not None:
                waiting -= 1
                seen.append(got.seq)
        elif step == "drain":
            seen += [f.seq for f in box.drain()]
            waiting, closed = 0, True
        elif step == "close":
            box.close()
            closed = True
    seen += [f.seq for f in box.drain()]
    assert sorted(seen) == list(range(offered))


@pytest.mark.fault("S7")
@pytest.mark.parametrize(("policy", "depth"), [("latest", 1), ("all", 1), ("all", 4)])
def test_a_fast_source_and_a_worker(policy: Policy, depth: int) -> None:
    box = Mailbox(policy, depth)
    count, replaced, taken = 4000, [], []

    def capture() -> None:
        for seq in range(count):
            lost = box.put(frame(seq))
            if lost is not None:
                replaced.append(lost.seq)
        box.close()

    def work() -> None:
        while (got := box.get()) is not None:
            taken.append(got.seq)

    threads = [started(capture), started(work)]
    assert all(ended(thread) for thread in threads)
    assert taken == sorted(taken), "frames must not overtake each other"
    assert sorted(taken + replaced) == list(range(count))
    assert taken[-1] == count - 1, "the newest frame is never the one that is lost"
    if policy == "all":
        assert replaced == []
