"""Where each microsecond of a frame goes: a trace, summed up stage by stage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from bedside.runtime.latency import Percentiles, percentiles
from bedside.runtime.stream.trace import (
    FRAME,
    PUBLISH,
    QUEUE,
    READ,
    SOURCE,
    WORK,
    WRITE,
    Event,
)

#: Parts of a frame's age, in order, with what they are. What is not in them is `_OTHER`.
_PARTS = {
    "late": "due, and the source not yet asked: it was still busy with the frame before",
    READ: "the source: decode or convert, into a lent buffer",
    "wait": "in the mailbox, until the model is free and its thread awake",
    "preprocess": "crop, resize, colour order, into the engine's input",
    "guard": "out of distribution or not",
    "invoke": "the engine",
    "decode": "from output tensors to a result",
}
_OTHER = "other"

#: After the age is taken, or on other threads.
_BEYOND = {
    QUEUE: "ledger and mailbox, on the capturing thread; under `all` until there is room",
    PUBLISH: "hand-over to every sink, ledger, progress",
    WRITE: "a sink's write, on its own thread",
}


#: Columns of `to_rows`; a percentile that the count does not carry is a dash.
HEADER = ("stage", "p50 us", "p95 us", "p99 us", "share of age", "what it is")


class Stage(msgspec.Struct, frozen=True):
    """One row.

    Attributes:
        name: Of the stage; a sink's write has the sink's name behind it.
        what: In words.
        us: Percentiles, in microseconds.
        share: Of the age, summed over all frames; None for what no age has in it.
    """

    name: str
    what: str
    us: Percentiles
    share: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"stage": self.name, "what": self.what, "us": self.us.to_dict(), "share": self.share}


def frame_budget(events: Iterable[Event]) -> list[Stage]:
    """The table of a trace.

    Only frames with a result count, and of those the ones whose events are all in the ring; `late` and `guard`
    appear where there was any.

    Args:
        events: As `Trace.events` gives them.

    Returns:
        The parts of the age in order, the rest of it, `age` itself, and what is beyond it; empty without frames.
    """
    frames: dict[int, dict[str, Event]] = defaultdict(dict)
    lost: set[int] = set()
    for event in events:
        if event.end_ns is None:
            lost.add(event.seq)
        elif event.seq >= 0 and event.name != SOURCE:
            name = f"{WRITE} {event.track}" if event.name == WRITE else event.name
            frames[event.seq][name] = event
    whole = {FRAME, READ, WORK, "preprocess", "invoke", "decode"}
    kept = [found for seq, found in frames.items() if seq not in lost and whole <= found.keys()]
    if not kept:
        return []
    age = np.array([_spent(found[FRAME]) for found in kept], np.int64)
    parts = {name: np.array([_part(found, name) for found in kept], np.int64) for name in _PARTS}
    rows = [_row(n, what, parts[n], age) for n, what in _PARTS.items() if n in whole or parts[n].any()]
    rows.append(_row(_OTHER, "between the stages", age - sum(parts.values()), age))
    rows.append(_row("age", "from the capture stamp to the publication", age, age))
    beyond = [name for name in dict.fromkeys(n for found in kept for n in found) if _beyond(name) is not None]
    for name in beyond:
        spent = np.array([_spent(found[name]) for found in kept if name in found], np.int64)
        rows.append(_row(name, _beyond(name) or "", spent, None))
    return rows


def to_rows(stages: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The table as text, under `HEADER`.

    Args:
        stages: As `Stage.to_dict` gives them.
    """
    return [
        (
            stage["stage"],
            *(_us(stage["us"].get(name)) for name in ("p50", "p95", "p99")),
            "" if stage["share"] is None else f"{stage['share']:.1%}",
            stage["what"],
        )
        for stage in stages
    ]


def _us(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _beyond(name: str) -> str | None:
    return _BEYOND.get(name.partition(" ")[0])


def _part(found: dict[str, Event], name: str) -> int:
    """Nanoseconds of one frame in one part; 0 where it has none."""
    if name == "late":
        return max(0, found[READ].begin_ns - found[FRAME].begin_ns)
    if name == "wait":
        return max(0, found[WORK].begin_ns - (found[READ].end_ns or 0))
    return _spent(found[name]) if name in found else 0


def _spent(event: Event) -> int:
    return (event.begin_ns if event.end_ns is None else event.end_ns) - event.begin_ns


def _row(name: str, what: str, spent_ns: Any, age_ns: Any) -> Stage:
    # `percentiles` turns ns into ms: a thousand times as much is us.
    found = percentiles(spent_ns * 1000)
    assert found is not None  # there are frames
    return Stage(name, what, found, None if age_ns is None else float(spent_ns.sum() / max(1, age_ns.sum())))
