"""Pictures without labels, pairs, and simulated speckle."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bedside.export.data.loading import load_data
from bedside.export.data.reading import load_with_target
from bedside.export.data.recipe import FramesData
from bedside.export.data.speckled import DYNAMIC_RANGE_DB, add_speckle, drawn_pair
from bedside.export.data.types import DataSet, Item, PictureTarget
from bedside.runtime.errors import RecipeError


def write(path: Path, seed: int, shape: tuple[int, ...] = (20, 30, 3)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def load(root: Path, **options: Any) -> DataSet:
    return load_data(FramesData(path=str(root), **options), seed=1)


def everything(data: DataSet) -> dict[str, Item]:
    return {item.key: item for split in data.splits for item in split.items}


def test_pictures_alone(tmp_path: Path):
    for n in range(12):
        write(tmp_path / f"{n}.png", n)
    (tmp_path / "notes.txt").write_text("x")
    data = load(tmp_path)
    assert data.labels == ("frame",)
    assert [len(split.items) for split in data.splits] == [8, 2, 2]
    assert load_with_target(data.train.items[0])[2] is None


def test_patterns_and_exclusions(tmp_path: Path):
    for folder in "abc":
        for n in range(5):
            write(tmp_path / folder / f"{n}.png", ord(folder) * 10 + n)
    data = load(tmp_path, files=("a/*", "b/*.png"), exclude=("*/4.png", "c/*"), group=r"(.*)\.png")
    assert sorted(everything(data)) == [f"{folder}/{n}.png" for folder in "ab" for n in range(4)]
    assert "data.exclude 'c/*' matched nothing" in data.notes
    assert {item.group for item in everything(load(tmp_path)).values()} == set("abc")
    with pytest.raises(RecipeError, match=r"data\.files: no picture matches 'd/\*'"):
        load(tmp_path, files=("d/*",))
    with pytest.raises(RecipeError, match="has no images"):
        load(tmp_path, exclude=("*",))


def test_pairs(tmp_path: Path):
    for n in range(12):
        write(tmp_path / "low" / f"{n}.jpg", n)
        write(tmp_path / "high" / f"{n}.png", 100 + n)
    data = load(tmp_path, inputs="low", targets="high")
    item = everything(data)["3.jpg"]
    pixels, _, target = load_with_target(item)
    assert isinstance(target, PictureTarget)
    assert target.color == "bgr"
    assert np.array_equal(target.pixels, cv2.imread(str(tmp_path / "high" / "3.png")))
    assert np.array_equal(pixels, cv2.imread(str(tmp_path / "low" / "3.jpg")))
    write(tmp_path / "high" / "3.png", 1, (10, 30, 3))
    with pytest.raises(RecipeError, match=r"3\.jpg: the target is 30x10, its frame 30x20 pixels"):
        load_with_target(everything(load(tmp_path, inputs="low", targets="high"))["3.jpg"])
    (tmp_path / "high" / "5.png").unlink()
    with pytest.raises(RecipeError, match=r"1 of 12 pictures have no target: 5\.jpg"):
        load(tmp_path, inputs="low", targets="high")


def test_a_copy_stays_with_its_picture(tmp_path: Path):
    for n in range(12):
        write(tmp_path / f"{n}.png", n)
        (tmp_path / f"copy{n}.png").write_bytes((tmp_path / f"{n}.png").read_bytes())
    for split in load(tmp_path, speckle=1.0, group="(.*)").splits:
        own = {item.key for item in split.items if not item.key.startswith("copy")}
        assert {item.key for item in split.items} == own | {f"copy{key}" for key in own}


def test_speckle_on_load(tmp_path: Path):
    for n in range(8):
        write(tmp_path / f"{n}.png", n)
    (tmp_path / "again.png").write_bytes((tmp_path / "0.png").read_bytes())
    data = load(tmp_path, speckle=1.2)
    items = everything(data)
    pixels, _, target = load_with_target(items["0.png"])
    assert isinstance(target, PictureTarget)
    assert np.array_equal(target.pixels, cv2.imread(str(tmp_path / "0.png")))
    assert not np.array_equal(pixels, target.pixels)
    # Of the content and the seed alone: again the same, the same for a copy, another for another seed.
    assert np.array_equal(pixels, items["0.png"].load()[0])
    assert np.array_equal(pixels, items["again.png"].load()[0])
    other = load_data(FramesData(path=str(tmp_path), speckle=1.2), seed=2)
    assert not np.array_equal(pixels, everything(other)["0.png"].load()[0])
    assert items["0.png"].plain is not None
    assert np.array_equal(items["0.png"].plain()[0], target.pixels)


def test_near_duplicates_are_looked_for_under_the_speckle(tmp_path: Path):
    rng = np.random.default_rng(0)
    for n in range(6):
        scene = cv2.GaussianBlur(rng.integers(0, 256, (96, 96), np.uint8), (0, 0), 2)
        scene = cv2.normalize(scene, None, 40, 255, cv2.NORM_MINMAX)
        cv2.imwrite(str(tmp_path / f"{n}.png"), scene)
        cv2.imwrite(str(tmp_path / f"{n}b.png"), np.roll(scene, 2, 1))
    data = load(tmp_path, speckle=3.0)
    assert sum(split.groups for split in data.splits) == 6


def test_speckle_is_rayleigh_before_the_logarithm_and_keeps_the_level():
    clean = np.full((256, 256, 1), 120, np.uint8)
    speckled = add_speckle(clean, 1.0, seed=3)[:, :, 0].astype(float)
    assert speckled.mean() == pytest.approx(120, abs=1.5)
    # Standard deviation of the log of an exponential variable: pi / sqrt(6) nepers of power, 5.57 dB.
    assert speckled.std() == pytest.approx(5.57 * 255 / DYNAMIC_RANGE_DB, rel=0.05)
    amplitude = 10 ** ((speckled - 120) / 255 * DYNAMIC_RANGE_DB / 20)
    assert amplitude.mean() / amplitude.std() == pytest.approx(1.91, rel=0.05)
    rows = np.corrcoef(speckled[:, :-1].ravel(), speckled[:, 1:].ravel())[0, 1]
    columns = np.corrcoef(speckled[:-1].ravel(), speckled[1:].ravel())[0, 1]
    assert rows > columns > 0


def test_a_drawn_pair_shows_the_same_anatomy():
    speckled, clean = drawn_pair(4, 160, 120)
    assert speckled.shape == clean.shape == (120, 160, 1)
    lit = cv2.erode((clean[:, :, 0] > 0).astype(np.uint8), np.ones((9, 9))) > 0
    one, other = (picture[:, :, 0].astype(np.float32) for picture in (speckled, clean))
    assert abs(one[lit].mean() - other[lit].mean()) < 8
    smooth = [cv2.GaussianBlur(picture, (0, 0), 4)[lit] for picture in (one, other)]
    assert np.corrcoef(smooth)[0, 1] > 0.9
    rough = [(picture - cv2.GaussianBlur(picture, (0, 0), 1))[lit].std() for picture in (one, other)]
    assert rough[0] > 2 * rough[1]
    assert np.array_equal(drawn_pair(4, 160, 120)[0], speckled)
