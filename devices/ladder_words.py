"""The ladder in words: a line for a step, lines for a summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bedside.runtime.stream.ladder import Step

#: Steps of a summary that are told one by one.
_TOLD = 12


def step_line(step: Step) -> str:
    """`step down after frame 812: tflite-int8 on litert, 1 thread (5 of 21 frames missed their deadline)`."""
    way = "down" if step.move.after > step.move.before else "up"
    return f"step {way} after frame {step.seq}: {rung_words(step.after.describe())} ({step.move.detail})"


def rung_words(rung: Mapping[str, Any]) -> str:
    """`tflite-int8 on litert, 1 thread, every 2nd frame`."""
    threads, every = rung["threads"], rung["every"]
    words = f"{rung['variant']} on {rung['engine']}, {threads} thread{'' if threads == 1 else 's'}"
    return words if every == 1 else f"{words}, every {ordinal(every)} frame"


def ordinal(number: int) -> str:
    """`2nd`, `3rd`, `4th`."""
    suffix = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def ladder_lines(ladder: Mapping[str, Any]) -> list[str]:
    """What the summary's `ladder` says, for people; see `bedside.devices.compose.Stream.summary`."""
    rungs, steps = ladder["rungs"], ladder["last_steps"]
    lines = [
        f"rung {k}: {rung_words(rung)}: {rung['results']} result{'' if rung['results'] == 1 else 's'}"
        for k, rung in enumerate(rungs)
    ]
    lines += [
        f"loading {cost['candidate']} took {cost['load_ms']:.0f} ms and {cost['memory_mb']:.1f} MB"
        for cost in ladder.get("loaded", ())[1:]
    ]
    lines += [f"no rung: {left['candidate']}: {left['reason']}" for left in ladder.get("left_out", ())]
    if ladder["steps"] > _TOLD:
        lines.append(f"{ladder['steps']} steps, the last {_TOLD} of them:")
    for step in steps[-_TOLD:]:
        way = "down" if step["after"] > step["before"] else "up"
        lines.append(
            f"{step['at_s']:.1f} s: {way} to rung {step['after']}, {step['cause']}: {step['detail']}"
        )
    return lines
