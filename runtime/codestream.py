"""Headers of compressed pictures: what a JPEG, JPEG-LS or JPEG 2000 codestream says it will decode to.

Decoders allocate what the codestream declares. Reading the declaration first is what keeps a hostile picture
from costing gigabytes, and what tells a cut file from a whole one.
"""

from __future__ import annotations

import msgspec

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_SOS = 0xDA
# SOF0..SOF15 without DHT (C4), JPG (C8) and DAC (CC), ISO/IEC 10918-1 table B.1; F7 is JPEG-LS, ISO/IEC 14495-1.
_SOF = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_JP2_BOX = b"\x00\x00\x00\x0cjP  "
_SOC_SIZ = b"\xff\x4f\xff\x51"


class Codestream(msgspec.Struct, frozen=True):
    """What a codestream declares.

    Attributes:
        width: In pixels.
        height: In pixels.
        components: Samples per pixel.
        precision: Bits per sample.
        complete: Whether its end marker was found.
    """

    width: int
    height: int
    components: int
    precision: int
    complete: bool


def parse_jpeg(data: bytes) -> Codestream | None:
    """Read the frame header of a JPEG or JPEG-LS codestream (ISO/IEC 10918-1 annex B).

    Args:
        data: The whole codestream; bytes behind its end do no harm.

    Returns:
        The declaration, or None where `data` is no such codestream.
    """
    if data[:2] != _SOI:
        return None
    header: tuple[int, int, int, int] | None = None
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _STANDALONE:
            position += 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if length < 2:
            return None
        if marker in _SOF and position + 10 <= len(data):
            fields = data[position + 4 : position + 10]
            header = (
                int.from_bytes(fields[3:5], "big"),
                int.from_bytes(fields[1:3], "big"),
                fields[5],
                fields[0],
            )
        if marker == _SOS:
            # Entropy-coded data cannot hold FF D9 (B.1.1.5), so the first one behind a scan header is the end.
            return None if header is None else Codestream(*header, complete=data.find(_EOI, position) >= 0)
        position += 2 + length
    return None if header is None else Codestream(*header, complete=False)


def parse_jpeg2000(data: bytes) -> Codestream | None:
    """Read the SIZ segment of a JPEG 2000 codestream, bare or in a JP2 file (ISO/IEC 15444-1 A.5.1).

    Args:
        data: The whole codestream.

    Returns:
        The declaration, or None where `data` is no such codestream.
    """
    position = 0
    if data.startswith(_JP2_BOX):
        position = data.find(b"jp2c") + 4
    if position < 0 or data[position : position + 4] != _SOC_SIZ or len(data) < position + 43:
        return None
    siz = data[position + 8 :]
    right, bottom, left, top = (int.from_bytes(siz[at : at + 4], "big") for at in range(0, 16, 4))
    components = int.from_bytes(siz[32:34], "big")
    return Codestream(
        right - left, bottom - top, components, (siz[34] & 0x7F) + 1, complete=_EOI in data[-16:]
    )
