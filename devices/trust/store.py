"""The trust store: a folder with one small file for each public key that may vouch for bundles, and one that says
which keys no longer may.

    keys/<id>.json      {"format_version": 1, "name": "release-2026", "algorithm": "ed25519", "public_key": "<hex>"}
    revoked.json        {"format_version": 1, "revoked": [{"key": "<id>", "name": "...", "reason": "..."}]}

Every change is one file that takes its name whole and synced, so that a power cut leaves the store as it was or as
it shall be. A revocation is for good, and stands on its own: the key may be added later, or never have been here.
Whoever can write into the folder decides what runs: a store that everybody may write to is not believed. Neither is
a damaged one, rather than guessing which of its keys are left; what is not signed does not ask it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import platformdirs
from msgspec import Meta

from bedside.devices.trust.audit import Audit
from bedside.devices.trust.files import check_mode, decoded, make, read, take, write
from bedside.devices.trust.keys import PublicKey, public_key
from bedside.runtime.bundle.fields import Line, Name, Sha256, Strict
from bedside.runtime.bundle.signatures import key_id
from bedside.runtime.errors import SinkError, TrustError, UsageError

#: Keys that a store lists at most.
MOST_KEYS = 256
#: What a key is called by, beside its name and its whole id: so many hex digits of the id at least.
SHORTEST = 8

_HEX = frozenset("0123456789abcdef")
_MENDED = "mend or remove it, then add the key again with `bedside keys import`"


class _KeyFile(Strict, frozen=True, kw_only=True):
    format_version: Literal[1]
    name: Name
    algorithm: Literal["ed25519"]
    public_key: Sha256  # 32 bytes, hex


class Revocation(Strict, frozen=True, kw_only=True):
    """A key that no longer may vouch for anything.

    Attributes:
        key: Its id.
        name: What it was called here; empty where it never was.
        reason: For people.
    """

    key: Sha256
    name: Annotated[str, Meta(max_length=64)] = ""
    reason: Line = ""


class _RevokedFile(Strict, frozen=True, kw_only=True):
    format_version: Literal[1]
    revoked: Annotated[tuple[Revocation, ...], Meta(max_length=4096)] = ()


class TrustedKey(msgspec.Struct, frozen=True):
    """A key of the store.

    Attributes:
        name: What it is called here.
        public: The key.
    """

    name: str
    public: PublicKey

    @property
    def id(self) -> str:
        """Of the key."""
        return self.public.id


def default_store() -> Path:
    """Where the store lies: `trust` in the user's data folder for bedside."""
    return platformdirs.user_data_path("bedside") / "trust"


class TrustStore:
    """The store in a folder, read anew whenever it is asked.

    Args:
        folder: None for `default_store`. Need not exist: then no key is trusted.
        audit: Told of every change.
    """

    def __init__(self, folder: Path | None = None, *, audit: Audit | None = None) -> None:
        self._audit = audit
        self.folder = default_store() if folder is None else folder
        self._keys = self.folder / "keys"
        self._revoked = self.folder / "revoked.json"

    def get(self, key: str) -> TrustedKey | None:
        """The key with that id, revoked or not; None where it is not here.

        Raises:
            TrustError: Its file is damaged, or everybody may write to it.
        """
        if not _is_id(key):
            return None
        path = self._path(key)
        self._check_folders()
        data = read(path)
        if data is None:
            return None
        file = decoded(data, _KeyFile, path)
        raw = bytes.fromhex(file.public_key)
        if key_id(raw) != key:
            raise TrustError("holds another key than its name says", where=str(path), hint=_MENDED)
        try:
            return TrustedKey(file.name, public_key(raw))
        except ValueError as error:
            raise TrustError(str(error), where=str(path), hint=_MENDED) from None

    def trusted(self) -> tuple[TrustedKey, ...]:
        """All keys that are here and not revoked, by name.

        Raises:
            TrustError: A file is damaged, or none of the store's.
        """
        revoked, found = self.revocations(), []
        for name in self._listed():
            key = self.get(name.removesuffix(".json"))
            if key is not None and key.id not in revoked:
                found.append(key)
        return tuple(sorted(found, key=lambda key: (key.name, key.id)))

    def revocations(self) -> dict[str, Revocation]:
        """Revoked keys by id.

        Raises:
            TrustError: The list is damaged, or everybody may write to it.
        """
        self._check_folders()
        data = read(self._revoked)
        if data is None:
            return {}
        listed = decoded(data, _RevokedFile, self._revoked).revoked
        by_id = {entry.key: entry for entry in listed}
        if len(by_id) != len(listed):
            raise TrustError("a key is revoked twice", where=str(self._revoked), hint="mend it")
        return by_id

    def find(self, text: str) -> str:
        """The id of the key that is meant: its name here, its id, or the first `SHORTEST` hex digits of it or more.

        Raises:
            UsageError: There is none, or several.
            TrustError: The store is damaged.
        """
        if _is_id(text):
            return text  # whether or not it is here: a key may be revoked before it comes
        named = {key.id: key.name for key in self.trusted()}
        named |= {entry.key: entry.name for entry in self.revocations().values()}
        meant = {key for key, name in named.items() if text in (key, name)}
        if not meant and len(text) >= SHORTEST:
            meant = {key for key in named if key.startswith(text)}
        if len(meant) == 1:
            return meant.pop()
        what = f"{'several keys are' if meant else 'no key is'} called {text[:80]!r}"
        raise UsageError(what, where=str(self.folder), hint="`bedside keys list` shows names and ids")

    def add(self, key: PublicKey, name: str) -> TrustedKey:
        """Trust a key from now on. Adding it again changes nothing.

        Raises:
            UsageError: It is revoked, it is here under another name, the name is another key's or not allowed, or
                somebody else is changing the store.
            TrustError: The store is damaged.
            SinkError: It cannot be written; or it was, and the audit log cannot be.
        """
        try:
            file = _KeyFile(format_version=1, name=name, algorithm="ed25519", public_key=key.raw.hex())
            msgspec.convert(msgspec.to_builtins(file), _KeyFile)
        except msgspec.ValidationError:
            what = f"{name[:80]!r} is no name for a key"
            raise UsageError(what, hint="lower-case letters, digits, '.', '_' and '-', 64 at most") from None
        with self._changing():
            if key.id in self.revocations():
                raise UsageError(
                    "is revoked, and stays so", where=f"key {key.id[:16]}", hint="make a new key"
                )
            listed = self.trusted()
            for other in listed:
                if (other.id == key.id) != (other.name == name):
                    what = f"key {other.id[:16]} is called {other.name!r} here already"
                    raise UsageError(what, where=str(self.folder), hint="give it that name, or a new one")
            if len(listed) >= MOST_KEYS:
                raise UsageError(f"{len(listed)} keys already, {MOST_KEYS} at most", where=str(self.folder))
            if all(other.id != key.id for other in listed):
                write(self._path(key.id), file)
                self._record("key-added", key.id)
        return TrustedKey(name, key)

    def revoke(self, key: str, reason: str = "") -> bool:
        """Trust a key no more, whether or not it is here.

        The list comes first: a power cut between the two leaves a key that is here and revoked, which is revoked.

        Args:
            key: Its whole id.
            reason: For people.

        Returns:
            False where it was revoked before; then nothing changes.

        Raises:
            UsageError: The id or the reason is none, or somebody else is changing the store.
            TrustError: The store is damaged.
            SinkError: It cannot be written; or it was, and the audit log cannot be.
        """
        with self._changing():
            before = self.revocations()
            if key in before:
                return False
            try:
                plain = {"key": key, "name": self._name_of(key), "reason": reason}
                entry = msgspec.convert(plain, Revocation)
            except msgspec.ValidationError as error:
                raise UsageError(f"cannot be revoked: {error}", where=f"key {key[:80]!r}") from None
            write(self._revoked, _RevokedFile(format_version=1, revoked=(*before.values(), entry)))
            with contextlib.suppress(OSError):
                self._path(key).unlink(missing_ok=True)
            self._record("key-revoked", key)
        return True

    def _name_of(self, key: str) -> str:
        """What a key is called, if its file can still say so: a damaged one must not keep it from being revoked."""
        with contextlib.suppress(TrustError):
            known = self.get(key)
            return "" if known is None else known.name
        return ""

    def _record(self, event: str, key: str) -> None:
        if self._audit is not None:
            self._audit.record(event, key=key)

    def _path(self, key: str) -> Path:
        return self._keys / f"{key}.json"

    def _listed(self) -> list[str]:
        """Names in the folder of keys. What begins with a dot is an unfinished file that a power cut left."""
        try:
            names = sorted(entry.name for entry in self._keys.iterdir() if not entry.name.startswith("."))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise TrustError(f"cannot be read: {error.strerror or error}", where=str(self._keys)) from None
        for name in names[: MOST_KEYS + 1]:
            if not name.endswith(".json") or not _is_id(name.removesuffix(".json")):
                raise TrustError(f"{name[:80]!r} is no key's file", where=str(self._keys), hint="remove it")
        if len(names) > MOST_KEYS:
            raise TrustError(f"more than {MOST_KEYS} files", where=str(self._keys))
        return names

    def _check_folders(self) -> None:
        for folder in (self.folder, self._keys):
            try:
                check_mode(folder, folder.stat().st_mode)
            except FileNotFoundError:
                return
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                raise TrustError(f"cannot be read: {reason}", where=str(folder)) from None

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the right to change the store. Given back when the process dies."""
        path = self.folder / ".lock"
        try:
            make(self._keys)
            file = path.open("ab")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SinkError(f"cannot be written: {reason}", where=str(self.folder)) from None
        with file:
            take(file.fileno(), self.folder)
            yield


def _is_id(text: str) -> bool:
    return len(text) == 64 and not set(text) - _HEX
