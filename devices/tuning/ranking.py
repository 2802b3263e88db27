"""What `bedside tune` found out, as plain data, and what of it a run may take.

Candidates are ranked by the 95th percentile of `invoke` at the device's cadence, where each invocation follows
an idle gap. Percentiles are upper bounds at 0.99 confidence (`bedside.runtime.latency`), and each has a lower
one beside it (`low_ms`). Two candidates whose bounds overlap cannot be told apart by their tails, which on any
real host are mostly other processes' work; among those that cannot be told apart from the best, the median
decides, which is steadier by far.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bedside.devices.profiles.schema import Engine
from bedside.devices.tuning.host import Host
from bedside.runtime.bundle.fields import Line, Name, Sha256, Text, Version
from bedside.runtime.latency import Percentiles

SCHEMA: Literal["bedside.ranking/1"] = "bedside.ranking/1"

Hint = Literal["f32", "bf16", "f16"]
_Ms = Annotated[float, Meta(ge=0.0, le=1e9)]
_Bytes = Annotated[int, Meta(ge=0, le=1 << 50)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Frozen, and refuses unknown keys."""


class Candidate(_Strict, frozen=True):
    """One way to run the main model of a bundle.

    Attributes:
        variant: Id of a variant.
        engine: Id of an engine that reads its format.
        threads: Of the engine.
        hint: Precision hint; None for an engine that has none.
    """

    variant: Name
    engine: Engine
    threads: Annotated[int, Meta(ge=1, le=256)]
    hint: Hint | None = None

    def __str__(self) -> str:
        """`tflite-int8 on openvino (bf16), 2 threads`."""
        hint = f" ({self.hint})" if self.hint else ""
        return (
            f"{self.variant} on {self.engine}{hint}, {self.threads} thread{'s' if self.threads > 1 else ''}"
        )


class Limits(_Strict, frozen=True):
    """What the caller and the device's profile leave open. None and the empty tuple leave all open.

    Attributes:
        variant: This one only.
        engine: This one only.
        engines: These only: what the profile prefers; an engine that it does not name is not taken.
        threads: Exactly so many.
        most_threads: So many at most: what the profile gives to the engine.
        hint: This precision hint only.
    """

    variant: str | None = None
    engine: str | None = None
    engines: tuple[str, ...] = ()
    threads: int | None = None
    most_threads: int | None = None
    hint: str | None = None

    def allow(self, candidate: Candidate) -> bool:
        """Whether a candidate may be taken."""
        return (
            self.variant in (None, candidate.variant)
            and self.engine in (None, candidate.engine)
            and (not self.engines or candidate.engine in self.engines)
            and self.threads in (None, candidate.threads)
            and (self.most_threads is None or candidate.threads <= self.most_threads)
            and self.hint in (None, candidate.hint)
        )


class Measured(_Strict, frozen=True):
    """A candidate that passed its goldens every time it was started, with its times.

    Attributes:
        candidate: Which.
        paced: `invoke` at the device's cadence, in ms.
        low_ms: Lower bound of the paced p95 at 0.99 confidence, in ms.
        back_to_back: `invoke` one after the other, in ms.
        cpu_ms: Processor time per paced frame over all threads, in ms: heat and battery.
        memory_bytes: Resident memory that loading it took, its engine included: what a rung of a ladder costs.
        golden_error: Largest relative error on its goldens.
        visits: In how many processes it was measured.
        left_out: Of them, those with the worst tails, which are not in its times.
    """

    candidate: Candidate
    paced: Percentiles
    low_ms: _Ms
    back_to_back: Percentiles
    cpu_ms: _Ms
    memory_bytes: _Bytes
    golden_error: Annotated[float, Meta(ge=0.0)]
    visits: Annotated[int, Meta(ge=1)]
    left_out: Annotated[int, Meta(ge=0)] = 0

    @property
    def p95_ms(self) -> float:
        """The paced p95 in ms; with fewer samples than that takes, the largest of them stands in."""
        return self.paced.max if self.paced.p95 is None else self.paced.p95


class StruckOff(_Strict, frozen=True):
    """A candidate that must not run here.

    Attributes:
        candidate: Which.
        kind: `refused` by its engine or by its goldens; `crashed`, or `hung` beyond its time limit.
        reason: In words.
    """

    candidate: Candidate
    kind: Literal["refused", "crashed", "hung"]
    reason: Text


def ordered(measured: Iterable[Measured]) -> tuple[Measured, ...]:
    """Best first, as the module says."""
    everyone = tuple(measured)
    least = _least(everyone)

    def place(m: Measured) -> tuple[bool, float, float]:
        tied = m.low_ms <= least
        return (not tied, m.paced.p50, m.p95_ms) if tied else (not tied, m.p95_ms, m.paced.p50)

    return tuple(sorted(everyone, key=place))


def ties(measured: Iterable[Measured]) -> tuple[Measured, ...]:
    """Those whose p95 cannot be told apart from the smallest, the smallest median first."""
    everyone = tuple(measured)
    least = _least(everyone)
    return ordered(m for m in everyone if m.low_ms <= least)


def _least(measured: tuple[Measured, ...]) -> float:
    return min((m.p95_ms for m in measured), default=0.0)


class Ranking(_Strict, frozen=True):
    """The candidates of one bundle on one host.

    Attributes:
        schema: Of this file.
        bundle: Digest of the bundle.
        name: Of the bundle.
        version: Of the bundle.
        host: That was measured.
        taken_unix_ns: When, wall clock.
        fps: Cadence of the paced measurement, in frames per second.
        quick: Whether it was measured in short.
        default: What runs without a ranking under the profile that was given.
        noise: How much medians of one candidate differed from process to process, as a fraction: differences
            below it say nothing.
        measured: Candidates that passed, best first.
        per_variant: For each variant, the best of its candidates: rungs of a ladder.
        struck_off: Candidates that did not.
    """

    schema: Literal["bedside.ranking/1"]
    bundle: Sha256
    name: Name
    version: Version
    host: Host
    taken_unix_ns: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    fps: Annotated[float, Meta(gt=0, le=1000)]
    quick: bool
    default: Candidate
    noise: Annotated[float, Meta(ge=0.0, le=1e9)]
    measured: Annotated[tuple[Measured, ...], Meta(min_length=1, max_length=4096)]
    per_variant: Annotated[dict[Line, Candidate], Meta(max_length=64)]
    struck_off: Annotated[tuple[StruckOff, ...], Meta(max_length=4096)] = ()

    @property
    def date(self) -> str:
        """Day of the measurement, UTC: `2026-11-23`."""
        return datetime.datetime.fromtimestamp(self.taken_unix_ns // 10**9, datetime.UTC).date().isoformat()

    def best(self, limits: Limits | None = None) -> Measured | None:
        """What to run within `limits`; None where they leave nothing that passed."""
        limits = limits or Limits()
        return next(iter(ordered(m for m in self.measured if limits.allow(m.candidate))), None)

    def rungs(self, limits: Limits | None = None) -> tuple[Measured, ...]:
        """For each variant its best candidate within `limits`, the fastest first: a ladder goes down towards
        the front."""
        limits = limits or Limits()
        by_variant: dict[str, list[Measured]] = {}
        for m in self.measured:
            if limits.allow(m.candidate):
                by_variant.setdefault(m.candidate.variant, []).append(m)
        return ordered(ordered(rivals)[0] for rivals in by_variant.values())

    def of(self, candidate: Candidate) -> Measured | None:
        """How one candidate did; None where it was struck off or not measured."""
        return next((m for m in self.measured if m.candidate == candidate), None)


def check(ranking: Ranking) -> None:
    """Check what types alone cannot.

    Raises:
        ValueError: It says things that a measurement cannot.
    """
    seen = [m.candidate for m in ranking.measured] + [s.candidate for s in ranking.struck_off]
    if len(set(seen)) != len(seen):
        raise ValueError("a candidate appears twice")
    for m in ranking.measured:
        for p in (m.paced, m.back_to_back):
            tails = [t for t in (p.p90, p.p95, p.p99, p.p999) if t is not None]
            if (
                p.samples < 1
                or not 0 <= p.min <= p.p50 <= p.max <= 1e9
                or any(not 0 <= t <= p.max for t in tails)
            ):
                raise ValueError(f"the times of {m.candidate} contradict each other")
    if ranking.per_variant != {m.candidate.variant: m.candidate for m in ranking.rungs()}:
        raise ValueError("per_variant is not what its times say")
