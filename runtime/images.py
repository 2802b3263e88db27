"""Still pictures from files: found in natural order, refused when cut short or absurdly large."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from bedside.runtime.codestream import parse_jpeg
from bedside.runtime.errors import FrameError, SourceError
from bedside.runtime.frame import Pixels
from bedside.runtime.opencv import quiet_opencv

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
MAX_IMAGE_PIXELS = 1 << 27
MAX_IMAGE_FILE_BYTES = 1 << 30

_PNG = b"\x89PNG\r\n\x1a\n"


def natural_key(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts `frame2.png` before `frame10.png`."""
    parts = re.split(r"(\d+)", path.name.casefold())
    return (*((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts), (1, 0, path.name))


def is_image(path: Path) -> bool:
    """Whether a file is a picture by its suffix, or by its first bytes."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    known = (_PNG, b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*")
    return head.startswith(known) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


def list_images(folder: Path) -> list[Path]:
    """The pictures in a folder, not in its subfolders, in natural order; hidden files are left out.

    Args:
        folder: Where to look.

    Raises:
        SourceError: The folder cannot be read.
    """
    try:
        files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    except OSError as error:
        raise SourceError(f"cannot list: {error.strerror or error}", where=str(folder)) from error
    return sorted((path for path in files if path.suffix.lower() in IMAGE_SUFFIXES), key=natural_key)


def read_image(path: Path) -> Pixels:
    """Read a picture.

    Args:
        path: A BMP, JPEG, PNG, TIFF or WebP file. Deeper samples lose their low bits, transparency is
            dropped, and an orientation in the file is applied.

    Returns:
        `(H, W, 3) uint8`, BGR.

    Raises:
        FrameError: It cannot be read or decoded, is cut short, or is beyond `MAX_IMAGE_PIXELS`.
    """
    where = str(path)
    try:
        size = path.stat().st_size
        if size > MAX_IMAGE_FILE_BYTES:
            raise FrameError(f"{size} bytes are beyond the limit of {MAX_IMAGE_FILE_BYTES}", where=where)
        data = path.read_bytes()
    except OSError as error:
        raise FrameError(f"cannot read: {error.strerror or error}", where=where) from error
    _check(data, where)
    try:
        with quiet_opencv():
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise FrameError(f"cannot decode the picture: {error.err or 'OpenCV error'}", where=where) from error
    if pixels is None:
        raise FrameError("damaged picture: it cannot be decoded", where=where)
    return np.asarray(pixels, np.uint8)


def _check(data: bytes, where: str) -> None:
    """Refuse what a decoder would half-decode, or spend gigabytes on."""
    if not data:
        raise FrameError("the file is empty", where=where)
    width = height = 0
    if data.startswith(_PNG):
        width, height = _check_png(data, where)
    elif data.startswith(b"\xff\xd8"):
        found = parse_jpeg(data)
        if found is None or not found.complete:
            raise FrameError("damaged picture: the JPEG is cut short", where=where)
        width, height = found.width, found.height
    elif data.startswith(b"BM") and len(data) >= 26:
        width, height = struct.unpack_from("<ii", data, 18)
    elif data.startswith((b"II*\0", b"MM\0*")):
        width, height = _tiff_size(data)
    if abs(width * height) > MAX_IMAGE_PIXELS:
        raise FrameError(
            f"{width}x{abs(height)} pixels are beyond the limit of {MAX_IMAGE_PIXELS}", where=where
        )


def _tiff_size(data: bytes) -> tuple[int, int]:
    """Width and height from the first directory of a TIFF (TIFF 6.0, section 2); 0 where absent."""
    order = "<" if data.startswith(b"II") else ">"
    sizes = {256: 0, 257: 0}
    try:
        (directory,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", data, entry)
            if tag in sizes:
                (sizes[tag],) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, entry + 8)
    except struct.error:
        pass
    return sizes[256], sizes[257]


def _check_png(data: bytes, where: str) -> tuple[int, int]:
    """Walk the chunks of a PNG (ISO/IEC 15948, 5.3): each carries a checksum, the last is IEND."""
    position = len(_PNG)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        if zlib.crc32(data[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise FrameError(f"damaged picture: PNG chunk {kind!r} fails its checksum", where=where)
        if kind == b"IEND":
            width, height = struct.unpack_from(">II", data, len(_PNG) + 8)
            return width, height
        position = end
    raise FrameError("damaged picture: the PNG is cut short", where=where)
