"""What the report of a run is made of: plain data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from bedside.devices.overlay.wording import headline
from bedside.runtime.answers import Raw
from bedside.runtime.frame import Color, Pixels
from bedside.runtime.result import Outcome, Result


class Thumbnail(msgspec.Struct, frozen=True):
    """A picture for the report.

    Attributes:
        pixels: `(H, W, 1 or 3) uint8`.
        caption: Under it.
        color: Channel order of `pixels`.
    """

    pixels: Pixels
    caption: str
    color: Color = "bgr"


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a report is made of. Samples are one per result, in order.

    Attributes:
        title: Heading.
        summary: The object that `bedside run --json` ends with.
        captured_s: Capture times, in s from the first.
        ages_ms: Ages of the results, in ms.
        labels: Labels shown; None where there was none.
        outcomes: `ok`, or the outcome and its reason, for example `withheld stale`.
        guards: Scores of the bundle's guard; not a number where it did not see the frame. Empty without one.
        limits: What the run was limited by: `max_age_ms`, `max_frames`, `seconds`, where set.
        host: A `HostReport` as plain data.
        thumbnails: A few frames, mostly with their overlay.
        notes: Whatever else the reader must know.
    """

    title: str
    summary: Mapping[str, Any]
    captured_s: Sequence[float] = ()
    ages_ms: Sequence[float] = ()
    labels: Sequence[str | None] = ()
    outcomes: Sequence[str] = ()
    guards: Sequence[float] = ()
    limits: Mapping[str, float | None] = {}
    host: Mapping[str, Any] = {}
    thumbnails: Sequence[Thumbnail] = ()
    notes: Sequence[str] = ()


def from_results(title: str, summary: Mapping[str, Any], results: Iterable[Result], **rest: Any) -> RunReport:
    """A report whose samples are taken from results, for example from `read_results`.

    Args:
        title: Heading.
        summary: See `RunReport`.
        results: Of one stream, in order.
        rest: Further fields of `RunReport`.
    """
    captured: list[int] = []
    ages: list[float] = []
    labels: list[str | None] = []
    outcomes: list[str] = []
    guards: list[float] = []
    for result in results:
        captured.append(result.captured_ns)
        ages.append(result.age_ms)
        labels.append(_label(result))
        guards.append(math.nan if result.guard is None else result.guard.score)
        outcomes.append(f"{result.outcome} {result.reason or ''}".strip())
    return RunReport(
        title=title,
        summary=summary,
        captured_s=[(stamp - captured[0]) / 1e9 for stamp in captured],
        ages_ms=ages,
        labels=labels,
        outcomes=outcomes,
        guards=[] if all(map(math.isnan, guards)) else guards,
        **rest,
    )


def _label(result: Result) -> str | None:
    shown = result.result if result.outcome is Outcome.OK else None
    if shown is None or (isinstance(shown, Raw) and not shown.outputs):
        return None
    return headline(shown)[0]
