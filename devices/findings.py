"""What the results of a run said, counted as they come."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from bedside.runtime.answers import (
    Classification,
    Detections,
    Generation,
    Raw,
    Reconstruction,
    Segmentation,
    TaskResult,
    Translation,
)
from bedside.runtime.result import GuardScore, Outcome, Result

#: Stands among the classes for results that found none.
NOTHING = "nothing"
#: A model of a thousand classes would fill the screen.
_LISTED = 8


class Findings:
    """Counts classes, and means per result. One thread owns it."""

    def __init__(self) -> None:
        self._results = 0
        self._classes: Counter[str] = Counter()
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._beyond: int | None = None
        self._guards = 0
        self._guard_sum = self._guard_max = 0.0
        self._guard_beyond = 0
        self._guard_limit = 0.0

    def add(self, result: Result) -> None:
        """Count one result; of one that is not shown, only what its guard said."""
        if result.guard is not None:
            self._add_guard(result.guard)
        if result.outcome is not Outcome.OK or result.result is None:
            return
        self._results += 1
        self._classes.update(set(_classes(result.result)))
        for name, value in _numbers(result.result).items():
            self._sums[name] += value
        if isinstance(result.result, Reconstruction) and result.result.threshold is not None:
            self._beyond = (self._beyond or 0) + (result.result.score > result.result.threshold)

    def summary(self) -> dict[str, Any]:
        """Plain data.

        Returns:
            `results`: how many were shown; `classes`: in how many of them each was found, the most frequent
            first; `means`: per result shown; `beyond_limit`: how many reconstructions were; `guard`: `results`
            it saw, `mean`, `max`, `threshold`, and how many were `beyond` it. What a task has not is left out.
        """
        found: dict[str, Any] = {"results": self._results}
        if self._classes:
            found["classes"] = dict(self._classes.most_common())
        if self._sums:
            found["means"] = {name: total / self._results for name, total in self._sums.items()}
        if self._beyond is not None:
            found["beyond_limit"] = self._beyond
        if self._guards:
            found["guard"] = {
                "results": self._guards,
                "mean": self._guard_sum / self._guards,
                "max": self._guard_max,
                "threshold": self._guard_limit,
                "beyond": self._guard_beyond,
            }
        return found

    def _add_guard(self, guard: GuardScore) -> None:
        self._guard_max = max(self._guard_max, guard.score) if self._guards else guard.score
        self._guards += 1
        self._guard_sum += guard.score
        self._guard_limit = guard.threshold
        self._guard_beyond += guard.score > guard.threshold


def lines(findings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What `Findings.summary` gave, for people: a few names, each with one line."""
    said = []
    classes = findings.get("classes")
    if classes:
        listed = [f"{label} {count}" for label, count in list(classes.items())[:_LISTED]]
        listed += [f"{len(classes) - _LISTED} more classes"] if len(classes) > _LISTED else []
        said.append(("found", f"{', '.join(listed)}; in {findings['results']} results"))
    means = findings.get("means")
    if means:
        said.append(("mean per result", ", ".join(f"{name} {value:.3g}" for name, value in means.items())))
    if "beyond_limit" in findings:
        said.append(("beyond the limit", f"{findings['beyond_limit']} of {findings['results']} results"))
    guard = findings.get("guard")
    if guard:
        said.append(
            (
                "guard",
                f"mean score {guard['mean']:.3g}, highest {guard['max']:.3g}, limit {guard['threshold']:.3g}; "
                f"{guard['beyond']} of {guard['results']} frames beyond it",
            )
        )
    return said


def _classes(shown: TaskResult) -> Iterable[str]:
    match shown:
        case Classification():
            return (shown.label,)
        case Segmentation():
            return [region.label for region in shown.regions] or (NOTHING,)
        case Detections():
            return [box.label for box in shown.boxes] or (NOTHING,)
    return ()


def _numbers(shown: TaskResult) -> dict[str, float]:
    match shown:
        case Classification():
            sized = {} if shown.set is None else {"labels in the set": float(len(shown.set.labels))}
            return {"score": shown.score, **sized}
        case Segmentation():
            return {"classes": float(len(shown.regions)), "area": sum(r.fraction for r in shown.regions)}
        case Detections():
            return {"boxes": float(len(shown.boxes))}
        case Reconstruction():
            return {"error": shown.error, "score": shown.score}
        case Translation():
            return {"change": shown.change}
        case Generation() | Raw():
            return {}
