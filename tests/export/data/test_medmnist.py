"""MedMNIST's layout, read without pickle, with clear refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bedside.export.data.loading import load_data
from bedside.export.data.recipe import MedMnistData
from bedside.export.data.types import DataSet
from bedside.runtime.errors import RecipeError

COUNTS = {"train": 30, "val": 9, "test": 12}


def arrays(shape: tuple[int, ...] = (28, 28), classes: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    content: dict[str, Any] = {}
    for prefix, count in COUNTS.items():
        content[f"{prefix}_images"] = rng.integers(0, 256, (count, *shape), np.uint8)
        content[f"{prefix}_labels"] = (np.arange(count) % classes).astype(np.uint8)[:, np.newaxis]
    return content


def write(folder: Path, content: dict[str, Any]) -> Path:
    np.savez(folder / "set.npz", **content)
    return folder


def load(folder: Path, **options: Any) -> DataSet:
    return load_data(MedMnistData(path="set.npz", **options), seed=1, root=folder)


@pytest.mark.parametrize(("shape", "color"), [((28, 28), "gray"), ((28, 28, 3), "rgb"), ((64, 64), "gray")])
def test_splits_are_the_files_own(tmp_path: Path, shape: tuple[int, ...], color: str):
    content = arrays(shape)
    data = load(write(tmp_path, content))
    assert [len(s.items) for s in data.splits] == [30, 9, 12]
    assert data.labels == ("class 0", "class 1", "class 2")
    item = data.holdout.items[5]
    assert (item.key, item.label) == ("set.npz#test/000005", 2)
    pixels, given = item.load()
    assert given == color
    assert np.array_equal(pixels.reshape(shape), content["test_images"][5])
    assert pixels.shape == (*shape[:2], 3 if color == "rgb" else 1)


def test_labels_are_named(tmp_path: Path):
    assert load(write(tmp_path, arrays()), labels=("a", "b", "c")).labels == ("a", "b", "c")
    with pytest.raises(RecipeError, match=r"labels go up to 2, data.labels names 2"):
        load(tmp_path, labels=("a", "b"))
    with pytest.raises(RecipeError, match=r"class 'd' has no samples"):
        load(tmp_path, labels=("a", "b", "c", "d"))


def test_a_missing_validation_split_is_drawn_from_training(tmp_path: Path):
    content = {k: v for k, v in arrays().items() if not k.startswith("val")}
    data = load(write(tmp_path, content), validation=0.2)
    assert len(data.holdout.items) == 12
    assert len(data.train.items) + len(data.validation.items) == 30
    assert data.validation.counts(3).min() >= 1
    assert all("#train/" in i.key for i in data.validation.items)


def test_pictures_of_the_holdout_are_taken_out_of_training(tmp_path: Path):
    content = arrays()
    content["train_images"][:3] = content["test_images"][:3]
    content["val_images"][0] = content["test_images"][4]
    data = load(write(tmp_path, content))
    assert [len(s.items) for s in data.splits] == [27, 8, 12]
    assert any(note.startswith("4 pictures left out") for note in data.notes)


def change(name: str, value: Any) -> Any:
    def apply(content: dict[str, Any]) -> dict[str, Any]:
        if value is None:
            return {k: v for k, v in content.items() if k != name}
        return {**content, name: value(content[name])}

    return apply


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (change("train_images", None), "has no train_images"),
        (change("test_labels", None), "has no test_labels"),
        (change("train_images", lambda a: a.astype(np.float32)), "float32 pixels, expected uint8"),
        (change("train_images", lambda a: a[:, 0]), r"shape \(30, 28\), expected"),
        (change("train_images", lambda a: np.zeros((30, 28, 28, 28), np.uint8)), "volumes"),
        (change("train_labels", lambda a: np.repeat(a, 14, 1)), "several labels per frame"),
        (change("train_labels", lambda a: a[:-1]), "expected 30 integers"),
        (change("train_labels", lambda a: a.astype(float)), "expected 30 integers"),
        (change("train_labels", lambda a: a.astype(int) - 1), "-1 to 1"),
        (change("test_images", lambda a: a[:0]), "expected 0 integers"),
        (change("train_labels", lambda a: a.astype(object)), "cannot be read"),
    ],
)
def test_other_layouts_are_refused(tmp_path: Path, edit: Any, expected: str):
    with pytest.raises(RecipeError, match=expected) as caught:
        load(write(tmp_path, edit(arrays())))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_npz_are_refused(tmp_path: Path):
    file = tmp_path / "set.npz"
    with pytest.raises(RecipeError, match=r"no such file"):
        load(tmp_path)
    for content in (b"", b"PK\x03\x04 broken", b"\x93NUMPY"):
        file.write_bytes(content)
        with pytest.raises(RecipeError, match=r"set.npz: "):
            load(tmp_path)
    write(tmp_path, arrays())
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecipeError, match=r"is not an .npz"):
        load(tmp_path)
    middle = len(whole) // 2
    file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    with pytest.raises(RecipeError, match=r"cannot be read"):
        load(tmp_path)


def test_a_folder_is_no_npz(tmp_path: Path):
    (tmp_path / "set.npz").mkdir()
    with pytest.raises(RecipeError, match=r"set.npz: "):
        load(tmp_path)
