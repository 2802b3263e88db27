"""Encoded frames to stored values: pydicom with GDCM, and OpenCV where it gives the same ten times faster."""

from __future__ import annotations

import functools
import re
from contextlib import suppress
from typing import Any, BinaryIO

import cv2
import numpy as np

from bedside.runtime.codestream import Codestream
from bedside.runtime.dicom.encapsulated import check_frame, index_frames, read_frame
from bedside.runtime.dicom.header import Header
from bedside.runtime.dicom.tables import Stored
from bedside.runtime.dicom.vendor import find_decoder
from bedside.runtime.errors import FrameError

_JPEG_LOSSY = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
_JPEG_LOSSLESS = frozenset({"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"})


class FrameDecoder:
    """Decodes the frames of one object, each on its own. Call it inside `vendor(...)`.

    Args:
        header: Of the object.
        stream: The open file.
        notes: Receives what was odd.

    Attributes:
        used: What decoded the last frame, or will decode the first: `native`, a pydicom plugin, or `opencv`.

    Raises:
        SourceError: Nothing here decodes the transfer syntax, or frames are missing.
    """

    def __init__(self, header: Header, stream: BinaryIO, notes: list[str]) -> None:
        self._header, self._stream, self._notes = header, stream, notes
        self._decoder, self._plugin = find_decoder(header.syntax, header.bits_stored, header.path)
        self._fragments = index_frames(header, stream) if header.value_length is None else ()
        self._options: dict[str, Any] = {
            "rows": header.rows,
            "columns": header.columns,
            "samples_per_pixel": header.samples,
            "photometric_interpretation": header.photometric,
            "bits_allocated": header.bits_allocated,
            "bits_stored": header.bits_stored,
            "number_of_frames": 1 if self._fragments else header.frames,
            "pixel_representation": int(header.signed),
            "pixel_keyword": header.keyword,
            "pixel_vr": header.pixel_vr,
            "planar_configuration": int(header.dataset.get("PlanarConfiguration") or 0),
        }
        self.used = self._plugin or "native"
        self._peek()

    def _peek(self) -> None:
        """Learn from the first frame which decoder it will be, and whether its colours fit the header."""
        if not self._fragments:
            return
        with suppress(FrameError):
            found = check_frame(self._header, read_frame(self._header, self._stream, self._fragments[0]))
            if found is None or not _suits_opencv(self._header, found):
                return
            self.used = "opencv"
            if self._header.photometric == "RGB" and found.colors == "jfif":
                self._notes.append("the header says RGB, the JPEG is marked as YCbCr (JFIF): taken for YCbCr")

    def stored(self, index: int) -> tuple[Stored, str]:
        """Decode one frame.

        Args:
            index: Zero-based frame number.

        Returns:
            Stored values, `(H, W)` or `(H, W, 3)`, and their photometric interpretation, which a decoder may
            have changed.

        Raises:
            FrameError: This frame cannot be decoded.
        """
        header = self._header
        if not self._fragments:
            self._stream.seek(header.value_at)
            return self._by_pydicom(self._stream, index)
        from pydicom.encaps import encapsulate

        data = read_frame(header, self._stream, self._fragments[index])
        found = check_frame(header, data)
        if found is not None and _suits_opencv(header, found):
            self.used = "opencv"
            return _by_opencv(header, data), "RGB" if header.samples == 3 else header.photometric
        if found is not None and not found.sound:
            # GDCM ends the process where libjpeg merely warns of a header (gdcmJPEGBITSCodec.hxx).
            raise FrameError("damaged frame: a marker of the JPEG has an unknown value", where=header.path)
        self.used = self._plugin
        return self._by_pydicom(encapsulate([data], has_bot=False), 0)

    def _by_pydicom(self, source: BinaryIO | bytes, index: int) -> tuple[Stored, str]:
        header = self._header
        stored, properties = self._decoder.as_array(
            source, index=index, raw=True, decoding_plugin=self._plugin, **self._options
        )
        expected = (header.rows, header.columns, 3)[: 2 if header.samples == 1 else 3]
        if stored.shape != expected:
            raise FrameError(f"decoded to {stored.shape}, expected {expected}", where=header.path)
        return stored, str(properties["photometric_interpretation"])


@functools.cache
def _opencv_reads_lossless() -> bool:
    """Whether the libjpeg-turbo inside OpenCV is 3.0 or newer, which decodes lossless JPEG."""
    match = re.search(r"libjpeg-turbo \(ver (\d+)\.", cv2.getBuildInformation())
    return match is not None and int(match[1]) >= 3


def _suits_opencv(header: Header, found: Codestream) -> bool:
    """Whether OpenCV's libjpeg-turbo gives the picture that the DICOM header means.

    libjpeg converts to RGB by the codestream's markers, and takes three unmarked components for YCbCr; it
    never converts a lossless one. Where that and the photometric interpretation disagree, pydicom's rules and
    GDCM decide.
    """
    if found.precision != 8 or header.bits_stored != 8 or header.signed:
        return False
    lossless = header.syntax in _JPEG_LOSSLESS
    if not (header.syntax in _JPEG_LOSSY or (lossless and _opencv_reads_lossless())):
        return False
    if header.samples == 1:
        return True
    if header.photometric == "RGB":
        return found.colors == "rgb" or (found.colors == "jfif" and not lossless)
    ybr = header.photometric in ("YBR_FULL", "YBR_FULL_422")
    return ybr and not lossless and found.colors in ("jfif", "ycc", "unmarked")


def _by_opencv(header: Header, data: bytes) -> Stored:
    flag = cv2.IMREAD_COLOR_RGB if header.samples == 3 else cv2.IMREAD_GRAYSCALE
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None or picture.shape[:2] != (header.rows, header.columns):
        raise FrameError("damaged frame: the JPEG cannot be decoded", where=header.path)
    return picture
