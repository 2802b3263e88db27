"""The canonical container: a zip file of which there is exactly one for given members.

Members are stored, in a fixed order, with fixed time stamps and attributes, without extra fields, comments,
gaps or zip64. Any reader of zip files can list and extract it; this reader accepts nothing else. That is
stricter than zip plus member digests, which leaves zip's own metadata (time stamps, attributes, comments,
slack) unchecked.

Layout after PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (central header), 4.3.16 (end
record).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from typing import BinaryIO

import msgspec

MANIFEST = "bundle.json"
SIGNATURES = "signatures.json"
CARD = "README.md"

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_NEEDED = 10  # stored members need version 1.0 (APPNOTE 4.4.3.2)
_MADE_BY = (3 << 8) | 20  # Unix, so that the attributes below are permissions
_DATE = (1 << 5) | 1  # 1980-01-01, the earliest a zip can say
_ATTRIBUTES = 0o100644 << 16

_NAME = re.compile(
    r"(?:bundle\.json|signatures\.json|README\.md"
    r"|models/[a-z0-9][a-z0-9._-]{0,63}\.(?:tflite|onnx)"
    r"|golden/[a-z0-9][a-z0-9._-]{0,63}\.npy)"
)


class Limits(msgspec.Struct, frozen=True):
    """Hard limits, checked before anything is allocated. Sizes in bytes."""

    members: int = 256
    total: int = 1 << 30
    manifest: int = 1 << 20
    signatures: int = 1 << 16
    card: int = 1 << 20
    golden: int = 64 << 20
    model: int = 512 << 20

    def of(self, name: str) -> int:
        """The limit for a member of that name."""
        if name == MANIFEST:
            return self.manifest
        if name == SIGNATURES:
            return self.signatures
        if name == CARD:
            return self.card
        return self.model if name.startswith("models/") else self.golden


LIMITS = Limits()


class Entry(msgspec.Struct, frozen=True):
    """One member as the directory states it."""

    name: str
    crc: int
    size: int
    offset: int

    @property
    def data_offset(self) -> int:
        """Where its bytes begin in the file."""
        return self.offset + _LOCAL.size + len(self.name)

    @property
    def end(self) -> int:
        """First byte behind it."""
        return self.data_offset + self.size

    def local_header(self) -> bytes:
        """The one local header it may have, name included."""
        name = self.name.encode("ascii")
        fixed = (b"PK\x03\x04", _NEEDED, 0, 0, 0, _DATE, self.crc, self.size, self.size, len(name), 0)
        return _LOCAL.pack(*fixed) + name

    def central_header(self) -> bytes:
        """The one directory entry it may have, name included."""
        name = self.name.encode("ascii")
        sizes = (self.crc, self.size, self.size, len(name), 0, 0, 0, 0)
        fixed = (b"PK\x01\x02", _MADE_BY, _NEEDED, 0, 0, 0, _DATE, *sizes, _ATTRIBUTES, self.offset)
        return _CENTRAL.pack(*fixed) + name


def _sort_key(name: str) -> tuple[int, str]:
    return ({MANIFEST: 0, SIGNATURES: 1}.get(name, 2), name)


def _directory(entries: list[Entry]) -> bytes:
    central = b"".join(e.central_header() for e in entries)
    start = entries[-1].end if entries else 0
    count = len(entries)
    return central + _END.pack(b"PK\x05\x06", 0, 0, count, count, len(central), start, 0)


def dump(members: Mapping[str, bytes], file: BinaryIO, limits: Limits = LIMITS) -> None:
    """Write the canonical container of `members` to `file`.

    Raises:
        ValueError: A name or a size that no reader would accept.
    """
    entries: list[Entry] = []
    offset = 0
    for name in sorted(members, key=_sort_key):
        data = members[name]
        _check_member(name, len(data), limits)
        entry = Entry(name, zlib.crc32(data), len(data), offset)
        offset = entry.end
        entries.append(entry)
    _check_totals(len(entries), offset, limits)
    for entry in entries:
        file.write(entry.local_header())
        file.write(members[entry.name])
    file.write(_directory(entries))


def _check_member(name: str, size: int, limits: Limits) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"member name {name[:80]!r} is not one a bundle may have")
    if not 0 < size <= limits.of(name):
        raise ValueError(f"member {name} has {size} bytes, allowed are 1 to {limits.of(name)}")


def _check_totals(count: int, total: int, limits: Limits) -> None:
    if not 0 < count <= limits.members:
        raise ValueError(f"{count} members, allowed are 1 to {limits.members}")
    if total > limits.total:
        raise ValueError(f"members of {total} bytes together, allowed are {limits.total}")


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise ValueError(f"truncated: {size} bytes wanted at {offset}, {len(data)} there")
    return data


class Container:
    """The directory of an open container. Reads the directory only; members are read one by one.

    Args:
        file: Opened for reading, seekable. Stays the caller's.
        limits: Hard limits.

    Raises:
        ValueError: It is not the canonical container of its members.
    """

    def __init__(self, file: BinaryIO, limits: Limits = LIMITS) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        if self.size < _END.size:
            raise ValueError(
                f"{self.size} bytes are too few for a bundle" if self.size else "the file is empty"
            )
        end = _read_at(file, self.size - _END.size, _END.size)
        magic, disk, start_disk, here, count, length, start, comment = _END.unpack(end)
        if magic != b"PK\x05\x06" or comment:
            raise ValueError(
                "not a canonical bundle: no zip end record as the last 22 bytes (truncated, or not a bundle)"
            )
        _check_totals(count, start, limits)
        if (disk, start_disk, here) != (0, 0, count) or start + length + _END.size != self.size:
            raise ValueError("not a canonical bundle: the zip end record contradicts the file")
        if length > count * (_CENTRAL.size + 128):
            raise ValueError(f"not a canonical bundle: a directory of {length} bytes for {count} members")
        directory = _read_at(file, start, length)
        self.entries = {e.name: e for e in _parse(directory, count, limits)}
        ordered = list(self.entries.values())
        if len(ordered) != count:
            raise ValueError("not a canonical bundle: a member name appears twice")
        if [e.name for e in ordered] != sorted(self.entries, key=_sort_key):
            raise ValueError("not a canonical bundle: members out of order")
        if [e.offset for e in ordered] != [0, *(e.end for e in ordered[:-1])] or ordered[-1].end != start:
            raise ValueError("not a canonical bundle: gaps or overlaps between members")
        if directory + end != _directory(ordered):
            raise ValueError("not a canonical bundle: non-standard directory fields")
        if ordered[0].name != MANIFEST:
            raise ValueError(f"not a bundle: {MANIFEST} is missing")

    def read(self, name: str) -> bytes:
        """The bytes of one member, after its local header and its CRC were checked.

        Raises:
            ValueError: They are not what the directory says.
        """
        entry = self.entries[name]
        header = entry.local_header()
        if _read_at(self._file, entry.offset, len(header)) != header:
            raise ValueError(f"damaged: the local header of {name} is not canonical")
        data = _read_at(self._file, entry.data_offset, entry.size)
        if zlib.crc32(data) != entry.crc:
            raise ValueError(f"damaged: {name} does not match its checksum")
        return data


def _parse(directory: bytes, count: int, limits: Limits) -> list[Entry]:
    entries: list[Entry] = []
    position = 0
    for _ in range(count):
        if position + _CENTRAL.size > len(directory):
            raise ValueError("not a canonical bundle: the zip directory is cut short")
        fields = _CENTRAL.unpack_from(directory, position)
        magic, crc, size, name_length, offset = fields[0], fields[7], fields[9], fields[10], fields[16]
        if magic != b"PK\x01\x02":
            raise ValueError("not a canonical bundle: a damaged zip directory entry")
        if fields[4]:
            raise ValueError("not a canonical bundle: a compressed member (bundles store their members)")
        raw = directory[position + _CENTRAL.size : position + _CENTRAL.size + name_length]
        try:
            name = raw.decode("ascii")
        except UnicodeDecodeError:
            raise ValueError("a member name is not ASCII: not one a bundle may have") from None
        _check_member(name, size, limits)
        entries.append(Entry(name, crc, size, offset))
        position += _CENTRAL.size + name_length
    return entries
