"""How many threads an engine should get on this host."""

from __future__ import annotations

import os
from pathlib import Path

#: Small imaging models stop scaling here, and a device has other work: capture, drawing, recording.
MOST_THREADS = 4

_CPU = Path("/sys/devices/system/cpu")
_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def physical_cores(cpu_folder: Path = _CPU) -> int:
    """Physical cores that this process may run on; hardware threads of one core count once.

    Args:
        cpu_folder: Where Linux describes processors (`Documentation/admin-guide/cputopology.rst`).

    Returns:
        At least 1. Where the topology cannot be read, the number of logical processors.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores: set[str] = set()
    for cpu in allowed:
        try:
            cores.add((cpu_folder / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text().strip())
        except OSError:
            cores.add(str(cpu))
    return max(1, len(cores))


def quota(cpu_max: Path = _CGROUP_QUOTA) -> float | None:
    """Processors that the container may use at once (cgroup v2, `cpu.max`), None where there is no limit."""
    try:
        limit, period = cpu_max.read_text().split()[:2]
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def default_threads() -> int:
    """Threads of a session where nobody measured: physical cores or the container's quota, at most 4."""
    cores = physical_cores()
    limit = quota()
    if limit is not None:
        cores = min(cores, max(1, int(limit)))
    return min(cores, MOST_THREADS)
