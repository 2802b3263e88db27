"""Palettes, RGB and YBR (PS3.3 C.7.6.3.1)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from bedside.runtime.dicom import open_dicom
from bedside.runtime.errors import SourceError

MakeDicom = Callable[..., Path]


def shown(path: Path) -> np.ndarray[Any, Any]:
    with open_dicom(path) as frames:
        assert frames.info.color == "rgb"
        return frames.frame(0)


def palette(
    entries: np.ndarray[Any, Any], *, first: int = 0, bits: int = 16, order: str = "<"
) -> Callable[[Dataset], None]:
    """Tags of a palette `(N, 3)`; 8-bit entries are packed two to a word."""

    def tags(dataset: Dataset) -> None:
        dataset.PhotometricInterpretation = "PALETTE COLOR"
        for plane, name in enumerate(("Red", "Green", "Blue")):
            setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [len(entries) % 65536, first, bits])
            column = np.ascontiguousarray(entries[:, plane])
            if column.dtype == np.uint8:
                data = column.tobytes() if order == "<" else column.view("<u2").astype(">u2").tobytes()
            else:
                data = column.astype(f"{order}u2").tobytes()
            setattr(dataset, f"{name}PaletteColorLookupTableData", data)

    return tags


RAMP = np.stack([np.arange(256), 255 - np.arange(256), np.full(256, 9)], axis=1)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian], ids=["little", "big"])
@pytest.mark.parametrize("kind", ["16-bit", "8-bit", "8-in-16"])
def test_palettes(make_dicom: MakeDicom, syntax: Any, kind: str) -> None:
    entries = {
        "16-bit": (RAMP * 257).astype(np.uint16),
        "8-bit": RAMP.astype(np.uint8),
        "8-in-16": RAMP.astype(np.uint16),
    }[kind]
    order = "<" if syntax == ExplicitVRLittleEndian else ">"
    stored = np.array([[0, 1, 200, 255]], np.uint8)
    path = make_dicom(
        stored, syntax=syntax, tags=palette(entries, order=order, bits=8 if kind == "8-bit" else 16)
    )
    np.testing.assert_array_equal(shown(path)[0], RAMP[stored[0]])


def test_a_palette_maps_values_outside_of_it_to_its_ends(make_dicom: MakeDicom) -> None:
    entries = np.array([[10, 0, 0], [20, 0, 0]], np.uint16) * 257
    decoded = shown(
        make_dicom(np.array([[0, 99, 100, 101, 4000]], np.uint16), tags=palette(entries, first=100))
    )
    assert decoded[0, :, 0].tolist() == [10, 10, 10, 20, 20]


def test_more_than_256_entries_of_8_bits(make_dicom: MakeDicom) -> None:
    entries = np.repeat((np.arange(512) // 2).astype(np.uint8)[:, None], 3, axis=1)
    decoded = shown(make_dicom(np.array([[0, 300, 511]], np.uint16), tags=palette(entries, bits=8)))
    assert decoded[0, :, 1].tolist() == [0, 150, 255]


def test_a_segmented_palette(make_dicom: MakeDicom) -> None:
    def tags(dataset: Dataset) -> None:
        dataset.PhotometricInterpretation = "PALETTE COLOR"
        for name in ("Red", "Green", "Blue"):
            setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
            # One discrete entry of 0, then a line over 255 entries up to 65280 (C.7.9.2).
            segments = np.array([0, 1, 0, 1, 255, 65280], "<u2").tobytes()
            setattr(dataset, f"Segmented{name}PaletteColorLookupTableData", segments)

    decoded = shown(make_dicom(np.array([[0, 128, 255]], np.uint8), tags=tags))
    assert decoded[0].tolist() == [[0] * 3, [128] * 3, [255] * 3]


def test_a_palette_that_is_missing_or_empty(make_dicom: MakeDicom) -> None:
    with pytest.raises(SourceError, match="without a red palette"):
        shown(make_dicom(np.zeros((2, 2), np.uint8), PhotometricInterpretation="PALETTE COLOR"))


def test_ybr_full(make_dicom: MakeDicom) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    ybr = convert_color_space(rgb, "RGB", "YBR_FULL")
    reference = convert_color_space(ybr, "YBR_FULL", "RGB")
    decoded = shown(make_dicom(ybr, PhotometricInterpretation="YBR_FULL"))
    assert np.abs(decoded.astype(int) - reference).max() <= 1
    planes = np.ascontiguousarray(np.moveaxis(ybr, -1, 0)).reshape(16, 16, 3)
    by_plane = make_dicom(planes, PhotometricInterpretation="YBR_FULL", PlanarConfiguration=1)
    np.testing.assert_array_equal(shown(by_plane), decoded)


def test_rgb_is_left_alone_and_deep_rgb_loses_its_low_bits(make_dicom: MakeDicom) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(shown(make_dicom(rgb)), rgb)
    deep = make_dicom(rgb.astype(np.uint16) << 4, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(shown(deep), rgb)
    with open_dicom(deep) as frames:
        frames.frame(0)
        assert frames.meta()["shift"] == 4


@pytest.mark.parametrize(
    ("photometric", "samples"),
    [("HSV", 3), ("YBR_PARTIAL_420", 3), ("RGB", 1), ("MONOCHROME2", 3), ("", 1)],
)
def test_what_cannot_be_shown_is_refused(make_dicom: MakeDicom, photometric: str, samples: int) -> None:
    pixels = np.zeros((4, 4, 3) if samples == 3 else (4, 4), np.uint8)
    with pytest.raises(SourceError, match="photometric interpretation"):
        shown(make_dicom(pixels, PhotometricInterpretation=photometric))
