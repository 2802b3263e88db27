"""The device's audit log, as trust tells it things."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from bedside.devices.store.records import Event, Facts
from bedside.devices.store.store import Store
from bedside.runtime.errors import SinkError


class Logged:
    """An `Audit` that appends to the log of the device's store.

    Args:
        folder: Of that store; None for the user's.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def record(self, event: str, **facts: str | int) -> None:
        """Append one event, and return when it is on the disk.

        Raises:
            SinkError: A change of the trust store was done and cannot be noted. That a refusal cannot be noted does
                not matter: it stays one, and has its own line to say.
        """
        kind, about = msgspec.convert(event, Event), msgspec.convert(facts, Facts)
        if kind != "refused":
            Store(self._folder).audit.append(kind, about)
            return
        with suppress(SinkError):
            Store(self._folder).audit.append(kind, about)
