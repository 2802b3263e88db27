"""Windows and tables of monochrome pictures (PS3.3 C.11.1, C.11.2)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_windowing
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from bedside.runtime.dicom import open_dicom
from bedside.runtime.dicom.grayscale import apply_window

MakeDicom = Callable[..., Path]


def shown(path: Path, index: int = 0) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    with open_dicom(path) as frames:
        return frames.frame(index)[..., 0], frames.meta()


def test_the_full_range_windows_of_the_standard_change_nothing() -> None:
    # C.11.2.1.2.1: a centre of 2^(n-1) and a width of 2^n select the full range of n bits.
    values = np.arange(256.0)
    np.testing.assert_allclose(apply_window(values, 128, 256), values)
    np.testing.assert_allclose(apply_window(values, 127.5, 255, "LINEAR_EXACT"), values)


def test_windows_by_hand() -> None:
    values = np.array([-10.0, 0, 9, 10, 11, 20, 30])
    # LINEAR, c = 10, w = 21: black up to 10 - 0.5 - 10 = -0.5, white above 19.5.
    np.testing.assert_allclose(
        apply_window(values, 10, 21), [0, 6.375, 121.125, 133.875, 146.625, 255, 255], rtol=1e-12
    )
    np.testing.assert_allclose(
        apply_window(values, 10, 20, "LINEAR_EXACT"), [0, 0, 114.75, 127.5, 140.25, 255, 255], rtol=1e-12
    )
    # A width of 1 is a threshold at c - 0.5.
    np.testing.assert_array_equal(apply_window(np.array([9.0, 9.5, 9.6, 10]), 10, 1), [0, 0, 255, 255])
    sigmoid = apply_window(np.array([10.0, 15.0, 1e9, -1e9]), 10, 20, "SIGMOID")
    np.testing.assert_allclose(sigmoid, [127.5, 255 / (1 + np.exp(-1)), 255, 0])


@pytest.mark.parametrize(
    ("width", "function"), [(0.5, "LINEAR"), (0, "LINEAR_EXACT"), (-1, "SIGMOID"), (9, "CUBIC")]
)
def test_windows_that_are_not_defined(width: float, function: str) -> None:
    with pytest.raises(ValueError, match=function):
        apply_window(np.zeros(1), 0, width, function)


@settings(deadline=None)
@given(
    center=st.floats(-5000, 5000),
    width=st.floats(1, 10000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_windows_rise_from_black_to_white_and_agree_with_pydicom(
    center: float, width: float, function: str
) -> None:
    values = np.arange(-4096, 4096, 7)
    ours = apply_window(values.astype(float), center, width, function)
    assert ours.min() >= 0
    assert ours.max() <= 255
    assert (np.diff(ours) >= 0).all()
    dataset = Dataset()
    dataset.PhotometricInterpretation, dataset.PixelRepresentation, dataset.BitsStored = "MONOCHROME2", 1, 13
    dataset.VOILUTFunction = function
    dataset.WindowCenter, dataset.WindowWidth = round(center, 3), round(width, 3)
    if width >= 2:  # pydicom divides by zero at a LINEAR width of 1
        with np.errstate(over="ignore"):
            theirs = (apply_windowing(values, dataset) + 4096) * (255 / 8191)
        ours = apply_window(values.astype(float), round(center, 3), round(width, 3), function)
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_window_in_the_file(make_dicom: MakeDicom) -> None:
    stored = np.array([[0, 1000, 1024, 1100, 4000]], np.uint16)
    path = make_dicom(
        stored,
        WindowCenter=[40, 300],
        WindowWidth=[400, 1500],
        RescaleSlope=1,
        RescaleIntercept=-1024,
        BitsStored=12,
        HighBit=11,
    )
    pixels, meta = shown(path)
    np.testing.assert_array_equal(
        pixels[0], np.floor(apply_window(stored[0] - 1024.0, 40, 400) + 0.5).astype(np.uint8)
    )
    assert meta["window"] == {"origin": "file", "center": 40.0, "width": 400.0, "function": "LINEAR"}
    assert meta["rescale"] == [1.0, -1024.0]


def test_monochrome1_is_inverted(make_dicom: MakeDicom) -> None:
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels, meta = shown(make_dicom(stored, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(pixels, 255 - stored)
    assert meta["inverted"] is True


def test_eight_bits_without_a_window_are_shown_as_stored(make_dicom: MakeDicom) -> None:
    stored = np.array([[3, 100, 200]], np.uint8)
    pixels, meta = shown(make_dicom(stored))
    np.testing.assert_array_equal(pixels, stored)
    assert meta["window"] == {"origin": "stored-range", "low": 0.0, "high": 255.0}


def test_signed_samples(make_dicom: MakeDicom) -> None:
    pixels, meta = shown(make_dicom(np.array([[-128, 0, 127]], np.int8)))
    assert pixels.tolist() == [[0, 128, 255]]
    assert meta["window"]["low"] == -128.0
    pixels, _ = shown(make_dicom(np.array([[-1000, 0, 1000]], np.int16), WindowCenter=0.5, WindowWidth=2001))
    assert pixels.tolist() == [[0, 128, 255]]


def test_deep_pictures_take_the_range_of_the_first_frame_and_keep_it(make_dicom: MakeDicom) -> None:
    stored = np.array([[[100, 300, 500]], [[0, 300, 4000]]], np.uint16)
    path = make_dicom(stored, NumberOfFrames=2)
    assert shown(path)[0].tolist() == [[0, 128, 255]]
    pixels, meta = shown(path, 1)
    assert pixels.tolist() == [[0, 128, 255]]
    assert meta["window"] == {"origin": "first-frame", "low": 100.0, "high": 500.0}


def test_padding_does_not_stretch_the_range(make_dicom: MakeDicom) -> None:
    def pad(dataset: Dataset) -> None:
        dataset.PixelPaddingValue = -2000

    pixels, meta = shown(make_dicom(np.array([[-2000, 0, 100]], np.int16), tags=pad))
    assert pixels.tolist() == [[0, 0, 255]]
    assert (meta["window"]["low"], meta["window"]["high"]) == (0.0, 100.0)


def test_one_value_everywhere_is_black(make_dicom: MakeDicom) -> None:
    assert not shown(make_dicom(np.full((4, 4), 700, np.uint16)))[0].any()


def test_a_senseless_window_is_ignored_and_said_so(make_dicom: MakeDicom) -> None:
    pixels, meta = shown(make_dicom(np.array([[0, 255]], np.uint8), WindowCenter=127, WindowWidth=0))
    assert pixels.tolist() == [[0, 255]]
    assert meta["window"]["origin"] == "stored-range"
    assert "ignored" in meta["notes"][0]


@pytest.mark.parametrize("vr", ["US", "OW"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian], ids=["little", "big"])
def test_a_table_of_values_of_interest(make_dicom: MakeDicom, syntax: Any, vr: str) -> None:
    def lut(dataset: Dataset) -> None:
        item = Dataset()
        item.LUTDescriptor = [4, 10, 12]
        entries = [0, 1000, 3000, 4095]
        order = "<u2" if syntax == ExplicitVRLittleEndian else ">u2"
        item.add_new("LUTData", vr, entries if vr == "US" else np.array(entries, order).tobytes())
        dataset.VOILUTSequence = Sequence([item])
        dataset.WindowCenter, dataset.WindowWidth = 5, 2

    stored = np.array([[0, 10, 11, 12, 13, 99]], np.uint16)
    pixels, meta = shown(make_dicom(stored, syntax=syntax, tags=lut))
    assert pixels.tolist() == [[0, 0, 62, 187, 255, 255]]
    assert meta["window"] == {"origin": "lut"}


def test_a_modality_table(make_dicom: MakeDicom) -> None:
    def lut(dataset: Dataset) -> None:
        item = Dataset()
        item.LUTDescriptor = [3, 1, 16]
        item.add_new("LUTData", "US", [100, 200, 300])
        item.ModalityLUTType = "US"
        dataset.ModalityLUTSequence = Sequence([item])
        dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = 200, 200, "LINEAR_EXACT"

    assert shown(make_dicom(np.array([[0, 1, 2, 3, 9]], np.uint8), tags=lut))[0].tolist() == [
        [0, 0, 128, 255, 255]
    ]


def test_a_window_for_each_frame(make_dicom: MakeDicom) -> None:
    """Enhanced objects keep window, rescaling and spacing in functional groups, shared or by frame."""

    def groups(dataset: Dataset) -> None:
        shared, rescale = Dataset(), Dataset()
        rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 2, -100, "US"
        shared.PixelValueTransformationSequence = Sequence([rescale])
        dataset.SharedFunctionalGroupsSequence = Sequence([shared])
        frames = []
        for width, spacing in ((100, 0.5), (200, 0.25)):
            window, measures, frame = Dataset(), Dataset(), Dataset()
            window.WindowCenter, window.WindowWidth, window.VOILUTFunction = 0, width, "LINEAR_EXACT"
            measures.PixelSpacing = [spacing, spacing]
            frame.FrameVOILUTSequence = Sequence([window])
            frame.PixelMeasuresSequence = Sequence([measures])
            frames.append(frame)
        dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)

    stored = np.tile(np.array([[0, 50, 75, 100]], np.uint16), (2, 1, 1))  # -100, 0, 50, 100
    path = make_dicom(stored, NumberOfFrames=2, tags=groups)
    assert shown(path, 0)[0].tolist() == [[0, 128, 255, 255]]
    pixels, meta = shown(path, 1)
    assert pixels.tolist() == [[0, 128, 191, 255]]
    assert (meta["window"]["width"], meta["rescale"]) == (200.0, [2.0, -100.0])
    with open_dicom(path) as frames:
        assert [frames.spacing_mm(i) for i in (0, 1)] == [(0.5, 0.5), (0.25, 0.25)]


def test_wide_and_floating_samples(make_dicom: MakeDicom) -> None:
    assert shown(make_dicom(np.array([[10**9, 2 * 10**9, 3 * 10**9]], np.uint32)))[0].tolist() == [
        [0, 128, 255]
    ]
    floats = np.array([[-1.5, 0.0, 1.5, np.nan, np.inf]], np.float32)
    pixels, meta = shown(make_dicom(floats))
    assert pixels.tolist() == [[0, 128, 255, 0, 255]]
    assert meta["window"] == {"origin": "first-frame", "low": -1.5, "high": 1.5}
