"""Every way to run a bundle on this host."""

from __future__ import annotations

import msgspec

from bedside.devices.tuning.ranking import Candidate, Limits
from bedside.runtime import engines
from bedside.runtime.bundle.manifest import Model
from bedside.runtime.engines.registry import EngineStatus, spec
from bedside.runtime.engines.threads import physical_cores, quota

#: More threads than this are not tried: a model of one frame is cut into no more pieces that are worth it.
MOST_THREADS = 64


def thread_counts(usable: int, *more: int | None) -> tuple[int, ...]:
    """Thread counts worth measuring: powers of two up to the usable cores, all of them, and `more`.

    Args:
        usable: Physical cores that this process may use.
        more: What a profile asks for, and the default; None is passed over.
    """
    counts = {1 << k for k in range(usable.bit_length()) if 1 << k <= usable}
    return tuple(sorted(counts | {max(1, usable)} | {n for n in more if n is not None}))


def usable_cores() -> int:
    """Physical cores that this process may keep busy: its affinity, and the container's quota; `MOST_THREADS` at
    most."""
    cores, limit = min(physical_cores(), MOST_THREADS), quota()
    return cores if limit is None else min(cores, max(1, int(limit)))


def candidates(
    model: Model, statuses: tuple[EngineStatus, ...], threads: tuple[int, ...]
) -> tuple[Candidate, ...]:
    """Every shipped variant on every engine here that reads it, with each of its hints and each thread count.

    A variant that is shipped has passed its gates on the workstation; goldens are replayed by whoever starts it.

    Args:
        model: In the role `main`.
        statuses: Of every engine.
        threads: Counts to try.
    """
    made = [
        {"variant": variant.id, "engine": status.id, "threads": count, "hint": hint}
        for variant in model.shipped
        for status in statuses
        if status.available and variant.format in status.formats
        for hint in status.hints or (None,)
        for count in threads
    ]
    return tuple(msgspec.convert(made, list[Candidate]))


def default_candidate(model: Model, limits: Limits) -> Candidate | None:
    """What runs where nothing was measured: the declared default of the bundle, the profile and bedside.

    Args:
        model: In the role `main`.
        limits: Of the profile.

    Returns:
        The candidate, its hint named; None where no engine here reads the variant.
    """
    variant = model.variant(limits.variant or model.default)
    if variant is None or variant.file is None:
        return None
    names = (*limits.engines, *engines.preference(variant.format))
    here = [e for e in names if variant.format in spec(e).formats and engines.status(e).available]
    if not here:
        return None
    hints = engines.status(here[0]).hints
    threads = limits.threads or limits.most_threads or engines.default_threads()
    hint = limits.hint or (hints[0] if hints else None)
    made = {"variant": variant.id, "engine": here[0], "threads": threads, "hint": hint}
    return msgspec.convert(made, Candidate)
