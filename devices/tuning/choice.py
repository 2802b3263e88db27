"""Which variant runs on what: what was asked for, else what was measured here, else a declared default."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bedside.devices.tuning.ranking import Candidate, Limits, Measured, Ranking
from bedside.devices.tuning.store import AGAIN, look_up
from bedside.runtime.bundle.reader import Bundle
from bedside.runtime.engines.registry import spec


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What a run takes where a ranking says something, and where its word comes from.

    Attributes:
        measured: The best candidate within the limits; None: nobody measured it, take the default.
        ranking: That it is from.
        note: One line for the log: a ranking that is there and not used, and what to do.
    """

    measured: Measured | None = None
    ranking: Ranking | None = None
    note: str | None = None

    @property
    def candidate(self) -> Candidate | None:
        """What to run; None for the default."""
        return None if self.measured is None else self.measured.candidate

    @property
    def why(self) -> str:
        """For people: `measured on this host on 2026-11-23`, or that nobody did."""
        if self.measured is None or self.ranking is None:
            return "by default, not by measurement on this host" + (f" ({self.note})" if self.note else "")
        return f"measured on this host on {self.ranking.date}"


def choose(bundle: Bundle, limits: Limits, *, folder: Path | None = None) -> Choice:
    """The best measured candidate that the caller and the profile leave open.

    Args:
        bundle: Open.
        limits: What is asked for, and what the profile allows.
        folder: Of rankings; None for the user's.
    """
    found = look_up(bundle.digest, folder=folder)
    if found.ranking is None:
        return Choice(note=found.refused)
    shipped = {v.id: v.format for v in bundle.manifest.main.shipped}
    for candidate in (m.candidate for m in found.ranking.measured):
        if shipped.get(candidate.variant) not in spec(candidate.engine).formats:
            what = f"it names {candidate}, which this bundle does not offer"
            return Choice(note=f"the ranking of this bundle is not used: {what}; {AGAIN}")
    best = found.ranking.best(limits)
    if best is None:
        return Choice(note=f"nothing that was measured on {found.ranking.date} is what was asked for")
    return Choice(measured=best, ranking=found.ranking)
