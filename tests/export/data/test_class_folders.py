"""Class folders of images: found, grouped, split, and nothing skipped without a word."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from bedside.export.data.files import path_groups
from bedside.export.data.loading import load_data
from bedside.export.data.recipe import ClassFoldersData
from bedside.export.data.types import DataSet
from bedside.runtime.errors import RecipeError


def picture(path: Path, seed: int, shape: tuple[int, ...] = (24, 32, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, shape, np.uint8))
    return path


def tree(root: Path, names: dict[str, int], start: int = 0) -> Path:
    for label, (name, count) in enumerate(names.items()):
        for index in range(count):
            picture(root / name / f"{index:03d}.png", start + 1000 * label + index)
    return root


def load(root: Path, **options) -> DataSet:
    return load_data(ClassFoldersData(path=str(root), **options), seed=1, root=None)


def keys(split) -> set[str]:
    return {item.key for item in split.items}


def test_flat_class_folders(tmp_path: Path):
    data = load(tree(tmp_path, {"cyst": 20, "apple": 20}))
    assert data.labels == ("apple", "cyst")
    assert [len(s.items) for s in data.splits] == [26, 6, 8]
    first = data.train.items[0]
    assert first.key.startswith("apple/")
    pixels, color = first.load()
    assert (pixels.shape, pixels.dtype, color) == ((24, 32, 3), np.uint8, "bgr")
    assert np.array_equal(pixels, cv2.imread(str(tmp_path / first.key)))
    assert any("by itself" in note for note in data.notes)


def test_relative_paths_start_at_the_data_root(tmp_path: Path):
    tree(tmp_path / "set", {"a": 5, "b": 5})
    recipe = ClassFoldersData(path="set")
    assert len(load_data(recipe, seed=1, root=tmp_path).train.items) == 6
    with pytest.raises(RecipeError, match=r"--data-root"):
        load_data(recipe, seed=1, root=None)
    with pytest.raises(RecipeError, match=r"no such folder"):
        load_data(recipe, seed=1, root=tmp_path / "other")


def test_labels_give_the_order(tmp_path: Path):
    tree(tmp_path, {"a": 5, "b": 5})
    assert load(tmp_path, labels=("b", "a")).labels == ("b", "a")
    with pytest.raises(RecipeError, match=r"folder 'b' is not in data.labels"):
        load(tmp_path, labels=("a", "c"))
    with pytest.raises(RecipeError, match=r"class 'c' has no samples"):
        load(tmp_path, labels=("a", "b", "c"))


def test_sub_folders_are_groups(tmp_path: Path):
    for label in ("a", "b"):
        for subject in range(6):
            for index in range(4):
                picture(
                    tmp_path / label / f"{label}{subject}" / f"{index}.png",
                    hash((label, subject, index)) % 2**31,
                )
    data = load(tmp_path)
    assert sum(s.groups for s in data.splits) == 12
    for split in data.splits:
        assert len(split.items) == 4 * split.groups
    assert "groups: the first folder below the class" in data.notes


def test_a_pattern_finds_groups(tmp_path: Path):
    for label in ("a", "b"):
        for subject in range(6):
            for index in range(4):
                picture(tmp_path / label / f"p{subject}_{index}.png", 100 * ord(label) + 10 * subject + index)
    data = load(tmp_path, group=r"^p(\d+)_")
    assert {i.group for s in data.splits for i in s.items} == {str(n) for n in range(6)}
    with pytest.raises(RecipeError, match=r"does not match 'p0_0.png'"):
        load(tmp_path, group=r"^q(\d+)_")


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "valid", "holdout")])
def test_split_folders_are_kept(tmp_path: Path, names: tuple[str, str, str]):
    for at, (name, count) in enumerate(zip(names, (6, 3, 2), strict=True)):
        tree(tmp_path / name, {"a": count, "b": count}, start=10_000 * at)
    data = load(tmp_path)
    assert data.labels == ("a", "b")
    assert [len(s.items) for s in data.splits] == [12, 6, 4]
    assert all(key.startswith(names[2]) for key in keys(data.holdout))


def test_a_missing_validation_folder_is_drawn_from_training_only(tmp_path: Path):
    tree(tmp_path / "train", {"a": 20, "b": 20})
    tree(tmp_path / "test", {"a": 2, "b": 2}, start=50_000)
    data = load(tmp_path, validation=0.25)
    assert keys(data.holdout) == {f"test/{c}/00{i}.png" for c in "ab" for i in range(2)}
    assert all(key.startswith("train/") for key in keys(data.validation) | keys(data.train))
    assert 8 <= len(data.validation.items) <= 12


def test_a_file_that_is_in_two_splits_is_refused(tmp_path: Path):
    tree(tmp_path / "train", {"a": 4, "b": 4})
    tree(tmp_path / "val", {"a": 4, "b": 4}, start=20_000)
    tree(tmp_path / "test", {"a": 4, "b": 4}, start=50_000)
    (tmp_path / "test" / "a" / "copy.png").write_bytes((tmp_path / "train" / "a" / "000.png").read_bytes())
    with pytest.raises(
        RecipeError, match=r"test/a/copy.png \(holdout\) and train/a/000.png \(train\) have identical"
    ):
        load(tmp_path)


def test_identical_files_stay_together_when_drawn(tmp_path: Path):
    tree(tmp_path, {"a": 12, "b": 12})
    for index in range(12):
        (tmp_path / "a" / f"copy{index:03d}.png").write_bytes(
            (tmp_path / "a" / f"{index:03d}.png").read_bytes()
        )
    data = load(tmp_path)
    for split in data.splits:
        assert {k.replace("copy", "") for k in keys(split) if "a/" in k} == {
            k for k in keys(split) if "a/0" in k
        }


def test_a_class_without_samples_is_named(tmp_path: Path):
    tree(tmp_path, {"a": 4, "b": 4})
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeError, match=r"class 'empty' has no samples"):
        load(tmp_path)


def test_a_class_without_samples_in_one_split_folder_is_named(tmp_path: Path):
    for at, name in enumerate(("train", "val", "test")):
        tree(tmp_path / name, {"a": 4} if name == "test" else {"a": 4, "b": 4}, start=10_000 * at)
    with pytest.raises(RecipeError, match=r"class 'b' has no samples in 'test'"):
        load(tmp_path)


def test_one_folder_is_no_classification(tmp_path: Path):
    tree(tmp_path, {"only": 4})
    with pytest.raises(RecipeError, match=r"1 class folder, at least 2 are needed; 4 images below it"):
        load(tmp_path)
    with pytest.raises(RecipeError, match=r"is not a folder"):
        load(tmp_path / "only" / "000.png")


def test_dicom_in_class_folders_gets_the_right_hint(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.dcm").write_bytes(b"not read" * 20)
    with pytest.raises(RecipeError, match=r"dicom-folders"):
        load(tmp_path)


def test_empty_files_are_an_error_with_their_count(tmp_path: Path):
    tree(tmp_path, {"a": 5, "b": 5})
    for name in ("x.png", "y.png"):
        (tmp_path / "b" / name).touch()
    with pytest.raises(RecipeError, match=r"2 of 12 files cannot be read: .*x.png: empty file"):
        load(tmp_path)


def test_other_files_are_left_aside_and_counted_hidden_ones_ignored(tmp_path: Path):
    tree(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "a" / ".DS_Store").write_text("x")
    (tmp_path / ".cache").mkdir()
    assert any(note.startswith("1 files in class folders are no images") for note in load(tmp_path).notes)


def test_what_an_item_is_when_it_cannot_be_decoded(tmp_path: Path):
    tree(tmp_path, {"a": 5, "b": 5})
    broken = tmp_path / "b" / "zz.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n not a picture")
    with pytest.raises(RecipeError, match=r"1 of 11 frames cannot be read: b/zz.png: is not an image"):
        load(tmp_path)
    items = {i.key: i for s in load(tmp_path, near_duplicates="ignore").splits for i in s.items}
    with pytest.raises(RecipeError, match=r"zz.png: is not an image"):
        items["b/zz.png"].load()


def test_grey_stays_grey_and_deep_pixels_are_refused(tmp_path: Path):
    from bedside.export.data.files import read_image

    pixels, color = read_image(picture(tmp_path / "g.png", 1, (9, 7)))
    assert (pixels.shape, color) == ((9, 7, 1), "gray")
    cv2.imwrite(str(tmp_path / "deep.png"), np.arange(63, dtype=np.uint16).reshape(9, 7))
    with pytest.raises(RecipeError, match=r"uint16 pixels"):
        read_image(tmp_path / "deep.png")
    cv2.imwrite(str(tmp_path / "alpha.png"), np.full((9, 7, 4), 200, np.uint8))
    assert read_image(tmp_path / "alpha.png")[0].shape == (9, 7, 3)


def test_a_folder_that_all_pictures_are_in_is_no_group():
    own = ["1", "2", "3", "4"]
    assert path_groups(None, ["a.png", "b.png", "c.png", "d.png"], own)[0] == own
    assert path_groups(None, ["x/y/a.png", "x/y/b.png", "x/y/c.png", "x/y/d.png"], own)[0] == own
    groups, how = path_groups(None, ["x/p/a.png", "x/p/deep/b.png", "x/q/c.png", "x/d.png"], own)
    assert (groups, how) == (["x/p", "x/p", "x/q", "4"], "groups: the first folder")
    assert path_groups(None, ["p/a.png", "pq/b.png", "pq/c.png", "pq/d.png"], own)[0] == [
        "p",
        "pq",
        "pq",
        "pq",
    ]
    assert path_groups(None, [], []) == ([], path_groups(None, ["a"], ["1"])[1])
