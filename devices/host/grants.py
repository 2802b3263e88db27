"""What was asked of the host, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

#: What a thread of a stream does. Threads that an engine makes for itself belong to `inference`.
Role = Literal["inference", "capture", "sink"]

What = Literal[
    "cores",
    "real-time priority",
    "niceness",
    "memory locking",
    "garbage collection",
    "OpenCV threads",
    "thread switching",
]


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was asked of the host.

    Attributes:
        what: Kind.
        who: Threads of which role, or the whole process.
        asked: What was asked for, in words.
        granted: Whether all of it holds.
        have: What holds now, in words.
        reason: Why it was refused.
        remedy: What whoever runs the host can do about it.
    """

    what: What
    who: Role | Literal["process"]
    asked: str
    granted: bool
    have: str
    reason: str = ""
    remedy: str = ""

    @property
    def line(self) -> str:
        """One line for people."""
        who = "" if self.who == "process" else f" of {self.who}"
        if self.granted:
            return f"{self.what}{who}: {self.have}"
        remedy = f" ({self.remedy})" if self.remedy else ""
        return f"{self.what}{who}: asked for {self.asked}, have {self.have}: {self.reason}{remedy}"


def refusals(grants: Iterable[Grant]) -> tuple[Grant, ...]:
    """Those that were not granted."""
    return tuple(grant for grant in grants if not grant.granted)


def numbers(cores: Iterable[int]) -> str:
    """Core numbers for people: `cores 0-2, 5`."""
    runs: list[list[int]] = []
    for core in sorted(cores):
        if runs and core == runs[-1][-1] + 1:
            runs[-1].append(core)
        else:
            runs.append([core])
    shown = ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
    return f"core{'' if len(runs) == 1 and len(runs[0]) == 1 else 's'} {shown}" if runs else "no core"
