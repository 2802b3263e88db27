"""Stored values to 8-bit pictures.

Everything that depends on one stored value alone is worked out once as a table over all values a sample can
take, and a frame is a single look-up in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from bedside.runtime.dicom.color import Palette, TrueColor
from bedside.runtime.dicom.grayscale import Grayscale
from bedside.runtime.dicom.header import Header
from bedside.runtime.dicom.tables import Stored
from bedside.runtime.errors import SourceError
from bedside.runtime.frame import Color, Pixels


class Rendering(Protocol):
    """Turns the stored values of a frame into pixels."""

    color: Color
    meta: dict[str, Any]

    def render(self, stored: Stored, photometric: str, index: int, out: Pixels) -> None:
        """Write one frame.

        Args:
            stored: `(H, W)` or `(H, W, 3)`, as decoded.
            photometric: Of `stored`: decoders may have changed it.
            index: Zero-based frame number.
            out: `(H, W, C) uint8`, written in place.
        """
        ...


def make_rendering(header: Header, first: Callable[[], Stored], notes: list[str]) -> Rendering:
    """Choose the conversion for an object.

    Args:
        header: Of the object.
        first: Gives the stored values of its first frame.
        notes: Receives what was ignored.

    Raises:
        SourceError: A photometric interpretation, or a palette, that cannot be shown.
    """
    kind = header.photometric
    if header.samples == 1 and kind in ("MONOCHROME1", "MONOCHROME2"):
        if header.dataset.get("PixelPresentation") in ("COLOR", "MIXED"):
            notes.append("the supplemental palette is not applied")
        return Grayscale(header, first, notes)
    if header.samples == 1 and kind == "PALETTE COLOR":
        return Palette(header)
    if header.samples == 3 and kind in ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"):
        return TrueColor(header)
    raise SourceError(
        f"photometric interpretation {kind or '(none)'} with {header.samples} samples per pixel",
        where=header.path,
        hint="expected MONOCHROME1, MONOCHROME2, PALETTE COLOR, RGB or YBR",
    )
