"""What the store is, in one small file: which bundle is active, previous and candidate in every slot.

The file is replaced as a whole. It carries its own sha256 and is believed only if it is byte for byte what its
content would be written as, so that a disk that rots is found out.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from bedside.devices.store.files import read_plain
from bedside.devices.store.records import Failing
from bedside.runtime.bundle.fields import Name, Sha256, Strict, Version
from bedside.runtime.errors import BundleError

FORMAT_VERSION: Final = 1
#: Slots that a store has at most; a device has one or two.
MAX_SLOTS = 64
_MOST_BYTES = 1 << 18


class Ref(Strict, frozen=True, kw_only=True):
    """A bundle in the store.

    Attributes:
        file: sha256 of its file, which is also its name there. Two files of one bundle differ in signatures.
        digest: Of the bundle.
        name: Of the bundle.
        version: Of the bundle.
        bytes: Size of the file.
    """

    file: Sha256
    digest: Sha256
    name: Name
    version: Version
    bytes: Annotated[int, Meta(ge=1, le=1 << 40)]


class Failure(Strict, frozen=True, kw_only=True):
    """A bundle that did not come through its probation here."""

    digest: Sha256
    why: Failing


class Slot(Strict, frozen=True, kw_only=True):
    """A place for one bundle that runs, and for those around it.

    Attributes:
        active: Runs.
        previous: Was active before; what a failure or a rollback puts back.
        candidate: Installed, not active.
        probation: How often the active one was started on probation; None when it has come through it.
        failed: The last one that did not.
    """

    active: Ref | None = None
    previous: Ref | None = None
    candidate: Ref | None = None
    probation: Annotated[int, Meta(ge=0, le=1 << 30)] | None = None
    failed: Failure | None = None

    @property
    def refs(self) -> tuple[Ref, ...]:
        """The bundles that it holds on to."""
        return tuple(ref for ref in (self.active, self.previous, self.candidate) if ref is not None)


class Anchor(Strict, frozen=True, kw_only=True):
    """A record of the audit log."""

    seq: Annotated[int, Meta(ge=1, le=(1 << 53) - 1)]
    hash: Sha256


class State(Strict, frozen=True, kw_only=True):
    """All slots.

    Attributes:
        format_version: Of this file.
        slots: By name.
        audit: The record that announced the last change.
    """

    format_version: Literal[1] = FORMAT_VERSION
    slots: Annotated[dict[Name, Slot], Meta(max_length=MAX_SLOTS)] = {}
    audit: Anchor | None = None

    def slot(self, name: str) -> Slot:
        """A slot; an empty one where there is none of that name."""
        return self.slots.get(name, Slot())

    def with_slot(self, name: str, slot: Slot, audit: Anchor) -> State:
        """The state with another slot of that name."""
        return State(slots={**self.slots, name: slot}, audit=audit)


class _Stored(msgspec.Struct, frozen=True):
    """The file: the state as it is written, and its digest."""

    sha256: Sha256
    state: msgspec.Raw


class _Head(msgspec.Struct, frozen=True):
    """What every version of the state has."""

    format_version: int


def encode(state: State) -> bytes:
    """The file of a state."""
    # `omit_defaults` would leave the version out, which a newer format has to find there.
    plain = {"format_version": state.format_version, **msgspec.to_builtins(state)}
    data = msgspec.json.encode(plain)
    return msgspec.json.encode(_Stored(hashlib.sha256(data).hexdigest(), msgspec.Raw(data))) + b"\n"


def decode(data: bytes) -> State:
    """The state of a file.

    Raises:
        ValueError: It is damaged, or of a newer bedside; one line.
    """
    try:
        stored = msgspec.json.decode(data, type=_Stored)
        if hashlib.sha256(stored.state).hexdigest() != stored.sha256:
            raise ValueError("damaged: its content does not have the sha256 that it states")
        version = msgspec.json.decode(stored.state, type=_Head).format_version
        if version > FORMAT_VERSION:
            raise ValueError(f"too new: format {version}, this bedside reads {FORMAT_VERSION}")
        state = msgspec.json.decode(stored.state, type=State)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"damaged: {error}") from None
    if encode(state) != data:
        raise ValueError("damaged: it is not written as states are")
    return state


def read_state(path: Path) -> State:
    """The state on the disk; an empty one where there is no file.

    Raises:
        BundleError: It cannot be read, is damaged, or is of a newer bedside.
    """
    try:
        return decode(read_plain(path, _MOST_BYTES))
    except FileNotFoundError:
        return State()
    except OSError as error:
        raise BundleError(f"cannot be read: {error.strerror or error}", where=str(path)) from None
    except ValueError as error:
        newer = str(error).startswith("too new")
        hint = (
            "update bedside" if newer else "move the file away, then install and activate the bundles again"
        )
        raise BundleError(str(error), where=str(path), hint=hint) from None
