"""DICOM files and folders of them as recordings."""

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from bedside.devices.sources import DicomSource, echo_cine_path
from bedside.runtime.errors import FrameError, SourceError
from bedside.runtime.frame import Frame


def shipped(name: str) -> Path:
    return Path(str(get_testdata_file(name, download=False)))


def drain(source: DicomSource) -> list[Frame]:
    frames = []
    while (frame := source.read()) is not None:
        frames.append(frame)
    return frames


def test_the_echo_cine_is_in_the_wheel() -> None:
    assert echo_cine_path().is_file()
    assert echo_cine_path().is_relative_to(Path(pydicom.__file__).parent)


def test_an_installation_without_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pydicom.data.get_testdata_file", lambda *_, **__: None)
    with pytest.raises(SourceError, match="reinstall pydicom"):
        echo_cine_path()


def test_a_cine() -> None:
    source = DicomSource(echo_cine_path())
    info = source.open()
    assert (info.width, info.height, info.color, info.frames) == (320, 240, "rgb", 30)
    assert info.fps == pytest.approx(30, rel=1e-3)
    assert info.details["transfer_syntax"] == ["JPEG Baseline (Process 1)"]
    assert info.details["decoder"] == ["opencv"]
    assert info.details["fps_from"] == ["FrameTime"]
    frames = drain(source)
    assert [frame.seq for frame in frames] == list(range(30))
    assert [frame.reference and frame.reference.frame_index for frame in frames] == list(range(30))
    uid = pydicom.dcmread(echo_cine_path(), stop_before_pixels=True).SOPInstanceUID
    assert {frame.reference and frame.reference.sop_instance_uid for frame in frames} == {uid}
    assert frames[10].pts_ns == 333_330_000
    assert frames[0].meta is not None
    assert frames[0].meta["photometric"] == "YBR_FULL_422"
    # A heart beats: neighbours are alike and not the same.
    change = np.abs(frames[0].pixels.astype(int) - frames[15].pixels).mean()
    assert 0.5 < change < 30
    source.close()


def test_buffers_are_lent_and_come_back() -> None:
    source = DicomSource(echo_cine_path())
    source.open()
    seen = set()
    while (frame := source.read()) is not None:
        seen.add(frame.pixels.ctypes.data)
        assert frame.lease is not None
        frame.release()
    assert len(seen) == 1
    source.close()


def test_a_folder_by_instance_number(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(shipped("MR_small.dcm"))
    for name, number in (("a.dcm", 3), ("b.dcm", 1), ("c", 10), ("d.dcm", 2)):
        dataset.InstanceNumber = number
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        dataset.save_as(tmp_path / name)
    source = DicomSource(tmp_path, fps=10)
    info = source.open()
    assert (info.frames, info.fps, info.color) == (4, 10, "gray")
    frames = drain(source)
    assert [f.reference and f.reference.sop_instance_uid for f in frames] == [
        f"1.2.3.{n}" for n in (1, 2, 3, 10)
    ]
    assert [f.pts_ns for f in frames] == [0, 100_000_000, 200_000_000, 300_000_000]
    assert frames[0].spacing_mm == pytest.approx((0.3125, 0.3125))
    assert frames[0].pixels.shape == (64, 64, 1)
    source.close()


def test_sizes_and_colours_may_differ_in_a_folder(tmp_path: Path) -> None:
    for name in ("MR_small.dcm", "SC_rgb_rle_2frame.dcm"):
        shutil.copy(shipped(name), tmp_path)
    source = DicomSource(tmp_path)
    assert source.open().frames == 3
    assert {(f.pixels.shape, f.color) for f in drain(source)} == {
        ((64, 64, 1), "gray"),
        ((100, 100, 3), "rgb"),
    }
    source.close()


@pytest.mark.fault("S3")
def test_refused_objects_cost_a_frame_each_and_objects_without_pixels_none(tmp_path: Path) -> None:
    for name in ("MR_small.dcm", "MR_truncated.dcm", "test-SR.dcm", "JPGExtended.dcm"):
        shutil.copy(shipped(name), tmp_path)
    (tmp_path / "notes.txt").write_text("nothing to see")
    (tmp_path / ".hidden.dcm").write_text("nothing to see")
    source = DicomSource(tmp_path)
    info = source.open()
    assert info.frames == 3
    assert info.details["without_pixels"] == ["test-SR.dcm"]
    assert len(info.details["refused"]) == 2
    good, bad = [], []
    for _ in range(3):
        try:
            frame = source.read()
            assert frame is not None
            good.append(frame.seq)
        except FrameError as error:
            bad.append(str(error))
    assert good == [0]
    assert any("truncated" in line for line in bad)
    assert any("12 bits" in line for line in bad)
    assert source.read() is None
    source.close()


@pytest.mark.fault("S10")
def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        DicomSource(tmp_path / "missing.dcm").open()
    with pytest.raises(SourceError, match="no DICOM files"):
        DicomSource(tmp_path).open()
    with pytest.raises(SourceError, match="no pixel data"):
        DicomSource(shipped("test-SR.dcm")).open()
    shutil.copy(shipped("MR_truncated.dcm"), tmp_path)
    with pytest.raises(SourceError, match="none of 1 DICOM files") as caught:
        DicomSource(tmp_path).open()
    assert not isinstance(caught.value, FrameError)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_replaced_while_the_folder_is_read(tmp_path: Path) -> None:
    shutil.copy(shipped("MR_small.dcm"), tmp_path / "a.dcm")
    shutil.copy(shipped("SC_rgb_rle_2frame.dcm"), tmp_path / "b.dcm")
    source = DicomSource(tmp_path)
    source.open()
    for name in ("a.dcm", "b.dcm"):
        shutil.copy(shipped("rtdose.dcm"), tmp_path / name)
    for _ in range(2):
        with pytest.raises(FrameError, match="changed"):
            source.read()
    assert source.read() is None
    source.close()


def test_every_real_object_as_one_recording(data_root: Path) -> None:
    source = DicomSource(data_root / "ultrasound" / "dicom")
    info = source.open()
    assert info.frames == 46
    assert "refused" not in info.details
    count = 0
    while (frame := source.read()) is not None:
        assert frame.seq == count
        for region in frame.regions:
            assert region.rect.inside(frame.pixels.shape[1], frame.pixels.shape[0])
        frame.release()
        count += 1
    assert count == 46
    source.close()
