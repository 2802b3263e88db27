"""Rankings on the disk: one small JSON file for each bundle and host, in the user's data folder.

A file is found by the digest of the bundle and the fingerprint of the host, and believed only if what is in it says
the same: a copy from another device, or from before an engine was updated, is refused by name. Whatever is wrong
with a file, a run goes on without it and says so in one line; a ranking is a matter of speed, and what it names is
golden-checked like everything else.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import platformdirs

from bedside.devices.tuning.host import Host, this_host
from bedside.devices.tuning.ranking import SCHEMA, Ranking, check
from bedside.runtime.bundle.writer import replacing
from bedside.runtime.errors import SinkError, UsageError

#: A ranking of hundreds of candidates takes half of this.
MAX_BYTES = 1 << 20
AGAIN = "run `bedside tune` again"

#: Files of one bundle that are looked into for the reason why none of them is of this host.
_MOST_FILES = 32


class Found(msgspec.Struct, frozen=True):
    """What there is for a bundle.

    Attributes:
        ranking: Of this bundle on this host.
        refused: Where there is one and it is not used: why, and what to do, in one line.
    """

    ranking: Ranking | None = None
    refused: str | None = None


def default_folder() -> Path:
    """Where rankings lie: `rankings` in the user's data folder for bedside."""
    return platformdirs.user_data_path("bedside") / "rankings"


def find_ranking(digest: str, host: Host | None = None, *, folder: Path | None = None) -> Ranking | None:
    """The ranking of a bundle on this host; see `look_up`, which also says why there is none."""
    return look_up(digest, host, folder=folder).ranking


def look_up(digest: str, host: Host | None = None, *, folder: Path | None = None) -> Found:
    """The ranking of a bundle on this host, or why the one that is there is not used. Never raises.

    Args:
        digest: Of the bundle.
        host: None for this one.
        folder: None for `default_folder`.
    """
    folder = default_folder() if folder is None else folder
    others = _files(folder, digest)
    if not others:
        return Found()
    host = host or this_host()
    path = _path(folder, digest, host)
    if path in others:
        try:
            return Found(_checked(path, digest, host))
        except ValueError as error:
            return Found(refused=f"the ranking {path} is not used: {error}; {AGAIN}")
    reason = "it was measured on another host"
    for other in others[:_MOST_FILES]:
        with contextlib.suppress(ValueError):
            reason = f"it was measured elsewhere: {_decoded(other).host.differences(host) or 'unclear where'}"
            break
    return Found(refused=f"the ranking of this bundle is not used: {reason}; {AGAIN}")


def save(ranking: Ranking, *, folder: Path | None = None) -> Path:
    """Store a ranking, whole or not at all, in place of the one of the same bundle and host.

    Returns:
        Its path.

    Raises:
        SinkError: It cannot be written.
    """
    path = _path(default_folder() if folder is None else folder, ranking.bundle, ranking.host)
    with replacing(path) as file:
        file.write(msgspec.json.format(msgspec.json.encode(ranking), indent=1) + b"\n")
    return path


@contextlib.contextmanager
def alone(folder: Path | None = None) -> Iterator[None]:
    """Hold the right to measure: two at once would measure each other. Given back when the process dies.

    Raises:
        UsageError: Somebody holds it.
        SinkError: The folder cannot be written.
    """
    folder = default_folder() if folder is None else folder
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}"
        raise SinkError(what, where=str(path), hint="rankings are stored in its folder") from None
    with file:
        _take(file)
        yield


def _take(file: BinaryIO) -> None:
    try:
        import fcntl
    except ImportError:  # not a POSIX system: nothing to hold on to
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        hint = "wait until it has ended: two at once would measure each other"
        raise UsageError("another `bedside tune` is at work on this host", hint=hint) from None
    except OSError:  # a network file system that has no locks
        return


def _path(folder: Path, digest: str, host: Host) -> Path:
    return folder / f"{digest[:32]}-{host.fingerprint[:16]}.json"


def _files(folder: Path, digest: str) -> list[Path]:
    """Rankings of a bundle, whatever the host."""
    try:
        return sorted(path for path in folder.iterdir() if path.match(f"{digest[:32]}-*.json"))
    except OSError:
        return []


class _Head(msgspec.Struct):
    """What every version of the file has."""

    schema: str


def _decoded(path: Path) -> Ranking:
    """A ranking as it is stored.

    Raises:
        ValueError: It is not one; one line.
    """
    data = _read(path)
    try:
        schema = msgspec.json.decode(data, type=_Head).schema
        if schema != SCHEMA:
            raise ValueError("it was written by another version of bedside")
        ranking = msgspec.json.decode(data, type=Ranking)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it is damaged: {error}") from None
    check(ranking)
    return ranking


def _checked(path: Path, digest: str, host: Host) -> Ranking:
    """A ranking that is of this bundle on this host.

    Raises:
        ValueError: It is not; one line.
    """
    ranking = _decoded(path)
    if ranking.bundle != digest:
        raise ValueError(f"it is of another bundle, {ranking.name} {ranking.version}")
    if ranking.host != host:
        raise ValueError(f"it was measured elsewhere: {ranking.host.differences(host)}")
    return ranking


def _read(path: Path) -> bytes:
    """The file, if it is a plain one of a sensible size.

    Raises:
        ValueError: It is not, or it cannot be read; one line.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ValueError("it is no regular file")
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    return data
