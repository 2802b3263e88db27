"""The labelled set for training from scratch, and the golden frames."""

import cv2
import numpy as np
import pytest

from bedside.runtime.synthetic import LABELS, ClassesScene, golden_frames, labelled_sample


@pytest.mark.parametrize("size", [(96, 96), (64, 64), (80, 48)])
def test_samples_have_the_size_asked_for(size: tuple[int, int]) -> None:
    assert labelled_sample(1, "cyst", size).shape == (size[1], size[0], 3)
    assert labelled_sample(1, "cyst", size, "gray").shape == (size[1], size[0], 1)


def test_seed_and_label_decide_everything() -> None:
    for index, label in enumerate(LABELS):
        assert np.array_equal(labelled_sample(4, label), labelled_sample(4, index))
    pictures = {labelled_sample(seed, label).tobytes() for seed in range(5) for label in LABELS}
    assert len(pictures) == 15


def test_classes_can_be_told_apart() -> None:
    # One number does most of it, so a network has no excuse: the darkest blob against the tissue around.
    scene = ClassesScene(width=128, height=128, fps=1, hold_s=1.0, variety=16, seed=3)
    darkest: dict[str, list[float]] = {label: [] for label in LABELS}
    for index in range(48):
        picture = scene.render(index)[:, :, 0].astype(np.float32)
        # Away from the borders of the fan, and above the lung behind the diaphragm, which is dark in all.
        inner = cv2.erode(scene.truth(index).view.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0
        smooth = cv2.GaussianBlur(picture, (0, 0), 4)
        darkest[scene.label(index)].append(float(smooth[inner].min() / np.median(smooth[inner])))
    plain, cyst, mass = (np.array(darkest[label]) for label in LABELS)
    assert np.median(cyst) < np.median(mass) - 0.1 < np.median(plain) - 0.2
    cut = (np.median(cyst) + np.median(plain)) / 2
    assert ((cyst < cut).mean() + (plain > cut).mean()) / 2 > 0.85


def test_the_cine_shows_all_classes_in_turn_and_says_which() -> None:
    scene = ClassesScene(width=96, height=96, fps=8, seed=9, hold_s=0.5)
    labels = [scene.label(index) for index in range(48)]
    assert labels[:12] == ["plain"] * 4 + ["cyst"] * 4 + ["mass"] * 4
    assert labels[:24] == labels[24:]
    for index in (0, 4, 8, 13):
        truth = scene.truth(index)
        assert truth.label == labels[index]
        assert truth.labels == {"plain": (), "cyst": ("cyst",), "mass": ("hypoechoic mass",)}[truth.label]
        assert truth.spacing_mm is not None
    # The second round shows other tissue.
    assert not np.array_equal(scene.render(3), scene.render(12 + 3))


def test_golden_frames_are_reproducible_and_different() -> None:
    frames = golden_frames(4, (160, 120))
    assert [color for _, color in frames] == ["bgr"] * 4
    assert all(pixels.shape == (120, 160, 3) and pixels.dtype == np.uint8 for pixels, _ in frames)
    assert len({pixels.tobytes() for pixels, _ in frames}) == 4
    for (a, _), (b, _) in zip(frames, golden_frames(4, (160, 120)), strict=True):
        assert np.array_equal(a, b)
    assert len(golden_frames()) == 3
