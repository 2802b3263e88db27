"""Key files: what is written, what is read, and what is not."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.devices.trust.keys import (
    PrivateKey,
    load_private,
    new_private,
    parse_public,
    public_key,
    read_key_file,
    save_private,
    save_public,
)
from bedside.runtime.bundle.signatures import Signature
from bedside.runtime.errors import SinkError, UsageError

SECRET = "correct horse battery"


def unasked() -> str:
    pytest.fail("asked for a passphrase")


def line(error: pytest.ExceptionInfo[UsageError]) -> str:
    said = str(error.value)
    assert said.isprintable()
    return said


def test_a_private_key_comes_back(release: PrivateKey, tmp_path: Path) -> None:
    path = tmp_path / "a" / "k.pem"
    save_private(path, release)
    assert load_private(path, unasked).public == release.public
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_umask_does_not_open_it(release: PrivateKey, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        save_private(tmp_path / "k.pem", release)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "k.pem").stat().st_mode) == 0o600


def test_two_new_keys_differ() -> None:
    assert new_private().public != new_private().public


def test_a_passphrase_guards_it(release: PrivateKey, tmp_path: Path) -> None:
    path = tmp_path / "k.pem"
    save_private(path, release, SECRET)
    assert b"ENCRYPTED" in path.read_bytes()
    assert load_private(path, lambda: SECRET).public == release.public
    with pytest.raises(UsageError, match="passphrase is wrong") as caught:
        load_private(path, lambda: SECRET + "!")
    assert SECRET not in line(caught)


@pytest.mark.parametrize("passphrase", ["", "seven77", "x" * 1024, "é" * 600])
def test_a_passphrase_has_a_length(release: PrivateKey, tmp_path: Path, passphrase: str) -> None:
    with pytest.raises(UsageError, match="allowed are 8 to 1023"):
        save_private(tmp_path / "k.pem", release, passphrase)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(release: PrivateKey, clinic: PrivateKey, tmp_path: Path) -> None:
    path, link = tmp_path / "k.pem", tmp_path / "link.pem"
    save_private(path, release)
    link.symlink_to(tmp_path / "elsewhere")
    before = path.read_bytes()
    for target in (path, link):
        with pytest.raises(UsageError, match="never overwritten"):
            save_private(target, clinic)
        with pytest.raises(UsageError, match="never overwritten"):
            save_public(target, clinic.public)
    assert path.read_bytes() == before
    assert not (tmp_path / "elsewhere").exists()


def test_a_write_that_fails_leaves_nothing(
    release: PrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SinkError, match="No space left"):
        save_private(tmp_path / "k.pem", release)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_an_open_key_is_not_used(release: PrivateKey, tmp_path: Path, mode: int) -> None:
    path = tmp_path / "k.pem"
    save_private(path, release)
    path.chmod(mode)
    with pytest.raises(UsageError, match=r"others may read it.*chmod 600"):
        load_private(path, unasked)
    other = tmp_path / "e.pem"
    save_private(other, release, SECRET)
    other.chmod(mode)
    assert load_private(other, lambda: SECRET).public == release.public


def test_it_does_not_show_itself(release: PrivateKey) -> None:
    seed = release._key.private_bytes_raw()
    for text in (repr(release), str(release), f"{release}", repr(vars(release))):
        assert seed.hex() not in text
        assert "PRIVATE KEY" not in text


def other_keys() -> dict[str, bytes]:
    kinds = {
        "rsa": rsa.generate_private_key(65537, 1024),
        "p256": ec.generate_private_key(ec.SECP256R1()),
        "ed448": ed448.Ed448PrivateKey.generate(),
        "x25519": x25519.X25519PrivateKey.generate(),
    }
    plain = forms.NoEncryption()
    return {
        name: key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, plain)
        for name, key in kinds.items()
    }


@pytest.mark.fault("B6")
def test_no_other_algorithm_signs(tmp_path: Path) -> None:
    for name, pem in other_keys().items():
        path = tmp_path / name
        path.write_bytes(pem)
        path.chmod(0o600)
        with pytest.raises(UsageError, match="no Ed25519 key"):
            load_private(path, unasked)
        public = forms.load_pem_private_key(pem, None).public_key()
        encoded = public.public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)
        with pytest.raises(ValueError, match="no Ed25519 public key"):
            parse_public(encoded)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\n====\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        b"x" * (1 << 15),
        b"\x00\xff" * 100,
    ],
)
def test_what_is_no_private_key_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "k.pem"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(UsageError) as caught:
        load_private(path, unasked)
    assert str(path) in line(caught)


def test_a_damaged_private_key_is_refused_in_one_line(release: PrivateKey, tmp_path: Path) -> None:
    path = tmp_path / "k.pem"
    save_private(path, release)
    whole = path.read_bytes()
    begin = whole.index(b"\n") + 1
    for position in range(begin, begin + 60):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        try:
            key = load_private(path, unasked)
        except UsageError as error:
            assert str(error).isprintable()
        else:
            assert key.public.pem()  # another seed is another key, and as good


def test_key_files_are_small_and_plain(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(bytes(1 << 15))
    for name in ("pipe", "large", ".", "missing", "a\0b", "/dev/zero"):
        with pytest.raises(UsageError):
            read_key_file(tmp_path / name)


def test_a_public_key_comes_back(release: PrivateKey, tmp_path: Path) -> None:
    save_public(tmp_path / "k.pem", release.public)
    data = (tmp_path / "k.pem").read_bytes()
    assert parse_public(data) == release.public
    assert parse_public(data.replace(b"\n", b"\r\n")) == release.public
    assert parse_public(data.rstrip()) == release.public
    assert forms.load_pem_public_key(data).public_bytes_raw() == release.public.raw  # type: ignore[union-attr]


def test_a_private_key_in_place_of_the_public_one_is_named_and_not_repeated(release: PrivateKey) -> None:
    pem = release.pem()
    with pytest.raises(ValueError, match="holds a private key") as caught:
        parse_public(pem)
    assert pem.splitlines()[1].decode() not in str(caught.value)


@pytest.mark.fault("B6")
def test_only_the_one_form_of_a_public_key_is_read(release: PrivateKey) -> None:
    pem = release.public.pem()
    body = pem.splitlines()[1]
    for data in (
        b"",
        b"# comment\n" + pem,
        pem + pem,
        pem.replace(body, body[:-4]),
        pem.replace(body, body[:-2] + b"=="),
        pem.replace(body, body[:30] + b"\n" + body[30:]),
        pem.replace(body, b"!" + body[1:]),
        pem.replace(body, b"A" + body[1:]),
        pem.replace(b"PUBLIC", b"RSA PUBLIC"),
        pem + b"x",
        pem + b"\n" * 100,
    ):
        with pytest.raises(ValueError, match="no Ed25519 public key"):
            parse_public(data)


@given(st.binary(max_size=300))
@settings(max_examples=200)
def test_noise_is_no_key(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_public(data)


@pytest.mark.fault("B6")
def test_a_signature_holds_for_its_key_and_its_bundle_only(release: PrivateKey, clinic: PrivateKey) -> None:
    digest, other = "ab" * 32, "cd" * 32
    mine = release.sign(digest)
    assert release.public.holds(mine, digest)
    assert not release.public.holds(mine, other)
    assert not clinic.public.holds(mine, digest)
    renamed = Signature(algorithm="ed25519", key=clinic.public.id, signature=mine.signature)
    assert not clinic.public.holds(renamed, digest)
    assert not release.public.holds(renamed, digest)
    for i in range(0, 128, 7):
        digit = "0" if mine.signature[i] != "0" else "1"
        bent = mine.signature[:i] + digit + mine.signature[i + 1 :]
        assert not release.public.holds(Signature(algorithm="ed25519", key=mine.key, signature=bent), digest)


def test_signing_is_deterministic(release: PrivateKey) -> None:
    assert release.sign("ab" * 32) == release.sign("ab" * 32)


@pytest.mark.fault("B6")
def test_what_the_key_signed_for_another_purpose_is_no_signature_of_a_bundle(release: PrivateKey) -> None:
    digest = "ab" * 32
    for text in (bytes.fromhex(digest), digest.encode(), b"", bytes.fromhex(release.public.id + digest)):
        raw = release._key.sign(text)
        other = Signature(algorithm="ed25519", key=release.public.id, signature=raw.hex())
        assert not release.public.holds(other, digest)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_reads_and_makes_the_same_files(release: PrivateKey, tmp_path: Path) -> None:
    path = tmp_path / "k.pem"
    save_private(path, release, SECRET)
    words = ["openssl", "pkey", "-in", str(path), "-passin", f"pass:{SECRET}", "-pubout"]
    shown = subprocess.run(words, capture_output=True, check=True)
    assert shown.stdout == release.public.pem()
    made = tmp_path / "made.pem"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(made)], capture_output=True, check=True
    )
    made.chmod(0o600)
    key = load_private(made, unasked)
    shown = subprocess.run(["openssl", "pkey", "-in", str(made), "-pubout"], capture_output=True, check=True)
    assert parse_public(shown.stdout) == key.public == public_key(key.public.raw)
