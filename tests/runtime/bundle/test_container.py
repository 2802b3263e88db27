"""The canonical container: everything else is refused."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.runtime.bundle import container
from bedside.runtime.bundle.container import Container, Limits

Pack = Callable[[Mapping[str, bytes]], bytes]

SMALL = {"bundle.json": b"{}", "README.md": b"card", "models/a.tflite": b"\x00\xff", "golden/a-0.npy": b"n"}

_STEM = "[a-z0-9][a-z0-9._-]{0,63}"
NAMES = st.one_of(
    st.sampled_from(["signatures.json", "README.md"]),
    st.from_regex(rf"models/{_STEM}\.(tflite|onnx)", fullmatch=True),
    st.from_regex(rf"golden/{_STEM}\.npy", fullmatch=True),
)
MEMBERS = st.dictionaries(NAMES, st.binary(min_size=1, max_size=300), max_size=12)


def read_all(data: bytes) -> dict[str, bytes]:
    """Every member, every check."""
    box = Container(io.BytesIO(data))
    return {name: box.read(name) for name in box.entries}


def refused(data: bytes) -> str:
    with pytest.raises(ValueError) as caught:
        read_all(data)
    message = str(caught.value)
    assert message and "\n" not in message
    return message


@given(MEMBERS, st.binary(min_size=1, max_size=300), st.randoms())
def test_any_members_come_back_and_their_order_does_not_matter(
    members: dict[str, bytes], manifest: bytes, random: Any
) -> None:
    members = {**members, "bundle.json": manifest}
    first, second = io.BytesIO(), io.BytesIO()
    container.dump(members, first)
    shuffled = list(members.items())
    random.shuffle(shuffled)
    container.dump(dict(shuffled), second)
    assert first.getvalue() == second.getvalue()
    assert read_all(first.getvalue()) == members
    order = list(Container(first).entries)
    rest = [n for n in order if n not in ("bundle.json", "signatures.json")]
    assert order == ["bundle.json", *[n for n in ("signatures.json",) if n in members], *sorted(rest)]


def test_zip_readers_read_it(packed: Pack) -> None:
    with zipfile.ZipFile(io.BytesIO(packed(SMALL))) as file:
        assert file.testzip() is None
        assert {n: file.read(n) for n in file.namelist()} == SMALL
        assert {i.date_time for i in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {i.external_attr >> 16 for i in file.infolist()} == {0o100644}


@pytest.mark.skipif(shutil.which("unzip") is None, reason="Info-ZIP's unzip is not installed")
def test_unzip_reads_it(packed: Pack, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(packed(SMALL))
    done = subprocess.run(
        ["unzip", "-tq", "a.zip"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""


def test_the_form_is_pinned(packed: Pack) -> None:
    # The bytes of a bundle that was released must not change with the code that writes it.
    assert packed({"bundle.json": b"{}"}) == bytes.fromhex(
        "504b0304 0a00 0000 0000 0000 2100 43bfa6a3 02000000 02000000 0b00 0000 62756e646c652e6a736f6e 7b7d"
        "504b0102 1403 0a00 0000 0000 0000 2100 43bfa6a3 02000000 02000000 0b00 0000 0000 0000 0000"
        "0000a481 00000000 62756e646c652e6a736f6e"
        "504b0506 0000 0000 0100 0100 39000000 2b000000 0000"
    )


@pytest.mark.fault("B1")
def test_every_flipped_bit_is_refused(packed: Pack) -> None:
    data = packed(SMALL)
    accepted = []
    for position in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            try:
                read_all(bytes(flipped))
            except ValueError:
                continue
            accepted.append((position, bit))
    assert accepted == []
    assert read_all(data) == SMALL


@pytest.mark.fault("B2")
def test_every_truncation_is_refused(packed: Pack) -> None:
    data = packed(SMALL)
    for length in range(len(data)):
        refused(data[:length])
    for cut in range(1, len(data)):
        refused(data[cut:])


def test_an_empty_file_says_so() -> None:
    assert refused(b"") == "the file is empty"
    assert "21 bytes" in refused(b"x" * 21)


@given(st.binary(max_size=400))
def test_junk_is_refused_with_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_all(data)


@given(data=st.data())
def test_a_damaged_container_raises_nothing_but_value_errors(data: st.DataObject) -> None:
    file = io.BytesIO()
    container.dump(SMALL, file)
    whole = bytearray(file.getvalue())
    begin = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(begin, len(whole)))
    whole[begin:end] = data.draw(st.binary(max_size=2 * (end - begin) + 4))
    if bytes(whole) != file.getvalue():
        with pytest.raises(ValueError):
            read_all(bytes(whole))


@pytest.mark.fault("B5")
@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "models/../../etc/passwd.onnx",
        "models/../a.onnx",
        "/models/a.onnx",
        "/etc/passwd",
        "C:/a.onnx",
        "models\\a.onnx",
        "models//a.onnx",
        "models/./a.onnx",
        "./models/a.onnx",
        "models/.a.onnx",
        "models/a/b.onnx",
        "models/",
        "models/a.onnx/",
        "models/a.onnx\n",
        "models/a.onnx\r",
        "models/a\n.onnx",
        "models/a.onnx ",
        " models/a.onnx",
        "models/a.onnx\0",
        "models/a\0b.onnx",
        "models/A.onnx",
        "Models/a.onnx",
        "models/a.ONNX",
        "readme.md",
        "README.MD",
        "Bundle.json",
        "bundle.json\n",
        "models/\u00e4.onnx",
        "models/\u202egpj.onnx",
        "models/a.onnx.exe",
        "models/a.keras",
        "models/a.h5",
        "golden/a.npz",
        "golden/a.pkl",
        "models/" + "a" * 65 + ".onnx",
        "extra.txt",
        "a" * 70_000,
        "",
    ],
)
def test_names_that_are_refused(name: str, forge: Callable[..., bytes], forged_members: Any) -> None:
    with pytest.raises(ValueError, match="name"):
        container.dump({"bundle.json": b"{}", name: b"x"}, io.BytesIO())
    if len(name) < 65_000:
        odd = forged_members()[0]
        odd.name = name.encode()
        message = refused(forge([*forged_members(), odd]))
        assert "name" in message or "order" in message
        assert len(message) < 400


@pytest.mark.fault("B5")
def test_names_in_other_encodings_are_refused(forge: Callable[..., bytes], forged_members: Any) -> None:
    odd = forged_members()[-1]
    for raw, flags in (
        (b"models/\xe4.onnx", 0),
        ("models/ä.onnx".encode(), 0x800),
        (b"models/a.onnx", 0x800),
    ):
        odd.name, odd.flags = raw, flags
        refused(forge([*forged_members(), odd]))


def _lies() -> dict[str, dict[str, Any]]:
    """Changes to one member; each must be refused."""
    return {
        "symlink": {"attributes": 0o120777 << 16},
        "executable": {"attributes": 0o100755 << 16},
        "directory": {"attributes": 0o040755 << 16 | 0x10},
        "dos attributes": {"attributes": 0},
        "made on another system": {"made_by": 20},
        "needs a newer unzip": {"needed": 20},
        "time": {"time": 1},
        "date": {"date": 0x5A21},
        "encrypted": {"flags": 1},
        "utf-8 flag": {"flags": 0x800},
        "data descriptor flag": {"flags": 8},
        "data descriptor": {"flags": 8, "descriptor": b"PK\x07\x08" + bytes(12)},
        "descriptor without flag": {"descriptor": b"PK\x07\x08" + bytes(12)},
        "internal attributes": {"internal": 1},
        "other disk": {"disk": 1},
        "extra field in the directory": {"extra": b"\x01\x00\x00\x00"},
        "extra field in the local header": {"local_extra": b"\x01\x00\x00\x00"},
        "zip64 extra": {
            "extra": b"\x01\x00\x08\x00" + bytes(8),
            "local_extra": b"\x01\x00\x08\x00" + bytes(8),
        },
        "member comment": {"comment": b"hello"},
        "crc": {"crc": 0},
        "other name in the local header": {"local_name": b"models/b.onnx"},
        "gap": {"gap": b"\0"},
        "smaller than it is": {"size": 1},
        "larger than it is": {"size": 5},
        "sizes that differ": {"compressed": 1},
        "zip64 sentinel": {"size": 0xFFFFFFFF, "compressed": 0xFFFFFFFF},
        "an offset elsewhere": {"offset": 3},
        "overlap with the first member": {"offset": 0},
        "no bytes": {"data": b""},
    }


@pytest.mark.fault("B5")
@pytest.mark.parametrize("lie", _lies())
@pytest.mark.parametrize("which", [0, 1, -1])
def test_a_member_that_is_not_canonical_is_refused(
    lie: str, which: int, forge: Callable[..., bytes], forged_members: Any, stored: bytes
) -> None:
    members = forged_members()
    assert forge(members) == stored, "the forge must write the canonical form where nothing is changed"
    for key, value in _lies()[lie].items():
        setattr(members[which], key, value)
    forged = forge(members)
    assert forged != stored
    refused(forged)


@pytest.mark.fault("B4")
@pytest.mark.parametrize("method", [8, 9, 12, 14, 93, 95, 99])
def test_compressed_members_are_refused_as_such(
    method: int, forge: Callable[..., bytes], forged_members: Any
) -> None:
    members = forged_members()
    members[1].method = method
    assert "compressed" in refused(forge(members))


@pytest.mark.parametrize(
    "options",
    [
        {"prefix": b"#!/bin/sh\n"},
        {"prefix": b"\0"},
        {"suffix": b"\0"},
        {"suffix": b"PK\5\6" + bytes(18)},
        {"comment": b"hello"},
        {"before_directory": b"\0"},
        {"before_end": b"\0"},
        {"before_end": b"PK\x06\x07" + bytes(16)},
        {"count": 0},
        {"count": 3},
        {"count": 5},
        {"here": 1},
        {"disks": (1, 0)},
        {"disks": (0, 1)},
        {"start": 0},
        {"start": 0xFFFFFFFF},
        {"length": 0},
        {"length": 0xFFFFFFFF},
        {"count": 0xFFFF},
    ],
    ids=repr,
)
def test_an_end_record_that_is_not_canonical_is_refused(
    options: dict[str, Any], forge: Callable[..., bytes], forged_members: Any
) -> None:
    refused(forge(forged_members(), **options))


@pytest.mark.fault("B5")
def test_a_name_that_appears_twice_is_refused(forge: Callable[..., bytes], forged_members: Any) -> None:
    members = forged_members()
    assert "twice" in refused(forge([*members, members[-1]]))
    assert "twice" in refused(forge([members[0], *members]))


def test_another_order_is_refused(forge: Callable[..., bytes], forged_members: Any) -> None:
    members = forged_members()
    for i in range(len(members) - 1):
        swapped = list(members)
        swapped[i : i + 2] = reversed(swapped[i : i + 2])
        assert "order" in refused(forge(swapped))
    assert "order" in refused(forge(members[::-1]))


def test_without_a_manifest_it_is_no_bundle(forge: Callable[..., bytes], forged_members: Any) -> None:
    assert "bundle.json is missing" in refused(forge(forged_members()[1:]))
    refused(forge([]))


def test_two_members_that_share_their_bytes_are_refused(
    forge: Callable[..., bytes], forged_members: Any
) -> None:
    members = forged_members()
    members[2].offset = len(forge(members[:1])) - 22 - 46 - len(members[0].name)
    refused(forge(members))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_bundles_made_by_ordinary_zip_tools_are_refused(compression: int) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in SMALL.items():
            archive.writestr(name, data)
    assert "canonical" in refused(file.getvalue()) or "compressed" in refused(file.getvalue())


@pytest.mark.fault("B4")
def test_a_bomb_costs_nothing(forge: Callable[..., bytes], forged_members: Any) -> None:
    """Declared sizes are checked before anything of that size is read or allocated."""
    first = forged_members()[0]
    bombs = []
    for size in (1 << 20, 1 << 29, (1 << 32) - 2):
        members = forged_members()
        members[-1].size = members[-1].compressed = size
        bombs.append(forge(members))
    bombs.append(forge(forged_members(), count=0xFFFF, length=0xFFFF * 46))
    bombs.append(forge(forged_members(), length=1 << 31))
    many = [
        msgspec.structs.replace(first, name=f"golden/{i:05}.npy".encode(), data=b"n") for i in range(5000)
    ]
    bombs.append(forge([first, *many]))
    overlapping = [msgspec.structs.replace(m, offset=0) for m in many[:255]]
    bombs.append(forge([first, *overlapping]))
    largest = max(len(b) for b in bombs)
    for bomb in bombs:
        tracemalloc.start()
        try:
            refused(bomb)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < largest + (1 << 20), f"{peak} bytes allocated for a bundle of {len(bomb)}"


@pytest.mark.fault("B4")
def test_a_giant_directory_is_not_read(tmp_path: Path) -> None:
    size = 256 << 20
    with (tmp_path / "a").open("w+b") as file:  # a sparse file: it costs no disk
        file.truncate(size)
        file.seek(size)
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 5, 5, size, 0, 0))
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match=f"a directory of {size} bytes"):
                Container(file)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.fault("B4")
def test_limits_are_kept_by_reader_and_writer(packed: Pack) -> None:
    limits = Limits(members=3, total=600, manifest=10, signatures=8, card=6, golden=4, model=5)
    fits = {"bundle.json": b"x" * 10, "README.md": b"x" * 6, "models/a.onnx": b"x" * 5}
    file = io.BytesIO()
    container.dump(fits, file, limits)
    assert set(Container(file, limits).entries) == set(fits)
    beyond = [
        {**fits, "bundle.json": b"x" * 11},
        {**fits, "README.md": b"x" * 7},
        {**fits, "models/a.onnx": b"x" * 6},
        {**fits, "golden/a.npy": b"x"},
        {"bundle.json": b"x", "golden/a.npy": b"x" * 5},
        {"bundle.json": b"x", "signatures.json": b"x" * 9},
    ]
    for members in beyond:
        with pytest.raises(ValueError, match="allowed"):
            container.dump(members, io.BytesIO(), limits)
        with pytest.raises(ValueError, match="allowed"):
            Container(io.BytesIO(packed(members)), limits)
    with pytest.raises(ValueError, match="together"):
        Container(file, msgspec.structs.replace(limits, total=100))


def test_the_longest_legal_directory_is_read(packed: Pack) -> None:
    members = {"bundle.json": b"{}"}
    members |= {f"models/{i:03}{'m' * 61}.tflite": b"x" for i in range(255)}
    assert read_all(packed(members)) == members
    with pytest.raises(ValueError, match="256"):
        packed({**members, "README.md": b"x"})


def test_a_file_that_shrinks_after_it_was_opened_is_refused(packed: Pack) -> None:
    file = io.BytesIO(packed(SMALL))
    box = Container(file)
    file.truncate(60)
    with pytest.raises(ValueError, match=r"truncated|damaged"):
        for name in box.entries:
            box.read(name)
