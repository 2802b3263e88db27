"""Every objective: what it encodes, and that a few steps on a toy problem make it better."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bedside.export.backend import keras
from bedside.export.data.reading import Examples
from bedside.export.data.types import BoxesTarget, MaskTarget, PictureTarget, Target
from bedside.export.models.recipe import (
    AnchorFree,
    Cnn,
    ConvolutionalAutoencoder,
    Detr,
    Pix2Pix,
    UNet,
)
from bedside.export.steps import Silent
from bedside.export.training.objectives import Classes, Masks, Pictures, objective_of
from bedside.export.training.run import fit

SIDE = 32


def scenes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], list[BoxesTarget]]:
    """A bright square (class 0) or disk (class 1) on noise: frames, classes, masks, boxes."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 2
    frames = rng.integers(20, 70, (count, SIDE, SIDE, 3)).astype(np.uint8)
    masks, boxes = [], []
    for frame, kind in zip(frames, y, strict=True):
        half = int(rng.integers(5, 8))
        cx, cy = (int(v) for v in rng.integers(9, SIDE - 9, 2))
        mask = np.zeros((SIDE, SIDE), np.uint8)
        if kind:
            cv2.circle(mask, (cx, cy), half, 1, cv2.FILLED)
        else:
            mask[cy - half : cy + half + 1, cx - half : cx + half + 1] = 1
        frame[mask == 1] = (220, 190, 120)
        masks.append(mask)
        box = np.array([[cx - half, cy - half, cx + half + 1, cy + half + 1]], np.float32)
        boxes.append(BoxesTarget(box, np.array([0])))
    return frames, y.astype(np.int64), masks, boxes


def targets_of(task: str, masks: list[np.ndarray], boxes: list[BoxesTarget], x: np.ndarray) -> list[Target]:
    match task:
        case "mask":
            return [MaskTarget(m) for m in masks]
        case "grid" | "set":
            return list(boxes)
        case "picture":
            return [PictureTarget(255 - frame, "rgb") for frame in x]
        case _:
            return []


def tiny(kind: str) -> Any:
    """The smallest network that can learn a task; the real ones are in tests/export/models."""
    layers = keras.layers
    keras.utils.set_random_seed(3)
    pixels = keras.Input((SIDE, SIDE, 3), name="pixels")
    x = layers.Rescaling(1 / 255)(pixels)
    if kind in ("mask", "frame", "picture"):
        x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
        x = layers.Conv2D(1 if kind == "mask" else 3, 1, activation="sigmoid")(x)
        return keras.Model(pixels, x)
    for filters in (8, 16, 16):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    if kind == "grid":
        boxes = layers.Conv2D(4, 1, activation="softplus")(x)
        return keras.Model(pixels, [boxes, layers.Conv2D(1, 1, activation="sigmoid")(x)])
    x = layers.Flatten()(x)
    if kind == "label":
        return keras.Model(pixels, layers.Dense(2, activation="softmax")(x))
    boxes = layers.Reshape((4, 4))(layers.Dense(16, activation="sigmoid")(x))
    scores = layers.Reshape((4, 1))(layers.Dense(4, activation="sigmoid")(x))
    return keras.Model(pixels, [boxes, scores])


BOX = {"width": SIDE, "height": SIDE}


@pytest.mark.parametrize(
    ("kind", "model", "labels", "metric", "better"),
    [
        ("label", Cnn(**BOX), ("square", "disk"), "accuracy", None),
        ("mask", UNet(**BOX), ("nothing", "thing"), "Dice", True),
        ("grid", AnchorFree(**BOX, strides=(8,)), ("thing",), None, None),
        ("set", Detr(**BOX, queries=4), ("thing",), None, None),
        ("frame", ConvolutionalAutoencoder(**BOX), (), "error", False),
        ("picture", Pix2Pix(**BOX, adversarial=0), (), "error", False),
    ],
)
def test_a_few_steps_make_it_better(
    kind: str,
    model: Any,
    labels: tuple[str, ...],
    metric: str | None,
    better: bool | None,
    tmp_path: Path,
    make_recipe: Any,
) -> None:
    recipe = make_recipe(model, epochs=5, batch=8, learning_rate=5e-3)
    parts = []
    for count, seed in ((32, 1), (8, 2)):
        x, y, masks, boxes = scenes(count, seed)
        parts.append(Examples(x, y, tuple(targets_of(kind, masks, boxes, x)), ()))
    result = fit(tiny(kind), objective_of(recipe, labels), *parts, recipe, tmp_path, Silent())
    losses = result.history["loss"]
    assert losses[-1] < 0.95 * losses[0]
    assert np.isfinite(result.history["val_loss"]).all()
    scores = {name for name in result.history if "loss" not in name}
    assert scores == (set() if metric is None else {metric, f"val_{metric}"})
    if metric is not None and better is not None:
        first, last = result.history[metric][0], result.history[metric][-1]
        assert last > first if better else last < first


def test_class_weights_and_smoothing_by_hand() -> None:
    objective = Classes(2, 0.1, np.array([1.0, 3.0], np.float32))
    targets = objective.encode([], np.array([0, 1]), [])
    outputs = [np.array([[0.8, 0.2], [0.8, 0.2]], np.float32)]
    wrong = -np.log([[0.8, 0.2]])
    expected = [wrong @ [0.95, 0.05], 3 * (wrong @ [0.05, 0.95])]
    assert float(objective.loss(targets, outputs)) == pytest.approx(float(np.mean(expected)), rel=1e-5)
    assert float(objective.score(targets, outputs)) == 0.5


def test_dice_of_a_batch_is_that_of_the_gate() -> None:
    from bedside.export.metrics.overlap import dice

    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, (4, 16, 16)).astype(np.uint8)
    truth[1] = 0
    truth[2, :8] = 255
    said = rng.random((4, 16, 16, 3)).astype(np.float32)
    said[1, :, :, 0] = 2.0
    table = np.stack(
        [dice(s.argmax(-1).astype(np.uint8), t, 3)[1:] for s, t in zip(said, truth, strict=True)]
    )
    per_picture = [1.0 if np.isnan(row).all() else float(np.nanmean(row)) for row in table]
    found = Masks(3).score({"mask": truth}, [said])
    assert float(found) == pytest.approx(float(np.mean(per_picture)), abs=1e-5)
    assert per_picture[1] == 1.0


def test_pictures_by_hand() -> None:
    frame = np.full((1, 8, 8, 1), 100, np.uint8)
    wanted = [PictureTarget(np.full((8, 8, 1), 200, np.uint8), "gray")]
    outputs = [np.full((1, 8, 8, 1), 150 / 255, np.float32)]
    for itself, loss in ((True, (50 / 255) ** 2), (False, 50 / 255)):
        objective = Pictures(itself=itself)
        targets = objective.encode(list(frame), np.zeros(1, np.int64), wanted)
        assert float(objective.loss(targets, outputs)) == pytest.approx(loss, rel=1e-4)
        assert float(objective.score(targets, outputs)) == pytest.approx(50, rel=1e-4)
