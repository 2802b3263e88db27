"""Bundles made by hand: container and manifest tests need no engine."""

from __future__ import annotations

import copy
import io
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bedside.runtime.bundle import container
from bedside.runtime.bundle.decode import ClassificationDecode
from bedside.runtime.bundle.manifest import (
    EngineGolden,
    FrameGolden,
    Golden,
    InputSpec,
    Manifest,
    Model,
    Provenance,
    TensorSpec,
    Variant,
    VariantGolden,
)
from bedside.runtime.bundle.reader import dump_npy
from bedside.runtime.bundle.rules import encode
from bedside.runtime.bundle.writer import file_ref

ASSETS = Path(__file__).resolve().parents[2] / "assets"

Content = tuple[Manifest, dict[str, bytes]]


def _content(models: Mapping[str, bytes], size: int, samples: int) -> Content:
    """A manifest and its members: `models` by file name, `samples` goldens of `size` x `size` pixels."""
    rng = np.random.default_rng(1)
    members = {"README.md": b"# card\n"}

    def put(name: str, data: bytes) -> Any:
        members[name] = data
        return file_ref(name, data)

    pixels = rng.integers(0, 256, (samples, size, size, 3), np.uint8)
    scores = rng.random((samples, 2), np.float32)
    tensor = TensorSpec(name="pixels", shape=(1, size, size, 3), dtype="uint8")
    variants, goldens = [], []
    for name, data in models.items():
        variant, fmt = name.split(".")
        ref = put(f"models/main-{variant}.{fmt}", data)
        variants.append(
            Variant(
                id=variant,
                format=fmt,
                precision="fp32",
                sha256=ref.sha256,
                bytes=ref.bytes,
                file=ref.file,
                inputs=(tensor,),
                outputs=(TensorSpec(name="scores", shape=(1, 2), dtype="float32"),),
            )
        )
        outputs = (put(f"golden/main-{variant}-0.npy", dump_npy(scores)),)
        goldens.append(VariantGolden(variant=variant, outputs=outputs, tolerance=0.01))
    frame = put("golden/main-frame-0.npy", dump_npy(pixels[0]))
    model = Model(
        input=InputSpec(width=size, height=size),
        outputs=("scores",),
        decode=ClassificationDecode(labels=("polyp", "no polyp")),
        variants=tuple(variants),
        golden=Golden(
            engine=EngineGolden(input=put("golden/main-input.npy", dump_npy(pixels))),
            frames=(FrameGolden(frame=frame, color="rgb", sample=0),),
            variants=tuple(goldens),
        ),
        default=variants[0].id,
    )
    manifest = Manifest(
        format_version=1,
        min_runtime="0.1.0",
        name="small",
        version="1.0.0",
        task="classification",
        description="For tests.",
        intended_use="None.",
        card=file_ref("README.md", members["README.md"]),
        models={"main": model},
        provenance=Provenance(created_utc="2026-01-01T00:00:00+00:00"),
    )
    return manifest, members


@pytest.fixture(scope="session")
def content() -> Content:
    """A valid bundle of a few kilobytes; treat as frozen."""
    return _content(
        {"tflite-fp32.tflite": b"not a model, but nobody looks inside", "onnx-fp32.onnx": b"nor this"}, 2, 1
    )


@pytest.fixture(scope="session")
def realistic() -> Content:
    """A valid bundle around real model files, with goldens of the size that real ones have."""
    names = ("tiny_fp32.tflite", "tiny_int8.tflite", "tiny_fp32.onnx", "tiny_int8.onnx")
    models = {
        f"{n.replace('.', '-').replace('_', '-')}.{n.split('.')[1]}": (ASSETS / n).read_bytes() for n in names
    }
    return _content(models, 16, 4)


@pytest.fixture(scope="session")
def plain(content: Content) -> dict[str, Any]:
    """`bundle.json` of `content` as plain data; copy it before changing it (`change` does)."""
    return msgspec.json.decode(encode(content[0]), type=dict[str, Any])


@pytest.fixture(scope="session")
def change(plain: dict[str, Any]) -> Callable[..., bytes]:
    """`bundle.json` with some values replaced: `change({"models.main.default": "x"})`; `...` removes the
    key."""

    def changed(values: Mapping[str, Any]) -> bytes:
        data = copy.deepcopy(plain)
        for path, value in values.items():
            *parents, last = path.split(".")
            place: Any = data
            for parent in parents:
                place = place[int(parent)] if isinstance(place, list) else place[parent]
            key: Any = int(last) if isinstance(place, list) else last
            if value is ...:
                del place[key]
            else:
                place[key] = value
        return msgspec.json.encode(data)

    return changed


@pytest.fixture(scope="session")
def packed() -> Callable[[Mapping[str, bytes]], bytes]:
    """The canonical container of any members, as bytes."""

    def pack(members: Mapping[str, bytes]) -> bytes:
        file = io.BytesIO()
        container.dump(members, file)
        return file.getvalue()

    return pack


@pytest.fixture(scope="session")
def stored(content: Content, packed: Callable[[Mapping[str, bytes]], bytes]) -> bytes:
    """The file of `content`."""
    return packed({"bundle.json": encode(content[0]), **content[1]})


class Forged(msgspec.Struct, kw_only=True):
    """One member of a zip file that was made to lie. None means: what the canonical form has."""

    name: bytes
    data: bytes = b"x"
    flags: int = 0
    method: int = 0
    time: int = 0
    date: int = 33
    crc: int | None = None
    size: int | None = None
    compressed: int | None = None
    made_by: int = (3 << 8) | 20
    needed: int = 10
    attributes: int = 0o100644 << 16
    internal: int = 0
    disk: int = 0
    offset: int | None = None
    local_name: bytes | None = None
    local_extra: bytes = b""
    extra: bytes = b""
    comment: bytes = b""
    gap: bytes = b""
    descriptor: bytes = b""


@pytest.fixture(scope="session")
def forge() -> Callable[..., bytes]:
    """Writes any zip file, member by member, field by field (APPNOTE 4.3.7, 4.3.12, 4.3.16)."""

    def forged(
        members: Sequence[Forged],
        *,
        prefix: bytes = b"",
        before_directory: bytes = b"",
        before_end: bytes = b"",
        comment: bytes = b"",
        suffix: bytes = b"",
        count: int | None = None,
        start: int | None = None,
        length: int | None = None,
        disks: tuple[int, int] = (0, 0),
        here: int | None = None,
    ) -> bytes:
        out, directory = bytearray(prefix), bytearray()
        for m in members:
            crc = zlib.crc32(m.data) if m.crc is None else m.crc
            size = len(m.data) if m.size is None else m.size
            packed_size = size if m.compressed is None else m.compressed
            offset = len(out) if m.offset is None else m.offset
            local = m.name if m.local_name is None else m.local_name
            fixed = (m.needed, m.flags, m.method, m.time, m.date, crc, packed_size, size)
            if m.offset is None:
                out += struct.pack("<4s5H3L2H", b"PK\3\4", *fixed, len(local), len(m.local_extra))
                out += local + m.local_extra + m.data + m.descriptor + m.gap
            lengths = (len(m.name), len(m.extra), len(m.comment))
            directory += struct.pack(
                "<4s6H3L5H2L",
                b"PK\1\2",
                m.made_by,
                *fixed,
                *lengths,
                m.disk,
                m.internal,
                m.attributes,
                offset,
            )
            directory += m.name + m.extra + m.comment
        out += before_directory
        begin = len(out) if start is None else start
        total = len(members) if count is None else count
        out += directory + before_end
        size = len(directory) if length is None else length
        n = total if here is None else here
        out += struct.pack("<4s4H2LH", b"PK\5\6", *disks, n, total, size, begin, len(comment)) + comment
        return bytes(out + suffix)

    return forged


@pytest.fixture(scope="session")
def forged_members(content: Content) -> Callable[[], list[Forged]]:
    """The members of `content`, in canonical order, to be made to lie."""

    def members() -> list[Forged]:
        stored = {"bundle.json": encode(content[0]), **content[1]}
        names = ["bundle.json", *sorted(content[1])]
        return [Forged(name=n.encode(), data=stored[n]) for n in names]

    return members
