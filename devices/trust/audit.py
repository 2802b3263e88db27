"""What the audit log is told of trust: refusals and changes of the store."""

from __future__ import annotations

from typing import Protocol


class Audit(Protocol):
    """Where events are recorded. Facts come out of a closed set, and none of them is free text:

    - `refused`, a bundle: `reason`, which is `signature` or `damaged`, and as far as they are known its `digest`
      and the first `key` that spoke against it;
    - `key-added`, `key-revoked`: `key`.
    """

    def record(self, event: str, **facts: str | int) -> None:
        """Append one event."""
