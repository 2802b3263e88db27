"""Boxes in simple JSON and in COCO's: read, clipped, counted, and refused where they cannot be meant."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bedside.export.data.loading import load_data
from bedside.export.data.reading import load_with_target
from bedside.export.data.recipe import BoxesData, CocoData
from bedside.export.data.types import BoxesTarget, DataSet, Item
from bedside.runtime.errors import RecipeError

COUNT = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for n in range(COUNT):
        pixels = np.random.default_rng(n).integers(0, 256, (20, 30, 3), np.uint8)
        assert cv2.imwrite(str(tmp_path / "images" / f"{n}.png"), pixels)
    return tmp_path


def listing(**changed: Any) -> dict[str, Any]:
    return {f"{n}.png": [[1, 2, 11.5, 12]] for n in range(COUNT)} | changed


def load(folder: Path, content: Any, **options: Any) -> DataSet:
    (folder / "boxes.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return load_data(BoxesData(path=str(folder), boxes="boxes.json", **options), seed=1)


def item(data: DataSet, key: str) -> Item:
    return next(item for split in data.splits for item in split.items if item.key == key)


def boxes(data: DataSet, key: str) -> tuple[list[list[float]], list[int]]:
    _, _, target = load_with_target(item(data, key))
    assert isinstance(target, BoxesTarget)
    assert (target.boxes.dtype, target.labels.dtype) == (np.float32, np.int64)
    return target.boxes.tolist(), target.labels.tolist()


def test_corners(folder: Path):
    data = load(folder, listing(**{"3.png": []}))
    assert data.labels == ("object",)
    assert [len(split.items) for split in data.splits] == [8, 2, 2]
    assert boxes(data, "0.png") == ([[1, 2, 11.5, 12]], [0])
    assert boxes(data, "3.png") == ([], [])
    assert item(data, "3.png").target().boxes.shape == (0, 4)
    assert {"boxes: 11 object", "1 pictures have no box"} <= set(data.notes)


def test_widths_names_and_tables(folder: Path):
    content: dict[str, Any] = {key: [["a", *box] for box in value] for key, value in listing().items()}
    content["0.png"] = [["b", 1, 2, 3, 4], [5, 6, 7, 8, "a"]]
    content["1.png"] = {"w": 30, "h": 20, "boxes_xywh": [["a", 1, 2, 3, 4]]}
    content["2.png"] = {"boxes_xyxy": [["a", 1, 2, 3, 4]]}
    data = load(folder, content, coding="xywh")
    assert data.labels == ("a", "b")
    assert boxes(data, "0.png") == ([[1, 2, 4, 6], [5, 6, 12, 14]], [1, 0])
    assert boxes(data, "1.png") == ([[1, 2, 4, 6]], [0])
    assert boxes(data, "2.png") == ([[1, 2, 3, 4]], [0])
    assert load(folder, content, coding="xywh", labels=("b", "a")).labels == ("b", "a")
    assert load(folder, listing(), labels=("polyp",)).labels == ("polyp",)


def test_boxes_are_clipped_and_counted(folder: Path):
    data = load(folder, listing(**{"0.png": [[-3, 2, 40, 12]], "1.png": [[0, 0, 30, 20]]}))
    assert boxes(data, "0.png") == ([[0, 2, 30, 12]], [0])
    assert "1 boxes reach beyond their picture and were clipped" in data.notes


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (
            {"0.png": [[31, 2, 40, 12]]},
            r"0\.png: the box \[31, 2, 40, 12\] lies outside its picture of 30x20",
        ),
        ({"0.png": [[10, 2, 5, 12]]}, r"0\.png: the box \[10\.0, 2\.0, 5\.0, 12\.0\] is empty as xyxy"),
        ({"0.png": [[1, 2, 3]]}, r"0\.png: \[1, 2, 3\] are not the four numbers"),
        ({"0.png": [[1, 2, 3, None]]}, r"not the four numbers"),
        ({"0.png": [[1, 2, 3, True]]}, r"not the four numbers"),
        ({"0.png": [[1, 2, 3, float("nan")]]}, r"not the four numbers"),
        ({"0.png": [[1, 2, 3, 4, "a", "b"]]}, r"has two names"),
        ({"0.png": [7]}, r"0\.png: 7 is no box"),
        ({"0.png": 7}, r"0\.png: expected a list"),
        ({"0.png": {"w": 3}}, r"0\.png: expected one of boxes_xyxy"),
        ({"x.png": []}, r"names 'x\.png', which is not there"),
        ({"0.png": {"w": 15, "h": 20, "boxes": [[20, 2, 25, 5]]}}, r"outside its picture of 15x20"),
    ],
)
def test_what_cannot_be_meant_is_refused(folder: Path, changed: dict[str, Any], expected: str):
    with pytest.raises(RecipeError, match=expected) as caught:
        load(folder, listing(**changed))
    assert "\n" not in str(caught.value)


def test_a_size_that_is_not_the_frames_is_refused_when_it_is_read(folder: Path):
    entry = {"w": 60, "h": 40, "boxes_xyxy": [[35, 2, 50, 12]]}
    with pytest.raises(
        RecipeError, match=r"0\.png: the box \[35, 2, 50, 12\] does not lie in its frame of 30x20"
    ):
        load_with_target(item(load(folder, listing(**{"0.png": entry})), "0.png"))


def test_pictures_that_the_file_does_not_name(folder: Path):
    some = {key: value for key, value in listing().items() if key not in ("4.png", "5.png")}
    with pytest.raises(RecipeError, match=r"names no boxes of 2 of 12 pictures: 4\.png, 5\.png"):
        load(folder, some)
    empty = load(folder, some, unlisted="empty")
    assert boxes(empty, "4.png") == ([], [])
    assert any("2 pictures that the file does not name: without boxes" in note for note in empty.notes)
    assert sum(len(split.items) for split in load(folder, some, unlisted="skip").splits) == 10


def test_unknown_and_unused_classes(folder: Path):
    with pytest.raises(RecipeError, match=r"0\.png has a box of the class 'cat'"):
        load(folder, listing(**{"0.png": [[1, 2, 3, 4, "cat"]]}), labels=("polyp", "tool"))
    with pytest.raises(RecipeError, match=r"class 'tool' has no boxes"):
        load(folder, {k: [["polyp", 1, 2, 3, 4]] for k in listing()}, labels=("polyp", "tool"))


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"0.png": ', "\x00"])
def test_a_file_that_is_no_listing_is_refused(folder: Path, content: str):
    with pytest.raises(RecipeError, match=r"boxes\.json: (is no JSON|holds no table)") as caught:
        load(folder, content)
    assert "\n" not in str(caught.value)
    with pytest.raises(RecipeError, match=r"other\.json: no such file"):
        load_data(BoxesData(path=str(folder), boxes="other.json"), seed=1)


def test_a_copy_of_a_picture_stays_with_it(folder: Path):
    for n in range(COUNT):
        (folder / "images" / f"copy{n}.png").write_bytes((folder / "images" / f"{n}.png").read_bytes())
    content = listing() | {f"copy{key}": value for key, value in listing().items()}
    for split in load(folder, content, group="(.*)").splits:
        own = {item.key for item in split.items if not item.key.startswith("copy")}
        assert {item.key for item in split.items} == own | {f"copy{key}" for key in own}


def coco(**changed: Any) -> dict[str, Any]:
    return {
        "categories": [{"id": 7, "name": "tool"}, {"id": 3, "name": "polyp"}],
        "images": [{"id": n, "file_name": f"{n}.png", "width": 30, "height": 20} for n in range(COUNT)],
        "annotations": [
            {"image_id": n, "category_id": (3, 7)[n % 2], "bbox": [1, 2, 3, 4], "iscrowd": 0}
            for n in range(COUNT)
        ],
    } | changed


def load_coco(folder: Path, content: Any, **options: Any) -> DataSet:
    (folder / "instances.json").write_text(json.dumps(content))
    recipe = CocoData(path=str(folder), annotations="instances.json", images="images", **options)
    return load_data(recipe, seed=1)


def test_coco_instances(folder: Path):
    content = coco()
    content["annotations"] += [
        {"image_id": 0, "category_id": 7, "bbox": [-2, 0, 10.5, 10], "iscrowd": 0},
        {"image_id": 0, "category_id": 7, "bbox": [0, 0, 30, 20], "iscrowd": 1},
    ]
    content["images"].append({"id": 99, "file_name": "0b.png", "width": 30, "height": 20})
    cv2.imwrite(str(folder / "images" / "0b.png"), np.full((20, 30, 3), 7, np.uint8))
    data = load_coco(folder, content)
    assert data.labels == ("polyp", "tool")
    assert boxes(data, "0.png") == ([[1, 2, 4, 6], [0, 0, 8.5, 10]], [0, 1])
    assert boxes(data, "0b.png") == ([], [])
    assert {
        "boxes: 6 polyp, 7 tool",
        "1 boxes reach beyond their picture and were clipped",
        "1 crowd regions were left out",
        "1 pictures have no box",
    } <= set(data.notes)


def test_coco_categories_can_be_chosen(folder: Path):
    data = load_coco(folder, coco(), labels=("tool",))
    assert data.labels == ("tool",)
    assert boxes(data, "0.png") == ([], [])
    assert boxes(data, "1.png") == ([[1, 2, 4, 6]], [0])
    assert "6 boxes of other categories were left out" in data.notes
    with pytest.raises(RecipeError, match=r"data.labels names 'cat', which is no category"):
        load_coco(folder, coco(), labels=("cat",))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"annotations": [{"image_id": 77, "category_id": 3, "bbox": [1, 2, 3, 4]}]}, "unknown picture 77"),
        ({"annotations": [{"image_id": 0, "category_id": 5, "bbox": [1, 2, 3, 4]}]}, "unknown category 5"),
        ({"annotations": [{"image_id": 0, "category_id": 3}]}, r"annotations\[0\] has no bbox"),
        ({"annotations": [{"image_id": 0, "category_id": 3, "bbox": [1, 2, 0, 4]}]}, "is empty as xywh"),
        ({"annotations": [{"image_id": 0, "category_id": 3, "bbox": [40, 2, 3, 4]}]}, "lies outside"),
        ({"annotations": [4]}, r"annotations\[0\] is no table"),
        ({"annotations": None}, "has no list 'annotations'"),
        ({"categories": [{"id": 3, "name": "a"}, {"id": 7, "name": "a"}]}, "two categories have one name"),
        ({"images": [{"id": 0, "file_name": "0.png"}] * 2}, "images has an id twice"),
        ({"images": [{"id": 0, "file_name": "../../x.png"}], "annotations": []}, "outside the folder"),
        ({"images": [{"id": 0, "file_name": "gone.png"}], "annotations": []}, "1 of 1 files cannot be read"),
    ],
)
def test_coco_that_contradicts_itself_is_refused(folder: Path, changed: dict[str, Any], expected: str):
    with pytest.raises(RecipeError, match=expected) as caught:
        load_coco(folder, coco(**changed))
    assert "\n" not in str(caught.value)


def test_real_polyps(data_root: Path):
    recipe = BoxesData(path="endoscopy/polyp", boxes="boxes_xyxy.json", labels=("polyp",))
    data = load_data(recipe, seed=1, root=data_root)
    assert data.labels == ("polyp",)
    assert sum(len(split.items) for split in data.splits) == 700
    assert any(note == "boxes: 754 polyp" for note in data.notes)


def test_real_nerves(data_root: Path):
    recipe = BoxesData(path="ultrasound/nerve", boxes="boxes_xywh.json", near_duplicates="ignore")
    data = load_data(recipe, seed=1, root=data_root)
    assert data.labels == ("nerve", "vessel")
    for example in data.holdout.items[:5]:
        load_with_target(example)
