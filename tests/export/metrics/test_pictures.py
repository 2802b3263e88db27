"""Picture metrics against TensorFlow's and against closed forms."""

import numpy as np
import pytest

from bedside.export.metrics.pictures import frechet_distance, psnr, ssim, texture_features


def noisy(seed: int, level: float, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:40, 0:56]
    clean = np.stack([(x * 3 + y * k) % 200 for k in range(1, channels + 1)], axis=-1).astype(np.uint8)
    return clean, np.clip(clean + rng.normal(0, level, clean.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("level", [2.0, 20.0, 80.0])
def test_ssim_and_psnr_are_tensorflows(level: float, channels: int) -> None:
    tf = pytest.importorskip("tensorflow")
    a, b = noisy(1, level, channels)
    assert ssim(a, b) == pytest.approx(float(tf.image.ssim(a, b, 255)), abs=2e-4)
    assert psnr(a, b) == pytest.approx(float(tf.image.psnr(a, b, 255)), abs=1e-3)
    assert ssim(a, a) == 1.0
    assert psnr(a, a) == 100.0


def test_frechet_distance_of_shifted_normals() -> None:
    """Two normals of deviation 1, `d` apart: the deviation over both is sqrt(1 + d^2 / 4)."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, (20_000, 3)), rng.normal(0, 1, (20_000, 3))
    b[:, 0] += 1.5
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-5)
    assert frechet_distance(a, b) == pytest.approx(1.5 / np.sqrt(1 + 1.5**2 / 4), abs=0.03)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), abs=1e-9)
    wide = a * 3
    # Deviations 1 and 3 in three directions, over both sqrt(5).
    assert frechet_distance(a, wide) == pytest.approx(np.sqrt(3) * 2 / np.sqrt(5), abs=0.03)


def test_frechet_distance_of_one_feature_and_of_constant_ones() -> None:
    rng = np.random.default_rng(2)
    one = rng.normal(0, 1, (500, 1))
    assert frechet_distance(one, one + 1) > 0.5
    assert frechet_distance(np.ones((5, 4)), np.ones((7, 4))) == 0.0


def test_texture_tells_speckle_from_smooth_and_not_left_from_right() -> None:
    rng = np.random.default_rng(3)
    smooth = np.repeat(rng.integers(60, 180, (40, 1, 1, 1)), 32 * 32, axis=1).reshape(40, 32, 32, 1)
    rough = np.clip(smooth * rng.rayleigh(0.8, smooth.shape), 0, 255)
    pictures = rough.astype(np.uint8)
    features = texture_features(pictures)
    far = frechet_distance(texture_features(smooth.astype(np.uint8)), features)
    assert far > 5 * frechet_distance(features, texture_features(pictures[:, :, ::-1]))
