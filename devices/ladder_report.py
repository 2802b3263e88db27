"""The ladder in the report of a run: the rungs, what they cost to load, and the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bedside.devices.ladder_words import rung_words
from bedside.runtime import html
from bedside.runtime.html import Html


def ladder_section(ladder: Mapping[str, Any] | None) -> Html:
    """A section of the report; empty where the stream had no ladder.

    Args:
        ladder: `ladder` of the summary, see `bedside.devices.compose.Stream.summary`.
    """
    if not ladder:
        return Html("")
    taken, told = ladder["steps"], ladder["last_steps"]
    if taken == 0:
        said = html.note("The stream stayed on its preferred rung.")
    elif taken > len(told):
        said = html.note(f"{taken} steps, the last {len(told)} of them are here.")
    else:
        said = html.note(f"{taken} step{'' if taken == 1 else 's'}.")
    parts = [_rungs(ladder), said, _steps(told), _left_out(ladder.get("left_out", ()))]
    return html.section("Ladder", *parts)


def _rungs(ladder: Mapping[str, Any]) -> Html:
    # Rungs that work on every n-th frame come last, and cost nothing to load.
    rows, loaded = [], ladder.get("loaded", ())
    for k, rung in enumerate(ladder["rungs"]):
        cost = loaded[k] if k < len(loaded) else None
        expected = rung["expected_ms"]
        rows.append(
            (
                k,
                rung_words(rung),
                html.MISSING if expected is None else f"{expected:.3g}",
                "" if cost is None else f"{cost['load_ms']:.0f}",
                "" if cost is None else f"{cost['memory_mb']:.1f}",
                rung["results"],
            )
        )
    header = ("rung", "", "expected, ms", "loaded in, ms", "memory, MB", "results")
    return html.table(header, rows, numeric=(0, 2, 3, 4, 5))


def _steps(steps: Sequence[Mapping[str, Any]]) -> Html:
    if not steps:
        return Html("")
    rows = [
        (
            f"{step['at_s']:.1f}",
            step["seq"],
            f"{step['before']} to {step['after']}",
            step["cause"],
            step["detail"],
        )
        for step in steps
    ]
    return html.table(("at, s", "after frame", "rung", "cause", "what was seen"), rows, numeric=(0, 1))


def _left_out(left: Sequence[Mapping[str, Any]]) -> Html:
    if not left:
        return Html("")
    rows = [(entry["candidate"], entry["reason"]) for entry in left]
    return html.details("What is no rung, and why", html.table(("candidate", "reason"), rows, numeric=()))
