"""Collections: patterns, exclusions, fixed splits, drawn frames; and the shipped recipes over real data."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bedside.export.data.drawn import SOURCE, Stage, drawn_items
from bedside.export.data.loading import load_data
from bedside.export.data.recipe import CollectionData, CollectionItem, SyntheticData
from bedside.export.data.types import DataSet
from bedside.export.recipe_loading import load_recipe
from bedside.runtime.errors import RecipeError


def pictures(root: Path, pattern: str, count: int, start: int = 0) -> None:
    for index in range(count):
        path = root / pattern.format(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.random.default_rng(start + index).integers(0, 256, (10, 12, 3), np.uint8))


def load(root: Path | None, *items: CollectionItem, **options: Any) -> DataSet:
    return load_data(CollectionData(labels=("a", "b"), items=items, **options), seed=1, root=root)


def keys(split) -> list[str]:
    return [item.key for item in split.items]


def test_patterns_groups_and_fixed_splits(tmp_path: Path):
    for subject in range(5):
        pictures(tmp_path, f"x/S{subject}/{{}}.png", 3, 100 * subject)
    pictures(tmp_path, "y/{}.jpg", 10, 1000)
    pictures(tmp_path, "z/{}.png", 4, 2000)
    data = load(
        tmp_path,
        CollectionItem(label="a", glob="x/**/*.png", group=r"x/(S\d)"),
        CollectionItem(label="b", glob="y/*.jpg"),
        CollectionItem(label="b", glob="z/*.png", split="train"),
    )
    assert data.holdout.counts(2).tolist() == [3, 2]
    assert data.validation.counts(2).min() >= 1
    assert {f"z/{n}.png" for n in range(4)} <= set(keys(data.train))
    assert {i.group for i in data.holdout.items if i.label == 0} < {f"S{n}" for n in range(5)}


def test_exclusions_hold_and_one_that_excludes_nothing_is_noted(tmp_path: Path):
    pictures(tmp_path, "x/{}.png", 8)
    pictures(tmp_path, "y/{}.png", 8, 100)
    data = load(
        tmp_path,
        CollectionItem(label="a", glob="x/*.png", exclude=("x/3.png", "x/typo.png")),
        CollectionItem(label="b", glob="y/*"),
    )
    assert "x/3.png" not in [key for split in data.splits for key in keys(split)]
    assert any("'x/typo.png' matched nothing" in note for note in data.notes)


def test_what_a_pattern_must_not_match(tmp_path: Path):
    pictures(tmp_path, "x/{}.png", 4)
    (tmp_path / "x" / "list.csv").write_text("a,b")
    drawn = CollectionItem(label="b", synthetic="patterns", count=6)
    with pytest.raises(RecipeError, match=r"matches x/list\.csv, neither an image nor a DICOM object"):
        load(tmp_path, CollectionItem(label="a", glob="x/*"), drawn)
    with pytest.raises(RecipeError, match=r"class 'a' has no samples from data\.items\[0\]\.glob 'q/\*'"):
        load(tmp_path, CollectionItem(label="a", glob="q/*"), drawn)
    with pytest.raises(RecipeError, match="is named twice"):
        load(tmp_path, *[CollectionItem(label=c, glob="x/*.png") for c in "ab"])
    with pytest.raises(RecipeError, match="--data-root"):
        load(None, CollectionItem(label="a", glob="x/*.png"), drawn)


def test_drawn_frames_need_no_folder_and_name_their_source():
    data = load(
        None,
        CollectionItem(label="a", synthetic="ultrasound", count=12),
        CollectionItem(label="b", synthetic="patterns", count=9),
    )
    assert SOURCE in data.sources
    assert sum(len(split.items) for split in data.splits) == 21
    # Two frames of one scene are one group.
    assert sum(len({i.group for i in split.items if i.label == 0}) for split in data.splits) == 6
    pixels, color = data.train.items[0].load()
    assert (pixels.dtype, pixels.ndim, color) == (np.uint8, 3, "bgr")


@pytest.mark.parametrize("kind", ["ultrasound", "endoscopy", "patterns"])
def test_drawn_frames_do_not_depend_on_the_order_they_are_asked_for(kind: str):
    forward, backward = Stage(kind, 3), Stage(kind, 3)
    one = [forward.draw(n)[0] for n in range(3)]
    two = [backward.draw(n)[0] for n in (2, 1, 0)][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0], one[1])
    other = Stage(kind, 4)
    assert not all(np.array_equal(pixels, other.draw(n)[0]) for n, pixels in enumerate(one))


def test_no_two_drawn_patterns_look_the_same():
    items = drawn_items("patterns", count=300, label=0, seed=1, name="p")
    looks = {cv2.resize(item.load()[0], (32, 32), interpolation=cv2.INTER_AREA).tobytes() for item in items}
    assert len(items) == len({item.key for item in items}) == 300
    assert len(looks) >= 299
    assert int(items[-1].key[-6:]) > 299


def test_the_synthetic_set_has_three_classes():
    data = load_data(SyntheticData(samples=20, width=32, height=24), seed=1)
    assert data.labels == ("plain", "cyst", "mass")
    assert [s.counts(3).tolist() for s in data.splits] == [[13] * 3, [3] * 3, [4] * 3]
    pixels, color = data.holdout.items[0].load()
    assert (pixels.shape, color) == ((24, 32, 1), "gray")
    again = load_data(SyntheticData(samples=20, width=32, height=24), seed=1)
    assert [s.sha256 for s in again.splits] == [s.sha256 for s in data.splits]


@pytest.fixture(scope="module")
def modality(data_root: Path) -> DataSet:
    recipe, _ = load_recipe("modality-cnn")
    return load_data(recipe.data, seed=recipe.seed, root=data_root)


def test_modality_cnn_never_sees_what_it_is_shown_on(modality: DataSet):
    every = [key for split in modality.splits for key in keys(split)]
    assert not [key for key in every if "examples_ybr_color" in key or "clips" in key]
    assert not [note for note in modality.notes if "matched nothing" in note]


def test_modality_cnn_holds_out_subjects_and_sequences(modality: DataSet):
    def groups(split, part: str) -> set[str]:
        return {item.group for item in split.items if part in item.key}

    assert groups(modality.holdout, "larynx") == {"larynx/images/seq3", "larynx/images/seq4"}
    assert groups(modality.train, "larynx") == {"larynx/images/seq1", "larynx/images/seq2"}
    subjects = [groups(split, "vastus_lateralis") for split in modality.splits]
    assert len(set.union(*subjects)) == sum(len(s) for s in subjects) == 9
    for split in (modality.validation, modality.holdout):
        assert not [key for key in keys(split) if "-ultrasound/" in key or "-endoscopy/" in key]
        assert split.counts(3).min() >= 30


def test_the_echo_cine_is_opened_by_none_of_its_items(modality: DataSet):
    ultrasound = [item for item in modality.train.items if ".dcm" in item.key]
    assert len({item.key.split("#")[0] for item in ultrasound}) == 13
    pixels, color = next(i for i in ultrasound if "US1_UNCR" in i.key).load()
    assert (pixels.shape, color) == ((480, 640, 3), "rgb")
