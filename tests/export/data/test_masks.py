"""Image and mask folders: layouts, codings, groups, and one clear line for what does not fit."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.export.data.loading import load_data
from bedside.export.data.masks import make_coding, read_mask
from bedside.export.data.reading import load_with_target
from bedside.export.data.recipe import MaskClass, MaskFoldersData
from bedside.export.data.types import DataSet, Item, MaskTarget
from bedside.runtime.errors import RecipeError

COLOURS = (
    MaskClass(label="background", colours=("#000000",)),
    MaskClass(label="nerve", colours=("#800000",)),
    MaskClass(label="vessel", colours=("#008000",)),
)


def write(path: Path, pixels: np.ndarray, *options: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels, list(options))
    return path


def picture(path: Path, seed: int) -> Path:
    return write(path, np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8))


def square(value: Any = 255) -> np.ndarray:
    mask = np.zeros((20, 30, *np.shape(value)), np.uint8)
    mask[5:15, 10:20] = value
    return mask


def fill(
    root: Path, images: str, masks: str, *, count: int = 12, kinds: tuple[str, str] = (".jpg", ".png")
) -> None:
    for n in range(count):
        picture(root / images / f"{n}{kinds[0]}", n)
        write(root / masks / f"{n}{kinds[1]}", square())


def load(root: Path, **options: Any) -> DataSet:
    return load_data(MaskFoldersData(path=str(root), **options), seed=1)


def everything(data: DataSet) -> dict[str, Item]:
    return {item.key: item for split in data.splits for item in split.items}


def classes(item: Item) -> np.ndarray:
    _, _, target = load_with_target(item)
    assert isinstance(target, MaskTarget)
    assert target.classes.dtype == np.uint8
    return target.classes


@pytest.mark.parametrize(
    ("images", "masks", "kinds"),
    [
        ("images", "masks", (".jpg", ".jpg")),
        ("images", "labels", (".jpg", ".png")),
        ("Original", "Ground Truth", (".tif", ".tif")),
        ("Original", "Ground Truth", (".png", ".tif")),
    ],
)
def test_layouts_are_known(tmp_path: Path, images: str, masks: str, kinds: tuple[str, str]):
    fill(tmp_path, images, masks, kinds=kinds)
    data = load(tmp_path)
    assert data.labels == ("background", "foreground")
    assert [len(split.items) for split in data.splits] == [8, 2, 2]
    found = classes(data.train.items[0])
    assert np.array_equal(found[7:13, 12:18], np.ones((6, 6)))
    assert found[:3].max() == found[:, 24:].max() == 0


def test_folders_can_be_named_and_masks_have_a_suffix(tmp_path: Path):
    for n in range(9):
        picture(tmp_path / "in" / "deep" / f"{n}.jpg", n)
        write(tmp_path / "out" / "deep" / f"{n}_segmentation.png", square())
    with pytest.raises(RecipeError, match="has none of the layouts"):
        load(tmp_path)
    named = {"images": "in", "masks": "out"}
    with pytest.raises(RecipeError, match=r"9 of 9 pictures have no mask: deep/0.jpg"):
        load(tmp_path, **named)
    # A folder that all of them are in is no group.
    data = load(tmp_path, **named, mask_suffix="_segmentation")
    assert sum(split.groups for split in data.splits) == 9
    with pytest.raises(RecipeError, match="no samples in the"):
        load(tmp_path, **named, mask_suffix="_segmentation", group="deep")


def test_two_layouts_in_one_folder_have_to_be_told_apart(tmp_path: Path):
    fill(tmp_path, "images", "masks")
    fill(tmp_path, "images", "labels")
    with pytest.raises(RecipeError, match="more than one of the layouts"):
        load(tmp_path)
    assert len(everything(load(tmp_path, images="images", masks="labels"))) == 12


def test_a_missing_mask_is_an_error_and_a_stray_one_is_noted(tmp_path: Path):
    fill(tmp_path, "images", "masks")
    write(tmp_path / "masks" / "99.png", square())
    assert "1 masks have no picture and were left aside" in load(tmp_path).notes
    (tmp_path / "masks" / "3.png").unlink()
    with pytest.raises(RecipeError, match=r"masks: 1 of 12 pictures have no mask: 3\.jpg"):
        load(tmp_path)
    write(tmp_path / "masks" / "99.tif", square())
    with pytest.raises(RecipeError, match=r"99\.png and 99\.tif are masks of one picture"):
        load(tmp_path)


def test_a_mask_of_another_size_is_named_with_both_sizes(tmp_path: Path):
    fill(tmp_path, "images", "masks")
    write(tmp_path / "masks" / "3.png", np.zeros((10, 30), np.uint8))
    with pytest.raises(RecipeError, match=r"3\.jpg: the mask is 30x10, its frame 30x20 pixels"):
        load_with_target(everything(load(tmp_path))["3.jpg"])


def test_a_mask_that_changes_changes_the_digest_of_its_split(tmp_path: Path):
    fill(tmp_path, "images", "masks")
    before = load(tmp_path)
    key = before.holdout.items[0].key
    write(tmp_path / "masks" / f"{Path(key).stem}.png", square(254))
    after = load(tmp_path)
    assert [s.sha256 for s in before.splits[:2]] == [s.sha256 for s in after.splits[:2]]
    assert before.holdout.sha256 != after.holdout.sha256


def test_the_same_picture_twice_stays_in_one_split(tmp_path: Path):
    """Though the pattern calls them different subjects, and their masks differ."""
    fill(tmp_path, "images", "masks")
    for n in range(12):
        (tmp_path / "images" / f"copy{n}.jpg").write_bytes((tmp_path / "images" / f"{n}.jpg").read_bytes())
        write(tmp_path / "masks" / f"copy{n}.png", square(255 - n))
    for split in load(tmp_path, group="(.*)").splits:
        own = {item.key for item in split.items if not item.key.startswith("copy")}
        assert {item.key for item in split.items} == own | {f"copy{key}" for key in own}


def test_the_threshold_of_a_binary_mask(tmp_path: Path):
    path = write(tmp_path / "m.png", np.array([[0, 127, 128, 255]], np.uint8))
    assert read_mask(path, make_coding(MaskFoldersData(path="."))).tolist() == [[0, 0, 1, 1]]
    low = make_coding(MaskFoldersData(path=".", threshold=0))
    assert read_mask(path, low).tolist() == [[0, 1, 1, 1]]


@given(st.lists(st.integers(0, 255), min_size=2, max_size=20, unique=True), st.integers(0, 2**31))
def test_index_values_become_their_classes(values: list[int], seed: int):
    entries = tuple(MaskClass(label=f"c{i}", values=(value,)) for i, value in enumerate(values))
    coding = make_coding(MaskFoldersData(path=".", coding="index", classes=entries))
    assert coding.values is not None
    mask = np.random.default_rng(seed).choice(values, (4, 5)).astype(np.uint8)
    assert [values[index] for index in coding.values[mask].ravel()] == mask.ravel().tolist()
    assert int((coding.values < 0).sum()) == 256 - len(values)


def test_index_masks(tmp_path: Path):
    path = write(tmp_path / "m.png", np.array([[0, 1, 2, 255]], np.uint8))
    plain = {"path": ".", "coding": "index", "labels": ("a", "b", "c")}
    with pytest.raises(
        RecipeError, match=r"m\.png: has 1 pixels of the value 255 and others without a class"
    ):
        read_mask(path, make_coding(MaskFoldersData(**plain)))
    spared = make_coding(MaskFoldersData(**plain, unjudged=(255,)))
    assert read_mask(path, spared).tolist() == [[0, 1, 2, 255]]
    merged = (MaskClass(label="a", values=(0, 2)), MaskClass(label="b", values=(1, 255)))
    coding = make_coding(MaskFoldersData(path=".", coding="index", classes=merged))
    assert read_mask(path, coding).tolist() == [[0, 1, 0, 1]]
    painted = write(tmp_path / "p.png", square((0, 0, 128)))
    with pytest.raises(RecipeError, match=r"p\.png: is a mask with colours") as caught:
        read_mask(painted, coding)
    assert 'data.coding = "colour"' in caught.value.hint


def test_colour_masks(tmp_path: Path):
    pixels = np.zeros((1, 4, 3), np.uint8)
    pixels[0, 1:3] = (0, 0, 128), (0, 128, 0)
    recipe = {"path": ".", "coding": "colour", "classes": COLOURS}
    path = write(tmp_path / "m.png", pixels)
    assert read_mask(path, make_coding(MaskFoldersData(**recipe))).tolist() == [[0, 1, 2, 0]]
    pixels[0, 3] = (200, 10, 0)
    write(path, pixels)
    with pytest.raises(
        RecipeError, match=r"m\.png: has 1 pixels of colours without a class.*#000ac8, 200 from"
    ):
        read_mask(path, make_coding(MaskFoldersData(**recipe)))
    spared = make_coding(MaskFoldersData(**recipe, unjudged_colours=("#000ac8",)))
    assert read_mask(path, spared).tolist() == [[0, 1, 2, 255]]
    gray = write(tmp_path / "g.png", np.zeros((2, 2), np.uint8))
    assert read_mask(gray, make_coding(MaskFoldersData(**recipe))).tolist() == [[0, 0], [0, 0]]


def test_colours_that_went_through_jpeg_need_a_tolerance(tmp_path: Path):
    drawn = np.zeros((64, 64, 3), np.uint8)
    drawn[8:32, 8:56], drawn[40:60, 8:56] = (0, 0, 128), (0, 128, 0)
    path = write(tmp_path / "m.jpg", drawn, cv2.IMWRITE_JPEG_QUALITY, 85)
    recipe = {"path": ".", "coding": "colour", "classes": COLOURS}
    with pytest.raises(RecipeError, match=r"without a class") as caught:
        read_mask(path, make_coding(MaskFoldersData(**recipe)))
    assert "data.tolerance" in caught.value.hint
    found = read_mask(path, make_coding(MaskFoldersData(**recipe, tolerance=90)))
    true = np.zeros((64, 64), np.uint8)
    true[8:32, 8:56], true[40:60, 8:56] = 1, 2
    assert (found != true).mean() < 0.03
    assert not (found != true)[12:28, 12:52].any()


def test_numbered_frames_of_known_sequences(tmp_path: Path):
    fill(tmp_path, "Original", "Ground Truth", kinds=(".tif", ".tif"))
    data = load(tmp_path, sequence=(0, 3, 4, 9))
    groups = {key: item.group for key, item in everything(data).items()}
    assert groups == {f"{n}.tif": f"sequence {1 + (n >= 3) + (n >= 4) + (n >= 9)}" for n in range(12)}
    assert "groups: 4 sequences of numbered frames" in data.notes
    with pytest.raises(RecipeError, match=r"0\.tif has no number from 1 up"):
        load(tmp_path, sequence=(1, 5))


def test_real_polyps(data_root: Path):
    data = load_data(MaskFoldersData(path="endoscopy/polyp", calibration=0.1), seed=1, root=data_root)
    assert [len(split.items) for split in data.splits] == [385, 105, 70, 140]
    for item in data.calibration.items[:5]:
        found = classes(item)
        assert found.shape == (256, 256)
        assert 0 < found.mean() < 0.9


def test_real_nerves_and_vessels(data_root: Path):
    recipe = MaskFoldersData(path="ultrasound/nerve", coding="colour", classes=COLOURS)
    data = load_data(recipe, seed=1, root=data_root)
    assert data.labels == ("background", "nerve", "vessel")
    seen = [set(np.unique(classes(item))) for item in data.holdout.items]
    assert set.union(*seen) == {0, 1, 2}


def test_real_larynx_is_split_by_sequence(data_root: Path):
    labels = ("void", "folds", "other", "glottis", "pathology", "tool", "intubation")
    recipe = MaskFoldersData(path="endoscopy/larynx", coding="index", labels=labels)
    data = load_data(recipe, seed=1, root=data_root)
    assert {item.group for split in data.splits for item in split.items} == {f"seq{n}" for n in range(1, 5)}
    assert classes(data.holdout.items[0]).max() < 7
