"""What a device may cost, and what it costs: one row per key of a profile's `[budget]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from bedside.devices.bench.first_result import ColdStart
from bedside.devices.bench.paced import PacedResult
from bedside.devices.profiles import BudgetSection, Profile
from bedside.runtime.errors import UsageError
from bedside.runtime.latency import least_samples

#: Frames per second of the idle measurement.
IDLE_FPS = 1.0


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What budgets are compared with.

    Attributes:
        paced: At the device's frame rate.
        cold: Starts of a fresh process.
        idle_cpu_percent: Processor use at `IDLE_FPS`, in percent of one core.
    """

    paced: PacedResult
    cold: ColdStart | None = None
    idle_cpu_percent: float | None = None


class Row(msgspec.Struct, frozen=True):
    """One budget.

    Attributes:
        key: Of `[budget]`.
        what: In words.
        unit: Of both numbers.
        budget: At most so much.
        measured: None where it could not be said.
        verdict: `pass`, `missed`, or `unknown`, which is no pass.
        why: Of `unknown`.
    """

    key: str
    what: str
    unit: str
    budget: float
    measured: float | None
    verdict: Literal["pass", "missed", "unknown"]
    why: str = ""


def needs_cold_start(budget: BudgetSection) -> bool:
    """Whether processes have to be started for it."""
    return budget.cold_start_s is not None


def needs_idle(budget: BudgetSection) -> bool:
    """Whether the idle stream has to be measured for it."""
    return budget.idle_cpu_percent is not None


def check_budget(profile: Profile, measured: Measured) -> tuple[Row, ...]:
    """Compare.

    Args:
        profile: With at least one budget.
        measured: On this host.

    Raises:
        UsageError: The profile has no budget.
    """
    budget, rows = profile.budget, []
    limits = {"p99_age_ms": budget.p99_age_ms or budget.max_age_ms}
    for key, (what, unit, measure) in _KEYS.items():
        limit = limits.get(key, getattr(budget, key))
        if limit is None:
            continue
        value, why = measure(measured)
        verdict: Literal["pass", "missed", "unknown"] = "unknown"
        if value is not None:
            verdict = "pass" if value <= limit else "missed"
        shown = "max_age_ms" if key == "p99_age_ms" and budget.p99_age_ms is None else key
        rows.append(Row(shown, what, unit, float(limit), value, verdict, why if value is None else ""))
    if not rows:
        raise UsageError(
            f"the profile {profile.name!r} has no budget",
            hint="set keys of [budget] in a profile of your own: " + ", ".join(_KEYS),
        )
    return tuple(rows)


def kept(rows: tuple[Row, ...]) -> bool:
    """Whether every budget is."""
    return all(row.verdict == "pass" for row in rows)


def _percentile(stage: str, name: Literal["p95", "p99"]) -> Callable[[Measured], tuple[float | None, str]]:
    needed = least_samples({"p95": 0.95, "p99": 0.99}[name])

    def measure(measured: Measured) -> tuple[float | None, str]:
        found = measured.paced.summary["latency_ms"].get(stage, {})
        samples = found.get("samples", 0)
        return found.get(name), f"{samples} frames, {name} needs {needed}: measure for longer"

    return measure


def _memory(measured: Measured) -> tuple[float | None, str]:
    return measured.paced.peak_mb, "this system does not say"


def _lost(measured: Measured) -> tuple[float | None, str]:
    ledger: dict[str, Any] = measured.paced.summary["ledger"]
    captured = ledger["captured"]
    if not captured:
        return None, "no frame came"
    return 100.0 * (captured - ledger["processed"]) / captured, ""


def _cold(measured: Measured) -> tuple[float | None, str]:
    return (measured.cold.seconds, "") if measured.cold is not None else (None, "was not measured")


def _cpu(measured: Measured) -> tuple[float | None, str]:
    return cpu_percent(measured.paced), "the run was too short"


def _idle(measured: Measured) -> tuple[float | None, str]:
    return measured.idle_cpu_percent, "was not measured"


def cpu_percent(paced: PacedResult) -> float | None:
    """Processor use of this process over a run, all threads, in percent of one core."""
    # Before the first result the source is opened, which is not what is asked.
    running = [reading for reading in paced.readings if reading.at_ns >= paced.begin_ns]
    if len(running) < 2:
        return None
    first, last = running[0], running[-1]
    return 1e11 * (last.cpu_s - first.cpu_s) / (last.at_ns - first.at_ns)


#: Key to words, unit, and where the number comes from.
_KEYS: dict[str, tuple[str, str, Callable[[Measured], tuple[float | None, str]]]] = {
    "p99_age_ms": ("age of results, 99th percentile", "ms", _percentile("age", "p99")),
    "p95_invoke_ms": ("the engine, 95th percentile", "ms", _percentile("invoke", "p95")),
    "lost_percent": ("frames without a result", "%", _lost),
    "memory_mb": ("peak resident memory", "MB", _memory),
    "cold_start_s": ("start of the process to the first result", "s", _cold),
    "cpu_percent": ("processor use at the frame rate, of one core", "%", _cpu),
    "idle_cpu_percent": (f"processor use at {IDLE_FPS:g} frame a second, of one core", "%", _idle),
}
