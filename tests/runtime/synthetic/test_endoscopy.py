"""Colonoscopy: what makes a frame look like one, and its polyps."""

import numpy as np
import pytest

from bedside.runtime.synthetic import EndoscopyScene


@pytest.fixture(scope="module")
def scene() -> EndoscopyScene:
    return EndoscopyScene(width=400, height=320, seed=5, polyps=2)


def test_mucosa_is_red_and_the_lumen_dark(scene: EndoscopyScene) -> None:
    picture, view = scene.render(0), scene.truth(0).view
    blue, green, red = (float(v) for v in np.median(picture[view], axis=0))
    assert red > 1.25 * green > 1.25 * blue > 20
    gray = picture.mean(axis=2)
    middle = np.zeros_like(view)
    box = scene.box
    middle[
        box.y + box.height // 4 : box.y1 - box.height // 4, box.x + box.width // 4 : box.x1 - box.width // 4
    ] = True
    assert (gray[middle] < 30).sum() > 0.01 * middle.sum()
    assert gray[middle].mean() < gray[view & ~middle].mean()


def test_there_are_highlights(scene: EndoscopyScene) -> None:
    picture, view = scene.render(0), scene.truth(0).view
    share = (picture.min(axis=2) > 235)[view].mean()
    assert 0.0001 < share < 0.15


def test_field_of_view_has_its_corners_cut(scene: EndoscopyScene) -> None:
    view, box = scene.truth(0).view, scene.box
    inside = view[box.y : box.y1, box.x : box.x1]
    assert not inside[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert inside[box.height // 2, box.width // 2]
    assert 0.7 < inside.mean() < 0.95
    assert inside.any(axis=0).mean() > 0.97 and inside.any(axis=1).all()


def test_nothing_but_text_outside_the_field_of_view() -> None:
    plain = EndoscopyScene(width=320, height=240, seed=1, furniture=False)
    assert not plain.render(0)[~plain.truth(0).view].any()
    dressed = EndoscopyScene(width=640, height=360, seed=1)
    outside = dressed.render(0)[~dressed.truth(0).view]
    assert (outside.max(axis=1) > 100).sum() > 50


@pytest.mark.parametrize("seed", range(3))
def test_polyps_are_seen_and_look_different_from_the_wall(seed: int) -> None:
    with_, without = (EndoscopyScene(width=320, height=320, seed=seed, polyps=n) for n in (2, 0))
    truth = with_.truth(0)
    assert truth.labels and set(truth.labels) == {"polyp"}
    assert set(np.unique(truth.mask)) == {0, 1}
    assert truth.spacing_mm is None
    assert not without.truth(0).mask.any()
    change = np.abs(with_.render(0).astype(int) - without.render(0)).mean(axis=2)
    assert change[truth.mask > 0].mean() > 8


def test_polyps_move_with_the_wall() -> None:
    scene = EndoscopyScene(width=320, height=320, seed=2, polyps=1, fps=30)
    centres, areas = [], []
    for index in range(0, 60, 4):
        mask = scene.truth(index).mask > 0
        if mask.any():
            centres.append(np.argwhere(mask).mean(axis=0))
            areas.append(int(mask.sum()))
    assert len(centres) > 5
    assert np.linalg.norm(np.diff(centres, axis=0), axis=1).max() < 25
    assert np.ptp(centres, axis=0).max() > 4
    assert max(areas) > 1.05 * min(areas)


def test_number_of_polyps_is_limited() -> None:
    with pytest.raises(ValueError, match="0 to 4"):
        EndoscopyScene(width=64, height=64, polyps=5)


def test_enlarging_keeps_picture_and_truth_together() -> None:
    # Above some height the picture is computed smaller and enlarged; both have to be in step.
    small = EndoscopyScene(width=240, height=240, seed=5, polyps=2, furniture=False)
    large = EndoscopyScene(width=960, height=960, seed=5, polyps=2, furniture=False)
    a, b = small.truth(3).mask > 0, large.truth(3).mask > 0
    shrunk = b.reshape(240, 4, 240, 4).mean(axis=(1, 3)) > 0.5
    assert (a & shrunk).sum() / (a | shrunk).sum() > 0.85
