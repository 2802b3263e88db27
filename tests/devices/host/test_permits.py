from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from bedside.devices.host import cores, priority
from bedside.devices.host.permits import permits


def test_nothing_is_kept() -> None:
    before = cores.allowed(), priority.scheduling(0)
    found = permits()
    assert (cores.allowed(), priority.scheduling(0)) == before
    assert [g.what for g in found] == ["cores", "real-time priority", "niceness", "memory locking"]
    for grant in found:
        assert grant.granted or (grant.reason and grant.remedy)


def test_a_user_without_privileges_is_told_what_to_ask_for(unprivileged: Callable[[str], Any]) -> None:
    found = unprivileged(
        """
from bedside.devices.host.permits import permits
import msgspec
print(msgspec.json.encode(permits()).decode())
"""
    )
    said = {grant["what"]: grant for grant in found}
    assert said["cores"]["granted"]
    assert said["cores"]["have"].split()[1].startswith(str(min(os.sched_getaffinity(0))))
    for what, remedy in (
        ("real-time priority", "LimitRTPRIO="),
        ("niceness", "LimitNICE="),
        ("memory locking", "LimitMEMLOCK="),
    ):
        assert not said[what]["granted"]
        assert remedy in said[what]["remedy"]
