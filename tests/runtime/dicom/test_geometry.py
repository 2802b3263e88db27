"""Regions and spacing (PS3.3 C.8.5.5)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from bedside.runtime.dicom import open_dicom
from bedside.runtime.frame import Region
from bedside.runtime.geometry import Rect

MakeDicom = Callable[..., Path]


def region(x0: int, y0: int, x1: int, y1: int, **extra: Any) -> Dataset:
    item = Dataset()
    item.RegionLocationMinX0, item.RegionLocationMinY0 = x0, y0
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = x1, y1
    values = {
        "RegionSpatialFormat": 1,
        "RegionDataType": 1,
        "PhysicalUnitsXDirection": 3,
        "PhysicalUnitsYDirection": 3,
        "PhysicalDeltaX": 0.02,
        "PhysicalDeltaY": 0.03,
    } | extra
    for key, value in values.items():
        if value is not None:
            setattr(item, key, value)
    return item


def read(
    make_dicom: MakeDicom, *items: Dataset, **attributes: Any
) -> tuple[tuple[Region, ...], Any, tuple[str, ...]]:
    def tags(dataset: Dataset) -> None:
        if items:
            dataset.SequenceOfUltrasoundRegions = Sequence(items)

    with open_dicom(make_dicom(np.zeros((48, 64), np.uint8), tags=tags, **attributes)) as frames:
        return frames.info.regions, frames.spacing_mm(0), frames.info.notes


def test_limits_are_inclusive_and_centimetres_become_millimetres(make_dicom: MakeDicom) -> None:
    regions, spacing, notes = read(make_dicom, region(4, 2, 33, 21))
    assert regions == (Region(Rect(4, 2, 30, 20), pytest.approx((0.3, 0.2)), "b-mode"),)
    assert spacing == pytest.approx((0.3, 0.2))
    assert notes == ()


def test_a_limit_of_one_too_many_is_cut(make_dicom: MakeDicom) -> None:
    (found,), _, notes = read(make_dicom, region(0, 0, 64, 48))
    assert found.rect == Rect(0, 0, 64, 48)
    assert found.rect.inside(64, 48)
    assert notes == ()


@pytest.mark.parametrize(
    "corners", [(0, 0, 65, 20), (0, 0, 20, 49), (30, 0, 20, 20), (640, 480, 700, 500)], ids=str
)
def test_a_region_for_a_picture_of_another_size_is_left_out(
    make_dicom: MakeDicom, corners: tuple[int, int, int, int]
) -> None:
    regions, spacing, notes = read(make_dicom, region(*corners))
    assert regions == ()
    assert spacing is None
    assert "64x48" in notes[0]


def test_a_region_without_a_place_is_left_out(make_dicom: MakeDicom) -> None:
    item = region(0, 0, 9, 9)
    del item.RegionLocationMaxX1
    regions, _, notes = read(make_dicom, item)
    assert regions == ()
    assert "no location" in notes[0]


@pytest.mark.parametrize(
    ("spatial", "data", "kind"),
    [
        (1, 1, "b-mode"),
        (1, 2, "color-flow"),
        (1, 13, "other"),
        (2, 1, "m-mode"),
        (3, 3, "doppler"),
        (4, 5, "doppler"),
        (4, 10, "other"),
        (0, 0, "other"),
    ],
)
def test_kinds_and_lengths(make_dicom: MakeDicom, spatial: int, data: int, kind: str) -> None:
    (found,), _, _ = read(make_dicom, region(0, 0, 9, 9, RegionSpatialFormat=spatial, RegionDataType=data))
    assert found.kind == kind
    # Only in a 2D region are both axes lengths.
    assert (found.spacing_mm is not None) == (spatial == 1)


@pytest.mark.parametrize(
    "extra",
    [{"PhysicalUnitsXDirection": 4}, {"PhysicalDeltaY": 0.0}, {"PhysicalDeltaX": None}],
    ids=["seconds", "zero", "absent"],
)
def test_no_length_no_spacing(make_dicom: MakeDicom, extra: dict[str, Any]) -> None:
    (found,), spacing, _ = read(make_dicom, region(0, 0, 9, 9, **extra))
    assert found.spacing_mm is None
    assert spacing is None


def test_regions_that_differ_leave_the_picture_without_a_spacing(make_dicom: MakeDicom) -> None:
    regions, spacing, _ = read(
        make_dicom, region(0, 0, 9, 9), region(20, 0, 29, 9, PhysicalDeltaX=0.01, PhysicalDeltaY=0.01)
    )
    assert len(regions) == 2
    assert spacing is None


def test_other_modalities_use_pixel_spacing(make_dicom: MakeDicom) -> None:
    assert read(make_dicom, PixelSpacing=[0.7, 0.5])[1] == (0.7, 0.5)
    assert read(make_dicom, ImagerPixelSpacing=[0.7, 0.5])[1] is None
    assert read(make_dicom, PixelSpacing=[0, 0.5])[1] is None


def test_real_regions(data_root: Path) -> None:
    with open_dicom(data_root / "ultrasound" / "dicom" / "gdcm-US-ALOKA-16.dcm") as frames:
        kinds = [region.kind for region in frames.info.regions]
        assert kinds == ["b-mode", "b-mode", "other"]
        assert frames.info.regions[1].rect == Rect(336, 24, 304, 392)
        assert frames.spacing_mm(0) == pytest.approx((0.38265, 0.38265), rel=1e-4)
