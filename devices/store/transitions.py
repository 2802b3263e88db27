"""What may happen to a slot. Each function takes the slot as it is and gives the slot as it will be."""

from __future__ import annotations

import msgspec

from bedside.devices.store.records import Failing
from bedside.devices.store.state import Failure, Ref, Slot
from bedside.runtime.bundle.rules import version_tuple
from bedside.runtime.errors import BundleError, UsageError

#: A bundle that was started so often on probation and never came through it has failed.
MOST_STARTS = 3


def is_older(ref: Ref, slot: Slot) -> bool:
    """Whether a bundle is an older version of the active one. Another bundle's versions say nothing."""
    active = slot.active
    return (
        active is not None
        and active.name == ref.name
        and version_tuple(ref.version) < version_tuple(active.version)
    )


def refuse_older(ref: Ref, slot: Slot, name: str) -> None:
    """Refuse to go back silently (fault B7).

    Raises:
        BundleError: It is older than the active one; both versions are named.
    """
    if slot.active is not None and is_older(ref, slot):
        raise BundleError(
            f"{ref.name} {ref.version} is older than {slot.active.version}, which is active",
            where=f"slot {name}",
            hint=f"`bedside rollback --slot {name}` puts the previous one back; --allow-older insists",
        )


def refuse_failed(slot: Slot, name: str) -> None:
    """Refuse what did not come through its probation here.

    Raises:
        BundleError: The candidate did not.
    """
    ref, failed = slot.candidate, slot.failed
    if ref is not None and failed is not None and ref.digest == failed.digest:
        raise BundleError(
            f"{ref.name} {ref.version} failed its probation here: {failed.why}",
            where=f"slot {name}",
            hint="install a corrected one; --again tries this one once more",
        )


def installed(slot: Slot, ref: Ref) -> Slot:
    """The bundle is the candidate."""
    return msgspec.structs.replace(slot, candidate=ref)


def activated(slot: Slot) -> Slot:
    """The candidate runs, on probation.

    What was active is put back if it fails; unless that was itself on probation, then what would have been put back
    for it, if anything would.
    """
    trusted = slot.active if slot.probation is None or slot.previous is None else slot.previous
    mark = slot.failed
    if mark is not None and slot.candidate is not None and mark.digest == slot.candidate.digest:
        mark = None
    return Slot(active=slot.candidate, previous=trusted, probation=0, failed=mark)


def rolled_back(slot: Slot) -> Slot:
    """The previous one runs, without probation: it has come through one. The two change places; what was on
    probation becomes the candidate, if there is none."""
    if slot.probation is None:
        return Slot(active=slot.previous, previous=slot.active, candidate=slot.candidate, failed=slot.failed)
    return Slot(active=slot.previous, candidate=slot.candidate or slot.active, failed=slot.failed)


def started(slot: Slot) -> Slot:
    """The active one is started once more on probation."""
    return msgspec.structs.replace(slot, probation=(slot.probation or 0) + 1)


def passed(slot: Slot) -> Slot:
    """The active one has come through its probation."""
    return msgspec.structs.replace(slot, probation=None)


def failed(slot: Slot, why: Failing) -> Slot:
    """The previous one runs again, or none where there was none. What failed stays as the candidate, if there is
    none, and is not activated again unless somebody insists."""
    if slot.active is None:
        return slot
    return Slot(
        active=slot.previous,
        candidate=slot.candidate or slot.active,
        failed=Failure(digest=slot.active.digest, why=why),
    )


def candidate(slot: Slot, name: str) -> Ref:
    """The candidate.

    Raises:
        UsageError: There is none.
    """
    if slot.candidate is None:
        what = "has no candidate to activate"
        raise UsageError(what, where=f"slot {name}", hint=f"bedside install BUNDLE --slot {name}")
    return slot.candidate


def previous(slot: Slot, name: str) -> Ref:
    """The previous one.

    Raises:
        UsageError: There is none.
    """
    if slot.previous is None:
        hint = "install and activate another bundle"
        raise UsageError("has no previous bundle to go back to", where=f"slot {name}", hint=hint)
    return slot.previous
