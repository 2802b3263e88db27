"""Memory that stays: no page that a frame needs is waited for from a disk."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from bedside.devices.host.capabilities import CAP_IPC_LOCK, capable, errno_text, soft_limit
from bedside.devices.host.grants import Grant

# mman.h of Linux on x86, ARM and RISC-V.
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4

_ASKED = "all pages that are touched"


def lock() -> Grant:
    """Lock what is in memory now, and what comes, when it is touched (mlockall(2), `MCL_ONFAULT`).

    Without `MCL_ONFAULT` every thread would take its whole stack of 8 MB. With a finite limit nothing is locked:
    what is allocated beyond the limit later would fail, and end the process where a page that has to be read
    again costs a millisecond.
    """
    refusal = _refusal()
    if refusal is not None:
        return refusal
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        number = ctypes.get_errno()
        return _refused(errno_text(OSError(number, os.strerror(number))), "allow mlockall in the container")
    return Grant(what="memory locking", who="process", asked=_ASKED, granted=True, have=_ASKED)


def held(status: Path = Path("/proc/self/status")) -> int:
    """KiB that this process has locked; 0 where the system does not say."""
    try:
        lines = status.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmLck:")), 0)


def unlock() -> None:
    """Undo `lock`; whatever else of this process was locked is let go, too (munlockall(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).munlockall()


def permitted() -> Grant:
    """What `lock` would say, as far as the limits tell; locks nothing."""
    refusal = _refusal()
    if refusal is not None:
        return refusal
    return Grant(what="memory locking", who="process", asked=_ASKED, granted=True, have="permitted")


def _refusal() -> Grant | None:
    if sys.platform != "linux":
        return _refused("this system has no mlockall", "run on Linux")
    limit = soft_limit("RLIMIT_MEMLOCK")
    if limit is not None and not capable(CAP_IPC_LOCK):
        remedy = "set LimitMEMLOCK=infinity in the systemd unit, `ulimit -l unlimited` in the shell, or "
        remedy += "--ulimit memlock=-1 for the container"
        return _refused(f"the limit of locked memory is {limit >> 10} KiB here, not unlimited", remedy)
    return None


def _refused(reason: str, remedy: str) -> Grant:
    return Grant(
        what="memory locking",
        who="process",
        asked=_ASKED,
        granted=False,
        have="none",
        reason=reason,
        remedy=remedy,
    )
