"""Colour pictures: palettes, RGB and YBR (PS3.3 C.7.6.3.1)."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from bedside.runtime.dicom.header import Header
from bedside.runtime.dicom.tables import Stored, domain, look_up
from bedside.runtime.errors import FrameError, SourceError
from bedside.runtime.frame import Color, Pixels


class Palette:
    """PALETTE COLOR: one table from stored value to RGB (PS3.3 C.7.6.3.1.5, C.7.6.3.1.6)."""

    color: Color = "rgb"

    def __init__(self, header: Header) -> None:
        if header.bits_allocated not in (8, 16):
            raise SourceError(f"a palette for {header.bits_allocated}-bit values", where=header.path)
        dataset = header.dataset
        values = domain(header)
        if "SegmentedRedPaletteColorLookupTableData" in dataset:
            from pydicom.pixels.processing import apply_color_lut

            table = np.asarray(apply_color_lut(values, dataset))[..., :3]
            bits = table.dtype.itemsize * 8
        else:
            planes = []
            for name in ("Red", "Green", "Blue"):
                entries, first = _palette_plane(header, name)
                planes.append(entries[np.clip(values.astype(np.int64) - first, 0, len(entries) - 1)])
            bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
            table = np.stack(planes, axis=-1)
        # 16-bit entries span 0..65535, but some devices store 8-bit intensities in 16-bit words.
        shift = 8 if int(table.max()) > 255 else 0
        self._table = np.ascontiguousarray((table >> shift).astype(np.uint8))
        self.meta: dict[str, Any] = {"palette": {"bits": bits, "shift": shift}}

    def render(self, stored: Stored, photometric: str, index: int, out: Pixels) -> None:
        """Write one frame; see `Rendering.render`."""
        look_up(self._table, stored, out)


def _palette_plane(header: Header, name: str) -> tuple[npt.NDArray[np.uint16], int]:
    dataset = header.dataset
    descriptor = dataset.get(f"{name}PaletteColorLookupTableDescriptor")
    data = dataset.get(f"{name}PaletteColorLookupTableData")
    if descriptor is None or not isinstance(data, bytes) or not data:
        raise SourceError(f"PALETTE COLOR without a {name.lower()} palette", where=header.path)
    count, first = (int(descriptor[0]) or 1 << 16), int(descriptor[1])
    order = "<" if header.syntax.is_little_endian else ">"
    if len(data) >= 2 * count:
        entries = np.frombuffer(data[: 2 * count], f"{order}u2").astype(np.uint16)
    else:
        # Two 8-bit entries to a word, the first in its low byte.
        even = data[: len(data) // 2 * 2]
        entries = np.frombuffer(even, f"{order}u2").astype("<u2").view(np.uint8).astype(np.uint16)[:count]
    if not entries.size:
        raise SourceError(f"the {name.lower()} palette is empty", where=header.path)
    if header.signed and first >= 1 << 15:
        first -= 1 << 16
    return entries, first


class TrueColor:
    """RGB and YBR (PS3.3 C.7.6.3.1.2). Samples deeper than 8 bits lose their low bits."""

    color: Color = "rgb"

    def __init__(self, header: Header) -> None:
        self._shift = max(0, header.bits_stored - 8)
        self._path = header.path
        self.meta: dict[str, Any] = {"shift": self._shift} if self._shift else {}

    def render(self, stored: Stored, photometric: str, index: int, out: Pixels) -> None:
        """Write one frame; see `Rendering.render`."""
        picture = stored >> self._shift if self._shift else stored
        picture = np.ascontiguousarray(picture.astype(np.uint8, copy=False))
        if photometric == "RGB":
            np.copyto(out, picture)
        elif photometric in ("YBR_FULL", "YBR_FULL_422"):
            # OpenCV wants Y, Cr, Cb, and its matrix is the full-range BT.601 one of C.7.6.3.1.2.
            swapped = np.empty_like(picture)
            cv2.mixChannels([picture], [swapped], [0, 0, 1, 2, 2, 1])
            cv2.cvtColor(swapped, cv2.COLOR_YCrCb2RGB, dst=out)
        else:
            raise FrameError(f"no conversion from {photometric} to RGB", where=self._path)
