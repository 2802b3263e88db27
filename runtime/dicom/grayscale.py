"""MONOCHROME pictures: modality and value-of-interest transformations (PS3.3 C.11.1, C.11.2)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.runtime.dicom.groups import first_number, frame_value
from bedside.runtime.dicom.header import Header
from bedside.runtime.dicom.tables import Stored, domain, look_up
from bedside.runtime.errors import FrameError, SourceError
from bedside.runtime.frame import Color, Pixels

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Values = npt.NDArray[np.floating[Any]]

_KEPT_TABLES = 8


class Window(msgspec.Struct, frozen=True, omit_defaults=True):
    """The value-of-interest transformation that was applied, after rescaling.

    Attributes:
        origin: `file`; `first-frame` (smallest and largest value of the first frame); `stored-range` (all
            values the stored bits can take); `lut` (the file's VOI table).
        low: Value that became black, where `origin` is a range.
        high: Value that became white, where `origin` is a range.
        center: Window centre, where the file gives one.
        width: Window width, where the file gives one.
        function: `LINEAR`, `LINEAR_EXACT` or `SIGMOID`.
    """

    origin: str
    low: float | None = None
    high: float | None = None
    center: float | None = None
    width: float | None = None
    function: str | None = None


def apply_window(values: Values, center: float, width: float, function: str = "LINEAR") -> Values:
    """Window values to 0..255 (PS3.3 C.11.2.1.2.1, C.11.2.1.3.1, C.11.2.1.3.2), unrounded.

    Args:
        values: Rescaled values, any shape.
        center: Window centre.
        width: Window width; at least 1 for `LINEAR`, above 0 for the others.
        function: `LINEAR`, `LINEAR_EXACT` or `SIGMOID`.

    Raises:
        ValueError: An unknown function, or a width it is not defined for.
    """
    if function == "SIGMOID" and width > 0:
        with np.errstate(over="ignore"):
            return np.asarray(255.0 / (1.0 + np.exp(-4.0 * (values - center) / width)))
    if function == "LINEAR" and width >= 1:
        center, width = center - 0.5, width - 1
    elif function != "LINEAR_EXACT" or not width > 0:
        raise ValueError(f"no {function} window of width {width:g}")
    if width == 0:
        return np.where(values <= center, 0.0, 255.0)
    return np.asarray(np.clip(((values - center) / width + 0.5) * 255.0, 0.0, 255.0))


def _to_bytes(values: Values) -> Pixels:
    finite = np.nan_to_num(values, nan=0.0, posinf=255.0, neginf=0.0)
    return np.asarray(np.floor(np.clip(finite, 0.0, 255.0) + 0.5), np.uint8)


class Grayscale:
    """MONOCHROME1 and MONOCHROME2: modality transformation, window, inversion.

    Args:
        header: Of the object.
        first: Gives the stored values of the first frame, for pictures deeper than 8 bits without a window.
        notes: Receives what was ignored.
    """

    color: Color = "gray"

    def __init__(self, header: Header, first: Callable[[], Stored], notes: list[str]) -> None:
        self._header, self._first_frame, self._notes = header, first, notes
        self._tables: dict[tuple[Any, ...], tuple[Pixels | None, Window]] = {}
        self._range: Window | None = None
        self._wide = header.keyword != "PixelData" or header.bits_allocated > 16
        self.meta: dict[str, Any] = {}
        self._prepare(0)

    def render(self, stored: Stored, photometric: str, index: int, out: Pixels) -> None:
        """Write one frame; see `Rendering.render`."""
        table = self._prepare(index)
        if table is None:
            out[..., 0] = self._convert(np.asarray(stored), index)[0]
        else:
            look_up(table, stored, out)

    def _prepare(self, index: int) -> Pixels | None:
        """The table of a frame (None where values are too wide for one); sets `meta`."""
        key = (*self._rescale(index), *self._window(index))
        if key not in self._tables:
            while len(self._tables) >= _KEPT_TABLES:
                self._tables.pop(next(iter(self._tables)))
            sample = np.zeros(1) if self._wide else domain(self._header)
            table, window = self._convert(sample, index)
            self._tables[key] = (None if self._wide else table, window)
        table_or_none, window = self._tables[key]
        slope, intercept = self._rescale(index)
        self.meta = {"window": msgspec.to_builtins(window)}
        if (slope, intercept) != (1.0, 0.0):
            self.meta["rescale"] = [slope, intercept]
        if self._header.photometric == "MONOCHROME1":
            self.meta["inverted"] = True
        return table_or_none

    def _rescale(self, index: int) -> tuple[float, float]:
        macro = "PixelValueTransformationSequence"
        slope = first_number(frame_value(self._header.dataset, index, macro, "RescaleSlope"))
        intercept = first_number(frame_value(self._header.dataset, index, macro, "RescaleIntercept"))
        return slope or 1.0, intercept or 0.0

    def _window(self, index: int) -> tuple[float | None, float | None, str]:
        dataset, macro = self._header.dataset, "FrameVOILUTSequence"
        function = frame_value(dataset, index, macro, "VOILUTFunction") or "LINEAR"
        return (
            first_number(frame_value(dataset, index, macro, "WindowCenter")),
            first_number(frame_value(dataset, index, macro, "WindowWidth")),
            str(function).strip().upper(),
        )

    def _modality(self, stored: Stored, index: int) -> Values:
        sequence = self._header.dataset.get("ModalityLUTSequence")
        if sequence:
            entries, first, _ = _lut(sequence[0], self._header)
            return entries[np.clip(stored.astype(np.int64) - first, 0, len(entries) - 1)].astype(np.float64)
        slope, intercept = self._rescale(index)
        return stored.astype(np.float64) * slope + intercept

    def _convert(self, stored: Stored, index: int) -> tuple[Pixels, Window]:
        values = self._modality(stored, index)
        sequence = self._header.dataset.get("VOILUTSequence")
        center, width, function = self._window(index)
        if sequence:
            entries, first, bits = _lut(sequence[0], self._header)
            at = np.clip(np.rint(values).astype(np.int64) - first, 0, len(entries) - 1)
            shown: Values = entries[at] * 255.0 / ((1 << bits) - 1)
            window = Window("lut")
        else:
            shown, window = self._windowed(values, center, width, function)
        if self._header.photometric == "MONOCHROME1":
            shown = 255.0 - shown
        return _to_bytes(shown), window

    def _windowed(
        self, values: Values, center: float | None, width: float | None, function: str
    ) -> tuple[Values, Window]:
        if center is not None and width is not None:
            try:
                shown = apply_window(values, center, width, function)
                return shown, Window("file", center=center, width=width, function=function)
            except ValueError as error:
                note = f"the window in the file is ignored: {error}"
                if note not in self._notes:
                    self._notes.append(note)
        window = self._default_window()
        low, high = window.low or 0.0, window.high or 0.0
        if high <= low:
            return np.zeros_like(values), window
        return (values - low) * 255.0 / (high - low), window

    def _default_window(self) -> Window:
        """What stands in for a missing window.

        The whole stored range up to 8 bits, since such pictures are made for the screen; above, the range of
        the first frame without its padding (PS3.3 C.7.5.1.1.2), kept for all frames so that a cine does not
        flicker.
        """
        if self._range is None:
            stored = None
            if self._header.bits_stored > 8 or self._header.keyword != "PixelData":
                with suppress(FrameError):
                    stored = self._first_frame()
            origin = "stored-range" if stored is None else "first-frame"
            ends = self._stored_ends() if stored is None else self._ends_of(stored)
            low, high = sorted(float(value) for value in self._modality(ends, 0))
            self._range = Window(origin, low=low, high=high)
        return self._range

    def _stored_ends(self) -> Stored:
        if self._header.keyword != "PixelData":
            return np.array([0.0, 1.0])
        bits = self._header.bits_stored
        half = 1 << bits - 1 if self._header.signed else 0
        return np.array([-half, (1 << bits) - 1 - half])

    def _ends_of(self, stored: Stored) -> Stored:
        padding = first_number(self._header.dataset.get("PixelPaddingValue"))
        if padding is not None:
            end = first_number(self._header.dataset.get("PixelPaddingRangeLimit"))
            low, high = sorted((padding, padding if end is None else end))
            kept = stored[(stored < low) | (stored > high)]
            stored = kept if kept.size else stored
        if stored.dtype.kind == "f":
            stored = stored[np.isfinite(stored)]
        return np.array([stored.min(), stored.max()]) if stored.size else np.zeros(2)


def _lut(item: Dataset, header: Header) -> tuple[npt.NDArray[np.uint16], int, int]:
    """Entries, first mapped value and bits per entry of a look-up table (PS3.3 C.11.1.1, C.11.2.1.1)."""
    count, first, bits = (int(value) for value in item.LUTDescriptor)
    data = item.LUTData
    if isinstance(data, bytes):
        data = np.frombuffer(data, "<u2" if header.syntax.is_little_endian else ">u2")
    entries = np.atleast_1d(np.asarray(data, np.uint16))[: count or 1 << 16]
    if not entries.size or not 1 <= bits <= 16:
        raise SourceError(f"damaged look-up table: {entries.size} entries of {bits} bits", where=header.path)
    if header.signed and first >= 1 << 15:
        first -= 1 << 16
    return entries, first, bits
