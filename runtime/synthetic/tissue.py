"""What lies under the probe: anatomy, lesions in it, and what they do to the echoes behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from bedside.runtime.synthetic.anatomy import ANATOMY, ANECHOIC_DB, Canvas, Preset
from bedside.runtime.synthetic.fan import Grid, Probe
from bedside.runtime.synthetic.scene import F32, smooth_noise

Lesion = Literal["cyst", "hypoechoic mass", "hyperechoic mass"]
LESIONS: tuple[Lesion, ...] = ("cyst", "hypoechoic mass", "hyperechoic mass")
CLASSES = ("background", *LESIONS)
"""Class ids of the truth masks."""


class LesionShape(msgspec.Struct, frozen=True):
    """One lesion on the grid.

    Attributes:
        kind: What it is.
        level: Level set, `(D, B) float32`: positive inside, 0 on the border, about -1 one radius outside.
    """

    kind: Lesion
    level: F32


class Tissue(msgspec.Struct, frozen=True):
    """The scene on the polar grid; arrays are `(D, B) float32`.

    Attributes:
        echo_db: Echogenicity against parenchyma.
        gain_db: What is added on the way: coupling, and shadow or enhancement by what lies above.
        mirror: Amplitude of specular echoes (no speckle).
        lesions: In drawing order.
        pulse: Displacement at the height of the pulse: beams, depth samples.
    """

    echo_db: F32
    gain_db: F32
    mirror: F32
    lesions: tuple[LesionShape, ...]
    pulse: tuple[F32, F32]


class _Look(msgspec.Struct, frozen=True):
    """Echogenicity in dB against what is around, attenuation in dB/cm/MHz against it, roughness of the
    outline.

    Tissue attenuates about 0.5 dB/cm/MHz and fluid next to nothing: the surplus behind it is the posterior
    enhancement. A scirrhous mass attenuates 1 and more: the shadow.
    """

    echo: float
    attenuation: float
    rough: float
    soft: float


_LOOKS: dict[Lesion, _Look] = {
    "cyst": _Look(ANECHOIC_DB, -0.45, 0.03, 0.05),
    "hypoechoic mass": _Look(-13.0, 0.5, 0.11, 0.16),
    "hyperechoic mass": _Look(9.0, 0.05, 0.07, 0.16),
}
_DEPTHS: dict[Preset, tuple[float, float]] = {
    "abdomen": (0.28, 0.7),
    "heart": (0.3, 0.7),
    "superficial": (0.25, 0.66),
    "phantom": (0.2, 0.8),
}
"""Where lesions are put, as a part of the depth."""


def make_tissue(
    preset: Preset,
    probe: Probe,
    grid: Grid,
    lesions: Sequence[Lesion],
    rng: np.random.Generator,
    size: tuple[float, float] = (0.07, 0.13),
) -> Tissue:
    """Lay out anatomy and lesions.

    Args:
        preset: `abdomen`: wall layers, parenchyma with vessels, diaphragm. `heart`: beating chambers.
            `superficial`: skin, fat, fascia, muscle. `phantom`: nothing but even scatterers.
        probe: The transducer.
        grid: Where to lay it out.
        lesions: Which lesions to put in; one that finds no free place after many tries is left out.
        rng: Where shapes and places are drawn from.
        size: Range of the lesions' radius, as a part of the depth.
    """
    canvas = Canvas.blank(grid)
    pulse = ANATOMY[preset](canvas, probe, rng)
    shapes = _place(grid, probe, lesions, rng, _DEPTHS[preset], size)
    for lesion in shapes:
        look = _LOOKS[lesion.kind]
        texture = smooth_noise(rng, canvas.shape, (canvas.shape[0] / 60, canvas.shape[1] / 60))
        cyst = lesion.kind == "cyst"
        around = float(np.median(canvas.echo[(lesion.level > -0.6) & (lesion.level < 0)]))
        canvas.blend(lesion.level, look.echo if cyst else around + look.echo + 1.8 * texture, look.soft)
        weight = np.clip(lesion.level / look.soft + 0.5, 0, 1)
        canvas.attenuation += weight * np.float32(look.attenuation)
        if cyst:
            # A smooth wall is a mirror where the beam meets it at a right angle: front and back.
            wall = np.exp(-((lesion.level / 0.05) ** 2))
            slope = np.abs(np.gradient(lesion.level, axis=0))
            canvas.mirror += 2.0 * wall * (slope / (slope.max() + 1e-9)) ** 4
    # Both ways through what lies above, limited as the gain of a scanner is.
    through = np.cumsum(canvas.attenuation, axis=0) * np.float32(
        2 * probe.frequency_mhz * grid.sample_mm / 10
    )
    gain = np.asarray(canvas.gain - np.clip(through, -9, 40), np.float32)
    return Tissue(canvas.echo, gain, canvas.mirror, shapes, pulse)


def _place(
    grid: Grid,
    probe: Probe,
    lesions: Sequence[Lesion],
    rng: np.random.Generator,
    depths: tuple[float, float],
    size: tuple[float, float],
) -> tuple[LesionShape, ...]:
    """Lesions at random places that stay in the fan while the probe moves, and do not touch each other."""
    rows, columns = grid.x.shape
    shapes: list[LesionShape] = []
    taken = np.zeros(grid.x.shape, np.bool_)
    for kind in lesions:
        for _ in range(60):
            radius = rng.uniform(*size) * probe.depth_mm
            row = int(rng.uniform(*depths) * rows)
            margin = 2 * grid.sweep + int(radius / float(grid.beam_mm[row, 0]))
            column = int(rng.integers(min(margin, columns // 2), max(columns - margin, columns // 2 + 1)))
            centre = float(grid.x[row, column]), float(grid.z[row, column])
            level = _outline(grid, centre, radius, _LOOKS[kind].rough, rng)
            if not (taken & (level > -0.35)).any():
                taken |= level > -0.35
                shapes.append(LesionShape(kind, level))
                break
    return tuple(shapes)


def _outline(
    grid: Grid, centre: tuple[float, float], radius: float, rough: float, rng: np.random.Generator
) -> F32:
    """Level set of a tilted ellipse; a few Fourier terms of its angle make it lobulated."""
    tilt = rng.uniform(-0.5, 0.5)
    x, z = grid.x - np.float32(centre[0]), grid.z - np.float32(centre[1])
    u, v = x * math.cos(tilt) + z * math.sin(tilt), z * math.cos(tilt) - x * math.sin(tilt)
    v = v * rng.uniform(1.1, 1.5)
    angle = np.arctan2(v, u)
    edge = np.ones_like(angle)
    for order in range(2, 8):
        edge += rough * rng.normal() / (order - 1) ** 0.7 * np.cos(order * angle + rng.uniform(0, 6.3))
    return np.asarray(1 - np.hypot(u, v) / (radius * np.clip(edge, 0.55, 1.5)), np.float32)
