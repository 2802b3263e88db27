"""Augmentation by what ultrasound does: gain along the depth, acoustic shadows, speckle.

All of it multiplies displayed grey levels, so that the black surround of a fan stays black. For speckle as a
scanner makes it, below the logarithm, see `bedside.export.data.speckled`.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from bedside.export.training.augment_recipe import AugmentRecipe
from bedside.export.training.optics import to_uint8
from bedside.runtime.frame import Pixels

#: Sliders of time-gain compensation.
_SLIDERS = 6
#: Half the opening of a shadow in radians, how much of the light is left in it, and how many there are.
_OPENING, _LEFT, _SHADOWS = (0.04, 0.16), (0.05, 0.5), (1, 3)
#: Where a shadow begins, as a fraction of the picture's height, and its soft edge in radians.
_BEGINS, _EDGE = (0.15, 0.7), 0.03
#: Resolution cells, in pixels across; depth is resolved twice as well (as `bedside.export.data.speckled`).
_CELL = (0.6, 2.5)
#: Mean of a Rayleigh distribution whose two Gaussians have variance 1.
_RAYLEIGH_MEAN = np.sqrt(np.pi / 2)


def insonify(pixels: Pixels, ranges: AugmentRecipe, rng: np.random.Generator) -> Pixels:
    """Gain, shadow and speckle, in that order. What is black, the surround of a fan for one, stays black.

    Args:
        pixels: `(H, W, C) uint8`, C is 1 or 3; all channels alike.
        ranges: `gain`, `shadow` and `speckle` count.
        rng: Same state, same picture; not drawn from where all of them are 0.
    """
    size = (pixels.shape[0], pixels.shape[1])
    factors: list[npt.NDArray[np.float32]] = []
    if ranges.gain:
        factors.append(_gain(size, ranges.gain, rng))
    if ranges.shadow and rng.random() < ranges.shadow:
        factors.append(_shadow(size, rng))
    if ranges.speckle:
        factors.append(_speckle(size, ranges.speckle * rng.random(), rng))
    return to_uint8(pixels * np.prod(factors, axis=0)[:, :, None]) if factors else pixels


def _polar(size: tuple[int, int], apex_y: float) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Distance from the apex in heights of the picture, and angle from straight down in radians, `(H, W)`."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    down, aside = (y + 0.5) / height - apex_y, (x + 0.5 - width / 2) / height
    return np.hypot(down, aside), np.arctan2(aside, down)


def _gain(size: tuple[int, int], octaves: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Gain over the distance from the transducer: depths are straight lines for a linear array, arcs for a fan."""
    apex = 0.0 if rng.random() < 0.5 else -4.0
    distance, _ = _polar(size, apex)
    reach = distance + apex  # from the upper edge
    knots = np.linspace(0.0, 1.0, _SLIDERS)
    sliders = rng.uniform(-octaves, octaves, _SLIDERS)
    return np.asarray(np.exp2(np.interp(reach, knots, sliders)), np.float32)


def _shadow(size: tuple[int, int], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Wedges behind bone, stone or gas: little is left from a reflector on, all the way down."""
    apex = float(rng.uniform(-2.0, 0.0))
    distance, angle = _polar(size, apex)
    widest = float(np.arctan2(size[1] / 2 / size[0], 0.5 - apex))
    factor = np.ones(size, np.float32)
    for _ in range(int(rng.integers(*_SHADOWS))):
        middle = rng.uniform(-0.8, 0.8) * widest
        # As wide at the apex of a linear array, far above, as at that of a fan.
        half = rng.uniform(*_OPENING) / (1.0 - apex)
        begins = rng.uniform(*_BEGINS) - apex
        edge = _EDGE / (1.0 - apex)
        inside = np.clip((half - np.abs(angle - middle)) / edge + 0.5, 0, 1)
        behind = np.clip((distance - begins) / _EDGE + 0.5, 0, 1)
        factor *= (1.0 - (1.0 - rng.uniform(*_LEFT)) * inside * behind).astype(np.float32)
    return factor


def _speckle(size: tuple[int, int], strength: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """The envelope of a circular complex Gaussian field (Burckhardt, IEEE Trans. Sonics Ultrason. 25(1), 1978),
    correlated over a resolution cell, of mean 1, mixed with 1."""
    cell = rng.uniform(*_CELL)
    field = rng.standard_normal((*size, 2), np.float32)
    cells = np.asarray(cv2.GaussianBlur(field, (0, 0), sigmaX=cell, sigmaY=max(cell / 2, 0.3)), np.float32)
    envelope = np.hypot(cells[:, :, 0], cells[:, :, 1]) / (cells.std() * _RAYLEIGH_MEAN)
    return np.asarray(1.0 + strength * (envelope - 1.0), np.float32)
