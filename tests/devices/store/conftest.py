"""Small bundles that need no engine, a store on a fast disk, and what a device does with them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bedside.devices.store.store import Store
from bedside.runtime.bundle.decode import ClassificationDecode
from bedside.runtime.bundle.manifest import (
    EngineGolden,
    Golden,
    InputSpec,
    Manifest,
    Model,
    Provenance,
    TensorSpec,
    Variant,
    VariantGolden,
)
from bedside.runtime.bundle.reader import Bundle, dump_npy
from bedside.runtime.bundle.writer import file_ref, write_bundle
from bedside.runtime.clock import ManualClock

Make = Callable[..., Path]


def manifest_of(name: str, version: str, model: bytes) -> tuple[Manifest, dict[str, bytes]]:
    """A manifest and its members around bytes that stand for a model."""
    pixels = np.zeros((1, 2, 2, 3), np.uint8)
    members = {
        "README.md": b"# card\n",
        "models/main.tflite": model,
        "golden/input.npy": dump_npy(pixels),
        "golden/output.npy": dump_npy(np.zeros((1, 2), np.float32)),
    }
    refs = {member: file_ref(member, data) for member, data in members.items()}
    stored = refs["models/main.tflite"]
    variant = Variant(
        id="tflite-fp32",
        format="tflite",
        precision="fp32",
        sha256=stored.sha256,
        bytes=stored.bytes,
        file=stored.file,
        inputs=(TensorSpec(name="pixels", shape=(1, 2, 2, 3), dtype="uint8"),),
        outputs=(TensorSpec(name="scores", shape=(1, 2), dtype="float32"),),
    )
    golden = VariantGolden(variant=variant.id, outputs=(refs["golden/output.npy"],), tolerance=0.01)
    main = Model(
        input=InputSpec(width=2, height=2),
        outputs=("scores",),
        decode=ClassificationDecode(labels=("polyp", "no polyp")),
        variants=(variant,),
        golden=Golden(engine=EngineGolden(input=refs["golden/input.npy"]), variants=(golden,)),
        default=variant.id,
    )
    made = Manifest(
        format_version=1,
        min_runtime="0.1.0",
        name=name,
        version=version,
        task="classification",
        description="For tests.",
        intended_use="None.",
        card=refs["README.md"],
        models={"main": main},
        provenance=Provenance(created_utc="2026-01-01T00:00:00+00:00"),
    )
    return made, members


def write_small(path: Path, version: str, *, name: str = "small", model: bytes = b"model") -> Path:
    """A bundle of about 3 kB."""
    write_bundle(path, *manifest_of(name, version, model + version.encode()))
    return path


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: thousands of syncs, none of which is the point."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="bedside-", dir=memory))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a small bundle of that version."""

    def write(version: str, *, name: str = "small", model: bytes = b"model") -> Path:
        return write_small(tmp_path / f"{name}-{version}.bedside", version, name=name, model=model)

    return write


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(disk: Path, clock: ManualClock) -> Store:
    return Store(disk / "store", clock=clock)


def holds(bundle: Bundle) -> None:
    """Goldens that hold: these bundles have no model that an engine could run."""
