"""Whether an audit log is what was written: every hash, every number, every link, over all files.

What can be told: a record that was edited, taken out, put in or moved, a file that is missing between two others or
at the beginning. What cannot: records missing at the very end, unless something outside the log names a later
one. Two things may: the state of the store, which names the record of its last change, and a head that somebody
noted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from bedside.devices.store.audit import log_files, split
from bedside.devices.store.records import GENESIS, MAX_LINE, Record, parse
from bedside.devices.store.state import Anchor
from bedside.runtime.errors import SinkError

#: More findings than this are counted, not listed.
_MOST_FINDINGS = 100
#: Larger files are not logs.
_MOST_BYTES = 1 << 28


class Finding(msgspec.Struct, frozen=True):
    """Something that does not hold.

    Attributes:
        file: Of the log.
        line: In it, from 1; 0 for the whole file.
        what: In one line.
    """

    file: str
    line: int
    what: str


class Verdict(msgspec.Struct, frozen=True):
    """What was found.

    Attributes:
        ok: Whether every record is as it was written.
        records: How many there are.
        files: How many there are.
        first: Number of the oldest record that is kept; None without records.
        head: The last record, to be noted elsewhere; None without records.
        torn: Bytes that a power cut left behind it; the next record mends that.
        findings: What does not hold, at most 100.
        more: How many more there were.
    """

    ok: bool
    records: int
    files: int
    first: int | None
    head: Anchor | None
    torn: int
    findings: tuple[Finding, ...]
    more: int


def verify(folder: Path, *, anchor: Anchor | None = None, heads: Sequence[str] = ()) -> Verdict:
    """Check a log, of which nothing is changed.

    Args:
        folder: Of the log.
        anchor: The record that the state of the store names; it has to be there.
        heads: Hashes that somebody noted; each has to be that of a record.

    Raises:
        SinkError: A file cannot be read.
    """
    check = _Check(anchor, heads)
    paths = log_files(folder)
    for path in paths:
        try:
            check.file(path, last=path == paths[-1])
        except OSError as error:
            what = f"cannot be read: {error.strerror or error}"
            raise SinkError(what, where=f"audit log, {path.name}") from None
    return check.verdict(len(paths))


class _Check:
    """Goes through the records in order."""

    def __init__(self, anchor: Anchor | None, heads: Sequence[str]) -> None:
        self._anchor = anchor
        self._awaited = dict.fromkeys(heads)
        self._findings: list[Finding] = []
        self._count = 0
        self._records = 0
        self._first: Record | None = None
        self._head: Record | None = None
        self._torn = 0
        self._begins: tuple[int, str] | None = None
        self._anchored = anchor is None
        self._dropped: set[tuple[int | None, str | None]] = set()

    def file(self, path: Path, *, last: bool) -> None:
        """Check one file."""
        size = path.stat().st_size
        if size > _MOST_BYTES:
            self._find(path, 0, f"has {size} bytes, no file of a log does")
            return
        lines = split(path.read_bytes())
        if lines.torn and last:
            self._torn = len(lines.torn)
        elif lines.torn:
            self._find(path, 0, f"{len(lines.torn)} bytes at its end are no record")
        first = True
        for number, line in enumerate(lines.whole.splitlines(keepends=True), 1):
            try:
                if len(line) > MAX_LINE:
                    raise ValueError(f"is longer than {MAX_LINE} bytes")
                record = parse(line)
            except ValueError as error:
                self._find(path, number, f"edited, or not written by bedside: {error}")
                continue
            if first and record.seq != int(path.stem):
                self._find(path, number, f"record {record.seq}, but the file's name says {int(path.stem)}")
            first = False
            self._record(path, number, record)
        if first and not last:
            self._find(path, 0, "holds no record")

    def _record(self, path: Path, number: int, record: Record) -> None:
        before = self._head
        if before is None:
            self._first = record
            if (record.seq == 1) != (record.previous == GENESIS):
                self._find(path, number, f"record {record.seq} is not the first of a log")
            elif record.seq > 1:
                self._begins = (record.seq - 1, record.previous)
        elif record.seq > before.seq + 1:
            missing = _span(before.seq + 1, record.seq - 1)
            self._find(path, number, f"missing before record {record.seq}: {missing}")
        elif record.seq <= before.seq:
            self._find(path, number, f"record {record.seq} comes after record {before.seq}")
        elif record.previous != before.hash:
            self._find(path, number, f"record {record.seq} does not follow the record {before.seq} before it")
        if record.event == "dropped":
            self._dropped.add((record.facts.seq, record.facts.hash))
        if self._anchor is not None and (record.seq, record.hash) == (self._anchor.seq, self._anchor.hash):
            self._anchored = True
        self._awaited.pop(record.hash, None)
        self._records += 1
        self._head = record

    def verdict(self, files: int) -> Verdict:
        """What holds over all files."""
        if self._begins is not None and self._begins not in self._dropped:
            seq = self._begins[0]
            self._find(
                None, 0, f"missing at the beginning: {_span(1, seq)}, and no record says that they went"
            )
        kept_from = self._first.seq if self._first else 1
        if self._anchor is not None and not self._anchored and self._anchor.seq >= kept_from:
            seq = self._anchor.seq
            self._find(None, 0, f"the state of the store names a record {seq} that is missing or another one")
        for noted in self._awaited:
            self._find(None, 0, f"no record has the noted hash {noted[:16]}...")
        head = Anchor(seq=self._head.seq, hash=self._head.hash) if self._head else None
        return Verdict(
            ok=not self._count,
            records=self._records,
            files=files,
            first=self._first.seq if self._first else None,
            head=head,
            torn=self._torn,
            findings=tuple(self._findings),
            more=self._count - len(self._findings),
        )

    def _find(self, path: Path | None, line: int, what: str) -> None:
        self._count += 1
        if len(self._findings) < _MOST_FINDINGS:
            self._findings.append(Finding(path.name if path else "", line, what))


def _span(first: int, last: int) -> str:
    return f"record {first}" if first == last else f"records {first} to {last}"
