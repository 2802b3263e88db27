"""Headers of compressed pictures: what a JPEG, JPEG-LS or JPEG 2000 codestream says it will decode to.

Decoders allocate what the codestream declares. Reading the declaration first is what keeps a hostile picture
from costing gigabytes, and what tells a cut file from a whole one.
"""

from __future__ import annotations

from typing import Literal

import msgspec

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_SOS = 0xDA
# SOF0..15 without DHT (C4), JPG (C8), DAC (CC), ISO/IEC 10918-1 table B.1; F7 is JPEG-LS, ISO/IEC 14495-1.
_SOF = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_APP0, _APP14 = 0xE0, 0xEE
_RGB_IDS = (b"RGB", b"rgb")
_JP2_BOX = b"\x00\x00\x00\x0cjP  "
_SOC_SIZ = b"\xff\x4f\xff\x51"


Colors = Literal["jfif", "ycc", "rgb", "contradiction", "unmarked"]


class Codestream(msgspec.Struct, frozen=True):
    """What a codestream declares.

    Attributes:
        width: In pixels.
        height: In pixels.
        components: Samples per pixel.
        precision: Bits per sample.
        complete: Whether its end marker was found.
        colors: What a JPEG says of its three components: `jfif` (YCbCr by the JFIF marker), `ycc` (YCbCr by
            Adobe's), `rgb` (by Adobe's, or by their names R, G, B), `contradiction`, or `unmarked`.
        sound: False where a marker of a JPEG has a value that makes no sense for up to three components.
    """

    width: int
    height: int
    components: int
    precision: int
    complete: bool
    colors: Colors = "unmarked"
    sound: bool = True


def parse_jpeg(data: bytes) -> Codestream | None:
    """Read the frame header of a JPEG or JPEG-LS codestream (ISO/IEC 10918-1 annex B).

    Args:
        data: The whole codestream; bytes behind its end do no harm.

    Returns:
        The declaration, or None where `data` is no such codestream.
    """
    if data[:2] != _SOI:
        return None
    found: Codestream | None = None
    jfif = ycc = rgb = complete = False
    sound = True
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF or marker in _STANDALONE:  # fill byte, or a marker without parameters
            position += 1 if marker == 0xFF else 2
            continue
        if marker == _SOS:
            # Entropy-coded data cannot hold FF D9 (B.1.1.5): the first one behind a scan header is the end.
            complete = data.find(_EOI, position) >= 0
            break
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        segment = data[position + 4 : position + 2 + length]
        if length < 2:
            return None
        if marker == _APP0 and segment.startswith(b"JFIF"):
            jfif = True
            sound = sound and segment[5:6] == b"\1"  # major version
        elif marker == _APP14 and segment.startswith(b"Adobe") and len(segment) >= 12:
            ycc, rgb = ycc or segment[11] == 1, rgb or segment[11] == 0
            sound = sound and segment[11] <= 1  # 2, YCCK, is for four components
        elif marker in _SOF and len(segment) >= 6:
            height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
            found = Codestream(width, height, segment[5], segment[0], complete=False)
            rgb = rgb or segment[6:15:3] in _RGB_IDS
        position += 2 + length
    if found is None:
        return None
    colors: Colors = "jfif" if jfif else "ycc" if ycc else "rgb" if rgb else "unmarked"
    if rgb and colors != "rgb":
        colors = "contradiction"
    return msgspec.structs.replace(found, complete=complete, colors=colors, sound=sound)


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
