"""Which cores and how many engine threads each stream gets, so that the sum does not exceed the host."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from bedside.devices.host.cores import allowed, physical
from bedside.devices.host.grants import numbers
from bedside.devices.profiles import HostSection
from bedside.devices.sessions.plan import StreamPlan
from bedside.runtime.engines.threads import MOST_THREADS, quota


def shared_out(
    plans: Sequence[StreamPlan], groups: Sequence[Sequence[int]] | None = None, limit: float | None = None
) -> tuple[tuple[StreamPlan, ...], tuple[str, ...]]:
    """Give every stream that asks for nothing a share of the cores that nobody asked for.

    Shares are disjoint, so that a stream that is too slow is slow on its own cores: physical cores, in the order of
    the streams, the first ones with one more where they do not divide. With fewer cores than such streams nobody is
    kept on any, and the system's scheduler shares them out.

    Args:
        plans: In the order of the file.
        groups: Logical processors by physical core; by default this process's.
        limit: Processors that may be used at once; by default the container's quota.

    Returns:
        The plans with cores and threads, and a line for each thing that cannot be as it should.
    """
    groups = physical(allowed()) if groups is None else groups
    limit = quota() if limit is None else limit
    notes: list[str] = []
    shares = _shares(plans, groups)
    # A quota is in processors: with hardware threads a physical core has room for one engine thread all the same.
    budget = len(groups) if limit is None else max(1, int(min(len(groups), limit)))
    even = max(1, budget // len(plans))
    made = []
    for plan, share in zip(plans, shares, strict=True):
        cores = [core for group in share for core in group]
        threads = plan.spec.threads or min(even, MOST_THREADS, max(1, len(share)) if share else even)
        host = plan.host
        if cores:
            host = msgspec.structs.replace(
                host, inference_cores=tuple(cores), capture_cores=tuple(cores), sink_cores=tuple(cores)
            )
        if host.opencv_threads is None and len(plans) > 1:
            host = msgspec.structs.replace(host, opencv_threads=threads)
        # As many at most: a measured choice may take fewer, and not more than the share.
        spec = msgspec.structs.replace(plan.spec, threads=threads, threads_fixed=False)
        made.append(msgspec.structs.replace(plan, spec=spec, host=host))
    total = sum(plan.spec.threads or 0 for plan in made)
    if total > budget:
        streams = ", ".join(f"{plan.name} {plan.spec.threads}" for plan in made)
        notes.append(f"{total} engine threads on {budget} cores ({streams}): streams wait for each other")
    notes += _overlaps(made)
    return tuple(made), tuple(notes)


def _shares(plans: Sequence[StreamPlan], groups: Sequence[Sequence[int]]) -> list[Sequence[Sequence[int]]]:
    """Physical cores by stream; empty where it has cores of its own, or there are too few."""
    named = {core for plan in plans for core in _named(plan.host)}
    free = [group for group in groups if not named.intersection(group)]
    asking = [k for k, plan in enumerate(plans) if not _named(plan.host)]
    shares: list[Sequence[Sequence[int]]] = [() for _ in plans]
    # A single stream shares with nobody.
    if len(plans) > 1 and asking and len(free) >= len(asking):
        each, more = divmod(len(free), len(asking))
        begin = 0
        for position, k in enumerate(asking):
            end = begin + each + (position < more)
            shares[k] = free[begin:end]
            begin = end
    return shares


def _named(host: HostSection) -> Collection[int]:
    return {*host.inference_cores, *host.capture_cores, *host.sink_cores}


def _overlaps(plans: Sequence[StreamPlan]) -> list[str]:
    """A line for each pair whose engines have cores in common."""
    found = []
    for k, plan in enumerate(plans):
        for other in plans[k + 1 :]:
            common = set(plan.host.inference_cores) & set(other.host.inference_cores)
            if common:
                found.append(f"{plan.name} and {other.name} both infer on {numbers(common)}")
    return found
