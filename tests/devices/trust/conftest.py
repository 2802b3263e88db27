"""Keys that are the same in every run, a store, and bundles that they have signed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bedside.devices.trust import TrustStore
from bedside.devices.trust.keys import PrivateKey
from bedside.runtime.bundle import container, signatures
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.bundle.signatures import Signature
from bedside.runtime.bundle.writer import replacing, write_signed


def private(name: str) -> PrivateKey:
    """A key that its name decides."""
    return PrivateKey(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))


class Recorder:
    """An audit log in memory."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, str | int]]] = []

    def record(self, event: str, **facts: str | int) -> None:
        self.events.append((event, facts))


@pytest.fixture(scope="session")
def release() -> PrivateKey:
    """The key of a device maker."""
    return private("release")


@pytest.fixture(scope="session")
def clinic() -> PrivateKey:
    """The key of a hospital."""
    return private("clinic")


@pytest.fixture(scope="session")
def stranger() -> PrivateKey:
    """A key that no store has."""
    return private("stranger")


@pytest.fixture
def audit() -> Recorder:
    return Recorder()


@pytest.fixture
def store(tmp_path: Path, release: PrivateKey, clinic: PrivateKey) -> TrustStore:
    """A store that trusts `release` and `clinic`."""
    store = TrustStore(tmp_path / "trust")
    store.add(release.public, "release")
    store.add(clinic.public, "clinic")
    return store


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle, unsigned."""
    return Path(shutil.copy(tiny_bundle, tmp_path / "tiny.bedside"))


@pytest.fixture
def digest(bundle: Path) -> str:
    with open_bundle(bundle) as opened:
        return opened.digest


@pytest.fixture
def carry(bundle: Path, tmp_path: Path) -> Callable[..., Path]:
    """The bundle with these signatures, true or not, in a file of its own."""

    def write(*carried: Signature, name: str = "signed.bedside") -> Path:
        path = tmp_path / name
        with open_bundle(bundle) as opened:
            write_signed(path, opened, carried)
        return path

    return write


@pytest.fixture
def rewrite(tmp_path: Path) -> Callable[..., Path]:
    """Another file with the members of a bundle, some replaced, as whoever holds the file can make it."""

    def write(path: Path, changed: Mapping[str, bytes], name: str = "edited.bedside") -> Path:
        with open_bundle(path) as opened:
            members = {n: opened.read(n) for n in opened.manifest.files()}
            members[container.MANIFEST] = opened.stored
            if opened.signed:
                members[container.SIGNATURES] = signatures.encode(opened.signatures)
        with replacing(tmp_path / name) as file:
            container.dump(members | changed, file)
        return tmp_path / name

    return write
