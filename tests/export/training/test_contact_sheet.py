"""The contact sheet: frames beside varied copies, with what is to be learned from them."""

from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from bedside.export.data.types import BoxesTarget, MaskTarget, PictureTarget, Target
from bedside.export.recipe import Recipe
from bedside.export.training.augment_recipe import AugmentRecipe
from bedside.export.training.contact_sheet import sheet_of, write_sheet
from bedside.runtime.errors import SinkError, UsageError

MASK = np.zeros((22, 22), np.uint8)
MASK[5:12, 5:12] = 1


def sheet(make_recipe: Any, make_data: Any, target: Target | None, augment: AugmentRecipe) -> np.ndarray:
    frames = np.full((3, 22, 22, 1), 90, np.uint8)
    part = (frames, np.zeros(3, np.int64), [] if target is None else [target] * 3)
    recipe: Recipe = make_recipe(augment=augment)
    return sheet_of(recipe, make_data(("a",), part, part).train, ("a",), 2)


@pytest.mark.parametrize(
    ("target", "columns"),
    [
        (None, 1),
        (MaskTarget(MASK), 1),
        (BoxesTarget(np.array([[5, 5, 12, 12]], np.float32), np.array([0])), 1),
        (PictureTarget(np.full((22, 22, 1), 200, np.uint8), "gray"), 2),
    ],
)
def test_every_kind_of_target_is_shown(
    target: Target | None, columns: int, make_recipe: Any, make_data: Any
) -> None:
    found = sheet(make_recipe, make_data, target, AugmentRecipe())
    plain = sheet(make_recipe, make_data, None, AugmentRecipe())
    assert found.dtype == np.uint8 and found.shape[2] == 3
    assert found.shape[0] == plain.shape[0]
    assert found.shape[1] >= columns * plain.shape[1] - 20
    if target is not None:
        assert len(np.unique(found)) > len(np.unique(plain)), "something is drawn"


def test_copies_vary_and_stay_the_same_for_a_seed(make_recipe: Any, make_data: Any) -> None:
    vary = AugmentRecipe(noise=20, brightness=0.2)
    first = sheet(make_recipe, make_data, MaskTarget(MASK), vary)
    assert np.array_equal(first, sheet(make_recipe, make_data, MaskTarget(MASK), vary))
    assert not np.array_equal(first, sheet(make_recipe, make_data, MaskTarget(MASK), AugmentRecipe()))


def test_it_is_written(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    write_sheet(tmp_path / "x.png", pixels)
    assert np.array_equal(cv2.imread(str(tmp_path / "x.png")), pixels)
    with pytest.raises(UsageError, match="png"):
        write_sheet(tmp_path / "x.bmp", pixels)
    with pytest.raises(SinkError):
        write_sheet(tmp_path / "nowhere" / "x.png", pixels)


def test_ranges_are_checked() -> None:
    with pytest.raises(msgspec.ValidationError, match="speckle"):
        msgspec.convert({"speckle": 2.0}, AugmentRecipe)
