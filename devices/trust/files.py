"""The files of a trust store: small, regular, whole, and not everybody's to write."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import TypeVar

import msgspec

from bedside.runtime.bundle.writer import replacing
from bedside.runtime.errors import SinkError, TrustError, UsageError

#: Largest file that is read, in bytes: about a thousand revocations.
MAX_BYTES = 1 << 18

_T = TypeVar("_T", bound=msgspec.Struct)


def take(handle: int, folder: Path) -> None:
    """Lock an open file for as long as it stays open; `folder` is named to whoever comes second."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system: nothing to hold on to
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError("somebody else is changing it", where=str(folder), hint="try again") from None
    except OSError:  # a network file system that has no locks
        return


def make(folder: Path) -> None:
    """Make a folder and those above it, and have each on the disk before the next."""
    if folder.is_dir():
        return
    make(folder.parent)
    folder.mkdir(mode=0o755, exist_ok=True)
    with contextlib.suppress(OSError):  # not every system can open a folder
        handle = os.open(folder.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write(path: Path, file: msgspec.Struct) -> None:
    """Write a file whole, synced, for everybody to read and its owner to change."""
    data = msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n"
    if len(data) > MAX_BYTES:
        raise SinkError(f"would have more than {MAX_BYTES} bytes", where=str(path))
    with replacing(path) as out:
        out.write(data)
        if os.name == "posix":
            os.fchmod(out.fileno(), 0o644)


def read(path: Path) -> bytes | None:
    """A small regular file that not everybody may write to; None where there is none."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as file:
            mode = os.fstat(handle).st_mode
            if not stat.S_ISREG(mode):
                raise TrustError("is no regular file", where=str(path))
            check_mode(path, mode)
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        if path.is_symlink():
            raise TrustError("is a link that leads nowhere", where=str(path)) from None
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TrustError(f"cannot be read: {reason}", where=str(path)) from None
    if len(data) > MAX_BYTES:
        raise TrustError(f"has more than {MAX_BYTES} bytes", where=str(path))
    return data


def check_mode(path: Path, mode: int) -> None:
    """Refuse what everybody may write to."""
    if os.name == "posix" and mode & stat.S_IWOTH:
        what = "everybody may write to it, and so decide what is trusted"
        raise TrustError(what, where=str(path), hint=f"chmod o-w {path.name}")


def decoded(data: bytes, kind: type[_T], path: Path) -> _T:
    """What a file says, strictly."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TrustError(f"is damaged: {error}", where=str(path), hint="mend or remove it") from None
