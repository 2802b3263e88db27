"""Near-duplicates are found, kept together or refused; different pictures of one layout are left alone."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bedside.export.data import duplicates
from bedside.export.data.duplicates import near_duplicates, settle
from bedside.export.data.folds import Fold
from bedside.export.data.loading import find_data, load_data
from bedside.export.data.recipe import ClassFoldersData, MaskClass, MaskFoldersData
from bedside.export.data.types import DataSet, Found, Item
from bedside.runtime.errors import RecipeError

LEAST = 0.4


def scene(seed: int, side: int = 128) -> np.ndarray:
    """Structure of several sizes, in a dark frame with the same text on every one of them."""
    rng = np.random.default_rng(seed)
    noise = sum(
        cv2.GaussianBlur(rng.standard_normal((side, side)), (0, 0), sigma) * sigma for sigma in (1.5, 4, 12)
    )
    gray = np.clip(128 + 60 * noise / noise.std(), 30, 255).astype(np.uint8)
    y, x = np.mgrid[:side, :side]
    gray[np.hypot(x - side / 2, y - side / 2) > 0.48 * side] = 0
    cv2.putText(gray, "12:30 DR X", (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.35, 255)
    return np.repeat(gray[:, :, None], 3, 2)


def later(pixels: np.ndarray, seed: int) -> np.ndarray:
    """The same scene a moment later: shifted, brighter, noisy, through JPEG."""
    rng = np.random.default_rng(seed)
    moved = np.roll(pixels, (3, -5), (0, 1)).astype(np.float32) * 1.1 + rng.normal(0, 4, pixels.shape)
    _, data = cv2.imencode(".jpg", np.clip(moved, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 60])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def item(key: str, pixels: np.ndarray, group: str = "", **fields: Any) -> Item:
    return Item(key, 0, group or key, lambda: (pixels, "bgr"), key, **fields)


def test_a_moment_later_is_found_and_another_scene_is_not():
    items = [item(f"{n}", scene(n)) for n in range(30)]
    items += [item("later 3", later(scene(3), 1)), item("later 17", later(scene(17), 2))]
    found = near_duplicates(items, LEAST)
    assert [(pair.a, pair.b) for pair in found.pairs] == [(3, 30), (17, 31)]
    assert all(LEAST < pair.correlation <= 1 for pair in found.pairs)


def test_the_whole_picture_would_not_tell_them_apart():
    """Why detail is compared: frames of one layout correlate as a whole."""
    small = [cv2.resize(scene(n)[:, :, 0], (32, 32), interpolation=cv2.INTER_AREA).ravel() for n in range(8)]
    apart = np.corrcoef(small)[np.triu_indices(8, 1)]
    assert apart.max() > 0.6
    assert near_duplicates([item(f"{n}", scene(n)) for n in range(8)], LEAST).pairs == ()


def test_the_order_of_items_does_not_matter():
    items = [item(f"{n}", scene(n)) for n in range(6)] + [item("again", later(scene(2), 0))]
    one = {frozenset((items[p.a].key, items[p.b].key)) for p in near_duplicates(items, LEAST).pairs}
    back = items[::-1]
    two = {frozenset((back[p.a].key, back[p.b].key)) for p in near_duplicates(back, LEAST).pairs}
    assert one == two == {frozenset(("2", "again"))}


def test_frames_of_one_group_and_drawn_ones_are_not_compared():
    same = [item("a", scene(1), "g"), item("b", later(scene(1), 0), "g"), item("c", scene(2))]
    assert near_duplicates(same, LEAST).pairs == ()
    drawn = [item("a", scene(1), drawn=True), item("b", later(scene(1), 0), drawn=True)]
    assert near_duplicates(drawn, LEAST).pairs == ()


def test_what_has_no_detail_is_no_duplicate():
    flat = [item(f"{level}", np.full((80, 80, 3), level, np.uint8)) for level in (0, 3, 90, 91, 255)]
    assert near_duplicates(flat, LEAST).pairs == ()
    small = [item("a", scene(1)[:40, :40]), item("b", scene(1)[:40, :40]), item("c", scene(1))]
    found = near_duplicates(small, LEAST)
    assert found.pairs == ()
    assert found.notes == ("2 frames are smaller than 48 pixels: not compared for near-duplicates",)


def test_too_many_candidates_are_cut_off_at_a_distance_and_it_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(duplicates, "_MOST_PAIRS", 1)
    items = [item(f"{n}", scene(n)) for n in range(20)] + [item("copy", scene(4))]
    found = near_duplicates(items, LEAST)
    assert [(pair.a, pair.b) for pair in found.pairs] == [(4, 20)]
    assert any(note.startswith("only pairs of frames within ") for note in found.notes)


def test_large_sets_are_compared_in_blocks(monkeypatch: pytest.MonkeyPatch):
    items = [item(f"{n}", scene(n)) for n in range(40)]
    items += [item(f"later {n}", later(scene(n), n)) for n in (2, 39)]
    whole = near_duplicates(items, LEAST)
    monkeypatch.setattr(duplicates, "_BLOCK", 7)
    monkeypatch.setattr(duplicates, "_BATCH", 5)
    parts = near_duplicates(items, LEAST)
    assert [(p.a, p.b) for p in parts.pairs] == [(p.a, p.b) for p in whole.pairs]
    assert [(p.a, p.b) for p in whole.pairs] == [(2, 40), (39, 41)]


def found(*items: Item, prune: bool = False) -> Found:
    return Found(("frame",), items, ("holdout", "validation"), labelled=False, prune=prune)


def test_join_makes_one_group():
    others = [item(f"{n}", scene(n)) for n in range(4)]
    settled = settle(found(*others, item("x", later(scene(2), 0))), "join", LEAST)
    groups = {i.key: i.group for i in settled.items}
    assert groups["x"] == groups["2"]
    assert len(set(groups.values())) == 4
    assert "1 groups were joined with another because they share near-duplicates" in settled.notes


def test_error_refuses_and_ignore_does_not_look():
    items = [item("0", scene(0)), item("x", later(scene(0), 0))]
    with pytest.raises(RecipeError, match=r"1 pairs of frames .* look the same: 0 and x \(0\.\d\d\)"):
        settle(found(*items), "error", LEAST)
    blind = Item("0", 0, "0", lambda: pytest.fail("not to be read"), "0")
    assert settle(found(blind, blind), "ignore", LEAST) == found(blind, blind)


def test_in_two_fixed_splits_they_are_refused_or_left_out():
    items = [item("0", scene(0), split="train"), item("x", later(scene(0), 0), split="holdout")]
    with pytest.raises(RecipeError, match=r"0 \(train\) and x \(holdout\) look the same \(correlation"):
        settle(found(*items), "join", LEAST)
    settled = settle(found(*items, prune=True), "join", LEAST)
    assert [i.key for i in settled.items] == ["x"]
    assert "1 pictures left out: a near-duplicate is in a later split" in settled.notes


def write(root: Path, name: str, pixels: np.ndarray) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def test_a_near_duplicate_in_two_split_folders_is_refused(tmp_path: Path):
    for at, part in enumerate(("train", "val", "test")):
        for label in ("a", "b"):
            for n in range(3):
                write(tmp_path, f"{part}/{label}/{n}.png", scene(100 * at + 10 * ord(label) + n))
    recipe = ClassFoldersData(path=str(tmp_path))
    assert len(load_data(recipe, seed=1).holdout.items) == 6
    write(tmp_path, "test/a/leak.jpg", later(scene(10 * ord("a")), 0))
    with pytest.raises(
        RecipeError, match=r"test/a/leak.jpg \(holdout\) and train/a/0.png \(train\) look the same"
    ):
        load_data(recipe, seed=1)
    ignored = load_data(ClassFoldersData(path=str(tmp_path), near_duplicates="ignore"), seed=1)
    assert len(ignored.holdout.items) == 7


def test_drawn_splits_and_folds_never_part_them(tmp_path: Path):
    for n in range(12):
        write(tmp_path, f"images/{n:02d}.png", scene(n))
        write(tmp_path, f"images/{n:02d}-later.jpg", later(scene(n), n))
        for name in (f"{n:02d}", f"{n:02d}-later"):
            write(tmp_path, f"masks/{name}.png", np.zeros((128, 128), np.uint8))

    def parted(data: DataSet) -> int:
        where = {i.key[:2]: set() for part in data.splits for i in part.items}
        for part in data.splits:
            for i in part.items:
                where[i.key[:2]].add(part.name)
        return sum(len(names) > 1 for names in where.values())

    recipe = MaskFoldersData(path=str(tmp_path))
    blind = MaskFoldersData(path=str(tmp_path), near_duplicates="ignore")
    assert sum(parted(load_data(blind, seed=seed)) for seed in range(3)) > 0
    assert sum(parted(load_data(recipe, seed=seed)) for seed in range(3)) == 0
    assert sum(parted(load_data(recipe, seed=1, fold=Fold(k, 4))) for k in range(4)) == 0


NERVE = MaskFoldersData(
    path="ultrasound/nerve",
    coding="colour",
    classes=(
        MaskClass(label="background", colours=("#000000",)),
        MaskClass(label="nerve", colours=("#800000",)),
        MaskClass(label="vessel", colours=("#008000",)),
    ),
)


@pytest.mark.parametrize(
    ("recipe", "least", "most"),
    [(MaskFoldersData(path="endoscopy/polyp"), 2, 6), (NERVE, 25, 33)],
    ids=["polyp", "nerve"],
)
def test_real_pictures(data_root: Path, recipe: MaskFoldersData, least: int, most: int):
    """By eye: 3 pairs among the polyps, 29 among the nerves, all of them the same anatomy."""
    items = find_data(recipe, seed=1, root=data_root).items
    assert least <= len(near_duplicates(items, LEAST).pairs) <= most
