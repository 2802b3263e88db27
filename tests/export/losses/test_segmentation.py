"""Dice and cross-entropy of masks."""

import numpy as np
import pytest

from bedside.export.data.types import MaskTarget
from bedside.export.losses.segmentation import encode_masks, segmentation_loss, soft_dice
from bedside.export.models.unet import unet
from bedside.runtime.errors import RecipeError

RNG = np.random.default_rng(0)
MASK = RNG.integers(0, 3, (2, 6, 5)).astype(np.uint8)


def loss(mask, predicted):
    return float(segmentation_loss({"mask": mask}, [predicted.astype(np.float32)]))


def certain(mask, classes):
    return np.eye(classes)[mask] if classes > 2 else mask[..., None].astype(np.float64)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_zero_at_the_perfect_answer_and_only_there(classes):
    mask = MASK % classes
    right = certain(mask, classes)
    assert loss(mask, right) == pytest.approx(0, abs=1e-5)
    assert loss(mask, right * 0.9 + 0.1 / max(classes, 2)) > 0.05
    assert loss(mask, certain((mask + 1) % classes, classes)) > 5


def test_known_values():
    mask = np.array([[[1, 1, 0, 0]]], np.uint8)
    half = np.full((1, 1, 4, 1), 0.5)
    assert float(soft_dice(certain(mask, 2), half, np.ones((1, 1, 4, 1)))[0, 0]) == pytest.approx(3 / 5)
    assert loss(mask, half) == pytest.approx(np.log(2) + 2 / 5, abs=1e-5)
    third = np.full((1, 1, 4, 3), 1 / 3)
    # Two of three classes have 2 of 4 pixels: (2 * 2/3 + 1) / (2 + 4/3 + 1); the third: 1 / (4/3 + 1).
    dice = (2 * (7 / 3) / (13 / 3) + 3 / 7) / 3
    assert loss(mask, third) == pytest.approx(np.log(3) + 1 - dice, abs=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_pixels_that_nobody_judged_do_not_count(classes):
    mask = MASK % classes
    mask[:, :3] = 255
    guess = RNG.dirichlet(np.ones(classes), mask.shape)
    guess = guess if classes > 2 else guess[..., :1]
    changed = guess.copy()
    changed[:, :3] = changed[:, :3, ::-1]
    assert loss(mask, guess) == pytest.approx(loss(mask, changed), abs=1e-6)
    assert loss(mask, guess) == pytest.approx(loss(mask[:, 3:], guess[:, 3:]), abs=1e-5)
    assert loss(np.full_like(mask, 255), guess) == pytest.approx(0, abs=1e-6)


def test_a_picture_without_the_object_is_no_division_by_zero_and_punishes_what_is_found():
    nothing = np.zeros((1, 8, 8), np.uint8)
    few, many = (np.zeros((1, 8, 8, 1)) for _ in range(2))
    few[0, 0, :2], many[0, :4] = 0.9, 0.9
    assert loss(nothing, certain(nothing, 2)) == pytest.approx(0, abs=1e-5)
    assert 0.5 < loss(nothing, few) < loss(nothing, many)


def test_shards_of_a_batch_average_to_the_loss_of_the_whole():
    mask = RNG.integers(0, 2, (4, 6, 6)).astype(np.uint8)
    mask[0, :5] = 255
    guess = RNG.uniform(size=(4, 6, 6, 1))
    halves = [loss(mask[part], guess[part]) for part in (slice(0, 2), slice(2, 4))]
    assert loss(mask, guess) == pytest.approx(np.mean(halves), rel=1e-5)


def test_masks_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 4, 4, 1\).*\(2, 6, 5\)"):
        loss(MASK, np.zeros((2, 4, 4, 1)))


def test_encoding_keeps_the_masks_and_refuses_classes_that_the_model_lacks():
    masks = [MaskTarget(classes=mask) for mask in MASK]
    encoded = encode_masks(masks, classes=3)
    assert encoded["mask"].dtype == np.uint8
    assert np.array_equal(encoded["mask"], MASK)
    with pytest.raises(RecipeError, match=r"classes \[2\].*0 to 1"):
        encode_masks(masks, classes=2)
    unjudged = MaskTarget(classes=np.full((6, 5), 255, np.uint8))
    assert (encode_masks([unjudged], classes=2)["mask"] == 255).all()
    with pytest.raises(RecipeError, match="expected one"):
        encode_masks([masks[0], MaskTarget(classes=MASK[0, :4])], classes=3)


@pytest.mark.parametrize("classes", [2, 3])
def test_training_brings_it_down(classes, overfit):
    mask = np.zeros((2, 16, 16), np.uint8)
    mask[0, 2:9, 3:12], mask[1, 6:15, 1:7] = 1, classes - 1
    pixels = 40.0 + 60.0 * mask[..., None].repeat(3, -1) + RNG.normal(0, 5, (2, 16, 16, 3))
    targets = encode_masks([MaskTarget(classes=m) for m in mask], classes=classes)
    model = unet(width=16, height=16, classes=classes, base=8, depth=1, seed=1)
    history = overfit(model, pixels.astype(np.float32), targets, segmentation_loss)
    assert history[-1] < 0.5 * history[0]
