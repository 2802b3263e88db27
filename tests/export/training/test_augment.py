"""Augmentation: seeded, of the same shape, it does what its name says, and targets move with frames."""

from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.export.data.types import BoxesTarget, MaskTarget, PictureTarget, Target
from bedside.export.training.augment import Augmenter
from bedside.export.training.augment_recipe import AugmentRecipe

EVERYTHING = AugmentRecipe(
    flip_horizontal=0.5,
    flip_vertical=0.5,
    rotate=20,
    scale=0.2,
    stretch=0.2,
    shift=0.1,
    crop=0.3,
    brightness=0.2,
    contrast=0.3,
    gamma=0.5,
    saturation=0.5,
    hue=20,
    gray=0.3,
    tint=0.2,
    blur=1.0,
    noise=10,
    jpeg=0.5,
    depth=0.3,
    gain=0.8,
    speckle=0.8,
    shadow=0.5,
    highlights=0.5,
    pad=0.5,
    furniture=0.5,
)


def picture(channels: int = 3, height: int = 40, width: int = 48) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    planes = [(x * 5) % 256, (y * 6) % 256, ((x + y) * 3) % 256]
    return np.stack(planes[:channels], axis=-1).astype(np.uint8)


def vary(ranges: AugmentRecipe, pixels: np.ndarray, seed: int = 0, **options: Any) -> np.ndarray:
    """The frame alone."""
    return Augmenter(ranges)(pixels, rng(seed), **options)[0]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("channels", [1, 3])
def test_everything_at_once_keeps_shape_and_source_and_follows_the_seed(channels: int) -> None:
    pixels = picture(channels)
    before = pixels.copy()
    results = [vary(EVERYTHING, pixels, seed) for seed in range(40)]
    assert all(r.shape == pixels.shape and r.dtype == np.uint8 for r in results)
    assert np.array_equal(pixels, before)
    assert all(not np.may_share_memory(r, pixels) for r in results)
    assert np.array_equal(results[7], vary(EVERYTHING, pixels, 7))
    assert len({r.tobytes() for r in results}) > 35


def test_the_default_varies_nothing() -> None:
    assert not Augmenter(AugmentRecipe()).active
    assert np.array_equal(vary(AugmentRecipe(), picture()), picture())


def test_flips_are_exact() -> None:
    pixels = picture()
    assert np.array_equal(vary(AugmentRecipe(flip_horizontal=1.0), pixels), pixels[:, ::-1])
    assert np.array_equal(vary(AugmentRecipe(flip_vertical=1.0), pixels), pixels[::-1])


def test_shift_moves_by_at_most_its_fraction() -> None:
    pixels = np.zeros((41, 41, 1), np.uint8)
    pixels[20, 20] = 255
    for seed in range(30):
        out = vary(AugmentRecipe(shift=0.25), pixels, seed)[..., 0].astype(float)
        row, column = (np.average(np.arange(41), weights=out.sum(axis)) for axis in (1, 0))
        assert abs(row - 20) <= 0.25 * 41 + 0.5
        assert abs(column - 20) <= 0.25 * 41 + 0.5


def test_crop_fills_the_frame_from_inside() -> None:
    """A crop shows no border: with a white picture in a black world nothing black may come in."""
    white = np.full((32, 32, 3), 255, np.uint8)
    for seed in range(30):
        out = vary(AugmentRecipe(crop=0.6), white, seed)
        assert out[1:-1, 1:-1].min() == 255


def test_gray_takes_colour_away() -> None:
    out = vary(AugmentRecipe(gray=1.0), picture())
    assert np.array_equal(out[..., 0], out[..., 1])
    assert np.array_equal(out[..., 0], out[..., 2])


def test_pad_leaves_a_smaller_picture_on_a_dark_screen() -> None:
    white = np.full((40, 40, 3), 255, np.uint8)
    shares = [float((vary(AugmentRecipe(pad=1.0), white, s) == 255).mean()) for s in range(50)]
    assert min(shares) >= 0.45**2 - 0.02
    assert max(shares) <= 0.95**2 + 0.06
    assert np.std(shares) > 0.1


def test_a_screen_can_be_kept_from_a_frame() -> None:
    white = np.full((40, 40, 3), 255, np.uint8)
    ranges = AugmentRecipe(pad=1.0, furniture=1.0)
    assert np.array_equal(vary(ranges, white, screen=False), white)
    assert not np.array_equal(vary(ranges, white), white)


@pytest.mark.parametrize(
    ("ranges", "measure"),
    [
        (AugmentRecipe(brightness=0.3), lambda p: p.mean()),
        (AugmentRecipe(gamma=1.0), lambda p: p.mean()),
        (AugmentRecipe(contrast=0.5), lambda p: p.std()),
        (AugmentRecipe(saturation=0.9), lambda p: np.ptp(p.astype(int), axis=2).mean()),
        (AugmentRecipe(tint=0.5), lambda p: p[..., 0].mean() / p[..., 2].mean()),
    ],
)
def test_tone_moves_both_ways(ranges: AugmentRecipe, measure: Any) -> None:
    pixels = picture() // 2 + 40
    values = [measure(vary(ranges, pixels, seed)) for seed in range(40)]
    assert min(values) < measure(pixels) < max(values)


def test_a_full_turn_of_hue_is_no_change() -> None:
    """OpenCV's hue has 180 steps for 360 degrees: half a turn away red is cyan."""
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    turned = [vary(AugmentRecipe(hue=180.0), red, seed)[0, 0] for seed in range(200)]
    assert max(int(t[1]) for t in turned) > 150
    assert max(int(t[2]) for t in turned) > 150


def test_noise_and_blur_have_the_size_asked_for() -> None:
    flat = np.full((64, 64, 1), 128, np.uint8)
    spread = [vary(AugmentRecipe(noise=20.0), flat, s).std() for s in range(40)]
    assert 15 < max(spread) <= 21
    rough = rng().integers(0, 256, (64, 64, 1)).astype(np.uint8)
    assert min(vary(AugmentRecipe(blur=2.0), rough, s).std() for s in range(10)) < 0.4 * rough.std()


def test_jpeg_stays_close() -> None:
    out = vary(AugmentRecipe(jpeg=1.0), picture())
    assert 0 < np.abs(out.astype(int) - picture()).mean() < 20


MOVES = AugmentRecipe(
    flip_horizontal=0.5,
    flip_vertical=0.5,
    rotate=40,
    scale=0.3,
    stretch=0.3,
    shift=0.1,
    crop=0.2,
    depth=0.3,
    pad=0.5,
    furniture=0.0,
)


def blob(x: int, y: int, half_width: int, half_height: int) -> tuple[np.ndarray, np.ndarray, BoxesTarget]:
    """A white ellipse on black, `(64, 80, 1)`: frame, mask, box."""
    mask = np.zeros((64, 80), np.uint8)
    cv2.ellipse(mask, (x, y), (half_width, half_height), 0, 0, 360, 1, cv2.FILLED)
    rows, columns = np.nonzero(mask)
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    return mask[:, :, None] * 255, mask, BoxesTarget(np.array([box], np.float32), np.array([3]))


@given(
    seed=st.integers(0, 2**32 - 1),
    x=st.integers(25, 55),
    y=st.integers(20, 44),
    half_width=st.integers(3, 9),
    half_height=st.integers(3, 9),
)
def test_masks_and_boxes_move_with_what_they_show(
    seed: int, x: int, y: int, half_width: int, half_height: int
) -> None:
    """Frame, mask and box of one ellipse, each varied with the same seed."""
    frame, mask, boxes = blob(x, y, half_width, half_height)
    # A mask may be reflected at the border, a box is not: the ellipse stands in a black world either way.
    seen, target = Augmenter(MOVES)(frame, rng(seed), target=MaskTarget(mask))
    assert isinstance(target, MaskTarget)
    assert set(np.unique(target.classes)) <= {0, 1}
    # Linear and nearest interpolation part by less than a pixel along the outline.
    certain = np.abs(seen[:, :, 0].astype(int) - 128) > 126
    assert np.array_equal((seen[:, :, 0] > 128)[certain], target.classes[certain] == 1)

    boxed_frame, moved = Augmenter(MOVES)(frame, rng(seed), target=boxes)
    assert isinstance(moved, BoxesTarget)
    rows, columns = np.nonzero(boxed_frame[:, :, 0] > 128)
    assert moved.labels.tolist() == [3] * len(moved.boxes)
    if len(moved.boxes) and len(rows):
        x0, y0, x1, y1 = moved.boxes[0]
        assert x0 - 1 <= columns.min() and columns.max() + 1 <= x1 + 1
        assert y0 - 1 <= rows.min() and rows.max() + 1 <= y1 + 1
        assert 0 <= x0 < x1 <= 80 and 0 <= y0 < y1 <= 64


@given(seed=st.integers(0, 2**32 - 1))
def test_a_box_that_is_not_turned_stays_tight(seed: int) -> None:
    ranges = msgspec.structs.replace(MOVES, rotate=0.0, shift=0.0, crop=0.0, scale=0.2, depth=0.0)
    frame, _, boxes = blob(40, 32, 8, 6)
    seen, moved = Augmenter(ranges)(frame, rng(seed), target=boxes)
    assert isinstance(moved, BoxesTarget)
    rows, columns = np.nonzero(seen[:, :, 0] > 100)
    around = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert np.abs(moved.boxes[0] - around).max() <= 1.6


def test_boxes_that_leave_the_frame_are_left_out() -> None:
    boxes = BoxesTarget(np.array([[0, 0, 6, 6], [30, 25, 50, 40]], np.float32), np.array([1, 2]))
    frame = np.zeros((64, 80, 1), np.uint8)
    kept = [Augmenter(AugmentRecipe(shift=0.3))(frame, rng(s), target=boxes)[1] for s in range(40)]
    assert all(isinstance(k, BoxesTarget) and 2 in k.labels for k in kept)
    assert {len(k.labels) for k in kept if isinstance(k, BoxesTarget)} == {1, 2}
    empty = BoxesTarget(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    _, still = Augmenter(MOVES)(frame, rng(), target=empty)
    assert isinstance(still, BoxesTarget) and still.boxes.shape == (0, 4)


def test_a_target_picture_moves_and_changes_colour_but_is_not_degraded() -> None:
    pixels = picture()
    whole = msgspec.structs.replace(
        EVERYTHING, blur=0.0, noise=0.0, jpeg=0.0, gain=0.0, speckle=0.0, shadow=0.0, highlights=0.0
    )
    for seed in range(20):
        seen, target = Augmenter(whole)(pixels, rng(seed), target=PictureTarget(pixels, "rgb"))
        assert isinstance(target, PictureTarget)
        assert np.array_equal(seen, target.pixels)
    bad = AugmentRecipe(blur=2.0, noise=10, jpeg=1.0, speckle=1.0, shadow=1.0, highlights=1.0, gain=1.0)
    seen, target = Augmenter(bad)(pixels, rng(), target=PictureTarget(pixels, "rgb"))
    assert isinstance(target, PictureTarget)
    assert np.array_equal(target.pixels, pixels)
    assert np.abs(seen.astype(int) - pixels).mean() > 5


@pytest.mark.parametrize("target", [None, MaskTarget(np.full((40, 48), 255, np.uint8))])
def test_a_frame_without_anything_to_move_is_fine(target: Target | None) -> None:
    _, after = Augmenter(EVERYTHING)(picture(), rng(3), target=target)
    assert type(after) is type(target)


def test_depth_keeps_the_apex_of_the_fan_where_it_is() -> None:
    frame = np.zeros((61, 61, 1), np.uint8)
    frame[0:2, 29:32] = 255
    frame[40:43, 29:32] = 255
    depths = []
    for seed in range(30):
        out = vary(AugmentRecipe(depth=0.4), frame, seed)[:, :, 0].astype(float)
        assert np.average(np.arange(61), weights=out.sum(0)) == pytest.approx(30, abs=0.5)
        assert out[0, 28:33].max() > 60
        if out[10:].any():
            depths.append(np.average(np.arange(10, 61), weights=out[10:].sum(1)))
    assert min(depths) < 35 and max(depths) > 46


def test_speckle_is_rayleigh_correlated_and_leaves_the_mean() -> None:
    flat = np.full((128, 128, 1), 100, np.uint8)
    outs = [vary(AugmentRecipe(speckle=1.0), flat, seed)[:, :, 0].astype(float) for seed in range(30)]
    assert np.mean(outs) == pytest.approx(100, rel=0.03)
    roughest = max(outs, key=lambda o: float(o.std()))
    # Deviation over mean of a Rayleigh distribution: sqrt(4 / pi - 1).
    assert roughest.std() / roughest.mean() == pytest.approx(np.sqrt(4 / np.pi - 1), abs=0.06)
    beside = np.corrcoef(roughest[:, 1:].ravel(), roughest[:, :-1].ravel())[0, 1]
    below = np.corrcoef(roughest[1:].ravel(), roughest[:-1].ravel())[0, 1]
    assert beside > below > 0


@pytest.mark.parametrize("ranges", [AugmentRecipe(speckle=1), AugmentRecipe(gain=2), AugmentRecipe(shadow=1)])
def test_ultrasound_leaves_black_black(ranges: AugmentRecipe) -> None:
    frame = picture(1)
    frame[:, :20] = 0
    changed = [vary(ranges, frame, seed) for seed in range(10)]
    assert all(not out[:, :20].any() for out in changed)
    assert sum(not np.array_equal(out, frame) for out in changed) > 5


def test_gain_changes_over_the_depth_and_not_across() -> None:
    flat = np.full((60, 60, 1), 60, np.uint8)
    straight = 0
    for seed in range(40):
        out = vary(AugmentRecipe(gain=1.0), flat, seed)[:, :, 0].astype(float)
        assert out.min() >= 29 and out.max() <= 121
        assert out[:, 30].std() > out[:, :].std(axis=1).min()
        straight += bool(out.std(axis=1).max() < 3)
    assert 5 < straight < 35, "both linear arrays and fans"


def test_a_shadow_is_dark_all_the_way_down_and_nothing_above_it() -> None:
    flat = np.full((90, 90, 1), 200, np.uint8)
    for seed in range(20):
        dark = vary(AugmentRecipe(shadow=1.0), flat, seed)[:, :, 0] < 150
        assert not dark[:8].any()
        column = int(dark.sum(axis=0).argmax())
        first = int(dark[:, column].argmax())
        assert 2 < first < 80
        assert 0 < dark.mean() < 0.6


def test_highlights_are_white_and_only_on_what_is_lit() -> None:
    frame = np.full((96, 96, 3), 90, np.uint8)
    frame[:, :48] = 0
    spots = 0
    for seed in range(20):
        out = vary(AugmentRecipe(highlights=1.0), frame, seed)
        assert not out[:, :48].any()
        assert (out >= frame).all()
        spots += bool((out == 255).all(axis=2).any())
    assert spots > 8
