"""The rungs of a ladder: which variants, in which order, loaded and checked before the stream starts.

The first rung is what runs anyway. Further ones have to be cheaper, each by a tenth at least, since a step that
gains nothing only costs memory. What is cheaper is measured:

- With a ranking of this host (`bedside tune`) it is known before anything is loaded: less processor time a frame,
  which is what heat and a busy host are about, and a p95 no longer than the first rung's, or than half a turn: one
  thread is slower than two and takes less of the host.
- Without one, the other variants are loaded on the engine of the first rung and timed on their golden input,
  smallest file first, and the cheapest are kept: a few milliseconds and megabytes each. Another engine would take
  some 60 MB to find out that it gains nothing: that is what tuning is for.

Every session has its goldens replayed; one that does not hold them, or does not fit into the memory that is left,
is closed again and named with the reason. Below the cheapest variant come the rungs that work on every n-th frame.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from bedside.devices.profiles import LadderSection
from bedside.devices.tuning.choice import Choice
from bedside.devices.tuning.ranking import Candidate, Limits, Measured, Ranking
from bedside.runtime.bundle.reader import Bundle
from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.engines.registry import spec as engine_spec
from bedside.runtime.errors import EngineError, ProfileError
from bedside.runtime.loading import Loaded, open_session
from bedside.runtime.stream.ladder import Rung

#: A rung costs at most so much of the one above it.
CHEAPER = 0.9

#: Share of a turn that a rung may take which is slower than the first one, but takes less of the host.
_HALF = 0.5

#: Timed invocations of a session, after its goldens have warmed it.
_INVOCATIONS = 9

_MB = 1_000_000

_STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    """Memory of this process that is in use (resident set size)."""
    try:
        # The second number of proc_pid_statm(5), in pages.
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, AttributeError):  # not Linux
        import psutil

        return int(psutil.Process().memory_info().rss)


class MemoryBudget(msgspec.Struct, frozen=True):
    """What the process may take.

    Attributes:
        limit_mb: In 10^6 bytes; None for no limit.
        reserve: Bytes that it will take when frames come: buffers of captured frames.
        resident: Asks how much it takes now, in bytes.
    """

    limit_mb: int | None = None
    reserve: int = 0
    resident: Callable[[], int] = resident_bytes

    def refusal(self, further: int = 0) -> str | None:
        """Why `further` bytes are too many now; None where they are not."""
        if self.limit_mb is None:
            return None
        needed = self.resident() + self.reserve + further
        if needed <= self.limit_mb * _MB:
            return None
        return f"takes {needed / _MB:.0f} MB with frames, budget.memory_mb is {self.limit_mb}"


class RungCost(msgspec.Struct, frozen=True):
    """What it took to load a rung.

    Attributes:
        candidate: What was loaded.
        load_ms: Compiling, comparing tensors, replaying goldens, timing.
        memory_mb: Growth of the process, in 10^6 bytes; the first rung's holds its engine's libraries, too.
        expected_ms: What an invocation is expected to take; None where nobody measured it.
    """

    candidate: str
    load_ms: float
    memory_mb: float
    expected_ms: float | None


class LeftOut(msgspec.Struct, frozen=True):
    """A rung that is not there.

    Attributes:
        candidate: Which.
        reason: Why.
    """

    candidate: str
    reason: str


class Planned(msgspec.Struct, frozen=True):
    """A rung to be.

    Attributes:
        candidate: What to load.
        expected_ms: p95 of its invocations; None where nobody measured it.
        cost_ms: Processor time a frame; None where nobody measured it.
        memory: Bytes that it is expected to take.
    """

    candidate: Candidate
    expected_ms: float | None = None
    cost_ms: float | None = None
    memory: int = 0


class Rungs(msgspec.Struct, frozen=True):
    """What came of it.

    Attributes:
        rungs: The preferred one first.
        costs: Of every session that was loaded and kept, in the same order.
        left_out: With reasons.
    """

    rungs: tuple[Rung, ...]
    costs: tuple[RungCost, ...]
    left_out: tuple[LeftOut, ...] = ()

    def close(self) -> None:
        """Free the engines. May be called more than once."""
        for rung in self.rungs:
            rung.loaded.session.close()

    def describe(self) -> dict[str, Any]:
        """Plain data for summaries."""
        return {"loaded": msgspec.to_builtins(self.costs), "left_out": msgspec.to_builtins(self.left_out)}


def candidate_of(loaded: Loaded) -> Candidate:
    """What a session is, in the terms of a ranking."""
    session = loaded.session
    made = {
        "variant": loaded.variant.id,
        "engine": session.engine,
        "threads": session.options.threads,
        "hint": session.options.hint,
    }
    return msgspec.convert(made, Candidate)


def timed(loaded: Loaded, clock: Clock) -> float:
    """Median time of an invocation on whatever its input holds, in ms."""
    times = []
    for _ in range(_INVOCATIONS):
        begin = clock.now_ns()
        loaded.session.invoke()
        times.append(clock.now_ns() - begin)
    return statistics.median(times) / 1e6


def plan(
    bundle: Bundle, loaded: Loaded, limits: Limits, ranking: Ranking | None = None
) -> tuple[Planned, ...]:
    """What may stand below the first rung, the cheapest first.

    Args:
        bundle: Open.
        loaded: The first rung.
        limits: What the caller and the profile leave open; its variant is the first rung's, and binds no other.
        ranking: Of this host; None where there is none.
    """
    first = candidate_of(loaded)
    most = limits.most_threads or limits.threads
    limits = msgspec.structs.replace(limits, variant=None, threads=None, most_threads=most)
    own = ranking.of(first) if ranking is not None else None
    sizes = {v.id: v.bytes for v in bundle.manifest.main.shipped}
    if ranking is not None and own is not None:
        below = [m for m in ranking.measured if limits.allow(m.candidate) and _cheaper(m, own, ranking.fps)]
        below.sort(key=lambda m: (m.cpu_ms, m.p95_ms))
        return tuple(Planned(m.candidate, m.p95_ms, m.cpu_ms, _memory(m, first.engine, sizes)) for m in below)
    formats = engine_spec(first.engine).formats
    others = [v for v in bundle.manifest.main.shipped if v.format in formats and v.id != first.variant]
    others.sort(key=lambda v: v.bytes)
    return tuple(Planned(msgspec.structs.replace(first, variant=v.id), memory=v.bytes) for v in others)


def _memory(measured: Measured, engine: str, sizes: Mapping[str, int]) -> int:
    """What a candidate will take, in bytes: the libraries of the first rung's engine are there already."""
    candidate = measured.candidate
    return sizes.get(candidate.variant, 0) if candidate.engine == engine else measured.memory_bytes


def _cheaper(measured: Measured, than: Measured, fps: float) -> bool:
    turn_ms = 1e3 / fps
    return measured.cpu_ms <= CHEAPER * than.cpu_ms and measured.p95_ms <= max(than.p95_ms, _HALF * turn_ms)


def open_first(load: Callable[[], Loaded], choice: Choice, budget: MemoryBudget, clock: Clock) -> Rungs:
    """Load what runs anyway, and see what it takes.

    Args:
        load: Does it.
        choice: What it is by; a measured one says what to expect.
        budget: Of the process; without one, its memory is not asked for.
        clock: For times.
    """
    before, begin = budget.resident(), clock.now_ns()
    loaded = load()
    expected = None if choice.measured is None else choice.measured.p95_ms
    cost = RungCost(str(candidate_of(loaded)), *_taken(budget, before, clock, begin), expected)
    return Rungs((Rung(loaded, 1, expected),), (cost,))


def open_rungs(
    bundle: Bundle,
    first: Rungs,
    planned: Sequence[Planned],
    section: LadderSection,
    budget: MemoryBudget,
    *,
    clock: Clock | None = None,
) -> Rungs:
    """Load, check and time what was planned.

    Args:
        bundle: Open.
        first: Of `open_first`; stays the caller's.
        planned: Of `plan`.
        section: Of the profile.
        budget: Of the process.
        clock: For times.

    Returns:
        The ladder; close it.

    Raises:
        BundleError: A member is damaged.
    """
    clock = clock or MonotonicClock()
    top, cost = first.rungs[0].loaded, first.costs[0]
    expected = cost.expected_ms if cost.expected_ms is not None else timed(top, clock)
    left_out: list[LeftOut] = []
    kept: list[_Kept] = []
    chosen: list[_Kept] = []
    with ExitStack() as opened:
        for wanted in planned:
            # Where nobody measured, what is wanted shows when all of them were timed.
            known = wanted.cost_ms is not None or section.rungs == 1
            reason = _unwanted(wanted.cost_ms or 0.0, kept, section) if known else None
            made = reason or budget.refusal(wanted.memory) or _loaded(bundle, wanted, expected, budget, clock)
            if isinstance(made, str):
                left_out.append(LeftOut(str(wanted.candidate), made))
            else:
                opened.callback(made.loaded.session.close)
                kept.append(made)
        for made in sorted(kept, key=lambda k: k.price):
            reason = _unwanted(made.price, chosen, section)
            if reason is None:
                chosen.append(made)
            else:
                made.loaded.session.close()
                left_out.append(LeftOut(made.cost.candidate, reason))
        opened.pop_all()  # the caller's to close, now that nothing was raised
    own = _Kept(top, msgspec.structs.replace(cost, expected_ms=expected), expected)
    chain = [own, *reversed(chosen)]
    rungs = [Rung(k.loaded, 1, k.cost.expected_ms) for k in chain]
    rungs += [Rung(chain[-1].loaded, every, chain[-1].cost.expected_ms) for every in section.every]
    return Rungs(tuple(rungs), tuple(k.cost for k in chain), tuple(left_out))


class _Kept(msgspec.Struct, frozen=True):
    """A session that may be a rung, and what it costs a frame, in ms."""

    loaded: Loaded
    cost: RungCost
    price: float


def _unwanted(price: float, below: Sequence[_Kept], section: LadderSection) -> str | None:
    """Why a rung is not put above those that are cheaper; None where it is."""
    if len(below) + 1 >= section.rungs:
        return f"the ladder has {section.rungs} variants, as ladder.rungs says"
    if below and below[-1].price > CHEAPER * price:
        return f"costs as much as {below[-1].cost.candidate}"
    return None


def _loaded(
    bundle: Bundle, wanted: Planned, first_ms: float, budget: MemoryBudget, clock: Clock
) -> _Kept | str:
    """A session that holds its goldens, fits and is cheaper than the first rung; or why there is none."""
    candidate = wanted.candidate
    options = SessionOptions(threads=candidate.threads, hint=candidate.hint)
    before, begin = budget.resident(), clock.now_ns()
    try:
        loaded = open_session(bundle, variant=candidate.variant, engine=candidate.engine, options=options)
    except EngineError as error:
        return str(error)
    try:
        expected = wanted.expected_ms if wanted.expected_ms is not None else timed(loaded, clock)
        cost = RungCost(str(candidate), *_taken(budget, before, clock, begin), expected)
        reason = budget.refusal()
        if wanted.expected_ms is None and expected > CHEAPER * first_ms:
            reason = f"not cheaper: {expected:.3g} ms an invocation, the first rung takes {first_ms:.3g}"
    except BaseException as error:
        loaded.session.close()
        if isinstance(error, EngineError):
            return str(error)
        raise
    if reason is not None:
        loaded.session.close()
        return reason
    return _Kept(loaded, cost, expected if wanted.cost_ms is None else wanted.cost_ms)


def _taken(budget: MemoryBudget, before: int, clock: Clock, begin_ns: int) -> tuple[float, float]:
    """Milliseconds, and 10^6 bytes."""
    return round((clock.now_ns() - begin_ns) / 1e6, 3), round((budget.resident() - before) / _MB, 3)


def check_first(budget: MemoryBudget, loaded: Loaded) -> None:
    """Refuse a stream that takes more than its profile allows before its first frame.

    Raises:
        ProfileError: It does; both numbers are named.
    """
    reason = budget.refusal()
    if reason is not None:
        hint = "raise budget.memory_mb, or choose a smaller variant or engine"
        raise ProfileError(f"the process {reason}", where=str(candidate_of(loaded)), hint=hint)
