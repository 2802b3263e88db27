"""Processor affinity: which cores a thread may run on."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from bedside.devices.host.capabilities import errno_text
from bedside.devices.host.grants import Grant, Role, numbers

_CPU = Path("/sys/devices/system/cpu")


def allowed(thread: int = 0) -> frozenset[int]:
    """Logical processors that a thread may run on.

    Args:
        thread: Its native id; 0 is the calling one.
    """
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(thread))
    return frozenset(range(os.cpu_count() or 1))


def place(thread: int, wanted: Collection[int], role: Role) -> Grant:
    """Keep a thread on cores. Threads that it makes from now on inherit them (sched_setaffinity(2)).

    Args:
        thread: Native id; 0 is the calling one.
        wanted: At least one core.
        role: For the report.
    """
    asked = numbers(wanted)
    if not hasattr(os, "sched_setaffinity"):
        reason, remedy = "this system has no processor affinity", "run on Linux"
        return _refused(role, asked, thread, reason, remedy)
    before = allowed(thread)
    try:
        os.sched_setaffinity(thread, wanted)
    except OSError as error:
        return _refused(role, asked, thread, errno_text(error), _remedy(before))
    have = allowed(thread)
    if have != frozenset(wanted):  # the kernel takes out what the control group does not allow
        missing = numbers(frozenset(wanted) - have)
        return _refused(role, asked, thread, f"this process may not use {missing}", _remedy(before))
    return Grant(what="cores", who=role, asked=asked, granted=True, have=asked)


def restore(thread: int, before: Collection[int]) -> None:
    """Put back what `allowed` gave; a core that is gone since then changes nothing."""
    if hasattr(os, "sched_setaffinity"):
        try:
            os.sched_setaffinity(thread, before)
        except OSError:
            return


def physical(cores: Collection[int], cpu_folder: Path = _CPU) -> tuple[tuple[int, ...], ...]:
    """Logical processors by physical core, lowest first: hardware threads of one core share what is fast.

    Args:
        cores: Logical processors.
        cpu_folder: Where Linux describes them (`Documentation/admin-guide/cputopology.rst`).
    """
    groups: dict[str, list[int]] = {}
    for core in sorted(cores):
        try:
            key = (cpu_folder / f"cpu{core}" / "topology" / "thread_siblings_list").read_text().strip()
        except OSError:
            key = str(core)
        groups.setdefault(key, []).append(core)
    return tuple(tuple(group) for group in groups.values())


def _refused(role: Role, asked: str, thread: int, reason: str, remedy: str) -> Grant:
    have = numbers(allowed(thread))
    return Grant(what="cores", who=role, asked=asked, granted=False, have=have, reason=reason, remedy=remedy)


def _remedy(may: Collection[int]) -> str:
    return (
        f"name some of {numbers(may)}, or widen AllowedCPUs= of the unit, or --cpuset-cpus of the container"
    )
