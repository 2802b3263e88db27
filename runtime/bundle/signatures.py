"""`signatures.json`, format version 1: who vouches for a bundle. Read here, judged on the device.

A signature is Ed25519 (RFC 8032, section 5.1) over `message(digest, key)`: a context string that no other use of a
key shares, the id of the key, and the digest of the bundle, which names every other member by sha256. A signature
can therefore neither be moved to another bundle, nor be passed off as another key's, nor come from anything else
that was signed with the key. Nothing in it expires: a device's clock may be wrong.

The file has one form for given signatures, compared byte for byte, and so nothing in it goes unread. It names keys
by id only: what a key is called, and whether it is trusted, the device knows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bedside.runtime.bundle.fields import Sha256, Strict

FORMAT_VERSION = 1

#: Signatures that a bundle carries at most.
MOST = 16

#: Of a raw public key, and of a raw signature (RFC 8032, section 5.1.5 and 5.1.6), in bytes.
PUBLIC_BYTES, SIGNATURE_BYTES = 32, 64

#: Before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410, section 4 and 10.1).
SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")

_CONTEXT = b"bedside bundle signature, format 1, ed25519\n"


class Signature(Strict, frozen=True, kw_only=True):
    """One signature.

    Attributes:
        algorithm: Always `ed25519`; another one is another format version.
        key: Id of the key, see `key_id`.
        signature: 64 bytes, hex.
    """

    algorithm: Literal["ed25519"]
    key: Sha256
    signature: Annotated[str, Meta(pattern=r"^[0-9a-f]{128}\Z")]


class _File(Strict, frozen=True, kw_only=True):
    format_version: Literal[1]
    signatures: Annotated[tuple[Signature, ...], Meta(min_length=1, max_length=MOST)]


class _Header(msgspec.Struct):
    """What is read leniently, before anything else."""

    format_version: int


def key_id(public: bytes) -> str:
    """The name of a public key: hex sha256 of its DER SubjectPublicKeyInfo.

    `openssl pkey -pubin -in key.pub.pem -outform DER | sha256sum` gives the same.

    Args:
        public: The raw 32 bytes.
    """
    return hashlib.sha256(SPKI_PREFIX + public).hexdigest()


def message(digest: str, key: str) -> bytes:
    """What is signed.

    Args:
        digest: Of the bundle, hex.
        key: Id of the key that signs, hex.
    """
    return _CONTEXT + bytes.fromhex(key) + bytes.fromhex(digest)


def merge(*groups: Iterable[Signature]) -> tuple[Signature, ...]:
    """Signatures in their one order, one for each key; of a key that appears again, the last."""
    by_key = {signature.key: signature for group in groups for signature in group}
    return tuple(by_key[key] for key in sorted(by_key))


def encode(signatures: Iterable[Signature]) -> bytes:
    """Write `signatures.json`.

    Raises:
        ValueError: There are none, or too many.
    """
    data = _canonical(_File(format_version=1, signatures=merge(signatures)))
    decode(data)
    return data


def decode(data: bytes) -> tuple[Signature, ...]:
    """Read `signatures.json`: first whether this runtime knows its format, then strictly.

    Args:
        data: The member as stored.

    Raises:
        ValueError: One line that says what is wrong with it.
    """
    try:
        version = msgspec.json.decode(data, type=_Header).format_version
        if version > FORMAT_VERSION:
            raise ValueError(
                f"too new: signatures.json has format {version}, this runtime reads {FORMAT_VERSION}"
            )
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"signatures.json: {error}") from None
    keys = [signature.key for signature in file.signatures]
    if len(set(keys)) != len(keys):
        raise ValueError("signatures.json: a key signs twice")
    if keys != sorted(keys) or _canonical(file) != data:
        raise ValueError("signatures.json: not in its canonical form")
    return file.signatures


def _canonical(file: _File) -> bytes:
    return msgspec.json.format(msgspec.json.encode(file), indent=1)
