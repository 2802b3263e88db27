"""One record of the audit log: what may be in it, and how it is bound to the one before.

A record is one line of JSON. Its `hash` is the sha256 of the bytes of the line before `,"hash"`, and the line holds
the hash of the record before it: nothing can be changed, taken out or moved without changing every hash behind it
(Schneier and Kelsey, Secure audit logs to support computer forensics, 1999, section 2, without the keys).

What a record can say is a closed set of typed keys: digests, versions, names of slots, reasons out of a list. There
is no key that free text, a path or a name out of a picture could get into.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bedside.runtime.bundle.fields import Name, Sha256, Strict, Version

#: What the first record of a device has for the hash of the one before.
GENESIS = "0" * 64
#: No record is longer, in bytes.
MAX_LINE = 4096

Event = Literal[
    "installed",
    "activated",
    "rolled-back",
    "started",
    "probation-passed",
    "probation-failed",
    "refused",
    "interrupted",
    "recovered",
    "dropped",
    "step",
    "fault",
    "stopped",
    "key-added",
    "key-revoked",
]
#: Written before the slots change; the state on the disk names the last one that came to be.
CHANGES: frozenset[Event] = frozenset(
    {"installed", "activated", "rolled-back", "started", "probation-passed", "probation-failed"}
)

#: Why a bundle was refused.
Refusal = Literal["damaged", "sha256", "signature", "older", "golden", "failed-before"]
#: Why a bundle failed its probation.
Failing = Literal["starts", "crash", "hang", "golden", "not-finite", "stale", "memory", "health", "operator"]

Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class Facts(Strict, frozen=True, kw_only=True):
    """What a record says beside its event. Everything may be absent.

    Attributes:
        slot: Name of a slot.
        digest: Of the bundle that it is about.
        version: Of that bundle.
        file: sha256 of that bundle's file, signatures included.
        active: Digest of the bundle that is active afterwards.
        active_version: Its version.
        reason: Of a refusal or a failure.
        fault: Id in the table of faults.
        stream: Number of the stream in its session; names may say whose pictures they are.
        variant: Of the bundle.
        engine: That ran it.
        key: Id of a signing key, hex.
        starts: Of a bundle on probation.
        seq: Of another record.
        hash: Of another record, or of bytes that were dropped.
        count: How many records or bytes.
        bedside: Version that wrote the record.
    """

    slot: Name | None = None
    digest: Sha256 | None = None
    version: Version | None = None
    file: Sha256 | None = None
    active: Sha256 | None = None
    active_version: Version | None = None
    reason: Refusal | Failing | None = None
    fault: Annotated[str, Meta(pattern=r"^[BSEKUP][0-9]{1,2}\Z")] | None = None
    stream: Count | None = None
    variant: Name | None = None
    engine: Name | None = None
    key: Annotated[str, Meta(pattern=r"^[0-9a-f]{8,64}\Z")] | None = None
    starts: Count | None = None
    seq: Count | None = None
    hash: Sha256 | None = None
    count: Count | None = None
    bedside: Annotated[str, Meta(pattern=r"^[0-9A-Za-z.+-]{1,32}\Z")] | None = None


class Record(Strict, frozen=True, kw_only=True):
    """One line of the log.

    Attributes:
        seq: From 1, without gaps, over all files.
        wall: Time of the wall clock when it was written, for people; nothing is computed from it.
        monotonic: Seconds of the monotonic clock, which begins anew at every boot.
        event: What happened.
        facts: Of the event.
        previous: Hash of the record before.
        hash: Of this one.
    """

    seq: Annotated[int, Meta(ge=1, le=(1 << 53) - 1)]
    wall: Annotated[str, Meta(max_length=40)]
    monotonic: Annotated[str, Meta(max_length=40)]
    event: Event
    facts: Facts
    previous: Sha256
    hash: Sha256


#: `,"hash":"` with 64 digits and `"}`.
_HASH_LENGTH = 9 + 64 + 2


def seal(seq: int, wall: str, monotonic: str, event: Event, facts: Facts, previous: str) -> Record:
    """A record with its hash.

    Raises:
        ValueError: A fact is not of its type, or the record would be too long.
    """
    record = Record(
        seq=seq, wall=wall, monotonic=monotonic, event=event, facts=facts, previous=previous, hash=GENESIS
    )
    body = msgspec.json.encode(record)[:-_HASH_LENGTH]
    sealed = msgspec.structs.replace(record, hash=hashlib.sha256(body).hexdigest())
    parse(line_of(sealed))
    return sealed


def line_of(record: Record) -> bytes:
    """The line of a record, with its line end."""
    return msgspec.json.encode(record) + b"\n"


def parse(line: bytes) -> Record:
    """The record of a line.

    Args:
        line: With its line end.

    Raises:
        ValueError: It is not byte for byte what its record would be written as, or its hash is another.
    """
    if len(line) > MAX_LINE:
        raise ValueError(f"is longer than {MAX_LINE} bytes")
    try:
        record = msgspec.json.decode(line, type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"is no record: {error}") from None
    if line_of(record) != line:
        raise ValueError("is not written as records are")
    if hashlib.sha256(line[: -_HASH_LENGTH - 1]).hexdigest() != record.hash:
        raise ValueError("does not have the hash that it states")
    return record


def wall_time(unix_ns: int) -> str:
    """`2026-11-23T00:52:29.123Z`; a clock that is far off gives its nanoseconds."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=unix_ns // 1000)
    except OverflowError:
        return f"{unix_ns} ns"
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def monotonic_time(now_ns: int) -> str:
    """Seconds with nine decimals."""
    return f"{now_ns // 10**9}.{now_ns % 10**9:09d}"
