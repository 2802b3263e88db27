"""The audit log: what was installed, activated, put back and refused on this device, and what went wrong.

Append-only, one file after another: `000000000001.jsonl` begins with record 1. A record counts once its file was
synced. When a file is full, the next one begins where it ended; when there are too many, a record says which ones
are going, and the oldest goes. A line that a power cut tore is cut off, and a record says how many bytes it had:
it was never acknowledged.

Whoever can write the folder can write another log: a chain without a key shows accidents, disks and careless hands.
Against somebody who rewrites all of it, note the head elsewhere now and then (`bedside audit verify` prints it).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bedside.devices.store.files import Files, SystemFiles, make_folders, read_plain, writing
from bedside.devices.store.lock import locked
from bedside.devices.store.records import (
    GENESIS,
    Event,
    Facts,
    Record,
    line_of,
    monotonic_time,
    parse,
    seal,
    wall_time,
)
from bedside.runtime import __version__
from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.errors import SinkError

LOCK = "lock"
#: Files that are larger than this are not read: no limit lets one grow so far.
_MOST_BYTES = 1 << 28


class AuditLimits(msgspec.Struct, frozen=True):
    """How large the log may grow: about `file_bytes * (files + 1)`.

    Attributes:
        file_bytes: Size at which the next file begins.
        files: How many are kept, 2 or more.
    """

    file_bytes: int = 1 << 20
    files: int = 16


class AuditLog:
    """The log in a folder. Any process may append; each waits for the other.

    Args:
        folder: Made with the first record.
        clock: For time stamps, which nothing depends on.
        files: How the disk is changed.
        limits: Of its size.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock | None = None,
        files: Files | None = None,
        limits: AuditLimits | None = None,
    ) -> None:
        self.folder = folder
        self._clock = clock or MonotonicClock()
        self._files = files or SystemFiles()
        self._limits = limits or AuditLimits()
        self._ours: tuple[Path, int] | None = None

    def append(self, event: Event, facts: Facts | None = None) -> Record:
        """Write a record, and return when it is on the disk. Takes as long as the disk: not for a frame's thread.

        Args:
            event: What happened.
            facts: Of the event; the version of bedside is added.

        Returns:
            The record as it was written.

        Raises:
            SinkError: It cannot be written; the log is as it was, or has a torn line that the next record mends.
            ValueError: A fact is not of its type.
        """
        with writing("the audit log"):
            make_folders(self._files, self.folder)
            with locked(self.folder / LOCK):
                return self._append(event, facts or Facts())

    def records(self, after: int = 0) -> Iterator[Record]:
        """Records behind number `after`, oldest first; lines that are none are left out."""
        paths = log_files(self.folder)
        for k, path in enumerate(paths):
            if k + 1 < len(paths) and int(paths[k + 1].stem) <= after + 1:
                continue
            for line in self._read(path).splitlines(keepends=True):
                record = _parsed(line)
                if record is not None and record.seq > after:
                    yield record

    def _append(self, event: Event, facts: Facts) -> Record:
        paths = log_files(self.folder)
        path = paths[-1] if paths else None
        whole = self._mend(path)
        head = self._head(paths)
        if path is not None and whole.torn:
            note = Facts(count=len(whole.torn), hash=hashlib.sha256(whole.torn).hexdigest())
            head, path = self._write("recovered", note, head, path)
        record, path = self._write(event, facts, head, path)
        self._drop(record, path)
        return record

    def _mend(self, path: Path | None) -> Lines:
        """Cut off what a power cut left of a line at the end of the last file.

        What somebody else wrote last is synced first: a process that was killed before it could may have left a
        record that is not on the disk yet, and one behind it must not get there earlier.
        """
        if path is None:
            return Lines(b"", b"")
        data = self._read(path)
        lines = split(data)
        if lines.torn or self._ours != (path, len(data)):
            handle = self._files.extend(path)
            try:
                if lines.torn:
                    self._files.truncate(handle, len(lines.whole))
                self._files.sync(handle)
            finally:
                self._files.close(handle)
        return lines

    def _head(self, paths: list[Path]) -> Record | None:
        """The last record, wherever it is; None where there is none."""
        for path in reversed(paths):
            for line in reversed(self._read(path).splitlines(keepends=True)):
                record = _parsed(line)
                if record is not None:
                    return record
        return None

    def _write(
        self, event: Event, facts: Facts, head: Record | None, path: Path | None
    ) -> tuple[Record, Path]:
        seq = head.seq + 1 if head else int(path.stem) if path else 1
        record = seal(
            seq,
            wall_time(self._clock.unix_ns()),
            monotonic_time(self._clock.now_ns()),
            event,
            msgspec.structs.replace(facts, bedside=__version__),
            head.hash if head else GENESIS,
        )
        line = line_of(record)
        size = path.stat().st_size if path else 0
        if path is None or (size and size + len(line) > self._limits.file_bytes):
            path = self.folder / f"{seq:012d}.jsonl"
            handle = self._files.create(path)
        else:
            handle = self._files.extend(path)
        try:
            self._files.write(handle, line)
            self._files.sync(handle)
        finally:
            self._files.close(handle)
        if self._ours is None or path != self._ours[0]:
            # A file that was there: whoever made it may have been killed before its name was on the disk.
            self._files.sync_folder(self.folder)
        self._ours = path, path.stat().st_size
        return record, path

    def _drop(self, head: Record, path: Path) -> None:
        """Let the oldest files go where there are too many: said first, then done."""
        while len(paths := log_files(self.folder)) > max(2, self._limits.files):
            last = self._head(paths[:1])
            gone = Facts(seq=last.seq, hash=last.hash) if last else Facts()
            head, path = self._write("dropped", gone, head, path)
            self._files.unlink(paths[0])
            # One name at a time: two could vanish in the other order, which would look like a hole.
            self._files.sync_folder(self.folder)

    def _read(self, path: Path) -> bytes:
        try:
            return read_plain(path, _MOST_BYTES)
        except FileNotFoundError:  # the oldest one may go while the log is read
            return b""
        except (OSError, ValueError) as error:
            what = f"cannot be read: {getattr(error, 'strerror', None) or error}"
            raise SinkError(what, where=f"audit log, {path.name}", hint="move the file away") from None


class Lines(msgspec.Struct, frozen=True):
    """A file's content: whole lines, and what a power cut left behind them."""

    whole: bytes
    torn: bytes


def split(data: bytes) -> Lines:
    """Tell whole lines from a torn end: bytes without a line end, or with holes of zeros.

    File systems may grow a file before its content arrives, which then reads as zeros; JSON has none.
    """
    end = data.rfind(b"\n") + 1
    while end and b"\0" in data[(begin := data.rfind(b"\n", 0, end - 1) + 1) : end]:
        end = begin
    return Lines(data[:end], data[end:])


def log_files(folder: Path) -> list[Path]:
    """Files of a log, oldest first; none where there is no log."""
    try:
        return sorted(p for p in folder.iterdir() if p.suffix == ".jsonl" and p.stem.isdecimal())
    except FileNotFoundError:
        return []


def _parsed(line: bytes) -> Record | None:
    try:
        return parse(line)
    except ValueError:
        return None
