"""What the kernel lets this process do: capabilities and resource limits of Linux."""

from __future__ import annotations

import sys
from pathlib import Path

#: Numbers of `capability.h`: raise priorities, and lock memory beyond the limits.
CAP_IPC_LOCK = 14
CAP_SYS_NICE = 23

#: What a process outside of any user namespace has in `uid_map`: every id stands for itself
#: (user_namespaces(7)).
_INITIAL_NAMESPACE = ["0", "0", "4294967295"]

_STATUS = Path("/proc/self/status")
_UID_MAP = Path("/proc/self/uid_map")


def capable(capability: int, status: Path = _STATUS, uid_map: Path = _UID_MAP) -> bool:
    """Whether this process has a capability that counts outside of its user namespace, too.

    The kernel asks for these where the host is concerned (`capable()`, as opposed to `ns_capable()`): root in a
    rootless container has them in its own namespace only.

    Args:
        capability: Its number.
        status: Where Linux lists the effective ones.
        uid_map: Where Linux says how user ids of this namespace are mapped.
    """
    try:
        if uid_map.read_text(encoding="ascii").split() != _INITIAL_NAMESPACE:
            return False
        lines = status.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    effective = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> capability & 1)


def soft_limit(name: str) -> int | None:
    """A soft limit of `resource`, for example `RLIMIT_RTPRIO`; None where there is none, or no such thing."""
    if sys.platform == "win32":
        return None
    import resource

    number = getattr(resource, name, None)
    if number is None:
        return None
    soft = resource.getrlimit(number)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def errno_text(error: OSError) -> str:
    """What the operating system says, as the middle of a sentence."""
    text = error.strerror or type(error).__name__
    return text[0].lower() + text[1:]
