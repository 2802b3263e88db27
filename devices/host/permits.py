"""What this host would permit, found out on a thread that ends at once."""

from __future__ import annotations

import threading

from bedside.devices.host import cores, memory, priority
from bedside.devices.host.grants import Grant, numbers
from bedside.devices.profiles import HostSection


def permits(section: HostSection | None = None) -> tuple[Grant, ...]:
    """Ask for everything that a profile can ask for, and keep nothing.

    Args:
        section: Whose priority and niceness to ask for; by default those that a profile has.

    Returns:
        Cores, real-time priority, niceness, memory locking.
    """
    section = section or HostSection()
    asked = section.nice if section.nice is not None else priority.FALLBACK_NICE
    grants: list[Grant] = []

    def attempt() -> None:
        have = numbers(cores.allowed())
        grants.append(Grant(what="cores", who="process", asked=have, granted=True, have=have))
        policy = section.real_time or "fifo"
        # Niceness first: it can be set under either policy, and shows only under the ordinary one.
        nice = priority.make_nice(0, asked, "inference")
        grants.append(priority.make_real_time(0, policy, section.priority + 1, "inference"))
        grants.append(nice)

    thread = threading.Thread(target=attempt, name="permits")
    thread.start()
    thread.join()
    return (*grants, memory.permitted())
