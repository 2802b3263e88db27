"""Who is at work: locks that the system gives back when their holder dies.

Locks are flock(2) on a file that stays. What is written in it is for people, who want to know whom to wait for;
it is worth nothing once the lock is free.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from bedside.devices.store.records import wall_time
from bedside.runtime.clock import Clock
from bedside.runtime.errors import SinkError, UsageError

_MOST = 1024


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lock.

    Attributes:
        pid: Of the process.
        doing: In words.
        since: Wall-clock time, for people.
    """

    pid: int
    doing: str
    since: str


@contextmanager
def alone(path: Path, doing: str, clock: Clock) -> Iterator[None]:
    """Hold a lock, or say who does.

    Args:
        path: Of the lock file, in a folder that is there.
        doing: What for, in words.
        clock: Says since when.

    Raises:
        UsageError: Somebody else holds it.
        SinkError: The file cannot be written, or the file system has no locks.
    """
    handle = _open(path)
    try:
        try:
            _flock(handle, wait=False)
        except BlockingIOError:
            raise _held(handle) from None
        except OSError as error:
            raise _unusable(path, error) from None
        with suppress(OSError):  # a full disk: the lock holds, and says less
            holder = Holder(os.getpid(), doing, wall_time(clock.unix_ns()))
            os.ftruncate(handle, 0)
            os.pwrite(handle, msgspec.json.encode(holder), 0)
        yield
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that others hold for moments only; wait for it.

    Raises:
        SinkError: The file cannot be written, or the file system has no locks.
    """
    handle = _open(path)
    try:
        try:
            _flock(handle, wait=True)
        except OSError as error:
            raise _unusable(path, error) from None
        yield
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise _unusable(path, error) from None


def _flock(handle: int, *, wait: bool) -> None:
    import fcntl  # not on every system that can run a bundle

    fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


def _held(handle: int) -> UsageError:
    who = "another process"
    with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
        holder = msgspec.json.decode(os.pread(handle, _MOST, 0), type=Holder)
        who = f"process {holder.pid}, {holder.doing}, since {holder.since}"
    return UsageError(f"held by {who}", hint="wait until it has ended, then try again")


def _unusable(path: Path, error: OSError) -> SinkError:
    hint = "the folder has to be writable, on a file system with locks"
    return SinkError(f"cannot be locked: {error.strerror or error}", where=path.name, hint=hint)
