"""Frames of videos: the right ones, whatever the order they are asked for, and never of one video in two splits."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bedside.export.data.loading import load_data
from bedside.export.data.recipe import VideosData
from bedside.export.data.types import DataSet
from bedside.export.data.videos import VideoReader
from bedside.runtime.errors import RecipeError


def film(path: Path, levels: list[int], side: int = 64) -> Path:
    """A video whose frames are even, of these grey levels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (side, side))
    for level in levels:
        writer.write(np.full((side, side, 3), level, np.uint8))
    writer.release()
    return path


def level(reader: VideoReader, path: Path, index: int) -> int:
    pixels, color = reader.frame(path, index)
    assert (pixels.shape, pixels.dtype, color) == ((64, 64, 3), np.uint8, "bgr")
    return round(float(pixels.mean()))


def load(root: Path, **options: Any) -> DataSet:
    return load_data(VideosData(path=str(root), **options), seed=1)


def test_frames_come_by_index_in_any_order(tmp_path: Path):
    levels = [10 * n for n in range(20)]
    one, two = film(tmp_path / "1.avi", levels), film(tmp_path / "2.avi", levels[::-1])
    reader = VideoReader()
    for index in (0, 1, 2, 7, 7, 3, 19, 0):
        assert level(reader, one, index) == pytest.approx(levels[index], abs=2)
        assert level(reader, two, index) == pytest.approx(levels[19 - index], abs=2)
    assert reader.count(one) == 20
    with pytest.raises(RecipeError, match=r"1\.avi: frame 20 cannot be decoded"):
        reader.frame(one, 20)
    assert level(reader, one, 4) == pytest.approx(40, abs=2)


def test_reading_in_order_opens_a_video_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = film(tmp_path / "1.avi", [5 * n for n in range(30)])
    opened = []
    capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda name: opened.append(name) or capture(name))
    reader = VideoReader()
    for index in range(0, 30, 3):
        reader.frame(path, index)
    assert len(opened) == 1


def test_class_folders_of_videos(tmp_path: Path):
    for at, label in enumerate(("still", "moving")):
        for n in range(6):
            film(tmp_path / label / f"{n}.avi", [100 * at + 5 * n + k for k in range(8)])
    data = load(tmp_path, every=4)
    assert data.labels == ("moving", "still")
    assert [(len(split.items), split.groups) for split in data.splits] == [(16, 8), (4, 2), (4, 2)]
    keys = sorted(item.key for split in data.splits for item in split.items)
    assert keys[:3] == ["moving/0.avi#000000", "moving/0.avi#000004", "moving/1.avi#000000"]
    assert "groups: a video" in data.notes


def test_videos_of_one_patient_stay_together(tmp_path: Path):
    for n in range(12):
        film(tmp_path / "v" / f"p{n // 2}_{n}.avi", [20 * n] * 3)
    data = load(tmp_path, files=("v/*.avi",), group=r"(p\d)_")
    assert data.labels == ("frame",)
    assert sum(split.groups for split in data.splits) == 6
    for split in data.splits:
        assert len(split.items) == 6 * split.groups


def test_a_copy_of_a_video_stays_with_it(tmp_path: Path):
    for n in range(8):
        path = film(tmp_path / f"{n}.avi", [30 * n] * 3)
        (tmp_path / f"copy{n}.avi").write_bytes(path.read_bytes())
    for split in load(tmp_path, files=("*.avi",), group="(.*)").splits:
        own = {item.key for item in split.items if not item.key.startswith("copy")}
        assert {item.key for item in split.items} == own | {f"copy{key}" for key in own}


def test_what_is_no_video_is_refused(tmp_path: Path):
    film(tmp_path / "a" / "1.avi", [1, 2])
    with pytest.raises(RecipeError, match=r"data\.files: no video matches 'b/\*'"):
        load(tmp_path, files=("a/*", "b/*"))
    (tmp_path / "a" / "2.avi").write_bytes(b"not a video" * 50)
    with pytest.raises(RecipeError, match=r"2\.avi: is not a video that can be opened"):
        load(tmp_path, files=("a/*",))


def test_real_clips(data_root: Path):
    files = ("clarius-ocular-short.mp4", "butterfly-ocular-phantom.mp4", "sonosite-anon-eye1-video.mp4")
    recipe = VideosData(path="ultrasound/clips", files=files, every=50, near_duplicates="ignore")
    data = load_data(recipe, seed=1, root=data_root)
    assert sorted(len(split.items) for split in data.splits) == [1, 2, 8]
