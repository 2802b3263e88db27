"""The log: what is in it, how it grows, what a power cut does to it, and that no change goes unseen."""

from __future__ import annotations

import hashlib
import random
import re
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.devices.store.audit import AuditLimits, AuditLog, log_files, split
from bedside.devices.store.audit_check import Verdict, verify
from bedside.devices.store.records import GENESIS, Facts, line_of, monotonic_time, parse, wall_time
from bedside.devices.store.state import Anchor
from bedside.runtime import __version__
from bedside.runtime.clock import ManualClock
from bedside.runtime.errors import SinkError

SMALL = AuditLimits(file_bytes=1200, files=4)
DIGEST = "ab" * 32


@pytest.fixture
def log(disk: Path, clock: ManualClock) -> AuditLog:
    return AuditLog(disk / "audit", clock=clock, limits=SMALL)


def filled(log: AuditLog, count: int) -> list[Anchor]:
    """Append so many records; gives what they are called."""
    made = [log.append("fault", Facts(fault="S1", stream=k % 3)) for k in range(count)]
    return [Anchor(seq=record.seq, hash=record.hash) for record in made]


def findings(verdict: Verdict) -> str:
    assert not verdict.ok
    return "; ".join(finding.what for finding in verdict.findings)


def test_a_record(log: AuditLog, clock: ManualClock) -> None:
    assert verify(log.folder) == Verdict(True, 0, 0, None, None, 0, (), 0)
    first = log.append("installed", Facts(slot="main", digest=DIGEST, version="1.0.0"))
    clock.advance(1_500_000_000)
    clock.jump_wall(-(10**12))
    second = log.append("stopped")
    assert (first.seq, first.previous, second.seq, second.previous) == (1, GENESIS, 2, first.hash)
    assert (first.wall, first.monotonic) == ("2023-11-14T22:13:21.000Z", "1.000000000")
    assert (second.wall, second.monotonic) == ("2023-11-14T21:56:42.500Z", "2.500000000")
    lines = (log.folder / "000000000001.jsonl").read_bytes().splitlines(keepends=True)
    assert [parse(line) for line in lines] == [first, second] == list(log.records())
    # Any tool can check it: the hash is of the bytes before `,"hash"`.
    for line, record in zip(lines, (first, second), strict=True):
        body, _, rest = line.rpartition(b',"hash":"')
        assert rest == record.hash.encode() + b'"}\n'
        assert hashlib.sha256(body).hexdigest() == record.hash
    assert b'"facts":{"slot":"main","digest":"abab' in lines[0]
    assert first.facts.bedside == __version__
    assert verify(log.folder).head == Anchor(seq=2, hash=second.hash)
    assert list(log.records(after=1)) == [second]


def test_it_is_rotated_and_bounded(log: AuditLog) -> None:
    anchors = filled(log, 60)
    paths = log_files(log.folder)
    assert len(paths) == SMALL.files
    assert all(path.stat().st_size <= SMALL.file_bytes for path in paths)
    records = list(log.records())
    assert [r.seq for r in records] == list(range(records[0].seq, records[-1].seq + 1))
    assert records[0].seq == int(paths[0].stem) > 1
    dropped = [r for r in records if r.event == "dropped"][-1]
    assert (dropped.facts.seq, dropped.facts.hash) == (records[0].seq - 1, records[0].previous)
    verdict = verify(log.folder, anchor=anchors[-1], heads=[a.hash for a in anchors[-5:]])
    assert verdict.ok, verdict.findings
    assert (verdict.records, verdict.files, verdict.first) == (len(records), len(paths), records[0].seq)
    # An anchor that is older than what is kept cannot be looked for.
    assert verify(log.folder, anchor=anchors[0]).ok
    assert "no record has the noted hash" in findings(verify(log.folder, heads=[anchors[0].hash]))
    # Another process, with other limits, goes on where this one ended.
    AuditLog(log.folder, clock=ManualClock()).append("stopped")
    assert verify(log.folder).ok


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [*lines[:4], *lines[5:]], "missing before record 6: record 5"),
        (lambda lines: [*lines[:4], *lines[7:]], "missing before record 8: records 5 to 7"),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "record 2 comes after record 3"),
        (lambda lines: [*lines[:3], lines[2], *lines[3:]], "record 3 comes after record 3"),
        (lambda lines: lines[1:], "record 2, but the file's name says 1"),
        (lambda lines: [*lines[:3], b"\n", *lines[3:]], "edited, or not written by bedside: is no record"),
        (lambda lines: [lines[0].replace(b"S1", b"S2"), *lines[1:]], "does not have the hash that it states"),
        (lambda lines: [lines[0].replace(b'"S1"', b'"S1" '), *lines[1:]], "is not written as records are"),
        (lambda lines: [forged(lines[0]), *lines[1:]], "record 2 does not follow the record 1 before it"),
        (lambda lines: [b"x" * 5000 + b"\n", *lines[1:]], "is longer than 4096 bytes"),
    ],
)
def test_a_change_is_seen(disk: Path, change: Callable[[list[bytes]], list[bytes]], said: str) -> None:
    log = AuditLog(disk / "audit", clock=ManualClock())
    filled(log, 10)
    (path,) = log_files(log.folder)
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    assert said in findings(verify(log.folder))
    # The device goes on all the same, and the log says for ever that it was changed.
    log.append("stopped")
    assert said in findings(verify(log.folder))


def forged(line: bytes) -> bytes:
    """Another record with a hash of its own that holds."""
    body = line.rpartition(b',"hash":"')[0].replace(b"S1", b"S9")
    return body + b',"hash":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'


@pytest.mark.parametrize(
    ("gone", "said"),
    [(0, "missing at the beginning: records 1 to"), (1, "missing before record"), (-1, "names")],
)
def test_a_file_that_is_gone_is_seen(log: AuditLog, gone: int, said: str) -> None:
    anchors = filled(log, 12)
    assert 3 <= len(log_files(log.folder)) <= SMALL.files
    assert verify(log.folder, anchor=anchors[-1]).ok
    log_files(log.folder)[gone].unlink()
    assert said in findings(verify(log.folder, anchor=anchors[-1]))


def test_a_lost_end_is_seen_from_outside_only(log: AuditLog) -> None:
    anchors = filled(log, 3)
    (path,) = log_files(log.folder)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    assert verify(log.folder).ok
    assert "names a record 3 that is missing" in findings(verify(log.folder, anchor=anchors[-1]))
    assert "no record has the noted hash" in findings(verify(log.folder, heads=[anchors[-1].hash]))
    # And when others have taken its place.
    filled(log, 3)
    assert "names a record 3 that is missing or another one" in findings(
        verify(log.folder, anchor=anchors[-1])
    )


def test_any_single_change_is_seen(log: AuditLog) -> None:
    """Every byte of every file, flipped in one bit, against the head that was noted."""
    head = filled(log, 14)[-1]
    rng = random.Random(4)
    for path in log_files(log.folder):
        whole = path.read_bytes()
        for place in range(0, len(whole), 3):
            changed = bytearray(whole)
            changed[place] ^= 1 << rng.randrange(8)
            path.write_bytes(changed)
            assert not verify(log.folder, anchor=head).ok, (path.name, place)
        path.write_bytes(whole)
    assert verify(log.folder, anchor=head).ok


@pytest.mark.parametrize("kind", ["cut", "zeros", "holes", "newline"])
def test_a_torn_line_is_mended_and_noted(log: AuditLog, kind: str) -> None:
    filled(log, 2)
    (path,) = log_files(log.folder)
    whole = path.read_bytes()
    last = log.append("stopped")
    line = line_of(last)
    torn = {
        "cut": line[:100],
        "zeros": bytes(len(line)),
        "holes": bytes(64) + line[64:],
        "newline": line[:-1],
    }[kind]
    path.write_bytes(whole + torn)
    verdict = verify(log.folder)
    assert (verdict.ok, verdict.torn, verdict.records) == (True, len(torn), 2)
    log.append("activated")
    records = list(log.records())
    assert [r.event for r in records] == ["fault", "fault", "recovered", "activated"]
    facts = records[2].facts
    assert (facts.count, facts.hash) == (len(torn), hashlib.sha256(torn).hexdigest())
    verdict = verify(log.folder)
    assert (verdict.ok, verdict.torn) == (True, 0)


def test_a_torn_line_that_is_not_the_last_is_a_change(log: AuditLog) -> None:
    filled(log, 12)
    path = log_files(log.folder)[0]
    path.write_bytes(path.read_bytes()[:-20])
    assert "bytes at its end are no record" in findings(verify(log.folder))
    path.write_bytes(b"")
    assert "holds no record" in findings(verify(log.folder))


def test_a_file_that_was_just_begun(log: AuditLog) -> None:
    """A power cut between making a file and writing into it."""
    head = filled(log, 5)[-1]
    begun = log.folder / f"{head.seq + 1:012d}.jsonl"
    begun.write_bytes(b"\0\0")
    assert verify(log.folder).ok
    filled(log, 2)
    assert begun.read_bytes().count(b"\n") == 3
    assert verify(log.folder).ok


@given(st.binary(max_size=64), st.booleans())
def test_what_is_torn(tail: bytes, ended: bool) -> None:
    whole = b'{"a":1}\n'
    lines = split(whole + tail + b"\n" * ended)
    assert lines.whole + lines.torn == whole + tail + b"\n" * ended
    assert lines.whole.startswith(whole)
    assert lines.whole.endswith(b"\n")
    assert b"\0" not in lines.whole.rpartition(b"\n")[0].rpartition(b"\n")[2]
    if b"\0" not in tail:
        assert b"\n" not in lines.torn


def test_several_write_at_once(disk: Path) -> None:
    def work() -> None:
        log = AuditLog(disk / "audit", clock=ManualClock(), limits=SMALL)
        for _ in range(10):
            log.append("step", Facts(stream=1))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verdict = verify(disk / "audit")
    assert verdict.ok, verdict.findings
    assert verdict.head is not None and verdict.head.seq >= 40


#: What must not get into a log.
CANARIES = (
    "Müller^Maria",
    "MRN-4711",
    "/media/usb/mueller.bedside",
    "rtsp://user:secret@10.0.0.1/",
    "Doe Jane",
)


@pytest.mark.parametrize("canary", CANARIES)
def test_nothing_but_typed_facts_gets_in(log: AuditLog, canary: str) -> None:
    filled(log, 1)
    before = log_files(log.folder)[0].read_bytes()
    for name in set(Facts.__struct_fields__) - {"bedside"}:  # which the log itself sets
        with pytest.raises(ValueError):
            log.append("fault", Facts(**{name: canary}))
    with pytest.raises(ValueError):
        log.append(canary)  # type: ignore[arg-type]
    assert log_files(log.folder)[0].read_bytes() == before
    log.append("stopped", Facts(bedside=canary))
    assert canary.encode() not in log_files(log.folder)[0].read_bytes()
    log.append("key-added", Facts(key="cd" * 32))
    assert list(log.records())[-1].facts.key == "cd" * 32


def test_times() -> None:
    assert wall_time(0) == "1970-01-01T00:00:00.000Z"
    assert wall_time(-1_000_000) == "1969-12-31T23:59:59.999Z"
    assert wall_time(10**30) == f"{10**30} ns"
    assert monotonic_time(12_000_000_345) == "12.000000345"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", wall_time(1_700_000_000_123_456_789))


def test_what_cannot_be_read(log: AuditLog) -> None:
    filled(log, 1)
    (path,) = log_files(log.folder)
    path.unlink()
    path.mkdir()
    with pytest.raises(SinkError, match=r"audit log, 000000000001.jsonl: cannot be read"):
        verify(log.folder)
    with pytest.raises(SinkError, match=r"is no regular file|cannot be"):
        log.append("stopped")
    path.rmdir()
    log.folder.joinpath("lock").unlink()
    log.folder.rmdir()
    log.folder.write_bytes(b"")
    with pytest.raises(SinkError):
        log.append("stopped")


def test_facts_are_all_checked() -> None:
    """No key of a record takes free text."""
    for field in msgspec.structs.fields(Facts):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({field.name: "Any Text: 1"}, Facts)
