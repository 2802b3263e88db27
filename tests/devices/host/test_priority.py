"""On a host that permits it the thread is real-time, on one that does not it says why: both are true answers."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bedside.devices.host import priority
from bedside.devices.host.grants import Grant

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="needs Linux's scheduler")


def on_a_thread(work: Callable[[], Any]) -> Any:
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(work()))
    thread.start()
    thread.join()
    return done[0]


@pytest.mark.parametrize(("policy", "number"), [("fifo", os.SCHED_FIFO), ("rr", os.SCHED_RR)])
def test_what_it_says_is_what_the_kernel_says(policy: priority.RealTime, number: int) -> None:
    def work() -> Any:
        before = priority.scheduling(0)
        grants = priority.raise_thread(0, "inference", real_time=policy, priority=7, nice=None)
        now = priority.scheduling(0)
        priority.restore(0, before)
        return before, grants, now, priority.scheduling(0)

    before, grants, now, after = on_a_thread(work)
    if grants[0].granted:
        assert (now.policy, now.priority) == (number, 7)
        assert len(grants) == 1
        assert after == before
    else:
        assert now.policy == before.policy
        assert grants[0].reason and grants[0].remedy
        assert [g.what for g in grants] == ["real-time priority", "niceness"]
    assert os.sched_getscheduler(0) == before.policy, "other threads are left alone"


def test_a_refusal_names_the_limit_and_the_unit(unprivileged: Callable[[str], Any]) -> None:
    found = unprivileged(
        """
from bedside.devices.host import priority
import msgspec
before = priority.scheduling(0)
grants = priority.raise_thread(0, "capture", real_time="fifo", priority=21, nice=None)
same = priority.scheduling(0) == before
print(msgspec.json.encode([grants, same]).decode())
"""
    )
    real_time, nice = found[0]
    assert found[1], "nothing has changed"
    assert not real_time["granted"] and not nice["granted"]
    assert real_time["reason"] == "the limit of real-time priorities is 0 here"
    assert "LimitRTPRIO=21" in real_time["remedy"] and "ulimit -r 21" in real_time["remedy"]
    assert nice["asked"] == "nice -10"
    assert "LimitNICE=-10" in nice["remedy"]


def test_a_niceness_that_anybody_may_have(unprivileged: Callable[[str], Any]) -> None:
    found = unprivileged(
        """
from bedside.devices.host import priority
grants = priority.raise_thread(0, "inference", real_time=None, priority=20, nice=19)
print(json.dumps([g.granted for g in grants] + [os.getpriority(os.PRIO_PROCESS, 0)]))
"""
    )
    assert found == [True, 19]


def test_who_asks_for_nothing_gets_nothing() -> None:
    assert priority.raise_thread(0, "inference", real_time=None, priority=20, nice=None) == ()


def test_a_thread_that_is_gone_is_no_refusal() -> None:
    gone = on_a_thread(threading.get_native_id)
    # Python's thread has ended before the kernel's has.
    deadline = time.monotonic() + 10
    while Path(f"/proc/self/task/{gone}").exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    with pytest.raises(ProcessLookupError):
        priority.make_real_time(gone, "fifo", 5, "inference")
    priority.restore(0, None)


def test_a_recording_is_not_urgent() -> None:
    grant = priority.not_urgent("rr", 21, "capture")
    assert isinstance(grant, Grant) and not grant.granted
    assert grant.asked == "SCHED_RR 21"
    assert "--paced" in grant.remedy
