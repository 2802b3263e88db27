"""Rays in a tube: places, light and hidden surfaces against what geometry says."""

import math

import numpy as np
import pytest

from bedside.runtime.synthetic.lumen import ANGLES, RINGS, Lumen, Pose
from bedside.runtime.synthetic.mucosa import LENGTH, MAX_POLYPS, RELIEF, folds
from bedside.runtime.synthetic.polyps import Lobe, Polyp, Rays, Sight, cover, expose, grow
from bedside.runtime.synthetic.scene import F32, generator

HALF_ANGLE = math.radians(70)
SMOOTH = np.zeros(RELIEF, np.float32)
ALPHA = (np.arange(RINGS) + 0.5) * HALF_ANGLE / RINGS
FAR_ENOUGH = (np.tan(ALPHA) > 1 / 4.5) & (np.tan(ALPHA) < 1 / 0.3)


@pytest.fixture(scope="module")
def lumen() -> Lumen:
    return Lumen(HALF_ANGLE)


def test_straight_tube(lumen: Lumen) -> None:
    view = lumen.cast(SMOOTH, Pose(1.5, (0.0, 0.0), (0.0, 0.0)))
    expected = 1 / np.tan(ALPHA)[FAR_ENOUGH, None]
    assert np.allclose(view.along[FAR_ENOUGH] - 1.5, expected, rtol=0.01)
    assert np.allclose(view.turn, 0, atol=1e-3)
    # The normal points at the axis: the ray meets it at the angle's complement.
    assert np.allclose(view.facing[FAR_ENOUGH], np.sin(ALPHA)[FAR_ENOUGH, None], atol=0.01)
    assert (np.diff(view.light[FAR_ENOUGH], axis=0) > 0).all()  # darker towards the middle
    assert not view.light[0].any()


def test_offset_of_the_camera_shows_the_near_wall_nearer(lumen: Lumen) -> None:
    # The axis lies to the right (x > 0), so the right wall is far and the left one near.
    view = lumen.cast(SMOOTH, Pose(0.0, (0.4, 0.0), (0.0, 0.0)))
    ring = RINGS // 2
    right, left = view.along[ring, 0], view.along[ring, ANGLES // 2]
    assert right / left == pytest.approx(1.4 / 0.6, rel=0.03)


def test_roll_turns_the_wall(lumen: Lumen) -> None:
    view = lumen.cast(SMOOTH, Pose(0.0, (0.0, 0.0), (0.0, 0.0), roll=0.3))
    assert np.allclose(view.turn, 0.3, atol=1e-3)


def test_bend_moves_the_lumen_to_its_side(lumen: Lumen) -> None:
    view = lumen.cast(SMOOTH, Pose(0.0, (0.0, 0.0), (0.15, 0.0)))
    dark = view.light < 0.02
    middle = ANGLES // 2
    ahead, back = np.arange(-20, 20), np.arange(middle - 20, middle + 20)
    assert dark[:, ahead].sum() > 2 * dark[:, back].sum()


def test_a_ring_hides_what_is_behind_it(lumen: Lumen) -> None:
    relief = SMOOTH.copy()
    z = (np.arange(RELIEF[0]) + 0.5) * LENGTH / RELIEF[0]
    relief[np.abs(z - 2.0) < 0.1] = 0.4
    view = lumen.cast(relief, Pose(0.0, (0.0, 0.0), (0.0, 0.0)))
    # The crest stands at a radius of 0.6 and 2.1 away: the wall is seen again where 1 / z < 0.6 / 2.1.
    hidden = (view.along > 2.25) & (view.along < 2.1 / 0.6 - 0.1)
    assert not hidden.any()
    assert (view.along > 3.6).any() and ((view.along > 1.0) & (view.along < 1.8)).any()


def test_folds_stand_into_the_lumen_and_close_around() -> None:
    relief = folds(generator(0, "folds"))
    assert relief.shape == RELIEF
    assert 0.2 < relief.max() < 0.8
    assert np.abs(relief[:, 0] - relief[:, -1]).mean() < 2 * np.abs(np.diff(relief, axis=1)).mean()


def _open_view(size: int) -> tuple[Rays, Sight]:
    """A camera in empty space: every ray goes on for ever."""
    at = (np.arange(size) + 0.5) * 2 / size - 1
    x, y = np.meshgrid(at, at)
    angle, around = np.hypot(x, y), np.arctan2(y, x)
    way = np.stack([np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), np.cos(angle)])
    fields = [np.zeros((size, size), np.float32) for _ in range(5)]
    fields[2] += 99
    return Rays(way.astype(np.float32), size / 2), Sight(*fields)


def _ball(distance: float, radius: float, aside: float = 0.0) -> Polyp:
    # Its foot is on the wall at the right; a lobe one radius of the lumen further in lies on the axis.
    return Polyp(distance, 0.0, 0.0, radius, (Lobe((0.0, 0.0, 1.0 - aside), (radius,) * 3),))


@pytest.mark.parametrize(("distance", "radius"), [(2.0, 0.3), (1.0, 0.5)])
def test_a_ball_covers_its_angular_radius(distance: float, radius: float) -> None:
    rays, sight = _open_view(400)
    ((rows, columns, hit),) = cover(_ball(distance, radius), 0, Pose(0, (0, 0), (0, 0)), rays, sight)
    expected = math.pi * (rays.scale * math.asin(radius / distance)) ** 2
    assert hit.sum() == pytest.approx(expected, rel=0.02)
    centre = np.argwhere(hit).mean(axis=0) + np.array([rows.start, columns.start])
    assert np.allclose(centre, 199.5, atol=0.6)
    assert sight.along[200, 200] == pytest.approx(distance - radius, rel=0.01)
    assert sight.along[0, 0] == 99


def test_a_ball_is_brightest_where_it_faces_the_lamp() -> None:
    rays, sight = _open_view(300)
    list(cover(_ball(1.5, 0.4), 0, Pose(0, (0, 0), (0, 0)), rays, sight))
    assert sight.shade[150, 150] == sight.shade.max()
    assert sight.shine[150, 150] > 3 * sight.shine[150, 150 + 38] > 0


def test_nearer_things_hide_a_ball_and_balls_behind_the_lens_are_not_drawn() -> None:
    rays, sight = _open_view(200)
    sight.along[:, :100] = 0.5
    ((_, columns, hit),) = cover(_ball(2.0, 0.3), 0, Pose(0, (0, 0), (0, 0)), rays, sight)
    assert np.flatnonzero(hit.any(axis=0)).min() + columns.start == 100
    assert list(cover(_ball(2.0, 0.3), 0, Pose(4.0, (0, 0), (0, 0)), rays, sight)) == []


def test_polyps_grow_apart_and_where_they_are_seen(lumen: Lumen) -> None:
    relief = folds(generator(3, "folds"))
    pose = Pose(1.0, (0.1, 0.0), (0.1, 0.0))
    polyps = grow(lumen, relief, pose, 9, np.random.default_rng(0))
    assert 1 <= len(polyps) <= MAX_POLYPS
    for index, polyp in enumerate(polyps):
        assert 0.7 < polyp.along - pose.along < 2.4
        for other in polyps[:index]:
            apart = math.hypot(
                polyp.along - other.along, math.remainder(polyp.around - other.around, 2 * math.pi)
            )
            assert apart > polyp.radius + other.radius
    assert grow(lumen, relief, pose, 0, np.random.default_rng(0)) == ()


def test_exposure_keeps_order_and_ends_at_white() -> None:
    light: F32 = np.linspace(0, 10, 200, dtype=np.float32)
    shade, shine = expose(light, np.ones_like(light))
    assert shade[0] == shine[0] == 0
    assert (np.diff(shade) >= 0).all()
    assert shade[-1] == shade[-2] > 255
    assert shine.max() == pytest.approx(110)
