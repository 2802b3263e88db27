"""Real objects of every transfer syntax, decoded to the pictures they are."""

import json
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.pixels import pixel_array
from pydicom.pixels.processing import apply_color_lut

from bedside.runtime.dicom import decodable, decode, is_dicom, open_dicom

Find = Callable[[str], Path]

# Name, (H, W, C), frames, colour, decoder.
REAL = [
    ("ExplVR_BigEnd.dcm", (60, 80, 3), 1, "rgb", "native"),
    ("JPGLosslessP14SV1_1s_1f_8b.dcm", (768, 1024, 1), 1, "gray", "opencv"),
    ("OBXXXX1A_2frame.dcm", (600, 800, 3), 2, "rgb", "native"),
    ("OBXXXX1A_rle_2frame.dcm", (600, 800, 3), 2, "rgb", "pydicom"),
    ("US1_J2KI.dcm", (480, 640, 3), 1, "rgb", "gdcm"),
    ("US1_J2KR.dcm", (480, 640, 3), 1, "rgb", "gdcm"),
    ("US1_UNCR.dcm", (480, 640, 3), 1, "rgb", "native"),
    ("color-px.dcm", (120, 256, 3), 1, "rgb", "native"),
    ("examples_jpeg2k.dcm", (480, 640, 3), 1, "rgb", "gdcm"),
    ("examples_palette.dcm", (350, 800, 3), 1, "rgb", "native"),
    ("examples_rgb_color.dcm", (240, 320, 3), 1, "rgb", "native"),
    ("examples_ybr_color.dcm", (240, 320, 3), 30, "rgb", "opencv"),
    ("gdcm-US-ALOKA-16.dcm", (480, 640, 3), 1, "rgb", "native"),
    ("sonoque_anechoic-3mm-3mm.dcm", (1455, 2083, 3), 1, "rgb", "opencv"),
    ("sonoque_axial-lateral-resolution-2020.dcm", (1455, 2083, 3), 1, "rgb", "opencv"),
]

# The bands of pydicom's "SC_rgb" pictures, from top to bottom.
BANDS = [
    (255, 0, 0),
    (255, 128, 128),
    (0, 255, 0),
    (128, 255, 128),
    (0, 0, 255),
    (128, 128, 255),
    (0, 0, 0),
    (64, 64, 64),
    (192, 192, 192),
    (255, 255, 255),
]
BANDED = [
    "SC_rgb_dcmtk_+eb+cr.dcm",
    "SC_rgb_dcmtk_+eb+cy+n1.dcm",
    "SC_rgb_dcmtk_+eb+cy+n2.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "SC_rgb_dcmtk_+eb+cy+s2.dcm",
    "SC_rgb_dcmtk_+eb+cy+s4.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jls_lossy_sample.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_jpeg_lossy_gdcm.dcm",
    "SC_rgb_rle.dcm",
    "SC_rgb_rle_16bit.dcm",
    "SC_rgb_rle_32bit.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
]


def picture(path: Path, index: int = 0) -> np.ndarray[Any, Any]:
    with open_dicom(path) as frames:
        return frames.frame(index)


def difference(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize(("name", "shape", "count", "color", "decoder"), REAL, ids=[row[0] for row in REAL])
def test_real_objects_open_and_decode(
    data_root: Path, name: str, shape: tuple[int, int, int], count: int, color: str, decoder: str
) -> None:
    with open_dicom(data_root / "ultrasound" / "dicom" / name) as frames:
        assert frames.info.decoder == decoder
        decoded = frames.frame(len(frames) - 1)
        assert (decoded.shape, decoded.dtype, len(frames)) == (shape, np.uint8, count)
        assert (frames.info.color, frames.info.width, frames.info.height) == (color, shape[1], shape[0])
        assert frames.meta()["decoder"] == decoder
        # A picture: neither one grey nor noise.
        assert decoded.std() > 5
        json.dumps(frames.meta())


def test_the_same_picture_in_four_syntaxes(data_root: Path) -> None:
    folder = data_root / "ultrasound" / "dicom"
    plain = picture(folder / "US1_UNCR.dcm")
    np.testing.assert_array_equal(plain, pydicom.dcmread(folder / "US1_UNCR.dcm").pixel_array)
    np.testing.assert_array_equal(plain, picture(folder / "US1_J2KR.dcm"))
    np.testing.assert_array_equal(plain, picture(folder / "examples_jpeg2k.dcm"))
    assert np.abs(plain.astype(int) - picture(folder / "US1_J2KI.dcm")).mean() < 2
    for index in (0, 1):
        np.testing.assert_array_equal(
            picture(folder / "OBXXXX1A_2frame.dcm", index), picture(folder / "OBXXXX1A_rle_2frame.dcm", index)
        )


@pytest.mark.parametrize("name", ["OBXXXX1A_2frame.dcm", "examples_palette.dcm", "gdcm-US-ALOKA-16.dcm"])
def test_palettes_agree_with_pydicom(data_root: Path, name: str) -> None:
    path = data_root / "ultrasound" / "dicom" / name
    dataset = pydicom.dcmread(path)
    reference = apply_color_lut(pixel_array(dataset, index=0), dataset) >> 8
    np.testing.assert_array_equal(picture(path), reference)


def test_colours_are_where_they_belong(data_root: Path) -> None:
    folder = data_root / "ultrasound" / "dicom"
    big_endian = picture(folder / "ExplVR_BigEnd.dcm")
    assert big_endian[40, 40].tolist() == [255, 255, 0]
    doppler = picture(folder / "color-px.dcm").astype(int)
    red, blue = doppler[..., 0] - doppler[..., 2] > 100, doppler[..., 2] - doppler[..., 0] > 100
    assert red.sum() > 200
    assert blue.sum() > 200
    # Marked RGB, but its JPEG is YCbCr: taken at its word, this grey phantom would be green.
    phantom = picture(folder / "sonoque_anechoic-3mm-3mm.dcm")
    assert np.abs(phantom[..., 0].astype(int) - phantom[..., 1]).mean() < 1


@pytest.mark.parametrize("name", BANDED)
def test_bands_have_their_colours(shipped: Find, name: str) -> None:
    decoded = picture(shipped(name))
    for band, expected in enumerate(BANDS):
        # Lossy coding moves a saturated colour by a few steps; a wrong colour space by a hundred.
        assert difference(decoded[10 * band + 5, 50], np.array(expected)) <= 8, f"band {band}"


@pytest.mark.parametrize(
    "suffix",
    ["", "_RLE", "_bigendian", "_expb", "_implicit", "_jp2klossless", "_jpeg_ls_lossless", "_padded"],
)
def test_monochrome_is_the_same_in_every_lossless_syntax(shipped: Find, suffix: str) -> None:
    np.testing.assert_array_equal(picture(shipped(f"MR_small{suffix}.dcm")), picture(shipped("MR_small.dcm")))


def test_deflated_and_bit_packed_objects(shipped: Find) -> None:
    deflated = shipped("image_dfl.dcm")
    np.testing.assert_array_equal(picture(deflated)[..., 0], pydicom.dcmread(deflated).pixel_array)
    mask = picture(shipped("liver_1frame.dcm"))
    assert set(np.unique(mask)) == {0, 255}
    np.testing.assert_array_equal(mask, picture(shipped("liver_expb_1frame.dcm")))


@pytest.mark.parametrize(
    "name",
    [
        "examples_ybr_color.dcm",
        "SC_rgb_dcmtk_+eb+cy+s4.dcm",
        "SC_rgb_dcmtk_+eb+cr.dcm",
        "SC_rgb_jpeg_gdcm.dcm",
    ],
)
def test_opencv_and_gdcm_give_the_same_jpeg(
    shipped: Find, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with open_dicom(shipped(name)) as frames:
        fast = frames.frame(0)
        assert frames.meta()["decoder"] == "opencv"
    monkeypatch.setattr(decode, "_suits_opencv", lambda *_: False)
    with open_dicom(shipped(name)) as frames:
        assert difference(fast, frames.frame(0)) <= 1
        assert frames.meta()["decoder"] == "gdcm"


def test_echo_cine(shipped: Find) -> None:
    path = shipped("examples_ybr_color.dcm")
    with open_dicom(path) as frames:
        assert frames.info.fps == pytest.approx(30, rel=1e-3)
        assert frames.info.fps_origin == "FrameTime"
        assert [frames.pts_ns(i) for i in (0, 1, 29)] == [0, 33_333_000, 966_657_000]
        reference = pydicom.dcmread(path)
        for index in (0, 13, 29):
            assert difference(frames.frame(index), pixel_array(reference, index=index)) <= 1
            assert frames.reference(index).frame_index == index
            assert frames.reference(index).sop_instance_uid == reference.SOPInstanceUID
        # Written for 640x480: applied to this 320x240 picture it would crop wrongly and measure by half.
        assert frames.info.regions == ()
        assert frames.spacing_mm(0) is None
        assert "does not lie in" in " ".join(frames.info.notes)


def test_frames_in_any_order_into_the_callers_buffer(shipped: Find) -> None:
    with open_dicom(shipped("examples_ybr_color.dcm")) as frames:
        first = frames.frame(0)
        last = frames.frame(29)
        buffer = np.full(frames.shape, 7, np.uint8)
        assert frames.frame(0, buffer) is buffer
        np.testing.assert_array_equal(buffer, first)
        frames.frame(29, buffer)
        np.testing.assert_array_equal(buffer, last)
        with pytest.raises(ValueError, match=r"expected contiguous \(240, 320, 3\)"):
            frames.frame(0, np.empty((240, 320, 1), np.uint8))
        with pytest.raises(ValueError, match="contiguous"):
            frames.frame(0, np.empty((240, 320, 6), np.uint8)[..., ::2])
        for index in (-1, 30):
            with pytest.raises(IndexError):
                frames.frame(index)
    frames.close()


def test_nothing_of_the_patient_is_read(make_dicom: Callable[..., Path]) -> None:
    path = make_dicom(
        np.zeros((4, 4), np.uint8), PatientID="4711", StudyDate="20240101", InstitutionName="Nowhere"
    )
    with open_dicom(path) as frames:
        frames.frame(0)
        seen = repr(frames.info) + json.dumps(frames.meta()) + str(frames._header.dataset)
    assert not [word for word in ("4711", "Nobody", "20240101", "Nowhere") if word in seen]


def test_what_pydicom_warns_of_becomes_a_note(data_root: Path) -> None:
    path = data_root / "ultrasound" / "dicom" / "sonoque_anechoic-3mm-3mm.dcm"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with open_dicom(path) as frames:
            frames.frame(0)
            notes = frames.meta()["notes"]
    assert len(notes) == len(set(notes))
    assert any("ISO_IR" in note for note in notes)
    assert any("taken for YCbCr" in note for note in notes)


def test_two_threads_leave_the_warning_filters_as_they_were(shipped: Find) -> None:
    before = list(warnings.filters)
    errors: list[BaseException] = []
    reference = picture(shipped("examples_ybr_color.dcm"), 3)

    def work() -> None:
        try:
            for _ in range(5):
                np.testing.assert_array_equal(picture(shipped("examples_ybr_color.dcm"), 3), reference)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert list(warnings.filters) == before


def test_what_this_host_decodes() -> None:
    found = decodable()
    assert found["JPEG Baseline (Process 1)"] == "gdcm"
    assert found["RLE Lossless"] == "pydicom"
    assert found["Explicit VR Little Endian"] == "native"
    assert sum("JPEG" in name for name in found) >= 8


def test_is_dicom(shipped: Find, tmp_path: Path) -> None:
    assert is_dicom(shipped("MR_small.dcm"))
    other = tmp_path / "other.dcm"
    other.write_bytes(b"x" * 200)
    assert not is_dicom(other)
    assert not is_dicom(tmp_path / "missing.dcm")


def test_decoded_colour_survives_a_png(shipped: Find) -> None:
    """The order of channels is RGB: what a viewer shows of it, via OpenCV's BGR, is red on top."""
    decoded = picture(shipped("SC_rgb_rle.dcm"))
    ok, encoded = cv2.imencode(".png", decoded[..., ::-1])
    assert ok
    assert cv2.imdecode(encoded, cv2.IMREAD_COLOR)[5, 50].tolist() == [0, 0, 255]
