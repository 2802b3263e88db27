"""What reaches the audit log of the device."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bedside.devices.store.store import Store
from bedside.devices.trust.logged import Logged
from bedside.runtime.errors import SinkError

KEY, DIGEST = "ab" * 32, "cd" * 32


def test_events_and_facts_arrive(tmp_path: Path) -> None:
    audit = Logged(tmp_path / "store")
    audit.record("key-added", key=KEY)
    audit.record("refused", reason="signature", digest=DIGEST, key=KEY)
    added, refused = Store(tmp_path / "store").audit.records()
    assert (added.event, added.facts.key) == ("key-added", KEY)
    assert (refused.event, refused.facts.reason, refused.facts.digest) == ("refused", "signature", DIGEST)


def test_there_is_no_room_for_free_text(tmp_path: Path) -> None:
    audit = Logged(tmp_path / "store")
    for facts in ({"patient": "ERIKA"}, {"reason": "ERIKA"}, {"key": "ERIKA"}, {"digest": "ERIKA"}):
        with pytest.raises(msgspec.ValidationError):
            audit.record("refused", **facts)
    with pytest.raises(msgspec.ValidationError):
        audit.record("ERIKA")
    assert not (tmp_path / "store").exists()


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    """Is said of a change; a refusal stays one."""
    (tmp_path / "store").write_bytes(b"")
    audit = Logged(tmp_path / "store")
    with pytest.raises(SinkError):
        audit.record("key-revoked", key=KEY)
    audit.record("refused", reason="damaged")
