"""Keys: Ed25519, public ones in SubjectPublicKeyInfo PEM, private ones in PKCS#8 PEM (RFC 8410, RFC 7468).

OpenSSL and hardware security modules read and write the same files. `cryptography` is imported when something is
signed or verified, and not before: a device that runs unsigned bundles does not pay for it.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bedside.devices.trust.points import check_point
from bedside.runtime.bundle.signatures import SPKI_PREFIX, Signature, key_id, message
from bedside.runtime.errors import SinkError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

#: A key file is a few lines; a larger file is something else.
MAX_BYTES = 1 << 14

#: Of a passphrase, in bytes of UTF-8. The upper bound is OpenSSL's, the lower one keeps guessing off a lost file.
PASSPHRASE_BYTES = (8, 1023)

_PUBLIC = re.compile(
    rb"-----BEGIN PUBLIC KEY-----\r?\n([A-Za-z0-9+/]{59}=)\r?\n-----END PUBLIC KEY-----\s{0,8}", re.ASCII
)
_PRIVATE = re.compile(
    rb"-----BEGIN (ENCRYPTED )?PRIVATE KEY-----\r?\n[A-Za-z0-9+/=\r\n]+"
    rb"-----END (?:ENCRYPTED )?PRIVATE KEY-----\s{0,8}"
)


class PublicKey(msgspec.Struct, frozen=True):
    """A public key that was checked; see `public_key`.

    Attributes:
        raw: 32 bytes.
    """

    raw: bytes

    @property
    def id(self) -> str:
        """Its digest, see `bedside.runtime.bundle.signatures.key_id`."""
        return key_id(self.raw)

    def pem(self) -> bytes:
        """SubjectPublicKeyInfo, as `openssl pkey -pubin` reads it."""
        encoded = base64.b64encode(SPKI_PREFIX + self.raw)
        return b"-----BEGIN PUBLIC KEY-----\n" + encoded + b"\n-----END PUBLIC KEY-----\n"

    def holds(self, signature: Signature, digest: str) -> bool:
        """Whether a signature is this key's, and of the bundle with that digest."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        if signature.key != self.id:
            return False
        try:
            key = Ed25519PublicKey.from_public_bytes(self.raw)
            key.verify(bytes.fromhex(signature.signature), message(digest, self.id))
        except InvalidSignature:
            return False
        return True


def public_key(raw: bytes) -> PublicKey:
    """A public key from its 32 bytes.

    Raises:
        ValueError: They are no key that an honest signer can have.
    """
    check_point(raw)
    return PublicKey(raw)


def parse_public(data: bytes) -> PublicKey:
    """A public key from its PEM file, which holds nothing else.

    Raises:
        ValueError: It is anything else; nothing of it is repeated.
    """
    if b"PRIVATE KEY" in data:
        raise ValueError("holds a private key; give the public one, and keep this one away from devices")
    match = _PUBLIC.fullmatch(data)
    try:
        der = base64.b64decode(match[1], validate=True) if match else b""
    except binascii.Error:
        der = b""
    if len(der) != len(SPKI_PREFIX) + 32 or not der.startswith(SPKI_PREFIX):
        raise ValueError("is no Ed25519 public key in PEM")
    return public_key(der[len(SPKI_PREFIX) :])


class PrivateKey:
    """A private key. It shows only its public half, and it leaves this object only into `save_private`."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = public_key(key.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"PrivateKey({self.public.id[:16]})"

    def sign(self, digest: str) -> Signature:
        """Vouch for the bundle with that digest."""
        mine = self.public.id
        raw = self._key.sign(message(digest, mine))
        return Signature(algorithm="ed25519", key=mine, signature=raw.hex())

    def pem(self, passphrase: str | None = None) -> bytes:
        """PKCS#8, encrypted where there is a passphrase.

        Raises:
            UsageError: The passphrase is too short or too long.
        """
        from cryptography.hazmat.primitives import serialization as forms

        encryption: forms.KeySerializationEncryption = forms.NoEncryption()
        if passphrase is not None:
            encryption = forms.BestAvailableEncryption(_checked(passphrase))
        return self._key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, encryption)


def new_private() -> PrivateKey:
    """A new key, of the system's random numbers."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return PrivateKey(Ed25519PrivateKey.generate())


def save_private(path: Path, key: PrivateKey, passphrase: str | None = None) -> None:
    """Write a private key into a new file that only its owner can read. Never overwrites anything.

    Raises:
        UsageError: There is something of that name, or the passphrase is too short or too long.
        SinkError: It cannot be written; nothing is left behind.
    """
    _create(path, key.pem(passphrase), 0o600)


def save_public(path: Path, key: PublicKey) -> None:
    """Write a public key into a new file.

    Raises:
        UsageError: There is something of that name.
        SinkError: It cannot be written; nothing is left behind.
    """
    _create(path, key.pem(), 0o644)


def load_private(path: Path, passphrase: Callable[[], str]) -> PrivateKey:
    """A private key from its file.

    Args:
        path: PKCS#8 PEM, and nothing else in it.
        passphrase: Asked only where the key is encrypted.

    Raises:
        UsageError: It cannot be read, is no Ed25519 key, others may read it though it is not encrypted, or the
            passphrase is wrong.
    """
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data, mode = read_key_file(path)
    match = _PRIVATE.fullmatch(data)
    if match is None:
        hint = "make one with `bedside keys new`, or `openssl genpkey -algorithm ed25519`"
        raise UsageError("is no private key in PKCS#8 PEM", where=str(path), hint=hint)
    encrypted = match[1] is not None
    if not encrypted and os.name == "posix" and mode & 0o077:
        what = f"others may read it: mode {mode & 0o777:04o}, and it is not encrypted"
        raise UsageError(what, where=str(path), hint=f"chmod 600 {path.name}")
    secret = _checked(passphrase()) if encrypted else None
    try:
        key = load_pem_private_key(data, secret)
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        InternalError,
    ):  # the last for a seed of a wrong length
        what = (
            "cannot be decrypted: the passphrase is wrong, or the file damaged" if encrypted else "is damaged"
        )
        raise UsageError(what, where=str(path)) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError("is no Ed25519 key", where=str(path), hint="bundles are signed with Ed25519 only")
    return PrivateKey(key)


def read_key_file(path: Path) -> tuple[bytes, int]:
    """A small regular file, and its mode.

    Raises:
        UsageError: It is anything else, or cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as file:
            mode = os.fstat(handle).st_mode
            if not stat.S_ISREG(mode):
                raise UsageError("is no regular file", where=str(path))
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot be read: {reason}", where=str(path)) from None
    if len(data) > MAX_BYTES:
        raise UsageError(f"has more than {MAX_BYTES} bytes: no key", where=str(path))
    return data, mode


def _checked(passphrase: str) -> bytes:
    data = passphrase.encode("utf-8", "surrogateescape")
    least, most = PASSPHRASE_BYTES
    if not least <= len(data) <= most:
        raise UsageError(f"the passphrase has {len(data)} bytes, allowed are {least} to {most}")
    return data


def _create(path: Path, data: bytes, mode: int) -> None:
    """A new file, whole and on the disk, or none."""
    created = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path, flags, mode), "wb") as file:
            created = True
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        what = "is there already, and keys are never overwritten"
        raise UsageError(
            what, where=str(path), hint="choose another name, or another folder with -o"
        ) from None
    except (OSError, ValueError) as error:
        if created:
            with suppress(OSError):
                path.unlink()
        reason = getattr(error, "strerror", None) or str(error)
        raise SinkError(f"cannot be written: {reason}", where=str(path)) from None
