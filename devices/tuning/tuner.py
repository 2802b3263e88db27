"""Measure every candidate, in rounds, and rank them.

A host drifts while it is measured: it gets warm, something else runs for a while. So each round visits every
candidate once, and the next goes through them the other way round (A B C, C B A): a slow half minute falls on
all alike. The first round is short. Who is clearly slower than the best of its variant is not visited again,
which leaves the time to those that may be chosen (successive halving: Jamieson and Talwalkar, "Non-stochastic
Best Arm Identification and Hyperparameter Optimization", AISTATS 2016). One crash, hang or wrong answer strikes
a candidate off for good.

A second in which something else has the host falls on one visit, and more than one frame in twenty of all that a
candidate has is its p95. So of every candidate the visits with the worst tails are left out, one in `LEFT_OUT`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from bedside.devices.tuning.bounds import lower_limit
from bedside.devices.tuning.host import Host
from bedside.devices.tuning.ranking import (
    SCHEMA,
    Candidate,
    Limits,
    Measured,
    Ranking,
    StruckOff,
    ordered,
)
from bedside.devices.tuning.visit import COMMAND, START_S, Order, Refused, Times, visit
from bedside.runtime.bundle.reader import Bundle
from bedside.runtime.clock import Clock
from bedside.runtime.latency import Percentiles, percentiles

#: A candidate stays while its median is within this factor of the best of its variant: identical code was seen to
#: differ by 1.16 from one run to the next.
KEEP = 1.5

#: The same once it was visited so often: the median of all visits is steadier than that of one.
KEEP_LATER = 1.25
LATER = 3

#: Of so many visits to a candidate, the one with the worst tail does not count.
LEFT_OUT = 4


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How long to measure.

    Attributes:
        first: Paced frames of each candidate in the first round.
        rounds: Further rounds, for those that stay.
        paced: Paced frames of each in a further round.
        back_to_back: Invocations one after the other, in every round.
        start_s: Time that a child has until it measures, in seconds.
    """

    first: int = 40
    rounds: int = 7
    paced: int = 50
    back_to_back: int = 50
    start_s: float = START_S


FULL = Plan()
#: With a visit left out, just enough for a p95, which takes 130 samples.
QUICK = Plan(first=30, rounds=3)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure.

    Attributes:
        candidates: In the order of the first round.
        default: Measured to the end, so that the gain over it can be told.
        limits: What the profile leaves open: the best within them is measured to the end.
        fps: Cadence, in frames per second.
        host: That this is.
        quick: For the record.
        plan: How long.
    """

    candidates: tuple[Candidate, ...]
    default: Candidate
    limits: Limits
    fps: float
    host: Host
    quick: bool
    plan: Plan


class Step(msgspec.Struct, frozen=True):
    """Said before every visit.

    Attributes:
        candidate: To be visited.
        done: Visits so far.
        total: Visits as far as can be told now.
    """

    candidate: Candidate
    done: int
    total: int


class Outcome(msgspec.Struct, frozen=True):
    """What came of tuning.

    Attributes:
        ranking: None where no candidate is left.
        struck_off: Those that must not run here.
    """

    ranking: Ranking | None
    struck_off: tuple[StruckOff, ...]


def tune(
    bundle: Bundle,
    job: Job,
    clock: Clock,
    *,
    command: Sequence[str] = COMMAND,
    on_step: Callable[[Step], None] | None = None,
) -> Outcome:
    """Measure the candidates of a bundle.

    Args:
        bundle: Open; children open its file again, and compare the digest.
        job: What to measure.
        clock: For the date.
        command: What children run, see `visit`.
        on_step: For progress.
    """
    rounds = _Rounds(bundle, job, command, on_step)
    rounds.go(job.candidates, job.plan.first, left=job.plan.rounds)
    for i in range(job.plan.rounds):
        stay = rounds.stay()
        rounds.go(stay if i % 2 else stay[::-1], job.plan.paced, left=job.plan.rounds - 1 - i)
    struck_off = tuple(rounds.struck_off[c] for c in job.candidates if c in rounds.struck_off)
    measured = ordered(tally.measured(c) for c, tally in rounds.tallies.items())
    if not measured:
        return Outcome(None, struck_off)
    ranking = Ranking(
        schema=SCHEMA,
        bundle=bundle.digest,
        name=bundle.manifest.name,
        version=bundle.manifest.version,
        host=job.host,
        taken_unix_ns=clock.unix_ns(),
        fps=job.fps,
        quick=job.quick,
        default=job.default,
        noise=_noise(list(rounds.tallies.values())),
        measured=measured,
        per_variant={},
        struck_off=struck_off,
    )
    per_variant = {m.candidate.variant: m.candidate for m in ranking.rungs()}
    return Outcome(msgspec.structs.replace(ranking, per_variant=per_variant), struck_off)


class _Tally:
    """What a candidate showed so far."""

    def __init__(self) -> None:
        self.visits: list[Times] = []

    def median(self) -> float:
        """Of all paced invocations, in ns."""
        return statistics.median(ns for v in self.visits for ns in v.paced_ns)

    def medians(self) -> list[float]:
        """The same per visit."""
        return [statistics.median(v.paced_ns) for v in self.visits]

    def measured(self, candidate: Candidate) -> Measured:
        """As it is stored."""
        by_tail = sorted(self.visits, key=lambda v: float(np.quantile(v.paced_ns, 0.95)))
        left_out = len(self.visits) // LEFT_OUT
        counted = by_tail[: len(by_tail) - left_out]
        paced = [ns for v in counted for ns in v.paced_ns]
        return Measured(
            candidate=candidate,
            paced=_summary(paced),
            low_ms=lower_limit(paced, 0.95),
            back_to_back=_summary([ns for v in counted for ns in v.back_to_back_ns]),
            cpu_ms=sum(v.cpu_ns for v in counted) / len(paced) / 1e6,
            memory_bytes=max(v.memory_bytes for v in self.visits),
            golden_error=max(v.golden_error for v in self.visits),
            visits=len(self.visits),
            left_out=left_out,
        )


class _Rounds:
    """Visits, and what they said."""

    def __init__(
        self,
        bundle: Bundle,
        job: Job,
        command: Sequence[str],
        on_step: Callable[[Step], None] | None,
    ) -> None:
        self.tallies: dict[Candidate, _Tally] = {c: _Tally() for c in job.candidates}
        self.struck_off: dict[Candidate, StruckOff] = {}
        self._path, self._digest = str(Path(bundle.path).resolve()), bundle.digest
        self._job, self._command, self._on_step = job, command, on_step
        self._done = 0

    def go(self, candidates: Sequence[Candidate], paced: int, left: int) -> None:
        """One round.

        Args:
            candidates: In this order.
            paced: Frames of each.
            left: Rounds after this one.
        """
        total = self._done + len(candidates) * (1 + left)
        for candidate in candidates:
            if self._on_step is not None:
                self._on_step(Step(candidate, self._done, total))
            self._visit(candidate, paced)
            self._done += 1

    def stay(self) -> tuple[Candidate, ...]:
        """Those that are visited again: the default, and who is within `KEEP` of the best of its variant, of all
        and of those that the profile leaves open."""
        limits = self._job.limits
        medians = {c: tally.median() for c, tally in self.tallies.items()}
        kept = []
        for candidate, median in medians.items():
            rivals = [(c, m) for c, m in medians.items() if c.variant == candidate.variant]
            best = min(m for _, m in rivals)
            if limits.allow(candidate):
                best = min(m for c, m in rivals if limits.allow(c))
            factor = KEEP if len(self.tallies[candidate].visits) < LATER else KEEP_LATER
            if candidate == self._job.default or median <= factor * best:
                kept.append(candidate)
        return tuple(kept)

    def _visit(self, candidate: Candidate, paced: int) -> None:
        job = self._job
        order = Order(
            bundle=self._path,
            digest=self._digest,
            candidate=candidate,
            fps=job.fps,
            paced=paced,
            back_to_back=job.plan.back_to_back,
            # Where an invocation takes longer than a frame, fewer of them have to do.
            most_s=4 * paced / job.fps + 2,
            ends_s=0.0,
        )
        answer = visit(order, command=self._command, start_s=job.plan.start_s)
        if isinstance(answer, Times):
            self.tallies[candidate].visits.append(answer)
            return
        kind: Literal["refused", "crashed", "hung"] = (
            "refused" if isinstance(answer, Refused) else answer.kind
        )
        self.struck_off[candidate] = StruckOff(candidate=candidate, kind=kind, reason=answer.reason[:4096])
        del self.tallies[candidate]


def _summary(samples_ns: Sequence[int]) -> Percentiles:
    found = percentiles(samples_ns)
    assert found is not None  # a visit measures at least once
    return found


def _noise(tallies: Sequence[_Tally]) -> float:
    """Median over candidates of how far their medians are apart, from visit to visit; 0 where none was visited
    twice."""
    spreads = [max(m) / min(m) - 1 for t in tallies if len(m := t.medians()) > 1 and min(m) > 0]
    return statistics.median(spreads) if spreads else 0.0
