"""EchoNet-Dynamic's layout, made small: traced frames become masks, splits are the file's own."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bedside.export.data.loading import load_data
from bedside.export.data.reading import load_with_target
from bedside.export.data.recipe import EchoNetData
from bedside.export.data.types import DataSet, Item, MaskTarget
from bedside.runtime.errors import RecipeError

COLUMNS = "FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split"
#: Long axis, then three chords of a 20x30 rectangle at (40, 30).
LINES = ((50, 30, 50, 60), (40, 30, 60, 30), (40, 45, 60, 45), (40, 60, 60, 60))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight videos of 112x112 pixels, two frames of each traced."""
    names = [f"0X{n:04X}" for n in range(8)]
    splits = ["TRAIN"] * 4 + ["VAL"] * 2 + ["TEST"] * 2
    rows = [f"{name},55.0,40.1,90.2,112,112,50,6,{split}" for name, split in zip(names, splits, strict=True)]
    (tmp_path / "FileList.csv").write_text("\n".join([COLUMNS, *rows]) + "\n")
    traces = ["FileName,X1,Y1,X2,Y2,Frame"]
    for name in names:
        for frame, shift in ((1, 0), (4, 5)):
            traces += [
                f"{name}.avi,{x1 + shift}.2,{y1}.1,{x2 + shift}.2,{y2}.1,{frame}" for x1, y1, x2, y2 in LINES
            ]
    (tmp_path / "VolumeTracings.csv").write_text("\n".join(traces) + "\n")
    (tmp_path / "Videos").mkdir()
    for at, name in enumerate(names):
        path = str(tmp_path / "Videos" / f"{name}.avi")
        writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 50, (112, 112))
        for frame in range(6):
            writer.write(np.full((112, 112, 3), 20 * at + 3 * frame, np.uint8))
        writer.release()
    return tmp_path


def load(folder: Path, **options: Any) -> DataSet:
    return load_data(EchoNetData(path=str(folder), **options), seed=1)


def mask(item: Item) -> np.ndarray:
    _, _, target = load_with_target(item)
    assert isinstance(target, MaskTarget)
    return target.classes


def change(folder: Path, file: str, before: str, after: str) -> None:
    path = folder / file
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


def test_traced_frames_in_the_files_own_splits(folder: Path):
    data = load(folder)
    assert data.labels == ("background", "left ventricle")
    assert [(len(split.items), split.groups) for split in data.splits] == [(8, 4), (4, 2), (4, 2)]
    assert [item.key for item in data.holdout.items][:2] == ["0X0006.avi#000001", "0X0006.avi#000004"]
    first, second = data.holdout.items[:2]
    expected = np.zeros((112, 112), np.uint8)
    expected[30:61, 40:61] = 1
    assert np.array_equal(mask(first), expected)
    assert np.array_equal(mask(second), np.roll(expected, 5, 1))
    assert first.load()[0].mean() == pytest.approx(20 * 6 + 3, abs=2)
    assert second.load()[0].mean() == pytest.approx(20 * 6 + 12, abs=2)
    assert "groups: a video" in data.notes


def test_a_calibration_split_is_drawn_from_training_videos(folder: Path):
    data = load(folder, calibration=0.25)
    assert [split.groups for split in data.splits] == [2, 2, 2, 2]
    assert {item.key for item in data.calibration.items} < {
        f"0X000{n}.avi#00000{k}" for n in range(4) for k in (1, 4)
    }


def test_videos_without_a_tracing_are_left_aside(folder: Path):
    path = folder / "VolumeTracings.csv"
    kept = [line for line in path.read_text().splitlines() if not line.startswith("0X0000")]
    path.write_text("\n".join(kept))
    data = load(folder)
    assert data.train.groups == 3
    assert "1 videos have no tracing and were left aside" in data.notes


def test_the_same_video_in_two_splits_is_refused(folder: Path):
    videos = folder / "Videos"
    (videos / "0X0007.avi").write_bytes((videos / "0X0001.avi").read_bytes())
    with pytest.raises(RecipeError, match=r"0X0007.avi#000001 \(holdout\) have identical content"):
        load(folder)


@pytest.mark.parametrize(
    ("file", "before", "after", "expected"),
    [
        ("FileList.csv", "TEST", "SOME", r"line 8: the split 'SOME' is none of TRAIN, VAL, TEST"),
        ("FileList.csv", ",Split", ",Part", r"FileList\.csv: has no column Split"),
        ("FileList.csv", "0X0001,", "0X0000,", r"0X000"),
        ("FileList.csv", ",TRAIN", ",", r"line 2 has no Split"),
        ("VolumeTracings.csv", "FileName,X1", "FileName,A1", r"VolumeTracings\.csv: has no column X1"),
        ("VolumeTracings.csv", "50.2", "fifty", r"line 2 is no line of a tracing"),
        ("VolumeTracings.csv", "50.2", "nan", r"line 2 is no line of a tracing"),
        ("VolumeTracings.csv", "60.1,1\n", "60.1,77\n", r"the tracing of 0X0000, frame 77, has 1 lines"),
    ],
)
def test_tables_that_cannot_be_meant_are_refused(
    folder: Path, file: str, before: str, after: str, expected: str
):
    if after == "0X0000,":  # one video, two splits
        change(folder, file, "0X0007,", after)
        expected = r"line 9: 0X0000 is in two splits"
    else:
        change(folder, file, before, after)
    with pytest.raises(RecipeError, match=expected) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named(folder: Path):
    (folder / "Videos" / "0X0003.avi").unlink()
    with pytest.raises(RecipeError, match=r"1 of 8 videos are missing: 0X0003\.avi"):
        load(folder)
    (folder / "VolumeTracings.csv").unlink()
    with pytest.raises(RecipeError, match=r"VolumeTracings\.csv: no such file"):
        load(folder)
