"""How the store changes the disk: one call for each thing that a power cut can undo.

Everything that must survive goes through `Files`, so that a test can record it, leave it out, or cut it short. What
the store relies on is what fsync(2) and rename(2) promise, and no more: the content of a file is on the disk once
the file was synced, a name once its folder was, and a rename happens wholly or not at all. Nothing is assumed of
the order of what was not synced.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from bedside.runtime.errors import SinkError

#: What has not got its name yet, and may be thrown away by whoever holds the right to install.
PARTIAL = ".partial"

#: Errors of systems that cannot sync a folder; there is nothing more to be done about its names there.
_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP})


class Files(Protocol):
    """The operations. Every one of them raises `OSError` as the system does."""

    def make_folder(self, path: Path) -> None:
        """Make one folder; its parent is there."""
        ...

    def create(self, path: Path) -> int:
        """Make an empty file that was not there, open for writing."""
        ...

    def extend(self, path: Path) -> int:
        """Open a file that is there for writing behind its end."""
        ...

    def write(self, handle: int, data: bytes) -> None:
        """Write all of it."""
        ...

    def truncate(self, handle: int, size: int) -> None:
        """Cut a file to `size` bytes."""
        ...

    def sync(self, handle: int) -> None:
        """Return when the file's content is on the disk."""
        ...

    def close(self, handle: int) -> None:
        """Close it."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name in the same folder, in place of what had it."""
        ...

    def unlink(self, path: Path) -> None:
        """Take a file's name away."""
        ...

    def sync_folder(self, path: Path) -> None:
        """Return when the names in the folder are on the disk."""
        ...


class SystemFiles:
    """The operations of the operating system."""

    def make_folder(self, path: Path) -> None:
        """mkdir(2)."""
        path.mkdir()

    def create(self, path: Path) -> int:
        """open(2), exclusively; a link is not followed."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)

    def extend(self, path: Path) -> int:
        """open(2); a link is not followed."""
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)

    def write(self, handle: int, data: bytes) -> None:
        """write(2) until everything is written."""
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]

    def truncate(self, handle: int, size: int) -> None:
        """ftruncate(2)."""
        os.ftruncate(handle, size)

    def sync(self, handle: int) -> None:
        """fsync(2)."""
        os.fsync(handle)

    def close(self, handle: int) -> None:
        """close(2)."""
        os.close(handle)

    def rename(self, old: Path, new: Path) -> None:
        """rename(2)."""
        old.replace(new)

    def unlink(self, path: Path) -> None:
        """unlink(2)."""
        path.unlink()

    def sync_folder(self, path: Path) -> None:
        """fsync(2) of the folder (see its notes: syncing a file says nothing of its name)."""
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in _NO_FOLDER_SYNC:
                raise
        finally:
            os.close(handle)


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Errors of the disk as ours.

    Args:
        what: That is being written.

    Raises:
        SinkError: In place of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        reason = f"cannot be written: {error.strerror or error}"
        raise SinkError(reason, where=what, hint="check free space and permissions") from None


def make_folders(files: Files, path: Path) -> None:
    """Make a folder and those above it, so that a power cut does not take them away again.

    The parent is synced also when the folder is there: whoever made it may have been killed before that.
    """
    missing = []
    above = path
    while not above.exists():
        missing.append(above)
        above = above.parent
    for folder in reversed(missing):
        with suppress(FileExistsError):  # somebody else's is as good
            files.make_folder(folder)
        files.sync_folder(folder.parent)
    if not missing:
        files.sync_folder(path.parent)


def partial(path: Path) -> Path:
    """A free name beside `path` for what will be renamed to it."""
    return path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}{PARTIAL}")


def replace_whole(files: Files, path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and return when it is on the disk under its name."""
    unfinished = partial(path)
    handle = files.create(unfinished)
    try:
        try:
            files.write(handle, data)
            files.sync(handle)
        finally:
            files.close(handle)
        files.rename(unfinished, path)
    except OSError:
        with suppress(OSError):
            files.unlink(unfinished)
        raise
    files.sync_folder(path.parent)


def read_plain(path: Path, most: int) -> bytes:
    """A plain file of at most `most` bytes.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no plain file, or larger.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("is no regular file")
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"has more than {most} bytes")
    return data
