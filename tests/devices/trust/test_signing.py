"""Signing: the bundle stays the bundle, whole or as it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bedside.devices.trust import TrustStore
from bedside.devices.trust.keys import PrivateKey
from bedside.devices.trust.signing import sign_bundle
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.bundle.signatures import MOST, Signature
from bedside.runtime.errors import BundleError, SinkError, TrustError

Carry = Callable[..., Path]


def test_in_place(bundle: Path, store: TrustStore, release: PrivateKey, digest: str) -> None:
    with open_bundle(bundle) as opened:
        before = {n: opened.read(n) for n in opened.manifest.files()} | {"bundle.json": opened.stored}
    signed = sign_bundle(bundle, release, store=store)
    assert (signed.path, signed.digest, signed.key, signed.written) == (
        bundle,
        digest,
        release.public.id,
        True,
    )
    assert signed.signers == (release.public.id,)
    with open_bundle(bundle) as opened:
        opened.verify_all()
        assert opened.signatures == (release.sign(digest),)
        assert {n: opened.read(n) for n in opened.manifest.files()} | {"bundle.json": opened.stored} == before
    assert [path.name for path in bundle.parent.iterdir() if path.name != "trust"] == [bundle.name]


def test_into_another_file(bundle: Path, store: TrustStore, release: PrivateKey, digest: str) -> None:
    before, output = bundle.read_bytes(), bundle.with_name("signed.bedside")
    assert sign_bundle(bundle, release, output=output, store=store).path == output
    assert bundle.read_bytes() == before
    with open_bundle(output) as opened:
        assert opened.digest == digest
        assert opened.signed


def test_the_order_of_signing_does_not_show(
    bundle: Path, store: TrustStore, release: PrivateKey, clinic: PrivateKey
) -> None:
    made = []
    for first, second in ((release, clinic), (clinic, release)):
        path = bundle.with_name(f"by-{first.public.id[:8]}.bedside")
        sign_bundle(bundle, first, output=path, store=store)
        signed = sign_bundle(path, second, store=store)
        assert set(signed.signers) == {release.public.id, clinic.public.id}
        made.append(path.read_bytes())
    assert made[0] == made[1]


def test_signing_again_changes_nothing(bundle: Path, store: TrustStore, release: PrivateKey) -> None:
    sign_bundle(bundle, release, store=store)
    before = bundle.stat().st_ino
    signed = sign_bundle(bundle, release, store=store)
    assert not signed.written
    assert bundle.stat().st_ino == before


def test_replacing_leaves_the_others_out(
    bundle: Path, store: TrustStore, release: PrivateKey, clinic: PrivateKey
) -> None:
    sign_bundle(bundle, release, store=store)
    assert sign_bundle(bundle, clinic, replace=True, store=store).signers == (clinic.public.id,)


def test_a_bundle_by_a_revoked_key_can_be_signed_by_the_new_one(
    bundle: Path, store: TrustStore, release: PrivateKey, stranger: PrivateKey
) -> None:
    sign_bundle(bundle, release, store=store)
    store.revoke(release.public.id)
    assert len(sign_bundle(bundle, stranger, store=store).signers) == 2


@pytest.mark.fault("B1")
def test_what_is_damaged_is_not_signed(bundle: Path, store: TrustStore, release: PrivateKey) -> None:
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    bundle.write_bytes(data)
    with pytest.raises(BundleError, match="damaged"):
        sign_bundle(bundle, release, store=store)
    assert bundle.read_bytes() == data


@pytest.mark.fault("B6")
def test_a_signature_that_does_not_hold_is_not_passed_on(
    carry: Carry, store: TrustStore, release: PrivateKey, clinic: PrivateKey
) -> None:
    path = carry(release.sign("ab" * 32))
    with pytest.raises(TrustError, match=r"not of this bundle.*--replace"):
        sign_bundle(path, clinic, store=store)
    assert sign_bundle(path, clinic, replace=True, store=store).signers == (clinic.public.id,)


def test_there_is_room_for_sixteen(carry: Carry, store: TrustStore, release: PrivateKey, digest: str) -> None:
    others = [Signature(algorithm="ed25519", key=f"{i:064x}", signature="00" * 64) for i in range(MOST)]
    path = carry(*others)
    with pytest.raises(BundleError, match="length"):
        sign_bundle(path, release, store=store)
    with open_bundle(path) as opened:
        assert opened.signatures == tuple(others)


def test_a_fault_of_the_machine_gives_no_signature_away(
    bundle: Path, store: TrustStore, release: PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bundle.read_bytes()
    spoiled = Signature(algorithm="ed25519", key=release.public.id, signature="00" * 64)
    monkeypatch.setattr(PrivateKey, "sign", lambda self, digest: spoiled)
    with pytest.raises(TrustError, match="does not hold"):
        sign_bundle(bundle, release, store=store)
    assert bundle.read_bytes() == before


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_bundle(
    call: str, bundle: Path, store: TrustStore, release: PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bundle.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SinkError, match="No space left"):
        sign_bundle(bundle, release, store=store)
    assert bundle.read_bytes() == before
    assert not list(bundle.parent.glob(".*.partial"))
