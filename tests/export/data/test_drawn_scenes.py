"""Drawn sets for every task: their truth is in them, and they are the same in every run."""

import numpy as np
import pytest

from bedside.export.data.loading import load_data
from bedside.export.data.reading import load_with_target
from bedside.export.data.recipe import SyntheticData
from bedside.export.data.textures import CLASSES, draw_texture
from bedside.export.data.types import BoxesTarget, DataSet, MaskTarget, PictureTarget


def load(content: str, **options) -> DataSet:
    return load_data(SyntheticData(content=content, width=64, height=48, **options), seed=1)


@pytest.mark.parametrize(
    ("scene", "labels", "color"),
    [
        ("ultrasound", ("background", "cyst", "hypoechoic mass", "hyperechoic mass"), "gray"),
        ("endoscopy", ("background", "polyp"), "bgr"),
    ],
)
def test_masks_and_boxes_tell_the_same(scene: str, labels: tuple[str, ...], color: str):
    masks, boxes = (load(content, scene=scene, samples=12) for content in ("masks", "boxes"))
    assert masks.labels == labels
    assert boxes.labels == labels[1:]
    assert [len(split.items) for split in masks.splits] == [8, 2, 2]
    assert [split.groups for split in masks.splits] == [4, 1, 1]
    seen = 0
    for one, other in zip(masks.train.items, boxes.train.items, strict=True):
        assert one.key == other.key
        pixels, given, mask = load_with_target(one)
        _, _, box = load_with_target(other)
        assert isinstance(mask, MaskTarget) and isinstance(box, BoxesTarget)
        assert (given, pixels.shape[:2]) == (color, (48, 64))
        assert mask.classes.max() < len(labels)
        for (x0, y0, x1, y1), label in zip(box.boxes.astype(int), box.labels, strict=True):
            assert (mask.classes[y0:y1, x0:x1] == label + 1).any()
            seen += 1
        assert set(np.unique(mask.classes)) - {0} == set((box.labels + 1).tolist())
    assert seen >= 4


def test_drawn_targets_do_not_depend_on_the_order_they_are_asked_for():
    one, two = load("masks", samples=12), load("masks", samples=12)
    assert [split.sha256 for split in one.splits] == [split.sha256 for split in two.splits]
    forward = [load_with_target(item) for item in one.train.items]
    backward = [load_with_target(item) for item in two.train.items[::-1]][::-1]
    for (a, _, mask_a), (b, _, mask_b) in zip(forward, backward, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(mask_a.classes, mask_b.classes)
    assert load_data(SyntheticData(content="masks", samples=12), seed=1).train.sha256 != one.train.sha256


def test_frames_and_despeckling():
    frames = load("frames", scene="endoscopy", samples=12)
    assert frames.labels == ("frame",)
    assert load_with_target(frames.train.items[0])[2] is None
    despeckle = load("despeckle", samples=12)
    pixels, color, target = load_with_target(despeckle.train.items[0])
    assert isinstance(target, PictureTarget)
    assert (color, target.color, target.pixels.shape) == ("gray", "gray", pixels.shape)
    assert not np.array_equal(pixels, target.pixels)


def test_the_hard_classes_overlap_as_they_say():
    """A classifier that knows the angles is right about as often as the best there can be: 68 %."""
    spectra = []
    for label in range(CLASSES):
        for number in range(60):
            pixels, _ = draw_texture(0, number, label, (32, 32))
            spectra.append((np.abs(np.fft.fft2(pixels[:, :, 0] - pixels.mean(), (128, 128))), label))
    f = np.fft.fftfreq(128)
    angle = np.arctan2(f[:, None], f[None, :]) % np.pi
    right = 0
    for power, label in spectra:
        doubled = np.angle((power**4 * np.exp(2j * angle)).sum()) / 2 % np.pi
        right += round(doubled / (np.pi / CLASSES)) % CLASSES == label
    assert 0.6 < right / len(spectra) < 0.76


def test_the_hard_classes_are_many_and_cheap():
    recipe = SyntheticData(
        content="classes-hard", samples=1000, width=16, height=16, holdout=0.4, calibration=0.4
    )
    data = load_data(recipe, seed=1)
    assert [len(split.items) for split in data.splits] == [500, 1500, 4000, 4000]
    assert data.calibration.counts(CLASSES).tolist() == [400] * CLASSES
    pixels, color = data.holdout.items[7].load()
    assert (pixels.shape, pixels.dtype, color) == ((16, 16, 1), np.uint8, "gray")
    assert not np.array_equal(pixels, data.holdout.items[8].load()[0])
