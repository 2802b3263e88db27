"""Where each frame lies in encapsulated pixel data (PS3.5 section A.4)."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import BinaryIO

from bedside.runtime.codestream import Codestream, parse_jpeg, parse_jpeg2000
from bedside.runtime.dicom.header import Header
from bedside.runtime.dicom.limits import MAX_ENCODED_BYTES, MAX_FRAMES
from bedside.runtime.errors import FrameError, SourceError

Fragment = tuple[int, int]
"""Offset in the stream and length, in bytes."""

_ITEM, _END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_RLE = "1.2.840.10008.1.2.5"


def index_frames(header: Header, stream: BinaryIO) -> tuple[tuple[Fragment, ...], ...]:
    """Find the fragments of every frame, reading item heads only.

    One fragment per frame is the rule; else the basic offset table decides, and without one the end-of-image
    markers do, as in PS3.5 section A.4.

    Args:
        header: Of the object.
        stream: The open file.

    Returns:
        For each frame, its fragments in order.

    Raises:
        SourceError: Truncated, fewer frames than declared, or more fragments than can be right.
    """
    size = stream.seek(0, 2)
    stream.seek(header.value_at)
    table_at, table_length = _item(stream, header, size) or (header.value_at, 0)
    stream.seek(table_at + table_length)
    fragments: list[Fragment] = []
    limit = 4 * header.frames + 4096
    while (fragment := _item(stream, header, size)) is not None:
        if len(fragments) >= min(limit, MAX_FRAMES):
            raise SourceError(
                f"more than {len(fragments)} fragments for {header.frames} frames",
                where=header.path,
                hint="the file is damaged or hostile",
            )
        fragments.append(fragment)
        stream.seek(sum(fragment))
    return _group(header, stream, fragments, (table_at, table_length))


def _item(stream: BinaryIO, header: Header, size: int) -> Fragment | None:
    """The next item, or None at the sequence's end."""
    head = stream.read(8)
    at = stream.tell()
    if len(head) == 8:
        group, element, length = struct.unpack("<HHL", head)
        if (group, element) == _END:
            return None
        if (group, element) != _ITEM:
            raise SourceError(
                f"damaged pixel data: tag ({group:04X},{element:04X}) at byte {at - 8}, expected an item",
                where=header.path,
            )
        if at + length <= size:
            if length > MAX_ENCODED_BYTES:
                raise SourceError(f"a fragment of {length} bytes is beyond the limit", where=header.path)
            return at, length
    elif not head:
        # The delimiter is missing but the last fragment is whole: nothing is lost.
        return None
    raise SourceError(
        f"truncated pixel data: the file ends at byte {size}, inside a fragment",
        where=header.path,
        hint="copy the file again",
    )


def _group(
    header: Header, stream: BinaryIO, fragments: list[Fragment], table: Fragment
) -> tuple[tuple[Fragment, ...], ...]:
    frames, count = header.frames, len(fragments)
    if count < frames:
        raise SourceError(
            f"truncated pixel data: {count} of {frames} declared frames",
            where=header.path,
            hint="copy the file again",
        )
    if frames == 1:
        return (tuple(fragments),)
    if count == frames:
        return tuple((fragment,) for fragment in fragments)
    starts = _offset_table(stream, table, frames)
    if starts:
        base = sum(table)
        at = {offset - 8 - base: number for number, (offset, _) in enumerate(fragments)}
        bounds = [at.get(start) for start in starts]
        if None not in bounds and bounds[0] == 0 and bounds == sorted(set(bounds), key=lambda b: b or 0):
            cuts = [bound or 0 for bound in bounds] + [count]
            return tuple(tuple(fragments[a:b]) for a, b in pairwise(cuts))
    return _group_by_marker(header, stream, fragments)


def _offset_table(stream: BinaryIO, table: Fragment, frames: int) -> tuple[int, ...]:
    offset, length = table
    if length != 4 * frames:
        return ()
    stream.seek(offset)
    return struct.unpack(f"<{frames}L", stream.read(length))


def _group_by_marker(
    header: Header, stream: BinaryIO, fragments: list[Fragment]
) -> tuple[tuple[Fragment, ...], ...]:
    """Frames of several fragments without an offset table end where a fragment ends in EOI or EOC (FF D9)."""
    found: list[tuple[Fragment, ...]] = []
    current: list[Fragment] = []
    for offset, length in fragments:
        current.append((offset, length))
        stream.seek(offset + max(0, length - 10))
        if b"\xff\xd9" in stream.read(min(10, length)):
            found.append(tuple(current))
            current = []
    if len(found) < header.frames:
        raise SourceError(
            f"{len(fragments)} fragments make {len(found)} frames, {header.frames} declared",
            where=header.path,
            hint="the file is damaged; transcode it with an offset table",
        )
    return tuple(found[: header.frames])


def read_frame(header: Header, stream: BinaryIO, fragments: tuple[Fragment, ...]) -> bytes:
    """The encoded bytes of one frame.

    Args:
        header: Of the object.
        stream: The open file.
        fragments: Of the frame.

    Raises:
        FrameError: Larger than any frame may be.
    """
    if sum(length for _, length in fragments) > MAX_ENCODED_BYTES:
        raise FrameError("encoded frame beyond the limit", where=header.path)
    parts = []
    for offset, length in fragments:
        stream.seek(offset)
        parts.append(stream.read(length))
    return b"".join(parts)


def check_frame(header: Header, data: bytes) -> Codestream | None:
    """Refuse a frame whose decoding would not give the declared picture, before a decoder sees it.

    Args:
        header: Of the object.
        data: Encoded bytes of the frame.

    Returns:
        What its codestream declares, None for RLE.

    Raises:
        FrameError: Truncated, not of its transfer syntax, of another size, or a decompression bomb.
    """
    if header.syntax == _RLE:
        _check_rle(header, data)
        return None
    found = parse_jpeg(data) or parse_jpeg2000(data)
    if found is None:
        raise FrameError(f"damaged frame: not a {header.syntax.name} codestream", where=header.path)
    if (found.width, found.height, found.components) != (header.columns, header.rows, header.samples):
        raise FrameError(
            f"the codestream is {found.width}x{found.height}x{found.components}, "
            f"the DICOM header says {header.columns}x{header.rows}x{header.samples}",
            where=header.path,
        )
    if not 1 <= found.precision <= header.bits_allocated:
        # GDCM writes samples of the codestream's size into a buffer of the header's.
        raise FrameError(
            f"the codestream has {found.precision} bits per sample, the DICOM header {header.bits_allocated}",
            where=header.path,
        )
    if not found.complete:
        raise FrameError("truncated frame: the codestream has no end marker", where=header.path)
    return found


def _check_rle(header: Header, data: bytes) -> None:
    """Walk the runs of an RLE frame (PS3.5 annex G): pydicom expands first and measures later."""
    pixels = header.rows * header.columns
    count = struct.unpack("<L", data[:4])[0] if len(data) >= 64 else 0
    expected = header.samples * max(1, header.bits_allocated // 8)
    if count != expected:
        raise FrameError(f"{count} RLE segments, expected {expected}", where=header.path)
    bounds = (*struct.unpack(f"<{count}L", data[4 : 4 + 4 * count]), len(data))
    most = 2 * pixels + 128
    for start, stop in pairwise(bounds):
        size, at = 0, start
        while at < min(stop, len(data)) - 1 and size <= most:
            control = data[at]
            size += control + 1 if control < 128 else 257 - control if control > 128 else 0
            at += control + 2 if control < 128 else 2 if control > 128 else 1
        if not pixels <= size <= most:
            raise FrameError(f"an RLE segment expands to {size} bytes, expected {pixels}", where=header.path)
