"""Calibrated regions and pixel spacing (PS3.3 C.8.5.5, C.7.6.16.2.1, 10.7.1.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bedside.runtime.dicom.groups import frame_value
from bedside.runtime.dicom.header import Header
from bedside.runtime.frame import Region
from bedside.runtime.geometry import Rect

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAX_REGIONS = 64

_CENTIMETRE = 3  # C.8.5.5.1.15, physical units
_2D, _M_MODE, _SPECTRAL = 1, 2, 3  # C.8.5.5.1.2, region spatial format
_KIND_2D = {1: "b-mode", 2: "color-flow"}  # C.8.5.5.1.3, region data type
_DOPPLER_TYPES = frozenset({3, 4, 5, 6, 7})

Spacing = tuple[float, float]


def read_regions(header: Header, notes: list[str]) -> tuple[Region, ...]:
    """The ultrasound regions of an object.

    Region limits are inclusive in DICOM. Many devices write the width and the height as the largest column
    and row, one too many: that is cut. A region that lies further outside was written for a picture of
    another size (the echo cine that pydicom ships is one): its place and its spacing are both wrong here, so
    it is left out.

    Args:
        header: Of the object.
        notes: Receives what was left out.

    Returns:
        The regions that can be trusted, in the file's order.
    """
    found: list[Region] = []
    items = header.dataset.get("SequenceOfUltrasoundRegions") or []
    for number, item in enumerate(items):
        if number >= MAX_REGIONS:
            notes.append(f"only the first {MAX_REGIONS} of {len(items)} ultrasound regions are read")
            break
        corners = [item.get(f"RegionLocation{end}0") for end in ("MinX", "MinY")]
        corners += [item.get(f"RegionLocation{end}1") for end in ("MaxX", "MaxY")]
        if any(value is None for value in corners):
            notes.append(f"ultrasound region {number} is left out: no location")
            continue
        x0, y0, x1, y1 = (int(value) for value in corners)
        if not (0 <= x0 <= x1 <= header.columns and 0 <= y0 <= y1 <= header.rows):
            notes.append(
                f"ultrasound region {number} is left out: [{x0}..{x1}] x [{y0}..{y1}] does not lie in the "
                f"{header.columns}x{header.rows} picture"
            )
            continue
        width, height = min(x1 + 1, header.columns) - x0, min(y1 + 1, header.rows) - y0
        if width > 0 and height > 0:
            found.append(Region(Rect(x0, y0, width, height), _region_spacing(item), _region_kind(item)))
    return tuple(found)


def _region_kind(item: Dataset) -> str:
    spatial, data = int(item.get("RegionSpatialFormat") or 0), int(item.get("RegionDataType") or 0)
    if spatial == _2D:
        return _KIND_2D.get(data, "other")
    if spatial == _M_MODE:
        return "m-mode"
    if spatial == _SPECTRAL or data in _DOPPLER_TYPES:
        return "doppler"
    return "other"


def _region_spacing(item: Dataset) -> Spacing | None:
    """`(mm per row, mm per column)` of a 2D region whose two axes are lengths."""
    if item.get("RegionSpatialFormat") != _2D:
        return None
    if {item.get("PhysicalUnitsXDirection"), item.get("PhysicalUnitsYDirection")} != {_CENTIMETRE}:
        return None
    row, column = (abs(float(item.get(f"PhysicalDelta{axis}") or 0.0)) * 10.0 for axis in "YX")
    return (row, column) if row > 0 and column > 0 else None


def picture_spacing(header: Header, regions: tuple[Region, ...], index: int) -> Spacing | None:
    """The spacing of a whole frame.

    Args:
        header: Of the object.
        regions: Of the object.
        index: Zero-based frame number.

    Returns:
        The spacing that all 2D regions share where there are any, else `PixelSpacing`; None where 2D regions
        differ or nothing is known. `ImagerPixelSpacing` is not used: it is measured at the detector.
    """
    if header.dataset.get("SequenceOfUltrasoundRegions"):
        spacings = {region.spacing_mm for region in regions if region.spacing_mm is not None}
        return spacings.pop() if len(spacings) == 1 else None
    value = frame_value(header.dataset, index, "PixelMeasuresSequence", "PixelSpacing")
    if value is None or isinstance(value, (str, float)) or len(value) != 2:
        return None
    row, column = float(value[0]), float(value[1])
    return (row, column) if row > 0 and column > 0 else None
