"""Pictures: peak signal-to-noise ratio, structural similarity, and a distance of features."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt
from scipy import linalg

Pixels = npt.NDArray[np.uint8]

# Wang et al., Image quality assessment, IEEE TIP 2004, section III.B.
_SIGMA, _WINDOW, _C1, _C2 = 1.5, 11, (0.01 * 255) ** 2, (0.03 * 255) ** 2
#: Identical pictures have no finite ratio.
_BEST_PSNR = 100.0


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio in dB, at most 100."""
    error = float(((a.astype(np.float64) - b) ** 2).mean())
    return _BEST_PSNR if error == 0 else min(_BEST_PSNR, 10 * math.log10(255.0**2 / error))


def ssim(a: Pixels, b: Pixels) -> float:
    """Structural similarity, averaged over whole windows and channels; 1 for identical pictures.

    Args:
        a: `(H, W, C) uint8`, sides of at least 11 pixels.
        b: The same shape.
    """

    def mean(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        blurred = cv2.GaussianBlur(x, (_WINDOW, _WINDOW), _SIGMA)
        return np.asarray(blurred.reshape(x.shape), np.float64)

    x, y = a.astype(np.float64), b.astype(np.float64)
    mx, my = mean(x), mean(y)
    vx, vy, both = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    score = ((2 * mx * my + _C1) * (2 * both + _C2)) / ((mx * mx + my * my + _C1) * (vx + vy + _C2))
    inside = slice(_WINDOW // 2, -(_WINDOW // 2))
    return float(score[inside, inside].mean())


def texture_features(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """What a picture looks like without saying what it shows: moments of a Laplacian pyramid.

    Args:
        pictures: `(N, H, W, C) uint8`.

    Returns:
        `(N, D)`: per level and channel the mean absolute value and the standard deviation, of the last level
        the mean as well, in grey levels.

    Statistics of band-pass pictures describe texture (Portilla & Simoncelli, IJCV 2000). A network trained on
    photographs, as the Frechet inception distance uses, knows neither ultrasound nor endoscopy, and would
    have to be fetched.
    """
    rows = []
    for picture in pictures:
        level = picture.astype(np.float32)
        row: list[float] = []
        while min(level.shape[:2]) >= 8:
            smaller = cv2.pyrDown(level).reshape((level.shape[0] + 1) // 2, (level.shape[1] + 1) // 2, -1)
            larger = cv2.resize(smaller, (level.shape[1], level.shape[0])).reshape(level.shape)
            band = level - larger
            row += [*np.abs(band).mean(axis=(0, 1)).tolist(), *band.std(axis=(0, 1)).tolist()]
            level = smaller
        row += [*level.mean(axis=(0, 1)).tolist(), *level.std(axis=(0, 1)).tolist()]
        rows.append(row)
    return np.array(rows, np.float64)


def frechet_distance(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Distance of two sets of features as normal distributions, the root of Frechet's squared distance.

    Features are in units of their standard deviation over both sets first, so that all of them count.

    Args:
        a: `(N, D)`, N at least 2.
        b: `(M, D)`, M at least 2.

    Dowson & Landau, The Frechet distance between multivariate normal distributions, 1982.
    """
    scale = np.concatenate([a, b]).std(axis=0)
    scale[scale == 0] = 1.0
    x, y = a / scale, b / scale
    ca, cb = np.atleast_2d(np.cov(x, rowvar=False)), np.atleast_2d(np.cov(y, rowvar=False))
    # The product of two covariances has real, non-negative eigenvalues; what else there is, is rounding.
    root = np.sqrt(np.clip(linalg.eigvals(ca @ cb).real, 0, None)).sum()
    squared = float(((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum() + np.trace(ca) + np.trace(cb) - 2 * root)
    return math.sqrt(max(0.0, squared))
