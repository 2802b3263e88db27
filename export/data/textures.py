"""A classification that nobody can solve: ten textures that overlap, drawn in microseconds.

For what needs thousands of samples and honest doubt, such as the coverage of conformal sets.
"""

from __future__ import annotations

import math

import numpy as np

from bedside.runtime.frame import Color, Pixels

CLASSES = 10
LABELS = tuple(f"stripes at {round(180 * index / CLASSES)} degrees" for index in range(CLASSES))
#: Standard deviation of the angle: half the distance of two classes. So the best there is decides
#: P(|N(0, 1)| < 1) = 68 % of the samples right.
SPREAD = math.pi / CLASSES / 2
_WAVES = (2.0, 4.0)  # per picture
_NOISE = 25.0  # grey levels


def draw_texture(seed: int, number: int, label: int, size: tuple[int, int]) -> tuple[Pixels, Color]:
    """One sample: stripes whose angle strays from its class, in noise.

    Args:
        seed: Of the recipe.
        number: Of the sample, below 2**32.
        label: Of its class.
        size: `(width, height)` in pixels.

    Returns:
        `(H, W, 1) uint8`, grey.
    """
    rng = np.random.default_rng((seed, label, number))
    angle = math.pi * label / CLASSES + SPREAD * rng.standard_normal()
    waves, phase = rng.uniform(*_WAVES), rng.uniform(0, 2 * math.pi)
    width, height = size
    x = (np.arange(width, dtype=np.float32) / width - 0.5)[None, :]
    y = (np.arange(height, dtype=np.float32) / height - 0.5)[:, None]
    turn = 2 * math.pi * waves * (x * math.cos(angle) + y * math.sin(angle)) + phase
    levels = 128 + rng.uniform(30, 60) * np.cos(turn)
    levels += _NOISE * rng.standard_normal((height, width), dtype=np.float32)
    return np.clip(levels, 0, 255).astype(np.uint8)[:, :, None], "gray"
