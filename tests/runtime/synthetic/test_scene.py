"""What holds for every scene, whatever it shows."""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from bedside.runtime.geometry import Box
from bedside.runtime.synthetic import (
    PATTERNS,
    ClassesScene,
    EndoscopyScene,
    LoopedScene,
    PatternScene,
    Scene,
    UltrasoundScene,
    frame,
)
from bedside.runtime.synthetic.anatomy import PRESETS
from bedside.runtime.synthetic.scene import generator, lesion_truth, smooth_noise

Make = Callable[..., Scene]


def pattern(kind: Any) -> Make:
    return lambda **options: PatternScene(kind, **options)


def ultrasound(preset: Any) -> Make:
    return lambda **options: UltrasoundScene(preset=preset, **options)


SCENES: dict[str, Make] = {
    **{f"ultrasound-{preset}": ultrasound(preset) for preset in PRESETS},
    "endoscopy": EndoscopyScene,
    "classes": ClassesScene,
    "looped": lambda **options: LoopedScene(UltrasoundScene(**options), 4),
    **{f"pattern-{kind}": pattern(kind) for kind in PATTERNS},
}
MOVING = {name for name in SCENES if not name.startswith("pattern")}
MOVING |= {"pattern-noise", "pattern-nosignal", "pattern-desktop"}
MEDICAL = {name for name in SCENES if not name.startswith("pattern")}


@pytest.fixture(params=sorted(SCENES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def fresh(name: str, **options: Any) -> Scene:
    return SCENES[name](**{"width": 200, "height": 150, "seed": 3, **options})


@cache
def make(name: str) -> Scene:
    """Shared by tests: drawing leaves no trace, which one of them proves."""
    return fresh(name)


def test_frames_have_the_size_and_type_that_was_asked_for(name: str) -> None:
    scene = make(name)
    pixels = scene.render(0)
    assert (scene.width, scene.height, scene.color) == (200, 150, "bgr")
    assert pixels.shape == (150, 200, 3)
    assert pixels.dtype == np.uint8


def test_gray_is_one_channel(name: str) -> None:
    scene = fresh(name, color="gray")
    assert scene.color == "gray"
    assert scene.render(2).shape == (150, 200, 1)


def test_same_seed_same_pixels_in_any_order(name: str) -> None:
    first, second = make(name), fresh(name)
    forward = [first.render(index).copy() for index in (0, 1, 7)]
    backward = [second.render(index).copy() for index in (7, 1, 0)]
    for a, b in zip(forward, reversed(backward), strict=True):
        assert np.array_equal(a, b)


def test_other_seed_other_picture(name: str) -> None:
    pictures = {fresh(name, seed=seed).render(0).tobytes() for seed in range(4)}
    assert len(pictures) > 1


def test_draws_every_pixel_of_the_given_buffer(name: str) -> None:
    scene = make(name)
    buffer = np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)
    assert scene.render(5, buffer) is buffer
    assert np.array_equal(buffer, scene.render(5))


def test_moves_or_stands_still(name: str) -> None:
    scene = make(name)
    still = np.array_equal(scene.render(0), scene.render(3))
    assert still != (name in MOVING)


@pytest.mark.parametrize("name", sorted(MEDICAL))
def test_motion_is_smooth(name: str) -> None:
    scene = make(name)
    a, b, far = (scene.render(index).astype(np.float32) for index in (0, 1, 3))
    step, way = np.abs(a - b).mean(), np.abs(a - far).mean()
    assert 0 < step <= 1.1 * way
    assert step < 12


def test_truth_agrees_with_itself(name: str) -> None:
    scene = make(name)
    for index in (0, 20):
        truth = scene.truth(index)
        assert truth.mask.shape == truth.view.shape == (150, 200)
        assert truth.mask.dtype == np.uint8
        assert truth.view.dtype == np.bool_
        assert truth.label == scene.label(index)
        assert truth.classes[0] == "background"
        assert not truth.mask[~truth.view].any()
        assert len(truth.boxes) == len(truth.labels)
        assert {truth.classes[i] for i in np.unique(truth.mask) if i} == set(truth.labels)
        assert truth.view.any() == (name in MEDICAL)


def test_boxes_are_tight_and_cover_the_mask(name: str) -> None:
    truth = make(name).truth(10)
    covered = np.zeros_like(truth.view)
    for label, box in zip(truth.labels, truth.boxes, strict=True):
        x0, y0, x1, y1 = (int(v) for v in (box.x0, box.y0, box.x1, box.y1))
        own = truth.mask[y0:y1, x0:x1] == truth.classes.index(label)
        covered[y0:y1, x0:x1] |= own
        # Lesions do not touch each other, so nothing but this one reaches the sides of its box.
        assert own[0].any() and own[-1].any() and own[:, 0].any() and own[:, -1].any()
    assert np.array_equal(covered, truth.mask > 0)


def test_frame_is_picture_and_truth(name: str) -> None:
    scene = make(name)
    both = frame(scene, 2)
    assert np.array_equal(both.pixels, scene.render(2))
    assert both.color == scene.color
    assert np.array_equal(both.truth.mask, scene.truth(2).mask)


@pytest.mark.parametrize(
    ("options", "says"),
    [({"width": 47}, "at least 48"), ({"fps": 0.0}, "above 0"), ({"color": "rgb"}, "'bgr' or 'gray'")],
)
def test_frames_that_cannot_be_drawn_are_refused(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fresh(name, **options)


def test_loop_goes_to_and_fro_and_never_repeats_a_frame() -> None:
    loop = LoopedScene(PatternScene("noise", width=64, height=48), 4)
    assert [loop.position(index) for index in range(9)] == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    drawn = [loop.render(index) for index in range(40)]
    assert not any(np.array_equal(a, b) for a, b in pairwise(drawn))
    assert drawn[1] is drawn[5]
    assert not drawn[0].flags.writeable


def test_loop_of_one_is_a_still() -> None:
    loop = LoopedScene(PatternScene("noise", width=64, height=48), 1)
    assert loop.render(0) is loop.render(17)
    with pytest.raises(ValueError, match="at least 1"):
        LoopedScene(PatternScene("noise", width=64, height=48), 0)


def test_loop_tells_the_truth_of_the_frame_it_shows() -> None:
    scene = UltrasoundScene(width=160, height=120, seed=2, fps=2)
    loop = LoopedScene(scene, 3)
    assert np.array_equal(loop.truth(3).mask, scene.truth(1).mask)
    assert not np.array_equal(loop.truth(3).mask, scene.truth(3).mask)


def test_hidden_lesions_have_no_box_and_front_ones_win() -> None:
    view = np.zeros((10, 12), np.bool_)
    view[:, :8] = True
    outside, back, front = (np.zeros_like(view) for _ in range(3))
    outside[2:4, 9:11] = True
    back[1:5, 1:5] = True
    front[3:6, 3:7] = True
    truth = lesion_truth(
        label="x",
        classes=("background", "a", "b"),
        instances=[(1, outside), (1, back), (2, front)],
        view=view,
        spacing_mm=None,
    )
    assert truth.labels == ("a", "b")
    assert truth.boxes == (Box(1, 1, 5, 5), Box(3, 3, 7, 6))
    assert truth.mask[3, 3] == 2
    assert (truth.mask == 1).sum() == 12


def test_streams_of_random_numbers_are_independent() -> None:
    assert generator(1, "a").random() == generator(1, "a").random()
    assert len({generator(s, p).random() for s in (1, 2) for p in ("a", "b")}) == 4


@pytest.mark.parametrize("sigma", [(0.5, 0.5), (3.0, 9.0), (40.0, 2.0)])
@pytest.mark.parametrize("around", [False, True])
def test_smooth_noise_is_standardized_and_as_smooth_as_asked(
    sigma: tuple[float, float], around: bool
) -> None:
    field = smooth_noise(generator(0, "noise"), (180, 240), sigma, around=around)
    assert field.shape == (180, 240)
    assert abs(float(field.mean())) < 1e-3
    assert float(field.std()) == pytest.approx(1, abs=1e-3)
    # Neighbours of white noise through a Gaussian of that width correlate by exp(-1 / (4 sigma^2)).
    for axis, width in enumerate(sigma):
        step = np.diff(field, axis=axis)
        expected = np.sqrt(2 - 2 * np.exp(-1 / (4 * width**2)))
        assert float(step.std()) == pytest.approx(expected, rel=0.35)


def test_smooth_noise_closes_around() -> None:
    closed = smooth_noise(generator(4, "noise"), (200, 300), (8, 8), around=True)
    seam, inner = np.abs(closed[:, 0] - closed[:, -1]).mean(), np.abs(np.diff(closed, axis=1)).mean()
    assert seam < 1.6 * inner
