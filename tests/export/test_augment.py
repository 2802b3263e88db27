"""Augmentation: seeded, of the same shape, and it does what its name says."""

import numpy as np
import pytest

from bedside.export.training.augment import Augmenter
from bedside.export.recipe import AugmentRecipe

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
    pad=0.5,
    furniture=0.5,
)


def picture(channels: int = 3, height: int = 40, width: int = 48) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    planes = [(x * 5) % 256, (y * 6) % 256, ((x + y) * 3) % 256]
    return np.stack(planes[:channels], axis=-1).astype(np.uint8)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("channels", [1, 3])
def test_everything_at_once_keeps_shape_and_source_and_follows_the_seed(channels: int):
    pixels = picture(channels)
    before = pixels.copy()
    vary = Augmenter(EVERYTHING)
    results = [vary(pixels, rng(seed)) for seed in range(40)]
    assert all(r.shape == pixels.shape and r.dtype == np.uint8 for r in results)
    assert np.array_equal(pixels, before)
    assert all(not np.may_share_memory(r, pixels) for r in results)
    assert np.array_equal(results[7], vary(pixels, rng(7)))
    assert len({r.tobytes() for r in results}) > 35


def test_the_default_varies_nothing():
    vary = Augmenter(AugmentRecipe())
    assert not vary.active
    assert np.array_equal(vary(picture(), rng()), picture())


def test_flips_are_exact():
    pixels = picture()
    assert np.array_equal(Augmenter(AugmentRecipe(flip_horizontal=1.0))(pixels, rng()), pixels[:, ::-1])
    assert np.array_equal(Augmenter(AugmentRecipe(flip_vertical=1.0))(pixels, rng()), pixels[::-1])


def test_shift_moves_by_at_most_its_fraction():
    pixels = np.zeros((41, 41, 1), np.uint8)
    pixels[20, 20] = 255
    for seed in range(30):
        out = Augmenter(AugmentRecipe(shift=0.25))(pixels, rng(seed))[..., 0].astype(float)
        row, column = (np.average(np.arange(41), weights=out.sum(axis)) for axis in (1, 0))
        assert abs(row - 20) <= 0.25 * 41 + 0.5
        assert abs(column - 20) <= 0.25 * 41 + 0.5


def test_crop_fills_the_frame_from_inside():
    """A crop shows no border: with a white picture in a black world nothing black may come in."""
    white = np.full((32, 32, 3), 255, np.uint8)
    for seed in range(30):
        out = Augmenter(AugmentRecipe(crop=0.6))(white, rng(seed))
        assert out[1:-1, 1:-1].min() == 255


def test_gray_takes_colour_away():
    out = Augmenter(AugmentRecipe(gray=1.0))(picture(), rng())
    assert np.array_equal(out[..., 0], out[..., 1])
    assert np.array_equal(out[..., 0], out[..., 2])


def test_pad_leaves_a_smaller_picture_on_a_dark_screen():
    white = np.full((40, 40, 3), 255, np.uint8)
    shares = [float((Augmenter(AugmentRecipe(pad=1.0))(white, rng(s)) == 255).mean()) for s in range(50)]
    assert min(shares) >= 0.45**2 - 0.02
    assert max(shares) <= 0.95**2 + 0.06
    assert np.std(shares) > 0.1


def test_a_screen_can_be_kept_from_a_frame():
    white = np.full((40, 40, 3), 255, np.uint8)
    vary = Augmenter(AugmentRecipe(pad=1.0, furniture=1.0))
    assert np.array_equal(vary(white, rng(), screen=False), white)
    assert not np.array_equal(vary(white, rng()), white)


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
def test_tone_moves_both_ways(ranges: AugmentRecipe, measure):
    pixels = picture() // 2 + 40
    values = [measure(Augmenter(ranges)(pixels, rng(seed))) for seed in range(40)]
    assert min(values) < measure(pixels) < max(values)


def test_a_full_turn_of_hue_is_no_change():
    """OpenCV's hue has 180 steps for 360 degrees: half a turn away red is cyan."""
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    turned = [Augmenter(AugmentRecipe(hue=180.0))(red, rng(seed))[0, 0] for seed in range(200)]
    assert max(int(t[1]) for t in turned) > 150
    assert max(int(t[2]) for t in turned) > 150


def test_noise_and_blur_have_the_size_asked_for():
    flat = np.full((64, 64, 1), 128, np.uint8)
    spread = [Augmenter(AugmentRecipe(noise=20.0))(flat, rng(s)).std() for s in range(40)]
    assert 15 < max(spread) <= 21
    rough = rng().integers(0, 256, (64, 64, 1)).astype(np.uint8)
    assert min(Augmenter(AugmentRecipe(blur=2.0))(rough, rng(s)).std() for s in range(10)) < 0.4 * rough.std()


def test_jpeg_stays_close():
    out = Augmenter(AugmentRecipe(jpeg=1.0))(picture(), rng())
    assert 0 < np.abs(out.astype(int) - picture()).mean() < 20
