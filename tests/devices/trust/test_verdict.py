"""Which bundles may be used: the rules, one by one, and what is attacked about them."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bedside.devices.profiles import TrustSection
from bedside.devices.trust import TrustStore, check_trust, judge, open_trusted
from bedside.devices.trust.keys import PrivateKey
from bedside.runtime.bundle import container, signatures
from bedside.runtime.bundle.container import Container
from bedside.runtime.bundle.reader import Bundle, open_bundle
from bedside.runtime.bundle.signatures import Signature
from bedside.runtime.bundle.writer import replacing
from bedside.runtime.errors import BundleError, TrustError

Carry = Callable[..., Path]
Rewrite = Callable[..., Path]

REQUIRED = TrustSection(require_signature=True)
TWO = TrustSection(require_signature=True, signatures=2)
FREE = TrustSection()


def states(path: Path, policy: TrustSection, store: TrustStore) -> list[str]:
    with open_trusted(path, policy, store=store) as (_, verdict):
        return [s.state for s in verdict.signatures]


def refused(path: Path, policy: TrustSection, store: TrustStore) -> str:
    with pytest.raises(TrustError) as caught, open_trusted(path, policy, store=store):
        pytest.fail("opened")
    line = str(caught.value)
    assert line.isprintable()
    assert line.startswith(f"{path}: ")
    assert caught.value.exit_code == 3
    return line


def test_signed_by_a_trusted_key(
    carry: Carry, store: TrustStore, release: PrivateKey, clinic: PrivateKey, digest: str
) -> None:
    path = carry(release.sign(digest))
    for policy in (FREE, REQUIRED):
        assert states(path, policy, store) == ["trusted"]
    both = carry(release.sign(digest), clinic.sign(digest))
    assert states(both, TWO, store) == ["trusted", "trusted"]
    with open_trusted(both, TWO, store=store) as (bundle, verdict):
        bundle.verify_all()
        assert bundle.digest == verdict.digest == digest
        assert {s.name for s in verdict.trusted} == {"release", "clinic"}
        assert f"trusted release ({release.public.id[:16]})" in str(verdict)


@pytest.mark.fault("B6")
def test_missing_where_one_is_required(bundle: Path, store: TrustStore) -> None:
    assert "not signed, and the profile requires a signature" in refused(bundle, REQUIRED, store)
    assert states(bundle, FREE, store) == []


@pytest.mark.fault("B6")
def test_too_few_where_two_are_required(
    carry: Carry, store: TrustStore, release: PrivateKey, stranger: PrivateKey, digest: str
) -> None:
    path = carry(release.sign(digest), stranger.sign(digest))
    assert "signed by 1 trusted key, and the profile requires 2" in refused(path, TWO, store)
    assert sorted(states(path, REQUIRED, store)) == ["trusted", "unknown"]


@pytest.mark.fault("B6")
def test_an_unknown_key(carry: Carry, store: TrustStore, stranger: PrivateKey, digest: str) -> None:
    path = carry(stranger.sign(digest))
    line = refused(path, REQUIRED, store)
    assert "keys that this device does not know" in line
    assert stranger.public.id[:16] in line
    assert states(path, FREE, store) == ["unknown"]


@pytest.mark.fault("B6")
def test_a_wrong_key_under_a_trusted_ones_name(
    carry: Carry, store: TrustStore, release: PrivateKey, stranger: PrivateKey, digest: str
) -> None:
    """The attacker's signature, with the id of a key that is trusted."""
    theirs = stranger.sign(digest)
    forged = Signature(algorithm="ed25519", key=release.public.id, signature=theirs.signature)
    for policy in (FREE, REQUIRED):
        assert "not of this bundle" in refused(carry(forged), policy, store)


@pytest.mark.fault("B6")
def test_a_revoked_key(carry: Carry, store: TrustStore, release: PrivateKey, digest: str) -> None:
    path = carry(release.sign(digest))
    assert states(path, REQUIRED, store) == ["trusted"]
    store.revoke(release.public.id)
    for policy in (FREE, REQUIRED):
        assert f"key that was revoked: release ({release.public.id[:16]})" in refused(path, policy, store)


def test_rotation(
    carry: Carry, store: TrustStore, release: PrivateKey, stranger: PrivateKey, digest: str
) -> None:
    """Old key, both, new key: devices that know either run the bundle in between, and after."""
    old, both, new = (
        carry(release.sign(digest), name="old"),
        carry(release.sign(digest), stranger.sign(digest), name="both"),
        carry(stranger.sign(digest), name="new"),
    )
    assert [len(states(path, REQUIRED, store)) for path in (old, both)] == [1, 2]
    store.add(stranger.public, "release-2027")
    for path in (old, both, new):
        assert "trusted" in states(path, REQUIRED, store)
    store.revoke(release.public.id, "rotated")
    refused(old, REQUIRED, store)
    assert sorted(states(both, REQUIRED, store)) == ["revoked", "trusted"]
    assert states(new, REQUIRED, store) == ["trusted"]


@pytest.mark.fault("B6")
@pytest.mark.fault("B1")
def test_the_signature_of_another_bundle(
    carry: Carry, store: TrustStore, release: PrivateKey, digest: str
) -> None:
    path = carry(release.sign("ab" * 32))
    for policy in (FREE, REQUIRED):
        assert "not of this bundle" in refused(path, policy, store)


@pytest.mark.fault("B1")
def test_an_edited_manifest_with_the_old_signature(
    carry: Carry, rewrite: Rewrite, store: TrustStore, release: PrivateKey, digest: str
) -> None:
    """A container that is whole, with digests that all hold: only the signature tells."""
    path = carry(release.sign(digest))
    with open_bundle(path) as opened:
        stored = opened.stored
    edited = rewrite(
        path, {"bundle.json": stored.replace(b"Random weights, for tests.", b"Cleared by everybody.")}
    )
    with open_bundle(edited) as opened:
        opened.verify_all()
        assert opened.digest != digest
    for policy in (FREE, REQUIRED):
        assert "not of this bundle: it was edited" in refused(edited, policy, store)


@pytest.mark.fault("B6")
def test_one_bad_signature_is_not_outvoted(
    carry: Carry, store: TrustStore, release: PrivateKey, clinic: PrivateKey, digest: str
) -> None:
    path = carry(release.sign(digest), clinic.sign("ab" * 32))
    assert "signature of clinic" in refused(path, REQUIRED, store)


@pytest.mark.fault("B6")
def test_taking_the_signatures_off_does_not_help(
    carry: Carry, rewrite: Rewrite, store: TrustStore, release: PrivateKey, digest: str, bundle: Path
) -> None:
    refused(rewrite(bundle, {}), REQUIRED, store)
    with open_bundle(carry(release.sign(digest))) as opened:
        assert opened.signed


@pytest.mark.fault("B6")
@pytest.mark.parametrize("size", [1, 100, 1 << 16, (1 << 16) + 1])
def test_a_signatures_json_that_is_none(
    rewrite: Rewrite, bundle: Path, store: TrustStore, size: int, audit: Any
) -> None:
    """Truncated, noise, or too large: refused whatever the policy, and in the log."""
    with open_bundle(bundle) as opened:
        members = {n: opened.read(n) for n in opened.manifest.files()} | {"bundle.json": opened.stored}
    path = bundle.with_name("edited.bedside")
    data = b"[" * size
    if size > container.LIMITS.signatures:
        with replacing(path) as file:
            container.dump(members | {"signatures.json": data}, file, container.Limits(signatures=1 << 20))
    else:
        rewrite(bundle, {"signatures.json": data})
    for policy in (FREE, REQUIRED):
        with pytest.raises(BundleError) as caught, open_trusted(path, policy, store=store, audit=audit):
            pytest.fail("opened")
        assert "signatures.json" in str(caught.value)
        assert str(caught.value).isprintable()
    assert audit.events == [("refused", {"reason": "damaged"})] * 2


@pytest.mark.fault("B6")
def test_refusals_are_recorded_without_a_name_of_anything(
    carry: Carry, bundle: Path, store: TrustStore, release: PrivateKey, digest: str, audit: Any
) -> None:
    secret = "MUSTERMANN-ERIKA"
    path = carry(release.sign("ab" * 32), name=f"{secret}.bedside")
    with pytest.raises(TrustError), open_trusted(path, REQUIRED, store=store, audit=audit):
        pytest.fail("opened")
    with pytest.raises(TrustError), open_trusted(bundle, REQUIRED, store=store, audit=audit):
        pytest.fail("opened")
    with pytest.raises(BundleError), open_trusted(path.with_name(secret), REQUIRED, store=store, audit=audit):
        pytest.fail("opened")
    assert audit.events == [
        ("refused", {"reason": "signature", "digest": digest, "key": release.public.id}),
        ("refused", {"reason": "signature", "digest": digest}),
    ]
    assert secret not in str(audit.events)


def test_what_is_allowed_is_not_recorded(
    carry: Carry, store: TrustStore, release: PrivateKey, digest: str, audit: Any
) -> None:
    with open_trusted(carry(release.sign(digest)), REQUIRED, store=store, audit=audit):
        pass
    assert audit.events == []


@pytest.mark.fault("B6")
def test_a_damaged_store_refuses_what_is_signed_and_leaves_the_rest(
    carry: Carry, bundle: Path, store: TrustStore, release: PrivateKey, digest: str, audit: Any
) -> None:
    path = carry(release.sign(digest))
    (store.folder / "revoked.json").write_bytes(b"{")
    with pytest.raises(TrustError, match="damaged"), open_trusted(path, store=store, audit=audit):
        pytest.fail("opened")
    assert audit.events == [("refused", {"reason": "signature", "digest": digest})]
    assert states(bundle, FREE, store) == []


@pytest.mark.fault("U5")
@pytest.mark.parametrize("now", [0.0, 4e9, -1e9])
def test_nothing_expires(
    carry: Carry,
    store: TrustStore,
    release: PrivateKey,
    digest: str,
    monkeypatch: pytest.MonkeyPatch,
    now: float,
) -> None:
    path = carry(release.sign(digest))
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setattr(time, "time_ns", lambda: int(now * 1e9))
    assert states(path, REQUIRED, store) == ["trusted"]


def test_a_bundle_that_is_open_already_is_judged_the_same(
    carry: Carry, bundle: Path, store: TrustStore, release: PrivateKey, digest: str
) -> None:
    with open_bundle(carry(release.sign(digest))) as opened:
        assert check_trust(opened, REQUIRED, store).refused is None
    with open_bundle(bundle) as opened:
        assert check_trust(opened, FREE, store).refused is None
        with pytest.raises(TrustError, match="not signed"):
            check_trust(opened, REQUIRED, store)
        verdict = judge(opened.digest, opened.signatures, REQUIRED, store)
        assert verdict.refused is not None
        assert str(verdict) == "no: protected against accident only"


def test_the_profile_names_the_store(
    carry: Carry, store: TrustStore, release: PrivateKey, digest: str, tmp_path: Path
) -> None:
    path = carry(release.sign(digest))
    with open_trusted(path, TrustSection(require_signature=True, store=str(store.folder))) as (_, verdict):
        assert len(verdict.trusted) == 1
    refused(path, REQUIRED, TrustStore())  # the user's, which is empty


# What is read before a bundle may be used. Issue 5, done when 8.


class Watched(io.BytesIO):
    """A file that remembers which of its bytes were read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.seen: set[int] = set()

    def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]
        begin = self.tell()
        data = super().read(size)
        self.seen.update(range(begin, begin + len(data)))
        return data


def places(data: bytes, *names: str) -> set[int]:
    """Where the headers and contents of members lie."""
    entries = Container(io.BytesIO(data)).entries
    return {i for name in names for i in range(entries[name].offset, entries[name].end)}


def directory(data: bytes) -> set[int]:
    """Where the zip directory and its end record lie."""
    return set(range(max(e.end for e in Container(io.BytesIO(data)).entries.values()), len(data)))


def gate(policy: TrustSection, store: TrustStore) -> Callable[[str, tuple[Signature, ...]], None]:
    def look(digest: str, carried: tuple[Signature, ...]) -> None:
        verdict = judge(digest, carried, policy, store)
        if verdict.refused is not None:
            raise TrustError(verdict.refused)

    return look


@pytest.mark.fault("B6")
@pytest.mark.parametrize("kind", ["missing", "bad", "unknown", "revoked", "malformed"])
def test_what_is_refused_is_not_read_any_further(
    kind: str,
    carry: Carry,
    rewrite: Rewrite,
    bundle: Path,
    store: TrustStore,
    release: PrivateKey,
    stranger: PrivateKey,
    digest: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Zip directory, `bundle.json`, `signatures.json`: no byte of a member, and the manifest is not parsed."""
    path = {
        "missing": lambda: bundle,
        "bad": lambda: carry(release.sign("ab" * 32)),
        "unknown": lambda: carry(stranger.sign(digest)),
        "revoked": lambda: carry(release.sign(digest)),
        "malformed": lambda: rewrite(bundle, {"signatures.json": b"{}"}),
    }[kind]()
    if kind == "revoked":
        store.revoke(release.public.id)
    data = path.read_bytes()
    parsed: list[bytes] = []
    monkeypatch.setattr("bedside.runtime.bundle.reader.decode", lambda stored, _: parsed.append(stored))
    file = Watched(data)
    with pytest.raises(BundleError):
        Bundle(path, file, judge=gate(REQUIRED, store))
    names = ("bundle.json",) if kind == "missing" else ("bundle.json", "signatures.json")
    assert file.seen <= directory(data) | places(data, *names)
    assert file.seen >= places(data, *names)
    assert parsed == []


@pytest.mark.fault("B1")
def test_a_flipped_bit_in_a_member_is_found_before_a_parser_has_it(
    carry: Carry, store: TrustStore, release: PrivateKey, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every member, in a bundle whose signature holds: the engine and the `.npy` reader get none of it."""
    from bedside.runtime import engines, loading

    data = carry(release.sign(digest)).read_bytes()
    entries = Container(io.BytesIO(data)).entries
    handed: list[object] = []
    monkeypatch.setattr("bedside.runtime.bundle.reader.load_npy", handed.append)
    monkeypatch.setattr(engines, "compile_model", lambda *given: handed.append(given))
    for name, entry in entries.items():
        if name in ("bundle.json", "signatures.json"):
            continue
        bent = bytearray(data)
        bent[entry.data_offset + entry.size // 2] ^= 0x10
        bundle = Bundle(Path("x.bedside"), Watched(bytes(bent)), judge=gate(REQUIRED, store))
        with pytest.raises(BundleError, match="damaged"):
            if name.startswith("models/"):
                variant = next(v.id for v in bundle.manifest.main.shipped if v.file == name)
                loading.open_session(bundle, variant=variant)
            elif name.startswith("golden/"):
                golden = bundle.manifest.main.golden
                refs = [golden.engine.input, *(f.frame for f in golden.frames)]
                refs += [output for v in golden.variants for output in v.outputs]
                bundle.array(next(ref for ref in refs if ref.file == name))
            else:
                bundle.read(name)
    assert handed == []


@pytest.mark.fault("B1")
def test_a_flipped_bit_before_the_members_is_refused_before_the_manifest_is_parsed(
    carry: Carry, store: TrustStore, release: PrivateKey, digest: str
) -> None:
    """Checksums made to fit: what is left to tell is the signature."""
    path = carry(release.sign(digest))
    with open_bundle(path) as opened:
        stored, carried = opened.stored, signatures.encode(opened.signatures)
    for position in range(0, len(stored), 97):
        bent = bytearray(stored)
        bent[position] ^= 1
        file = io.BytesIO()
        container.dump({"bundle.json": bytes(bent), "signatures.json": carried}, file)
        with pytest.raises(TrustError, match="not of this bundle"):
            Bundle(path, file, judge=gate(REQUIRED, store))
