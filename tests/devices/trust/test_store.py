"""The trust store: what is kept, and what is not believed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bedside.devices.trust import TrustStore, default_store
from bedside.devices.trust.files import MAX_BYTES
from bedside.devices.trust.keys import PrivateKey
from bedside.devices.trust.store import MOST_KEYS
from bedside.runtime.errors import BedsideError, SinkError, TrustError, UsageError


def key_file(store: TrustStore, key: PrivateKey) -> Path:
    return store.folder / "keys" / f"{key.public.id}.json"


def refused(store: TrustStore, key: PrivateKey) -> str:
    """How looking a key up is refused: one line, for each way to look."""
    with pytest.raises(TrustError) as caught:
        store.get(key.public.id)
    with pytest.raises(TrustError):
        store.trusted()
    line = str(caught.value)
    assert line.isprintable()
    assert caught.value.exit_code == 3
    return line


def test_it_lies_in_the_users_data_folder(user_data: Path) -> None:
    assert default_store() == user_data / "bedside" / "trust"
    assert TrustStore().folder == default_store()


def test_a_store_that_is_not_there_trusts_nobody(tmp_path: Path, release: PrivateKey) -> None:
    store = TrustStore(tmp_path / "nowhere")
    assert store.get(release.public.id) is None
    assert store.trusted() == ()
    assert store.revocations() == {}
    assert list(tmp_path.iterdir()) == []


def test_what_was_added_is_there(store: TrustStore, release: PrivateKey, clinic: PrivateKey) -> None:
    assert [(k.name, k.public) for k in store.trusted()] == [
        ("clinic", clinic.public),
        ("release", release.public),
    ]
    found = store.get(release.public.id)
    assert found is not None
    assert (found.name, found.id) == ("release", release.public.id)
    assert store.get("00" * 32) is None
    for text in ("", "../revoked", "/etc/passwd", "a\0b", "AB" * 32):
        assert store.get(text) is None


def test_adding_again_changes_nothing(store: TrustStore, release: PrivateKey, audit: Any) -> None:
    before = key_file(store, release).stat().st_ino
    TrustStore(store.folder, audit=audit).add(release.public, "release")
    assert key_file(store, release).stat().st_ino == before
    assert audit.events == []


def test_one_name_one_key(store: TrustStore, release: PrivateKey, stranger: PrivateKey) -> None:
    with pytest.raises(UsageError, match="called 'release' here already"):
        store.add(stranger.public, "release")
    with pytest.raises(UsageError, match="called 'release' here already"):
        store.add(release.public, "another")
    assert len(store.trusted()) == 2


@pytest.mark.parametrize("name", ["", "Release", "a b", "../a", "a/b", "a\nb", ".a", "x" * 65, "\u202e"])
def test_a_name_is_plain(store: TrustStore, stranger: PrivateKey, name: str) -> None:
    with pytest.raises(UsageError, match="no name for a key") as caught:
        store.add(stranger.public, name)
    assert str(caught.value).isprintable()


def test_revoked_is_for_good(store: TrustStore, release: PrivateKey, audit: Any) -> None:
    store = TrustStore(store.folder, audit=audit)
    assert store.revoke(release.public.id, "the laptop was stolen")
    assert not store.revoke(release.public.id, "again")
    assert [k.name for k in store.trusted()] == ["clinic"]
    entry = store.revocations()[release.public.id]
    assert (entry.name, entry.reason) == ("release", "the laptop was stolen")
    with pytest.raises(UsageError, match="revoked, and stays so"):
        store.add(release.public, "release-again")
    assert audit.events == [("key-revoked", {"key": release.public.id})]


def test_a_key_can_be_revoked_before_it_comes(store: TrustStore, stranger: PrivateKey) -> None:
    assert store.revoke(store.find(stranger.public.id))
    with pytest.raises(UsageError, match="revoked"):
        store.add(stranger.public, "stranger")


def test_a_power_cut_between_list_and_file_leaves_it_revoked(
    store: TrustStore, release: PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Path, missing_ok: bool = False) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fail)
        assert store.revoke(release.public.id)
    assert key_file(store, release).exists()
    assert [k.name for k in store.trusted()] == ["clinic"]


@pytest.mark.parametrize("length", [8, 16, 63, 64])
def test_a_key_is_found_by_name_and_by_id(store: TrustStore, release: PrivateKey, length: int) -> None:
    assert store.find("release") == release.public.id
    assert store.find(release.public.id[:length]) == release.public.id


@pytest.mark.parametrize("text", ["", "x", "releas", "\x1b[31m", "../keys"])
def test_what_is_not_there_is_not_found(store: TrustStore, release: PrivateKey, text: str) -> None:
    with pytest.raises(UsageError, match="no key is called") as caught:
        store.find(text)
    assert str(caught.value).isprintable()
    with pytest.raises(UsageError, match="no key is called"):
        store.find(release.public.id[:7])


def test_it_is_bounded(tmp_path: Path, release: PrivateKey, clinic: PrivateKey) -> None:
    store = TrustStore(tmp_path)
    store.add(release.public, "release")
    folder = tmp_path / "keys"
    for i in range(MOST_KEYS):
        (folder / f"{i:064x}.json").write_bytes(b"{}")
    with pytest.raises(TrustError, match="more than 256 files"):
        store.add(clinic.public, "clinic")
    reason = "x" * 256
    with pytest.raises(UsageError, match="cannot be revoked"):
        store.revoke("ab" * 32, reason + "x")
    with pytest.raises(UsageError, match="cannot be revoked"):
        store.revoke("no id")


def test_the_list_of_revocations_stays_readable(tmp_path: Path) -> None:
    """It refuses to grow beyond what would be read again."""
    store = TrustStore(tmp_path)
    entries = [{"key": f"{i:064x}", "reason": "x" * 256} for i in range(725)]
    text = msgspec.json.format(msgspec.json.encode({"format_version": 1, "revoked": entries}), indent=1)
    assert MAX_BYTES - 400 > len(text) > MAX_BYTES - 3_000
    (tmp_path / "revoked.json").write_bytes(text)
    for i in range(30):
        try:
            store.revoke(f"{1000 + i:064x}", "y" * 256)
        except SinkError:
            break
    else:
        pytest.fail("never full")
    assert 725 <= len(store.revocations()) < 755


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_only_its_owner_may_change_it(tmp_path: Path, release: PrivateKey) -> None:
    before = os.umask(0)
    try:
        store = TrustStore(tmp_path / "trust")
        store.add(release.public, "release")
        store.revoke("ab" * 32)
    finally:
        os.umask(before)
    for path in store.folder.rglob("*.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
    for path in (store.folder, store.folder / "keys"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755


@pytest.mark.fault("B6")
@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize("what", ["", "keys", "key", "revoked.json"])
def test_a_store_that_everybody_may_write_to_is_not_believed(
    store: TrustStore, release: PrivateKey, what: str
) -> None:
    store.revoke("ab" * 32)
    path = key_file(store, release) if what == "key" else store.folder / what
    path.chmod(path.stat().st_mode | 0o002)
    with pytest.raises(TrustError, match=r"everybody may write.*chmod o-w"):
        store.trusted()
    path.chmod(path.stat().st_mode & ~0o002)
    assert len(store.trusted()) == 2


@pytest.mark.fault("B6")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        bytes(MAX_BYTES + 1),
        b'{"format_version": 1, "name": "release", "algorithm": "ed25519"}',
        b'{"format_version": 2, "name": "release", "algorithm": "ed25519", "public_key": "'
        + b"ab" * 32
        + b'"}',
        b'{"format_version": 1, "name": "release", "algorithm": "rsa", "public_key": "' + b"ab" * 32 + b'"}',
        b'{"format_version": 1, "name": "../../etc", "algorithm": "ed25519", "public_key": "'
        + b"ab" * 32
        + b'"}',
        b'{"format_version": 1, "name": "a\\u001b", "algorithm": "ed25519", "public_key": "'
        + b"ab" * 32
        + b'"}',
        b'{"format_version": 1, "name": "release", "algorithm": "ed25519", "public_key": "'
        + b"ab" * 31
        + b'"}',
        b'{"format_version": 1, "name": "release", "algorithm": "ed25519", "public_key": "'
        + b"ab" * 32
        + b'", "trusted": true}',
    ],
)
def test_a_damaged_key_file_is_refused_in_one_line(
    store: TrustStore, release: PrivateKey, data: bytes
) -> None:
    key_file(store, release).write_bytes(data)
    assert str(key_file(store, release)) in refused(store, release)


@pytest.mark.fault("B6")
def test_a_key_under_another_ones_name_is_refused(
    store: TrustStore, release: PrivateKey, clinic: PrivateKey
) -> None:
    key_file(store, release).write_bytes(key_file(store, clinic).read_bytes())
    assert "another key than its name says" in refused(store, release)


@pytest.mark.fault("B6")
def test_a_key_that_vouches_for_everything_is_refused(store: TrustStore) -> None:
    """The neutral point, in a file that is otherwise as it should be."""
    from bedside.runtime.bundle.signatures import key_id

    raw = (1).to_bytes(32, "little")
    file = {"format_version": 1, "name": "all", "algorithm": "ed25519", "public_key": raw.hex()}
    (store.folder / "keys" / f"{key_id(raw)}.json").write_bytes(msgspec.json.encode(file))
    with pytest.raises(TrustError, match="small or mixed order"):
        store.get(key_id(raw))


@pytest.mark.fault("B6")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"format_version": 1, "revoked": [{"key": "ab"}]}',
        b'{"format_version": 1, "revoked": ["' + b"ab" * 32 + b'"]}',
        b'{"format_version": 1, "revoked": [], "unrevoked": []}',
        b'{"format_version": 1, "revoked": [{"key": "' + b"ab" * 32 + b'"}, {"key": "' + b"ab" * 32 + b'"}]}',
        b'{"format_version": 9, "revoked": []}',
        bytes(MAX_BYTES + 1),
    ],
)
def test_a_damaged_list_of_revocations_trusts_nobody(store: TrustStore, data: bytes) -> None:
    path = store.folder / "revoked.json"
    path.write_bytes(data)
    for look in (store.revocations, store.trusted):
        with pytest.raises(TrustError) as caught:
            look()
        assert str(path) in str(caught.value)
        assert str(caught.value).isprintable()


@pytest.mark.fault("B6")
@pytest.mark.parametrize(
    "name", ["README", "a.json", "ab" * 32, "AB" * 32 + ".json", "ab" * 32 + ".json~", "\n"]
)
def test_what_does_not_belong_there_is_refused(store: TrustStore, name: str) -> None:
    (store.folder / "keys" / name).write_bytes(b"x")
    with pytest.raises(TrustError, match="no key's file") as caught:
        store.trusted()
    assert str(caught.value).isprintable()


def test_what_a_power_cut_left_does_not_matter(store: TrustStore) -> None:
    (store.folder / "keys" / ".x.json.0123.partial").write_bytes(b"half a k")
    (store.folder / ".revoked.json.0123.partial").write_bytes(b"")
    assert len(store.trusted()) == 2


@pytest.mark.fault("B6")
@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling"])
def test_a_file_that_is_none_is_refused_and_does_not_hang(
    store: TrustStore, release: PrivateKey, kind: str
) -> None:
    for path in (key_file(store, release), store.folder / "revoked.json"):
        path.unlink(missing_ok=True)
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to("nowhere")
    with pytest.raises(TrustError):
        store.get(release.public.id)
    with pytest.raises(TrustError):
        store.revocations()


def test_a_file_where_the_folder_should_be(tmp_path: Path, release: PrivateKey) -> None:
    (tmp_path / "trust").write_bytes(b"")
    store = TrustStore(tmp_path / "trust")
    with pytest.raises(BedsideError):
        store.trusted()
    with pytest.raises(BedsideError):
        store.add(release.public, "release")
    with pytest.raises(BedsideError):
        TrustStore(Path("a\0b")).trusted()


def test_a_damaged_key_does_not_keep_itself_from_being_revoked(
    store: TrustStore, release: PrivateKey
) -> None:
    key_file(store, release).write_bytes(b"{")
    assert store.revoke(store.find(release.public.id))
    assert [k.name for k in store.trusted()] == ["clinic"]


def test_two_cannot_change_it_at_once(store: TrustStore, stranger: PrivateKey) -> None:
    fcntl = pytest.importorskip("fcntl")
    with (store.folder / ".lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for change in (lambda: store.add(stranger.public, "stranger"), lambda: store.revoke("ab" * 32)):
            with pytest.raises(UsageError, match="somebody else is changing it"):
                change()
        assert len(store.trusted()) == 2  # who only reads need not wait
    store.add(stranger.public, "stranger")


def test_a_write_that_fails_leaves_the_store_as_it_was(
    store: TrustStore, release: PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(SinkError, match="No space left"):
            store.revoke(release.public.id)
    assert store.revocations() == {}
    assert len(store.trusted()) == 2
    assert not list(store.folder.rglob("*.partial"))


@pytest.fixture
def whole(store: TrustStore, release: PrivateKey) -> bytes:
    """A key's file as it was written."""
    return key_file(store, release).read_bytes()


@pytest.mark.fault("B6")
@given(draw=st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_file_is_the_same_key_or_refused(
    store: TrustStore, release: PrivateKey, whole: bytes, draw: st.DataObject
) -> None:
    """Whatever a disk or a hand does to a key's file: another key never comes out of it."""
    position, dropped = draw.draw(st.integers(0, len(whole) - 1)), draw.draw(st.integers(0, 4))
    change = draw.draw(st.binary(max_size=4))
    key_file(store, release).write_bytes(whole[:position] + change + whole[position + dropped :])
    try:
        found = store.get(release.public.id)
    except TrustError as error:
        assert str(error).isprintable()
    else:
        assert found is not None
        assert found.public == release.public
