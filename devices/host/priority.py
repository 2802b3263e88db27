"""Scheduling of threads: real-time where permitted, else a better niceness, else as it is."""

from __future__ import annotations

import os
from typing import Literal

import msgspec

from bedside.devices.host.capabilities import CAP_SYS_NICE, capable, errno_text, soft_limit
from bedside.devices.host.grants import Grant, Role

RealTime = Literal["fifo", "rr"]

#: Where real time was asked for and refused, and the profile names no niceness.
FALLBACK_NICE = -10

_NAMES: dict[RealTime, str] = {"fifo": "SCHED_FIFO", "rr": "SCHED_RR"}


class Scheduling(msgspec.Struct, frozen=True):
    """How a thread is scheduled (sched(7)).

    Attributes:
        policy: As `os.sched_getscheduler` says.
        priority: Under a real-time policy, else 0.
        nice: Under the ordinary policy.
    """

    policy: int
    priority: int
    nice: int


def scheduling(thread: int) -> Scheduling | None:
    """How a thread is scheduled; None where the system cannot say.

    Args:
        thread: Native id; 0 is the calling one.
    """
    if not hasattr(os, "sched_getscheduler"):
        return None
    # Of a thread, on Linux: setpriority(2), "C library/kernel differences".
    nice = os.getpriority(os.PRIO_PROCESS, thread)
    return Scheduling(os.sched_getscheduler(thread), os.sched_getparam(thread).sched_priority, nice)


def restore(thread: int, before: Scheduling | None) -> None:
    """Put back what `scheduling` gave. A thread that is gone, or a niceness that may not be lowered again,
    changes nothing."""
    if before is None or scheduling(thread) == before:
        return
    try:
        os.sched_setscheduler(thread, before.policy, os.sched_param(before.priority))
        os.setpriority(os.PRIO_PROCESS, thread, before.nice)
    except OSError:
        return


def make_real_time(thread: int, policy: RealTime, priority: int, role: Role) -> Grant:
    """Schedule a thread before every ordinary one. Threads that it makes inherit that.

    A thread that never waits is kept to 95 % of a core by Linux (`sched_rt_runtime_us`), so that the host can
    still be reached.

    Args:
        thread: Native id; 0 is the calling one.
        policy: First in first out, or round robin among equals.
        priority: 1 to 99.
        role: For the report.

    Raises:
        ProcessLookupError: The thread has ended.
    """
    asked = f"{_NAMES[policy]} {priority}"
    reason, remedy = "this system has no real-time scheduling for threads", "run on Linux"
    if hasattr(os, "sched_setscheduler"):
        try:
            os.sched_setscheduler(thread, getattr(os, _NAMES[policy]), os.sched_param(priority))
        except ProcessLookupError:
            raise
        except OSError as error:
            reason, remedy = _why(error, priority)
        else:
            return Grant(what="real-time priority", who=role, asked=asked, granted=True, have=asked)
    return Grant(
        what="real-time priority",
        who=role,
        asked=asked,
        granted=False,
        have="ordinary scheduling",
        reason=reason,
        remedy=remedy,
    )


def not_urgent(policy: RealTime, priority: int, role: Role) -> Grant:
    """What is said of a recording that is not paced: nobody is asked for real time."""
    return Grant(
        what="real-time priority",
        who=role,
        asked=f"{_NAMES[policy]} {priority}",
        granted=False,
        have="ordinary scheduling",
        reason="a recording has no deadline",
        remedy="--paced plays it as a live stream",
    )


def make_nice(thread: int, nice: int, role: Role) -> Grant:
    """Give an ordinary thread a niceness.

    Args:
        thread: Native id; 0 is the calling one.
        nice: -20, first, to 19, last.
        role: For the report.

    Raises:
        ProcessLookupError: The thread has ended.
    """
    asked = f"nice {nice}"
    reason, remedy = "this system has no niceness for threads", "run on Linux"
    have = "as it was"
    if hasattr(os, "sched_setscheduler"):
        try:
            os.setpriority(os.PRIO_PROCESS, thread, nice)
        except ProcessLookupError:
            raise
        except OSError as error:
            # RLIMIT_NICE counts from the other end (getrlimit(2)).
            reason = f"{errno_text(error)}; the lowest niceness allowed here is {20 - _zero('RLIMIT_NICE')}"
            remedy = f"set LimitNICE={nice} in the systemd unit"
            have = f"nice {os.getpriority(os.PRIO_PROCESS, thread)}"
        else:
            return Grant(what="niceness", who=role, asked=asked, granted=True, have=asked)
    return Grant(
        what="niceness", who=role, asked=asked, granted=False, have=have, reason=reason, remedy=remedy
    )


def raise_thread(
    thread: int, role: Role, *, real_time: RealTime | None, priority: int, nice: int | None
) -> tuple[Grant, ...]:
    """Real time if asked for; where that is refused, or not asked for, a niceness.

    Args:
        thread: Native id; 0 is the calling one.
        role: For the report.
        real_time: Policy; None for the ordinary one.
        priority: Under `real_time`.
        nice: None is `FALLBACK_NICE` where real time was refused, and else nothing.

    Returns:
        What came of it; empty where nothing was asked for.

    Raises:
        ProcessLookupError: The thread has ended.
    """
    grants: list[Grant] = []
    if real_time is not None:
        grants.append(make_real_time(thread, real_time, priority, role))
        if grants[0].granted:
            return tuple(grants)
        nice = FALLBACK_NICE if nice is None else nice
    if nice is not None:
        grants.append(make_nice(thread, nice, role))
    return tuple(grants)


def _why(error: OSError, priority: int) -> tuple[str, str]:
    """Reason and remedy of a refusal."""
    limit = soft_limit("RLIMIT_RTPRIO")
    if not isinstance(error, PermissionError):
        return errno_text(error), ""
    if not capable(CAP_SYS_NICE) and limit is not None and limit < priority:
        remedy = f"set LimitRTPRIO={priority} in the systemd unit, `ulimit -r {priority}` in the shell, or "
        remedy += f"--ulimit rtprio={priority} for the container"
        return f"the limit of real-time priorities is {limit} here", remedy
    # sched(7), and Documentation/scheduler/sched-rt-group.rst: a group without real-time budget refuses root too.
    return (
        f"{errno_text(error)}, although the limits allow it",
        "give the control group real-time budget (cpu.rt_runtime_us), or allow sched_setscheduler in the "
        "container's seccomp profile",
    )


def _zero(name: str) -> int:
    limit = soft_limit(name)
    return 40 if limit is None else limit
