"""Pictures and folders of pictures as recordings."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from bedside.devices.sources import ImageSource
from bedside.runtime.errors import FrameError, SourceError


def write(path: Path, value: int, height: int = 8, width: int = 10) -> Path:
    assert cv2.imwrite(str(path), np.full((height, width, 3), value, np.uint8))
    return path


def test_a_folder_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        write(tmp_path / f"f{number}.png", number)
    (tmp_path / "notes.txt").write_text("not a picture")
    source = ImageSource(tmp_path, fps=20)
    info = source.open()
    assert (info.width, info.height, info.color, info.fps, info.frames) == (10, 8, "bgr", 20, 3)
    assert not info.live
    seen = []
    while (frame := source.read()) is not None:
        assert frame.meta is not None
        seen.append((frame.seq, int(frame.pixels[0, 0, 0]), frame.pts_ns, frame.meta["file"]))
    assert seen == [(0, 1, 0, "f1.png"), (1, 2, 50_000_000, "f2.png"), (2, 10, 100_000_000, "f10.png")]
    source.close()


def test_one_picture(tmp_path: Path) -> None:
    source = ImageSource(write(tmp_path / "one.bmp", 7))
    assert source.open().frames == 1
    frame = source.read()
    assert frame is not None
    assert frame.pts_ns is None
    assert (frame.pixels == 7).all()
    assert source.read() is None
    source.close()


def test_sizes_may_differ(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 1)
    write(tmp_path / "b.png", 2, height=30, width=20)
    source = ImageSource(tmp_path)
    source.open()
    shapes = []
    while (frame := source.read()) is not None:
        shapes.append(frame.pixels.shape)
    assert shapes == [(8, 10, 3), (30, 20, 3)]
    source.close()


@pytest.mark.fault("S3")
def test_a_corrupt_picture_is_one_lost_frame(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for index in range(4):
        write(tmp_path / f"{index}.png", index)
    (tmp_path / "0.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:40])
    source = ImageSource(tmp_path)
    assert source.open().width == 10
    numbers = []
    for _ in range(4):
        try:
            frame = source.read()
            assert frame is not None
            numbers.append(frame.seq)
        except FrameError as error:
            numbers.append(-1)
            assert "\n" not in str(error)
    assert numbers == [-1, 1, -1, 3]
    assert source.read() is None
    source.close()
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        ImageSource(tmp_path / "missing.png").open()
    with pytest.raises(SourceError, match="no pictures"):
        ImageSource(tmp_path).open()
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    with pytest.raises(SourceError, match="cannot be decoded") as caught:
        ImageSource(bad).open()
    assert not isinstance(caught.value, FrameError)
    with pytest.raises(SourceError, match="none of 2 pictures") as caught:
        (tmp_path / "worse.png").write_text("none either")
        ImageSource(tmp_path).open()
    assert not isinstance(caught.value, FrameError)


def test_a_picture_that_vanishes_while_the_folder_is_read(tmp_path: Path) -> None:
    for index in range(3):
        write(tmp_path / f"{index}.png", index)
    source = ImageSource(tmp_path)
    source.open()
    (tmp_path / "1.png").unlink()
    assert source.read() is not None
    with pytest.raises(FrameError, match="No such file"):
        source.read()
    frame = source.read()
    assert frame is not None
    assert frame.seq == 2
    source.close()


def test_real_frames(data_root: Path) -> None:
    source = ImageSource(data_root / "endoscopy" / "larynx" / "images" / "seq1")
    info = source.open()
    assert (info.width, info.height) == (512, 512)
    first, second = source.read(), source.read()
    assert first is not None
    assert second is not None
    assert [f.meta and f.meta["file"] for f in (first, second)] == ["0001.jpg", "0003.jpg"]
    # A larynx is red: the order of channels is BGR.
    assert first.pixels[..., 2].mean() > first.pixels[..., 0].mean() + 20
    source.close()
