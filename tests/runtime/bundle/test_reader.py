"""Opening a bundle: the order of trust, and what is refused when."""

from __future__ import annotations

import hashlib
import io
import os
import random
import socket
import threading
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bedside.runtime.bundle import signatures
from bedside.runtime.bundle.container import Container, Limits
from bedside.runtime.bundle.reader import Bundle, load_npy, open_bundle
from bedside.runtime.bundle.rules import encode
from bedside.runtime.bundle.signatures import Signature
from bedside.runtime.bundle.writer import write_bundle
from bedside.runtime.errors import BundleError

Pack = Callable[[Mapping[str, bytes]], bytes]
Change = Callable[[dict[str, Any]], bytes]

#: Well-formed, and of nobody: the runtime judges no signature itself.
SIGNATURE = Signature(algorithm="ed25519", key="ab" * 32, signature="cd" * 64)
SIGNED = signatures.encode([SIGNATURE])


class Watched(io.BytesIO):
    """A file that remembers which bytes were read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.seen: set[int] = set()

    def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]
        begin = self.tell()
        data = super().read(size)
        self.seen.update(range(begin, begin + len(data)))
        return data


def refused(path: Path) -> str:
    """How opening and verifying everything is refused: one line with the path in it."""
    with pytest.raises(BundleError) as caught, open_bundle(path) as bundle:
        bundle.verify_all()
    assert caught.value.exit_code == 3
    assert caught.value.where == str(path)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_what_was_written_is_read(content: Any, stored: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.bedside"
    manifest, members = content
    digest = write_bundle(path, manifest, members)
    assert path.read_bytes() == stored
    with open_bundle(str(path)) as bundle:
        assert bundle.manifest == manifest
        assert bundle.digest == digest == hashlib.sha256(encode(manifest)).hexdigest()
        assert bundle.size == len(stored)
        assert not bundle.signed
        bundle.verify_all()
        for name, data in members.items():
            assert bundle.read(name) == data
        golden = bundle.array(manifest.main.golden.engine.input)
        np.testing.assert_array_equal(golden, load_npy(members["golden/main-input.npy"]))
    bundle.close()
    with pytest.raises(BundleError):
        bundle.read("README.md")


def test_the_same_content_gives_the_same_bytes(content: Any, tmp_path: Path) -> None:
    manifest, members = content
    write_bundle(tmp_path / "a", manifest, members)
    write_bundle(tmp_path / "b", manifest, dict(reversed(members.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_zip_readers_read_it(realistic: Any, tmp_path: Path) -> None:
    write_bundle(tmp_path / "a.bedside", *realistic)
    with zipfile.ZipFile(tmp_path / "a.bedside") as file:
        assert file.testzip() is None
        assert file.read("README.md") == realistic[1]["README.md"]
        with np.load(io.BytesIO(_npz(file)), allow_pickle=False) as arrays:
            assert arrays["golden/main-input"].dtype == np.uint8


def _npz(file: zipfile.ZipFile) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as other:
        other.writestr("golden/main-input.npy", file.read("golden/main-input.npy"))
    return out.getvalue()


def test_signatures_are_carried_but_not_part_of_the_digest(content: Any, tmp_path: Path) -> None:
    manifest, members = content
    plain = write_bundle(tmp_path / "a", manifest, members)
    signed = write_bundle(tmp_path / "b", manifest, {**members, "signatures.json": SIGNED})
    assert plain == signed
    with open_bundle(tmp_path / "a") as bundle:
        assert not bundle.signed
    with open_bundle(tmp_path / "b") as bundle:
        assert bundle.signed
        assert bundle.signatures == (SIGNATURE,)
        assert bundle.digest == plain
        bundle.verify_all()


def test_signatures_that_are_none_are_refused(content: Any, tmp_path: Path) -> None:
    manifest, members = content
    write_bundle(tmp_path / "a", manifest, {**members, "signatures.json": b"{}"})
    assert "signatures.json" in refused(tmp_path / "a")
    newer = b'{"format_version": 2, "signatures": "in another form"}'
    write_bundle(tmp_path / "b", manifest, {**members, "signatures.json": newer})
    line = refused(tmp_path / "b")
    assert "too new: signatures.json has format 2" in line
    assert "update bedside on this device" in line


def test_signatures_are_judged_before_the_manifest_is_parsed(packed: Pack, tmp_path: Path) -> None:
    path = tmp_path / "a"
    stored = b"this is no manifest"
    path.write_bytes(packed({"bundle.json": stored, "signatures.json": SIGNED}))
    judged: list[tuple[str, tuple[Signature, ...]]] = []

    def refuse(digest: str, carried: tuple[Signature, ...]) -> None:
        judged.append((digest, carried))
        raise BundleError("not by me")

    with pytest.raises(BundleError, match="not by me"):
        open_bundle(path, judge=refuse)
    assert judged == [(hashlib.sha256(stored).hexdigest(), (SIGNATURE,))]
    with pytest.raises(BundleError, match=r"bundle\.json"):
        open_bundle(path, judge=lambda *_: None)


def test_a_member_that_is_not_named_is_an_error_not_a_crash(content: Any, tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", *content)
    with open_bundle(tmp_path / "a") as bundle:
        for name in ("models/other.onnx", "bundle.json", "signatures.json", "../../etc/passwd"):
            with pytest.raises(BundleError, match="names no member"):
                bundle.read(name)


@pytest.mark.fault("B1")
def test_5000_flipped_bits_are_refused(realistic: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.bedside"
    write_bundle(path, realistic[0], {**realistic[1], "signatures.json": SIGNED})
    whole = path.read_bytes()
    rng = random.Random(20_240_601)
    accepted = []
    with path.open("r+b", buffering=0) as file:
        for position, bit in {(rng.randrange(len(whole)), rng.randrange(8)) for _ in range(5100)}:
            os.pwrite(file.fileno(), bytes([whole[position] ^ 1 << bit]), position)
            try:
                with open_bundle(path) as bundle:
                    bundle.verify_all()
                accepted.append((position, bit))
            except BundleError:
                pass
            os.pwrite(file.fileno(), whole[position : position + 1], position)
    assert accepted == []
    assert path.read_bytes() == whole
    with open_bundle(path) as bundle:
        bundle.verify_all()


@pytest.mark.fault("B1")
def test_every_flipped_bit_of_what_surrounds_the_members_is_refused(stored: bytes) -> None:
    """Directory, headers, names: exhaustively, at the level of the bundle."""
    with Bundle(Path("a"), io.BytesIO(stored)) as bundle:
        entries = Container(io.BytesIO(stored)).entries
        content = {i for e in entries.values() for i in range(e.data_offset, e.end)}
        assert bundle.size == len(stored)
    for position in sorted(set(range(len(stored))) - content):
        for bit in range(8):
            flipped = bytearray(stored)
            flipped[position] ^= 1 << bit
            with pytest.raises(BundleError):
                Bundle(Path("a"), io.BytesIO(bytes(flipped))).verify_all()


@pytest.mark.fault("B1")
def test_a_member_with_a_repaired_checksum_is_refused_by_its_digest(
    content: Any, packed: Pack, tmp_path: Path
) -> None:
    manifest, members = content
    for name in members:
        changed = bytearray(members[name])
        changed[-1] ^= 1
        path = tmp_path / "a"
        path.write_bytes(packed({"bundle.json": encode(manifest), **members, name: bytes(changed)}))
        assert f"{name} does not match the sha256" in refused(path)
        with open_bundle(path) as bundle:  # it only refuses what is read
            others = [n for n in members if n != name]
            assert [bundle.read(n) for n in others] == [members[n] for n in others]


@pytest.mark.fault("B2")
def test_truncated_files_are_refused(stored: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a"
    lengths = {*range(0, len(stored), 97), *range(len(stored) - 200, len(stored)), *range(50)}
    for length in sorted(lengths):
        path.write_bytes(stored[:length])
        line = refused(path)
        assert "copy the file again" in line
    path.write_bytes(b"")
    assert "the file is empty" in refused(path)


@pytest.mark.fault("B3")
@pytest.mark.parametrize("name", ["models/extra.tflite", "golden/extra.npy"])
def test_an_extra_member_is_refused(name: str, content: Any, packed: Pack, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(packed({"bundle.json": encode(content[0]), **content[1], name: b"extra"}))
    assert f"member {name} is not named by bundle.json" in refused(path)


def test_a_missing_member_is_refused(content: Any, packed: Pack, tmp_path: Path) -> None:
    path = tmp_path / "a"
    for name in content[1]:
        rest = {n: d for n, d in content[1].items() if n != name}
        path.write_bytes(packed({"bundle.json": encode(content[0]), **rest}))
        assert f"member {name} is named by bundle.json and missing" in refused(path)


def test_a_member_of_another_size_is_refused_when_it_is_opened(
    content: Any, packed: Pack, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    for name, data in content[1].items():
        path.write_bytes(packed({"bundle.json": encode(content[0]), **content[1], name: data + b"x"}))
        with pytest.raises(BundleError, match=f"{name} has {len(data) + 1} bytes"):
            open_bundle(path)


def _spans(data: bytes, *names: str) -> set[int]:
    entries = Container(io.BytesIO(data)).entries
    return {i for n in names for i in range(entries[n].offset, entries[n].end)}


def _directory(data: bytes) -> set[int]:
    entries = Container(io.BytesIO(data)).entries
    return set(range(list(entries.values())[-1].end, len(data)))


@pytest.mark.fault("B3")
def test_nothing_but_the_directory_manifest_and_signatures_is_read_before_a_refusal(
    content: Any, packed: Pack, change: Change
) -> None:
    """Nothing unverified is parsed: a bundle is refused before a byte of a model is even read."""
    manifest, members = content
    signed = {**members, "signatures.json": SIGNED}
    refusals = {
        "an extra member": packed({"bundle.json": encode(manifest), **signed, "models/extra.onnx": b"x"}),
        "a missing member": packed(
            {"bundle.json": encode(manifest), "README.md": members["README.md"], "signatures.json": SIGNED}
        ),
        "another size": packed({"bundle.json": encode(manifest), **signed, "README.md": b"x"}),
        "an unknown key": packed({"bundle.json": change({"surprise": 1}), **signed}),
        "too new": packed({"bundle.json": change({"format_version": 2}), **signed}),
    }
    for why, data in refusals.items():
        file = Watched(data)
        with pytest.raises(BundleError):
            Bundle(Path(why), file)
        allowed = _directory(data) | _spans(data, "bundle.json", "signatures.json")
        assert file.seen <= allowed, why


def test_reading_a_member_reads_that_member_only(content: Any, packed: Pack) -> None:
    manifest, members = content
    data = packed({"bundle.json": encode(manifest), **members})
    file = Watched(data)
    bundle = Bundle(Path("a"), file)
    assert file.seen == _directory(data) | _spans(data, "bundle.json")
    for name in members:
        file.seen.clear()
        bundle.read(name)
        assert file.seen == _spans(data, name)


def test_a_newer_bundle_says_what_to_do(change: Change, content: Any, packed: Pack, tmp_path: Path) -> None:
    path = tmp_path / "a"
    newer = msgspec.json.encode(
        {"format_version": 7, "min_runtime": "4.5.6", "streams": [1], "models": "elsewhere"}
    )
    path.write_bytes(packed({"bundle.json": newer, **content[1]}))
    line = refused(path)
    assert "too new: format 7" in line
    assert "4.5.6" in line
    assert "update bedside on this device" in line
    path.write_bytes(packed({"bundle.json": change({"min_runtime": "77.0.0"}), **content[1]}))
    assert "too new" in refused(path)


@pytest.mark.fault("B5")
def test_hostile_text_in_a_manifest_stays_one_line(
    content: Any, packed: Pack, change: Change, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    for key in (
        "evil\nTraceback (most recent call last):",
        "evil\x1b[2J\x1b]0;title\x07",
        "evil\r\x85\u2028",
        "\x9b31m",
    ):
        for data in (change({key: 1}), change({"models.main.default": key}), change({"task": key})):
            path.write_bytes(packed({"bundle.json": data, **content[1]}))
            line = refused(path)
            assert line.isprintable(), repr(line)


@pytest.mark.fault("B10")
def test_a_swapped_file_changes_nothing(content: Any, stored: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(stored)
    with open_bundle(path) as bundle:
        other = tmp_path / "b"
        other.write_bytes(stored[::-1])
        other.replace(path)
        for name, data in content[1].items():
            assert bundle.read(name) == data
        bundle.verify_all()


@pytest.mark.fault("B10")
def test_a_file_that_is_overwritten_in_place_is_caught(
    content: Any, packed: Pack, stored: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    name = "models/main-tflite-fp32.tflite"
    evil = bytes(len(content[1][name]))
    swapped = packed({"bundle.json": encode(content[0]), **content[1], name: evil})
    assert len(swapped) == len(stored)
    for new in (swapped, stored[: len(stored) // 2], b""):
        with io.BytesIO(stored) as file:
            bundle = Bundle(path, file)
            file.seek(0)
            file.truncate()
            file.write(new)
            with pytest.raises(BundleError):
                bundle.read(name)
        path.write_bytes(stored)
        with open_bundle(path) as bundle:
            path.write_bytes(new)
            with suppress(BundleError):  # or the bytes that were checked, from the reader's buffer
                assert bundle.read(name) == content[1][name]


def test_what_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nothing")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("socket")
    try:
        for name in (
            "missing",
            "folder",
            "loop",
            "dangling",
            "socket",
            "",
            ".",
            "/dev/null",
            "a\0b",
            "x" * 5000,
        ):
            with pytest.raises(BundleError) as caught:
                open_bundle(name)
            assert "\n" not in str(caught.value)
            assert caught.value.hint
    finally:
        listener.close()


def _without_hanging(call: Callable[[], None]) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            call()
        except BaseException as error:
            failures.append(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(20)
    assert not worker.is_alive(), "it hangs"
    if failures:
        raise failures[0]


def test_a_pipe_is_refused_and_does_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def check() -> None:
        with pytest.raises(BundleError, match="no regular file"):
            open_bundle(pipe)

    _without_hanging(check)
    # Swapped in between the look and the open.
    regular = tmp_path / "regular"
    regular.write_bytes(b"x")
    looked = os.stat_result(regular.stat())
    monkeypatch.setattr(Path, "stat", lambda self, **_: looked)
    _without_hanging(check)


def test_a_link_to_a_bundle_is_a_bundle(stored: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(stored)
    (tmp_path / "link").symlink_to("a")
    with open_bundle(tmp_path / "link") as bundle:
        bundle.verify_all()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_no_descriptor_stays_open(stored: bytes, tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(stored)
    bad.write_bytes(stored[:-1])

    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    for _ in range(20):
        with open_bundle(good):
            pass
        with pytest.raises(BundleError):
            open_bundle(bad)
        with pytest.raises(BundleError):
            open_bundle(tmp_path)
    assert count() == before


@pytest.mark.fault("B4")
def test_limits_reach_the_reader(stored: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(stored)
    with pytest.raises(BundleError, match="allowed"):
        open_bundle(path, Limits(members=2))
    with pytest.raises(BundleError, match="allowed"):
        open_bundle(path, Limits(model=8))


def test_goldens_that_are_no_arrays_are_refused(content: Any, tmp_path: Path) -> None:
    manifest, members = content
    from bedside.runtime.bundle.writer import file_ref

    bad = b"\x93NUMPY\x01\x00junk"
    name = "golden/main-input.npy"
    engine = msgspec.structs.replace(manifest.main.golden.engine, input=file_ref(name, bad))
    golden = msgspec.structs.replace(manifest.main.golden, engine=engine)
    model = msgspec.structs.replace(manifest.main, golden=golden)
    write_bundle(
        tmp_path / "a", msgspec.structs.replace(manifest, models={"main": model}), {**members, name: bad}
    )
    with open_bundle(tmp_path / "a") as bundle:
        bundle.verify_all()
        with pytest.raises(BundleError, match=name):
            bundle.array(engine.input)
