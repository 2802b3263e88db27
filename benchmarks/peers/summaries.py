"""From runs to numbers: medians over rounds with intervals, ratios within a round, ages by percentile."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from records import BEDSIDE, METRICS, REFERENCE, SETTLE, Candidate, Estimate, Row, Run, Scenario

from bedside.runtime.latency import percentiles

#: Confidence of intervals.
CONFIDENCE = 0.95

Runs = Mapping[tuple[str, Scenario, int], Run]


def estimate(values: Sequence[float]) -> Estimate:
    """Median and its distribution-free interval.

    The interval lies between order statistics: the chance that the median is outside of the `k`-th smallest and
    `k`-th largest of `n` values is `2 P(X < k)`, `X ~ Binomial(n, 1/2)` (David and Nagaraja, Order Statistics,
    2003, section 7.1).

    Args:
        values: One per round.
    """
    ordered = sorted(values)
    place = interval_place(len(ordered))
    low, high = (None, None) if place is None else (ordered[place], ordered[-1 - place])
    return Estimate(statistics.median(ordered), low, high, tuple(values))


def interval_place(count: int, confidence: float = CONFIDENCE) -> int | None:
    """How many values lie outside of the interval at each end; None where not even all of them are enough."""
    best, outside = None, 0.0
    for place in range(count // 2):
        outside += 2 * math.comb(count, place) / 2**count
        if outside > 1 - confidence:
            break
        best = place
    return best


def ages_ms(run: Run) -> list[float]:
    """Age of every result of a live run behind the first half second: from the frame's due time to the hand."""
    return [
        (hand - due) / 1e6
        for seq, due, hand in zip(run.seq, run.due_ns, run.hand_ns, strict=True)
        if seq >= SETTLE
    ]


def numbers(scenario: Scenario, run: Run, frames: int) -> dict[str, float]:
    """The metrics of one run.

    Args:
        scenario: That was run.
        run: Its report.
        frames: How many were played.
    """
    if scenario == "cold":
        return {"cold_s": (run.hand_ns[0] - run.spawned_ns) / 1e9}
    if scenario == "idle":
        return {"idle_cpu": 100 * run.cpu_s / run.wall_s} if run.wall_s > 0 else {}
    if scenario == "saturated":
        # Caches and clocks warm up during the first ones.
        hands = run.hand_ns[min(SETTLE, len(run.hand_ns) // 4) :]
        if len(hands) < 2 or hands[-1] == hands[0]:
            return {}
        return {
            "saturated_fps": (len(hands) - 1) / (hands[-1] - hands[0]) * 1e9,
            "saturated_cpu_ms": run.cpu_s / max(1, len(run.seq) - 1) * 1e3,
        }
    ages = ages_ms(run)
    if not ages:
        return {}
    median = statistics.median(ages)
    if scenario == "paced":
        # A bound that needs 662 results: a full run has them, a quick one does not.
        tail = _percentiles(ages).get("p99")
        return {
            "paced_age_ms": median,
            **({} if tail is None else {"paced_p99_ms": tail}),
            "paced_share": 100 * len(ages) / max(1, frames - SETTLE),
            "peak_mb": run.peak_bytes / 1e6,
        }
    seconds = (run.hand_ns[-1] - run.hand_ns[0]) / 1e9
    return {
        "overload_age_ms": median,
        "overload_last_ms": ages[-1],
        "overload_fps": (len(run.hand_ns) - 1) / seconds if seconds > 0 else 0.0,
    }


def agreement(run: Run, reference: Run) -> float | None:
    """Part of the frames that both have on which they name the same class."""
    named = dict(zip(reference.seq, reference.top, strict=True))
    same = [top == named[seq] for seq, top in zip(run.seq, run.top, strict=True) if seq in named]
    return sum(same) / len(same) if same else None


def row(candidate: Candidate, runs: Runs, rounds: int, frames: int, failures: Mapping[str, str]) -> Row:
    """All rounds of one candidate.

    Args:
        candidate: Which.
        runs: By candidate, scenario and round, of all candidates.
        rounds: How many there were.
        frames: Of a run from a file.
        failures: By scenario.
    """
    values: dict[str, dict[int, float]] = {}
    base: dict[str, dict[int, float]] = {}
    pooled: dict[str, list[float]] = {}
    for (name, scenario, number), run in runs.items():
        if name == candidate.name and scenario in ("paced", "overload"):
            pooled.setdefault(scenario, []).extend(ages_ms(run))
        for metric, value in numbers(scenario, run, frames).items():
            if name == candidate.name:
                values.setdefault(metric, {})[number] = value
            if name == BEDSIDE:
                base.setdefault(metric, {})[number] = value
    ratios: dict[str, Estimate] = {}
    for metric, of_round in values.items():
        pairs = [
            of_round[n] / base[metric][n]
            for n in range(rounds)
            if n in of_round and base.get(metric, {}).get(n, 0) > 0
        ]
        if pairs and candidate.name != BEDSIDE:
            ratios[metric] = estimate(pairs)
    mine = [run for (name, _, _), run in runs.items() if name == candidate.name]
    return Row(
        name=candidate.name,
        title=candidate.title,
        licence=candidate.licence,
        note=candidate.note,
        versions=mine[0].versions if mine else {},
        metrics={name: estimate(list(values[name].values())) for name in METRICS if name in values},
        ratios={name: ratios[name] for name in METRICS if name in ratios},
        ages_ms={scenario: _percentiles(ages) for scenario, ages in pooled.items() if ages},
        agreement=_agreement(candidate, runs, rounds),
        failures=dict(failures),
    )


def _agreement(candidate: Candidate, runs: Runs, rounds: int) -> float | None:
    shares = [
        agreement(runs[candidate.name, "saturated", n], runs[REFERENCE, "saturated", n])
        for n in range(rounds)
        if (candidate.name, "saturated", n) in runs and (REFERENCE, "saturated", n) in runs
    ]
    known = [share for share in shares if share is not None]
    return min(known) if known else None


def _percentiles(ages: Sequence[float]) -> dict[str, Any]:
    found = percentiles([round(age * 1e6) for age in ages])
    return {} if found is None else dict(msgspec.to_builtins(found))
