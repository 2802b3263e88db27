"""Stored values to 8-bit pictures: modality and VOI transformations, palettes, YBR (PS3.3 C.7.6.3, C.11.1, C.11.2).

Everything that depends on one stored value alone is worked out once as a table over all values a sample can
take, and a frame is a single look-up in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from bedside.runtime.dicom.header import Header
from bedside.runtime.errors import FrameError, SourceError
from bedside.runtime.frame import Color, Pixels

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Stored = npt.NDArray[Any]
Values = npt.NDArray[np.float64]

_KEPT_TABLES = 8


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


class Window(msgspec.Struct, frozen=True, omit_defaults=True):
    """The value-of-interest transformation that was applied, after rescaling.

    Attributes:
        origin: `file`; `first-frame` (smallest and largest value of the first frame); `stored-range` (all values
            the stored bits can take); `lut` (the file's VOI table).
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
    return np.clip(((values - center) / width + 0.5) * 255.0, 0.0, 255.0)


def _to_bytes(values: Values) -> Pixels:
    return np.floor(np.clip(values, 0.0, 255.0) + 0.5).astype(np.uint8)


def _domain(header: Header) -> Stored:
    """Every value a sample can take, in the order of its bit pattern."""
    bits = 16 if header.bits_allocated == 16 else 8
    unsigned = np.arange(1 << bits, dtype=np.uint16 if bits == 16 else np.uint8)
    return unsigned.view(np.int16 if bits == 16 else np.int8) if header.signed else unsigned


def _look_up(table: Pixels, stored: Stored, out: Pixels) -> None:
    """Write `table[stored]`; table `(N,)` or `(N, 3)`, stored `(H, W)` of 8 or 16 bits."""
    index = np.ascontiguousarray(stored.astype(stored.dtype.newbyteorder("="), copy=False))
    index = index.view(np.uint8 if index.itemsize == 1 else np.uint16)
    # Every index is inside the table by its type; "wrap" only spares numpy the check and a buffer.
    np.take(table, index, axis=0, out=out if table.ndim == 2 else out[..., 0], mode="wrap")


def _group_item(dataset: Dataset, index: int, name: str) -> Dataset | None:
    """A functional group macro of one frame: its own, else the shared one (PS3.3 C.7.6.16)."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for groups in ([per_frame[index]] if index < len(per_frame) else []), shared[:1]:
        for group in groups:
            item: Dataset | None = next(iter(group.get(name) or ()), None)
            if item is not None:
                return item
    return None


def frame_value(dataset: Dataset, index: int, macro: str, keyword: str) -> Any:
    """An attribute of one frame: from its functional group macro, else from the top of the data set."""
    item = _group_item(dataset, index, macro)
    value = None if item is None else item.get(keyword)
    return dataset.get(keyword) if value is None or value == "" else value


def _first(value: Any) -> float | None:
    """The first value of a DS attribute, None where empty or not finite."""
    if value is None or value == "":
        return None
    if not isinstance(value, (str, int, float)):
        value = next(iter(value), None)
    number = None if value is None else float(value)
    return number if number is not None and np.isfinite(number) else None


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
        self._range: tuple[float, float] | None = None
        self._wide = header.keyword != "PixelData" or header.bits_allocated > 16
        self.meta: dict[str, Any] = {}
        self._prepare(0)

    def render(self, stored: Stored, photometric: str, index: int, out: Pixels) -> None:
        """Write one frame; see `Rendering.render`."""
        table = self._prepare(index)
        if table is None:
            out[..., 0] = self._convert(np.asarray(stored), index)[0]
        else:
            _look_up(table, stored, out)

    def _prepare(self, index: int) -> Pixels | None:
        """The table of a frame (None where values are too wide for one); sets `meta`."""
        key = (*self._rescale(index), *self._window(index))
        if key not in self._tables:
            while len(self._tables) >= _KEPT_TABLES:
                self._tables.pop(next(iter(self._tables)))
            sample = np.zeros(1) if self._wide else _domain(self._header)
            table, window = self._convert(sample, index)
            self._tables[key] = (None if self._wide else table, window)
        table_or_none, window = self._tables[key]
        slope, intercept = self._rescale(index)
        self.meta = {"window": {k: v for k, v in msgspec.to_builtins(window).items() if v is not None}}
        if (slope, intercept) != (1.0, 0.0):
            self.meta["rescale"] = [slope, intercept]
        if self._header.photometric == "MONOCHROME1":
            self.meta["inverted"] = True
        return table_or_none

    def _rescale(self, index: int) -> tuple[float, float]:
        macro = "PixelValueTransformationSequence"
        slope = _first(frame_value(self._header.dataset, index, macro, "RescaleSlope"))
        intercept = _first(frame_value(self._header.dataset, index, macro, "RescaleIntercept"))
        return slope or 1.0, intercept or 0.0

    def _window(self, index: int) -> tuple[float | None, float | None, str]:
        dataset, macro = self._header.dataset, "FrameVOILUTSequence"
        function = frame_value(dataset, index, macro, "VOILUTFunction") or "LINEAR"
        return (
            _first(frame_value(dataset, index, macro, "WindowCenter")),
            _first(frame_value(dataset, index, macro, "WindowWidth")),
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
            shown, window = entries[at] * (255.0 / ((1 << bits) - 1)), Window("lut")
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
        if self._header.bits_stored <= 8 and self._header.keyword == "PixelData":
            origin, (low, high) = "stored-range", self._stored_range()
        else:
            origin, (low, high) = "first-frame", self._first_range()
        if high <= low:
            return np.zeros_like(values), Window(origin, low=low, high=high)
        return (values - low) * (255.0 / (high - low)), Window(origin, low=low, high=high)

    def _stored_range(self) -> tuple[float, float]:
        bits = self._header.bits_stored
        ends = np.array([-(1 << bits - 1), (1 << bits - 1) - 1] if self._header.signed else [0, (1 << bits) - 1])
        low, high = sorted(self._modality(ends, 0).tolist())
        return low, high

    def _first_range(self) -> tuple[float, float]:
        """Smallest and largest rescaled value of the first frame, padding left out (PS3.3 C.7.5.1.1.2)."""
        if self._range is None:
            try:
                stored = self._first_frame()
            except FrameError:
                return self._stored_range() if self._header.keyword == "PixelData" else (0.0, 1.0)
            padding = _first(self._header.dataset.get("PixelPaddingValue"))
            if padding is not None:
                end = _first(self._header.dataset.get("PixelPaddingRangeLimit"))
                low, high = sorted((padding, padding if end is None else end))
                kept = stored[(stored < low) | (stored > high)]
                stored = kept if kept.size else stored
            finite = stored[np.isfinite(stored)] if stored.dtype.kind == "f" else stored
            ends = np.array([finite.min(), finite.max()]) if finite.size else np.zeros(2)
            low, high = sorted(self._modality(ends, 0).tolist())
            self._range = (low, high)
        return self._range


def _lut(item: Dataset, header: Header) -> tuple[npt.NDArray[np.uint16], int, int]:
    """Entries, first mapped value and bits per entry of a modality or VOI table (PS3.3 C.11.1.1, C.11.2.1.1)."""
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


class Palette:
    """PALETTE COLOR: one table from stored value to RGB (PS3.3 C.7.6.3.1.5, C.7.6.3.1.6)."""

    color: Color = "rgb"

    def __init__(self, header: Header) -> None:
        if header.bits_allocated not in (8, 16):
            raise SourceError(f"a palette for {header.bits_allocated}-bit values", where=header.path)
        dataset = header.dataset
        domain = _domain(header)
        if "SegmentedRedPaletteColorLookupTableData" in dataset:
            from pydicom.pixels.processing import apply_color_lut

            table = np.asarray(apply_color_lut(domain, dataset))[..., :3]
            bits = table.dtype.itemsize * 8
        else:
            planes = []
            for name in ("Red", "Green", "Blue"):
                entries, first = _palette_plane(header, name)
                planes.append(entries[np.clip(domain.astype(np.int64) - first, 0, len(entries) - 1)])
            bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
            table = np.stack(planes, axis=-1)
        # 16-bit entries span 0..65535, but some devices store 8-bit intensities in 16-bit words.
        shift = 8 if bits == 16 and int(table.max()) > 255 else 0
        self._table = np.ascontiguousarray((table >> shift).astype(np.uint8))
        self.meta: dict[str, Any] = {"palette": {"bits": bits, "shift": shift}}

    def render(self, stored: Stored, photometric: str, index: int, out: Pixels) -> None:
        """Write one frame; see `Rendering.render`."""
        _look_up(self._table, stored, out)


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
        picture = np.ascontiguousarray((stored >> self._shift).astype(np.uint8, copy=False))
        if photometric == "RGB":
            np.copyto(out, picture)
        elif photometric in ("YBR_FULL", "YBR_FULL_422"):
            # OpenCV wants Y, Cr, Cb and knows the same BT.601 full-range matrix that C.7.6.3.1.2 gives.
            cv2.cvtColor(np.ascontiguousarray(picture[..., ::-1][..., [2, 0, 1]]), cv2.COLOR_YCrCb2RGB, dst=out)
        else:
            raise FrameError(f"no conversion from {photometric} to RGB", where=self._path)


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
