"""The state file: believed when it is what was written, and only then."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.devices.store.files import make_folders, read_plain, replace_whole
from bedside.devices.store.installing import activate, install
from bedside.devices.store.state import Anchor, Failure, Ref, Slot, State, decode, encode, read_state
from bedside.devices.store.store import Store
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.errors import BundleError

from .conftest import Make, holds
from .crashes import RecordedFiles

digests = st.text("0123456789abcdef", min_size=64, max_size=64)
names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,9}", fullmatch=True)
refs = st.builds(
    Ref,
    file=digests,
    digest=digests,
    name=names,
    version=st.from_regex(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}", fullmatch=True),
    bytes=st.integers(1, 1 << 40),
)
slots = st.builds(
    Slot,
    active=st.none() | refs,
    previous=st.none() | refs,
    candidate=st.none() | refs,
    probation=st.none() | st.integers(0, 9),
    failed=st.none() | st.builds(Failure, digest=digests, why=st.sampled_from(["crash", "stale"])),
)
states = st.builds(
    State,
    slots=st.dictionaries(names, slots, max_size=3),
    audit=st.none() | st.builds(Anchor, seq=st.integers(1, 1 << 40), hash=digests),
)


@given(states)
def test_what_is_written_is_read(state: State) -> None:
    assert decode(encode(state)) == state


@given(st.binary(max_size=300) | states.map(lambda state: encode(state)[:-3]))
def test_anything_else_is_one_line(data: bytes) -> None:
    with pytest.raises(ValueError) as refused:
        decode(data)
    assert "damaged" in str(refused.value)


def some() -> State:
    ref = Ref(file="ab" * 32, digest="cd" * 32, name="small", version="1.0.0", bytes=10)
    slot = Slot(active=ref, candidate=ref, probation=1, failed=Failure(digest="cd" * 32, why="hang"))
    return State(slots={"main": slot}, audit=Anchor(seq=7, hash="ef" * 32))


def test_every_flipped_bit_is_found() -> None:
    data = encode(some())
    for place in range(len(data) * 8):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(ValueError):
            decode(bytes(changed))


def test_a_newer_format_is_not_damage() -> None:
    import hashlib

    newer = b'{"format_version":2,"shelves":[]}'
    data = b'{"sha256":"' + hashlib.sha256(newer).hexdigest().encode() + b'","state":' + newer + b"}\n"
    with pytest.raises(ValueError, match="too new: format 2, this bedside reads 1"):
        decode(data)


def test_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert read_state(path) == State()
    path.write_bytes(encode(some()))
    assert read_state(path) == some()
    path.write_bytes(encode(some())[:50])
    with pytest.raises(BundleError, match=r"state.json: damaged: .* \(move the file away, then install"):
        read_state(path)
    path.write_bytes(b" " * (1 << 19))
    with pytest.raises(BundleError, match="has more than"):
        read_state(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(BundleError, match=r"is no regular file|Is a directory"):
        read_state(path)
    path.rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(encode(some()))
    path.symlink_to(elsewhere)
    with pytest.raises(BundleError, match="cannot be read"):
        read_state(path)


def test_nothing_is_thrown_away_while_the_state_is_damaged(store: Store, make: Make) -> None:
    install(store, str(make("1.0.0")), opening=open_bundle)
    activate(store, opening=open_bundle, replay=holds)
    path = store.folder / "state.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    for attempt in (
        lambda: install(store, str(make("1.1.0")), opening=open_bundle),
        lambda: store.start("main"),
        lambda: store.probation_passed("main"),
        store.tidy,
    ):
        with pytest.raises(BundleError, match="damaged"):
            attempt()
    assert len(list(store.bundles.iterdir())) == 1
    path.write_bytes(whole)
    assert store.start("main").ref.version == "1.0.0"


def test_folders_are_synced_from_the_top(tmp_path: Path) -> None:
    files = RecordedFiles(tmp_path)
    make_folders(files, tmp_path / "a" / "b")
    assert [op.kind for op in files.ops] == ["folder", "sync-folder"] * 2
    # Whoever made it may have been killed before the sync.
    make_folders(files, tmp_path / "a" / "b")
    assert files.ops[-1].kind == "sync-folder"
    replace_whole(files, tmp_path / "a" / "b" / "c", b"x")
    assert [op.kind for op in files.ops[-5:]] == ["create", "write", "sync", "rename", "sync-folder"]
    assert read_plain(tmp_path / "a" / "b" / "c", 1) == b"x"
