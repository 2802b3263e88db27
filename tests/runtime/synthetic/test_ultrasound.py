"""B-mode: the statistics of speckle, what lesions do to it, and the geometry of the fan."""

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from bedside.runtime.geometry import Rect
from bedside.runtime.synthetic import Truth, UltrasoundScene, speckle
from bedside.runtime.synthetic.anatomy import PRESETS, Preset, default_probe
from bedside.runtime.synthetic.fan import Fan, Probe
from bedside.runtime.synthetic.scene import generator
from bedside.runtime.synthetic.tissue import CLASSES, LESIONS, Lesion

RAYLEIGH_SNR = math.sqrt(math.pi / (4 - math.pi))  # 1.91, Burckhardt 1978


def phantom(*lesions: Lesion, **options: Any) -> UltrasoundScene:
    settings: dict[str, Any] = {"width": 480, "height": 480, "seed": 1, "furniture": False, **options}
    return UltrasoundScene(preset="phantom", lesions=lesions, **settings)


def masked(truth: Truth, kind: Lesion) -> npt.NDArray[np.bool_]:
    return np.asarray(truth.mask == CLASSES.index(kind), np.bool_)


def ring(inside: npt.NDArray[np.bool_], view: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Tissue beside a lesion at its own depth: neither above it nor in its shadow."""
    rows = np.flatnonzero(inside.any(axis=1))
    wide = cv2.dilate(inside.astype(np.uint8), np.ones((3, 91), np.uint8)) > 0
    near = cv2.dilate(inside.astype(np.uint8), np.ones((3, 25), np.uint8)) > 0
    wide[: rows[0]] = wide[rows[-1] + 1 :] = False
    return wide & ~near & view


def core(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    return cv2.erode(inside.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0


@pytest.mark.parametrize("index", [0, 40, 95])
def test_speckle_is_fully_developed_at_every_instant(index: int) -> None:
    scene = phantom(noise_db=-80.0)
    envelope = scene.envelope(index)[20:-20, 10:-10]
    assert float(envelope.mean() / envelope.std()) == pytest.approx(RAYLEIGH_SNR, rel=0.06)
    # Unit power, so the Rayleigh mean is sqrt(pi) / 2.
    assert float((envelope**2).mean()) == pytest.approx(1, rel=0.1)
    assert float(envelope.mean()) == pytest.approx(math.sqrt(math.pi) / 2, rel=0.06)


def test_speckle_decorrelates_slowly_and_comes_to_nothing() -> None:
    # The probe moves, too: compare what the mixing alone does, at the same place.
    scene = phantom(noise_db=-80.0)
    start = scene._motion(0)[0]
    first, next_, later = (
        np.sqrt(scene._power(index, start)).ravel() for index in (0, 1, round(scene.fps * 9 / 4))
    )
    assert np.corrcoef(first, next_)[0, 1] > 0.99
    assert abs(np.corrcoef(first, later)[0, 1]) < 0.1


def test_point_scatterer_shows_the_point_spread_function() -> None:
    field, even = np.zeros((81, 121, 2), np.float32), np.ones((81, 121), np.float32)
    field[40, 60, 0] = 1
    lateral = np.linspace(1.5, 4.5, 81, dtype=np.float32)
    spread = speckle.insonify(field, even, 2.0, lateral)[:, :, 0]
    assert divmod(int(spread.argmax()), 121) == (40, 60)
    across = np.arange(121) - 60
    axial, beam = spread[:, 60] / spread[40, 60], spread[40] / spread[40, 60]
    assert float(axial[42]) == pytest.approx(math.exp(-(2**2) / (2 * 2.0**2)), abs=0.02)
    sigma = math.sqrt(float((beam[48:73] * across[48:73] ** 2).sum() / beam[48:73].sum()))
    assert sigma == pytest.approx(3.0, rel=0.12)
    assert 0 < beam[60 + 20] < 0.02  # the pedestal of side lobes


def test_beam_is_narrowest_at_the_focus() -> None:
    probe = Probe("linear", 60.0, 40.0, 0.0, 4.0, 25.0)
    fan = Fan(probe, 600, 600, Rect(0, 0, 600, 600), 0.1)
    width_mm = speckle.lateral_sigma(probe, fan.grid) * fan.grid.beam_mm[:, 0]
    assert fan.grid.depth[int(width_mm.argmin()), 0] == pytest.approx(25.0, abs=1.0)


@pytest.mark.parametrize("seed", range(4))
def test_lesions_have_the_right_contrast(seed: int) -> None:
    for kind, low, high in (
        ("cyst", -255, -60),
        ("hypoechoic mass", -90, -18),
        ("hyperechoic mass", 12, 90),
    ):
        scene = phantom(kind, seed=seed)  # type: ignore[arg-type]
        truth, picture = scene.truth(0), scene.render(0)[:, :, 0].astype(float)
        inside = masked(truth, kind)  # type: ignore[arg-type]
        contrast = picture[core(inside)].mean() - picture[ring(inside, truth.view)].mean()
        assert low < contrast < high, kind


@pytest.mark.parametrize(("kind", "sign"), [("cyst", 1), ("hypoechoic mass", -1)])
def test_enhancement_behind_a_cyst_and_shadow_behind_a_mass(kind: Lesion, sign: int) -> None:
    bright, dark = phantom(kind, seed=5), phantom(seed=5)
    truth = bright.truth(0)
    inside = masked(truth, kind)
    rows, columns = np.nonzero(inside)
    # The middle of the lesion is close enough to the middle of the fan for "behind" to be "below" here.
    behind = np.zeros_like(inside)
    middle, bottom = int(columns.mean()), int(rows.max())
    assert abs(middle - 240) < 110
    behind[bottom + 12 : bottom + 60, middle - 10 : middle + 10] = True
    behind &= truth.view
    change = bright.render(0)[:, :, 0][behind].mean() - dark.render(0)[:, :, 0][behind].mean()
    assert sign * float(change) > 8


def test_lesions_of_a_kind_come_as_asked() -> None:
    for lesions in ((), ("cyst",), LESIONS):
        truth = phantom(*lesions, lesion_size=(0.05, 0.06)).truth(0)
        assert set(truth.labels) == set(lesions)
    small, large = (
        int((phantom("cyst", lesion_size=size).truth(0).mask > 0).sum())
        for size in ((0.05, 0.06), (0.12, 0.13))
    )
    assert 3 < large / small < 8


def test_lesions_follow_the_probe() -> None:
    scene = phantom("cyst", fps=30.0)
    places = [np.argwhere(scene.truth(index).mask).mean(axis=0) for index in range(0, 60, 2)]
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    assert steps.max() < 12
    assert np.ptp(np.array(places)[:, 1]) > 10
    for index in (0, 30):
        truth, picture = scene.truth(index), scene.render(index)[:, :, 0]
        assert picture[core(truth.mask > 0)].mean() < 30


def test_heart_beats() -> None:
    scene = UltrasoundScene(width=320, height=320, seed=1, preset="heart", furniture=False, fps=30)
    view = scene.truth(0).view
    volumes = []
    for index in range(0, 30, 2):
        smooth = cv2.GaussianBlur(scene.render(index)[:, :, 0], (0, 0), 3)
        volumes.append(int(((smooth < 18) & view).sum()))
    assert max(volumes) > 1.12 * min(volumes)
    assert scene.truth(0).labels == ()


@pytest.mark.parametrize("preset", PRESETS)
def test_nothing_is_drawn_outside_the_fan_without_furniture(preset: Preset) -> None:
    scene = UltrasoundScene(width=320, height=240, seed=2, preset=preset, furniture=False)
    picture, view = scene.render(4), scene.truth(4).view
    assert not picture[~view].any()
    assert picture[view].mean() > 20
    box = scene.box
    assert view[box.y : box.y1, box.x : box.x1].any(axis=1).all()
    assert not view[: box.y].any() and not view[:, : box.x].any()
    assert not view[box.y1 :].any() and not view[:, box.x1 :].any()


def test_furniture_surrounds_the_fan_and_says_synthetic() -> None:
    with_, without = (
        UltrasoundScene(width=640, height=480, seed=2, furniture=furniture) for furniture in (True, False)
    )
    view = with_.truth(0).view
    outside = with_.render(0)[~view]
    assert (outside.max(axis=1) > 100).sum() > 500
    assert np.ptp(outside.astype(int), axis=1).max() > 50  # coloured marks
    assert not without.render(0)[~without.truth(0).view].any()
    assert np.array_equal(with_.render(0)[~view], with_.render(9)[~view])


@pytest.mark.parametrize("preset", PRESETS)
def test_scale_is_true_to_the_probe(preset: Preset) -> None:
    probe = default_probe(preset, generator(0, "probe"))
    scene = UltrasoundScene(width=640, height=480, preset=preset, probe=probe, furniture=False)
    assert scene.spacing_mm is not None
    row_mm, column_mm = scene.spacing_mm
    assert row_mm == column_mm
    view = scene.truth(0).view
    half = math.radians(probe.aperture) / 2
    if probe.kind == "linear":
        tall, wide = probe.depth_mm, probe.aperture
    else:
        tall = probe.depth_mm + probe.radius_mm * (1 - math.cos(half))
        wide = 2 * (probe.depth_mm + probe.radius_mm) * math.sin(half)
    assert view.any(axis=1).sum() * row_mm == pytest.approx(tall, abs=2 * row_mm)
    assert view.any(axis=0).sum() * column_mm == pytest.approx(wide, abs=2 * column_mm)
    if probe.kind == "linear":
        assert view[scene.box.y : scene.box.y1, scene.box.x : scene.box.x1].all()
    # The skin in the middle of the probe is as deep below its ends as the array is curved.
    middle = np.flatnonzero(view[:, 320])
    assert len(middle) * row_mm == pytest.approx(probe.depth_mm, abs=2 * row_mm)


def test_scan_conversion_puts_samples_where_the_geometry_says() -> None:
    probe = Probe("curvilinear", 100.0, 60.0, 50.0)
    fan = Fan(probe, 500, 500, Rect(0, 0, 500, 500), 0.0)
    depth = np.broadcast_to(fan.grid.depth, (fan.samples, fan.beams)).astype(np.float32)
    angle = np.degrees(np.arctan2(fan.grid.x, fan.grid.z + probe.radius_mm)).astype(np.float32)
    depth_picture, angle_picture = fan.scan_convert(np.ascontiguousarray(depth)), fan.scan_convert(angle)
    rows, columns = np.nonzero(fan.view[fan.box.y : fan.box.y1, fan.box.x : fan.box.x1])
    inner = (depth_picture[rows, columns] > 1) & (depth_picture[rows, columns] < 99)
    rows, columns = rows[inner], columns[inner]
    x = (columns + 0.5 - fan.box.width / 2) * fan.mm
    z = (rows + 0.5) * fan.mm + 50 * math.cos(math.radians(30))
    assert np.allclose(depth_picture[rows, columns], np.hypot(x, z) - 50, atol=0.05)
    expected = np.degrees(np.arctan2(x, z))
    inner = np.abs(expected) < 29.5
    assert np.allclose(angle_picture[rows, columns][inner], expected[inner], atol=0.02)


def test_dynamic_range_and_noise() -> None:
    truth = phantom("cyst").truth(0)
    inside = core(truth.mask > 0)
    quiet, noisy = (phantom("cyst", noise_db=level).render(0)[:, :, 0] for level in (-60.0, -5.0))
    assert noisy[inside].mean() > quiet[inside].mean() + 10
    soft, hard = (phantom(dynamic_range_db=level).render(0)[truth.view] for level in (80.0, 40.0))
    assert hard.std() > 1.3 * soft.std()
