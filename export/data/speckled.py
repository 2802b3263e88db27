"""Speckle on pictures that have none: what a despeckler sees, next to what it should make of it.

Speckle multiplies the echo's amplitude by the envelope of a circular complex Gaussian field (Rayleigh distributed;
Burckhardt, IEEE Trans. Sonics Ultrason. 25(1), 1978), correlated over a resolution cell, before the scanner takes
the logarithm.
"""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import numpy.typing as npt

from bedside.runtime.frame import Pixels
from bedside.runtime.geometry import Rect
from bedside.runtime.synthetic import speckle
from bedside.runtime.synthetic.anatomy import Preset, default_probe
from bedside.runtime.synthetic.fan import Fan
from bedside.runtime.synthetic.scene import generator
from bedside.runtime.synthetic.tissue import LESIONS, make_tissue

#: Of the log compression: echoes this far below white are black.
DYNAMIC_RANGE_DB = 60.0
_WHITE_DB = 22.0  # echo level that is drawn white; parenchyma is 0
_PRESETS: tuple[Preset, ...] = ("abdomen", "superficial", "phantom")


def seed_of(text: str) -> int:
    """A seed that follows from a text, for example an item's key, on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def add_speckle(pixels: Pixels, cell: float, seed: int) -> Pixels:
    """A picture with simulated speckle.

    The picture is taken for log-compressed amplitude of 60 dB range. The brightness of what is evenly bright stays
    as it was on average, before values are cut off at 0 and 255.

    Args:
        pixels: `(H, W, C) uint8`; all channels get the same speckle.
        cell: Correlation length: standard deviation of the point spread function, in pixels along a row, and half
            of it down a column, since ultrasound resolves depth better.
        seed: Same seed, same speckle.

    Returns:
        `(H, W, C) uint8`.
    """
    rng = np.random.default_rng(seed)
    field = speckle.scatterers(rng, (pixels.shape[0], pixels.shape[1]))
    cells = np.asarray(cv2.GaussianBlur(field, (0, 0), sigmaX=cell, sigmaY=max(cell / 2, 0.3)), np.float32)
    power = np.square(cells).sum(2)
    decibels = 10 * np.log10(np.maximum(power / power.mean(), 1e-9))
    # The mean of the logarithm of an exponential variable of mean 1 is minus Euler's constant.
    decibels += 10 / np.log(10) * np.euler_gamma
    levels = pixels + (255 / DYNAMIC_RANGE_DB * decibels)[:, :, None]
    return np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)


def drawn_pair(seed: int, width: int, height: int) -> tuple[Pixels, Pixels]:
    """A drawn B-mode picture with speckle, and the same anatomy without.

    Args:
        seed: Same seed, same pictures.
        width: In pixels.
        height: In pixels.

    Returns:
        Both `(H, W, 1) uint8`, grey.
    """
    rng = generator(seed, "despeckle")
    preset = _PRESETS[int(rng.integers(len(_PRESETS)))]
    probe = default_probe(preset, rng)
    fan = Fan(probe, width, height, Rect(0, 0, width, height), 0.0)
    lesions = [LESIONS[i] for i in rng.choice(len(LESIONS), 2, replace=False)]
    tissue = make_tissue(preset, probe, fan.grid, lesions, rng, (0.1, 0.18))
    amplitude = np.power(10, (tissue.echo_db + tissue.gain_db) / 20).astype(np.float32)
    mirror = tissue.mirror * np.power(10, tissue.gain_db / 20).astype(np.float32)
    axial, lateral = speckle.axial_sigma(probe, fan.grid.sample_mm), speckle.lateral_sigma(probe, fan.grid)
    shape = (amplitude.shape[0], amplitude.shape[1])
    echo = speckle.insonify(speckle.scatterers(rng, shape), amplitude, axial, lateral)
    speckled = np.hypot(echo[:, :, 0] + mirror, echo[:, :, 1])
    # Without speckle: what the envelope is on average in the logarithm, which is what the eye averages.
    clean = np.sqrt(np.square(amplitude) + np.square(mirror)) * np.float32(np.exp(-np.euler_gamma / 2))
    return _drawn(speckled, fan, width, height), _drawn(clean, fan, width, height)


def _drawn(envelope: npt.NDArray[np.float32], fan: Fan, width: int, height: int) -> Pixels:
    decibels = 20 * np.log10(np.maximum(envelope, 1e-6))
    levels = 255 * (1 + (decibels - _WHITE_DB) / DYNAMIC_RANGE_DB)
    picture = np.zeros((height, width, 1), np.uint8)
    box = fan.box
    polar = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    picture[box.y : box.y1, box.x : box.x1, 0] = fan.scan_convert(polar)
    return picture
