"""Anatomy on the polar grid: what a probe would see in the abdomen, the heart, and the limbs.

Levels are in dB against liver-like parenchyma (0 dB). Rough values of clinical practice: fat and muscle a few
dB below, capsules and fasciae 10 to 20 dB above, fluid without echoes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import cv2
import msgspec
import numpy as np

from bedside.runtime.synthetic.fan import Grid, Probe
from bedside.runtime.synthetic.scene import F32, smooth_noise

Preset = Literal["abdomen", "heart", "superficial", "phantom"]
PRESETS: tuple[Preset, ...] = ("abdomen", "heart", "superficial", "phantom")

ANECHOIC_DB = -40.0

Pulse = tuple[F32, F32]
"""Displacement of the tissue at the height of the pulse: beams, depth samples; `(D, B) float32` each."""


class Canvas(msgspec.Struct):
    """The plane while it is laid out; arrays are `(D, B) float32`.

    Attributes:
        grid: Where the samples lie.
        echo: Echogenicity in dB.
        attenuation: Against the tissue that the time-gain compensation is set for, dB/cm/MHz.
        mirror: Amplitude of specular echoes, which carry no speckle.
        gain: In dB, from the skin line and the coupling of the probe.
    """

    grid: Grid
    echo: F32
    attenuation: F32
    mirror: F32
    gain: F32

    @classmethod
    def blank(cls, grid: Grid) -> Canvas:
        """Even parenchyma."""
        return cls(grid, *(np.zeros(grid.x.shape, np.float32) for _ in range(4)))

    @property
    def shape(self) -> tuple[int, int]:
        """`(D, B)`."""
        return self.echo.shape[0], self.echo.shape[1]

    def blend(self, level: F32, echo: F32 | float, soft: float) -> None:
        """Set the echogenicity to `echo` where `level` is positive, over a border `soft` level units wide."""
        weight = np.clip(level / np.float32(soft) + np.float32(0.5), 0, 1)
        self.echo += weight * (echo - self.echo)

    def undulation(self, rng: np.random.Generator, amplitude: float, length: float) -> F32:
        """A smooth function of the place along the skin, in mm, `(1, B)`."""
        s = self.grid.along
        waves = [
            rng.uniform(0.4, 1) * np.sin(s / (length * f) + rng.uniform(0, 6.3)) for f in (1.0, 0.47, 0.26)
        ]
        return np.asarray(amplitude * (waves[0] + 0.45 * waves[1] + 0.2 * waves[2]), np.float32)

    def sheet(self, rng: np.random.Generator, distance: F32, thick: float, gain: float, shine: float) -> None:
        """A bright sheet: echogenic, with a specular part that comes and goes along it.

        Args:
            rng: Draws where it shines.
            distance: From the sheet, in mm, `(D, B)`.
            thick: Half width at 1/e, in mm.
            gain: In dB at its middle.
            shine: Amplitude of its specular part.
        """
        profile = np.exp(-((distance / np.float32(thick)) ** 2))
        patchy = np.clip(
            0.55 + 0.55 * smooth_noise(rng, (1, self.shape[1]), (0.5, self.shape[1] / 22)), 0.0, 1.6
        )
        self.echo += gain * profile * (0.6 + 0.4 * patchy)
        self.mirror += shine * profile * patchy

    def vessel(
        self, rng: np.random.Generator, at: tuple[float, float], radius: float, length: float, wall: float
    ) -> None:
        """A branching vessel from `at` (x, z in mm), `radius` and `length` in mm, its wall `wall` dB."""
        nearest = np.full(self.shape, 9.0, np.float32)
        tips = [(at[0], at[1], rng.uniform(0, 2 * math.pi), radius, length)]
        for _ in range(7):
            if not tips:
                break
            x, z, heading, r, left = tips.pop(0)
            step = left / 3
            for _ in range(3):
                heading += rng.normal(0, 0.3)
                end = x + step * math.cos(heading), z + step * math.sin(heading)
                np.minimum(nearest, self._to_segment((x, z), end, r, 0.85 * r), out=nearest)
                (x, z), r = end, 0.85 * r
            if r > 0.35 * radius:
                tips += [(x, z, heading + turn, 0.75 * r, 0.6 * left) for turn in (-0.6, 0.5)]
        if wall > 0:
            self.blend(1.4 - nearest, np.maximum(self.echo, np.float32(wall)), 0.3)
        self.blend(1 - nearest, ANECHOIC_DB + 6, 0.25)

    def _to_segment(self, a: tuple[float, float], b: tuple[float, float], r0: float, r1: float) -> F32:
        """Distance from a tapered segment in units of its radius."""
        g = self.grid
        dx, dz = b[0] - a[0], b[1] - a[1]
        u, v = g.x - np.float32(a[0]), g.z - np.float32(a[1])
        t = np.clip((u * np.float32(dx) + v * np.float32(dz)) / np.float32(dx * dx + dz * dz + 1e-9), 0, 1)
        gap = np.asarray(cv2.magnitude(u - t * np.float32(dx), v - t * np.float32(dz)))
        return np.asarray(gap / (np.float32(r0) + t * np.float32(r1 - r0)), np.float32)

    def swelling(self, centre: tuple[float, float], reach: float, strain: float) -> Pulse:
        """Tissue moving to and fro around a pulsating centre: `strain` near it, fading over `reach` mm."""
        g = self.grid
        u, v = g.x - np.float32(centre[0]), g.z - np.float32(centre[1])
        fade = np.float32(strain) * np.exp(-(u * u + v * v) / np.float32(reach**2))
        # The way of the beam: straight down, or along the radius of the sector.
        down_x = np.gradient(g.x, axis=0) / np.float32(g.sample_mm)
        down_z = np.gradient(g.z, axis=0) / np.float32(g.sample_mm)
        along, across = fade * (u * down_x + v * down_z), fade * (u * down_z - v * down_x)
        return np.asarray(across / g.beam_mm, np.float32), np.asarray(
            along / np.float32(g.sample_mm), np.float32
        )


def default_probe(preset: Preset, rng: np.random.Generator) -> Probe:
    """A transducer as used for `preset`, with the spread of depths and openings that one meets."""
    if preset == "heart":
        return Probe("phased", rng.uniform(140, 170), rng.uniform(75, 88), 3.0, 2.8, 80.0)
    if preset == "superficial":
        depth = rng.uniform(32, 45)
        return Probe("linear", depth, rng.uniform(1.0, 1.2) * depth, 0.0, 9.0, 0.5 * depth)
    depth = rng.uniform(120, 160)
    return Probe("curvilinear", depth, rng.uniform(58, 70), rng.uniform(50, 60), 3.5, 0.5 * depth)


def _parenchyma(canvas: Canvas, rng: np.random.Generator, spread: float) -> None:
    """The unevenness of any organ: broad, and a coarse grain."""
    rows, cols = canvas.shape
    canvas.echo += spread * smooth_noise(rng, (rows, cols), (rows / 12, cols / 12))
    canvas.echo += 0.6 * spread * smooth_noise(rng, (rows, cols), (rows / 70, cols / 70))


def _coupling(canvas: Canvas, probe: Probe, rng: np.random.Generator, edge_db: float) -> None:
    """Uneven contact of the probe: gain differs from beam to beam and falls at the ends."""
    cols = canvas.shape[1]
    place = np.linspace(-1, 1, cols, dtype=np.float32)[None, :]
    canvas.gain += 1.4 * smooth_noise(rng, (1, cols), (0.5, cols / 9))
    canvas.gain -= edge_db * np.clip(np.abs(place) - 0.45, 0, 1) ** 1.5 / 0.4
    canvas.gain -= 5 * (canvas.grid.depth / probe.depth_mm) ** 2  # the far field is never quite made up for


def _abdomen(canvas: Canvas, probe: Probe, rng: np.random.Generator) -> Pulse:
    """Right upper quadrant: body wall, liver with vessels, diaphragm."""
    g, deep = canvas.grid, probe.depth_mm
    _parenchyma(canvas, rng, 1.3)
    half = math.radians(probe.aperture) / 2
    for wall in (0.0, 8.0, 0.0)[: rng.integers(2, 4)]:
        radius = probe.radius_mm + rng.uniform(0.35, 0.75) * deep
        angle = rng.uniform(-0.85, 0.85) * half
        start = radius * math.sin(angle), radius * math.cos(angle) - probe.radius_mm
        canvas.vessel(rng, start, rng.uniform(2.2, 4.5), rng.uniform(22, 40), wall)
    if rng.random() < 0.85:
        bend, base, middle = rng.uniform(0.002, 0.005), rng.uniform(0.8, 0.93) * deep, rng.uniform(-25, 25)
        dome = base - bend * (g.x - middle) ** 2 + 0.4 * canvas.undulation(rng, 1.0, 25)
        behind = np.asarray(g.z - dome, np.float32)
        canvas.blend(
            behind,
            -10 + 2 * smooth_noise(rng, canvas.shape, (canvas.shape[0] / 40, canvas.shape[1] / 30)),
            2.0,
        )
        canvas.sheet(rng, behind, 1.4, 13, 2.5)
    edge = np.zeros_like(g.along)
    for index in range(rng.integers(3, 5)):
        thick = rng.uniform(3, 8) if index else rng.uniform(1.5, 2.5)
        lower = edge + thick + canvas.undulation(rng, 0.5, 18)
        inside = np.minimum(g.depth - edge, lower - g.depth)
        streaks = smooth_noise(rng, canvas.shape, (canvas.shape[0] / 320, canvas.shape[1] / 22))
        level = 7.0 if index == 0 else rng.uniform(-7, 1)
        canvas.blend(inside, level + 3.5 * streaks, 0.6)
        canvas.sheet(rng, g.depth - lower, 0.55, rng.uniform(5, 10), rng.uniform(0.3, 1.5))
        edge = lower
    _coupling(canvas, probe, rng, rng.uniform(3, 10))
    if rng.random() < 0.4:
        # A rib or gas at one side: a bright cap and darkness below.
        at, width = rng.choice([-1, 1]) * rng.uniform(0.3, 0.48), rng.uniform(0.03, 0.07)
        place = np.linspace(-0.5, 0.5, canvas.shape[1], dtype=np.float32)[None, :]
        across = np.exp(-(((place - at) / width) ** 4))
        depth = rng.uniform(9, 16)
        cap = np.exp(-(((g.depth - depth) / 1.5) ** 2))
        canvas.echo += 11 * across * cap
        canvas.gain -= 26 * across * np.clip((g.depth - depth) / 6, 0, 1)
    centre = rng.uniform(-15, 15), rng.uniform(0.5, 0.7) * deep
    return canvas.swelling(centre, 0.35 * deep, 0.035)


def _heart(canvas: Canvas, probe: Probe, rng: np.random.Generator) -> Pulse:
    """Apical four-chamber view, somewhat idealized."""
    g, deep = canvas.grid, probe.depth_mm
    canvas.echo -= 13  # lung and fat around
    _parenchyma(canvas, rng, 2.5)
    cx, cz, tilt = rng.uniform(0.09, 0.13) * deep, rng.uniform(0.42, 0.46) * deep, rng.uniform(-0.2, 0.2)
    a, b, wall = rng.uniform(0.12, 0.145) * deep, rng.uniform(0.28, 0.32) * deep, rng.uniform(10, 12.5)
    # Heart coordinates: u to the side, v from apex to base, origin in the left ventricle.
    u = (g.x - np.float32(cx)) * math.cos(tilt) + (g.z - np.float32(cz)) * math.sin(tilt)
    v = -(g.x - np.float32(cx)) * math.sin(tilt) + (g.z - np.float32(cz)) * math.cos(tilt)

    def room(at_u: float, at_v: float, wide: float, tall: float, taper: float) -> F32:
        """Level set in mm of an egg whose thin end points at the probe."""
        narrow = np.clip(1 + taper * (v - at_v) / tall, 0.35, 1.5)
        return np.asarray((1 - np.hypot((u - at_u) / (wide * narrow), (v - at_v) / tall)) * wide, np.float32)

    right = -(1.85 * a + wall)
    rooms = [(0.0, 0.0, a, b, 0.35), (right, 0.18 * b, 0.8 * a, 0.8 * b, 0.35)]
    rooms += [(0.0, 1.28 * b, 0.95 * a, 0.5 * b, -0.1), (right + 0.1 * a, 1.3 * b, 0.9 * a, 0.48 * b, -0.1)]
    sac = room(0.5 * right, 0.12 * b, 1.9 * a + 1.6 * wall, 1.55 * b, 0.3)
    canvas.sheet(rng, sac, 1.3, 14, 1.2)
    streaks = smooth_noise(rng, canvas.shape, (canvas.shape[0] / 250, canvas.shape[1] / 35))
    for (at_u, at_v, wide, tall, taper), muscle in zip(
        rooms, (wall, 0.55 * wall, 0.35 * wall, 0.35 * wall), strict=True
    ):
        canvas.blend(room(at_u, at_v, wide + muscle, tall + muscle, taper), -2.5 + 3 * streaks, 2.0)
    pools = np.maximum.reduce([room(*shape) for shape in rooms])
    canvas.mirror *= pools < 0
    canvas.sheet(rng, pools, 1.5, 5, 0.5)
    canvas.blend(pools, ANECHOIC_DB + 10, 1.2)
    for at_u, wide in ((0.0, a), (right, 0.8 * a)):
        base = 0.86 * b
        for side in (-1, 1):
            hinge, tip = (at_u + side * 0.92 * wide, base), (at_u + side * 0.1 * wide, base - 0.13 * b)
            t = np.clip((hinge[0] - u) / (hinge[0] - tip[0]), 0, 1)
            away = np.hypot(
                u - (hinge[0] + t * (tip[0] - hinge[0])), v - (hinge[1] + t * (tip[1] - hinge[1]))
            )
            canvas.blend(np.asarray(1.3 - away, np.float32), 5.0, 1.0)
    canvas.echo += 14 * np.exp(-g.depth / 7)  # reverberation below the ribs
    _coupling(canvas, probe, rng, rng.uniform(5, 10))
    return canvas.swelling((cx, cz + 0.2 * b), 2.4 * a, 0.2)


def _superficial(canvas: Canvas, probe: Probe, rng: np.random.Generator) -> Pulse:
    """A limb: skin, fat with septa, fascia, muscle, a vessel, bone or the next muscle."""
    g, deep = canvas.grid, probe.depth_mm
    shape = canvas.shape
    skin = 1.5 + canvas.undulation(rng, 0.06, 7)
    fat = rng.uniform(0.14, 0.24) * deep + canvas.undulation(rng, 0.5, 9)
    bottom = rng.uniform(0.68, 0.85) * deep + canvas.undulation(rng, 0.8, 12)
    # Muscle: dark bundles between bright oblique fibres; lines of a sheared, wavy coordinate.
    slope = rng.uniform(0.08, 0.3) * rng.choice([-1, 1])
    wavy = smooth_noise(rng, shape, (shape[0] / 10, shape[1] / 6))
    fibres = smooth_noise(rng, (1, 600), (0.5, 1.6))[0]
    place = (g.z - np.float32(slope) * g.x + 0.6 * wavy) / np.float32(deep) * 260 + 150
    broken = smooth_noise(rng, shape, (shape[0] / 90, shape[1] / 10))
    lines = np.interp(place, np.arange(600), fibres).astype(np.float32)
    canvas.echo += -9 + 8 * np.clip(lines + 0.6 * broken - 0.4, -0.5, 2.0)
    lobules = smooth_noise(rng, shape, (shape[0] / 90, shape[1] / 7))
    septa = np.exp(-((lobules / 0.12) ** 2))
    canvas.blend(fat - g.depth, -7 + 10 * septa + 1.5 * lobules, 0.3)
    canvas.blend(g.depth - bottom, -13 + 3 * broken, 0.8)
    canvas.blend(skin - g.depth, 5.0, 0.2)
    canvas.sheet(rng, g.depth - np.float32(0.25), 0.15, 6, 1.0)
    canvas.sheet(rng, g.depth - skin, 0.14, 4, 0.7)
    canvas.sheet(rng, g.depth - fat, 0.26, 13, 1.5)
    canvas.sheet(rng, g.depth - fat - np.float32(rng.uniform(0.8, 1.6)), 0.16, 8, 0.5)
    canvas.sheet(rng, g.depth - bottom, 0.3, 14, 2.5)
    x, z = rng.uniform(-0.35, 0.35) * probe.aperture, rng.uniform(0.3, 0.62) * deep
    if rng.random() < 0.6:
        radius = rng.uniform(1.3, 2.6)
        round_ = radius - np.hypot(g.x - np.float32(x), 1.15 * (g.z - np.float32(z)))
        canvas.sheet(rng, np.asarray(round_ + 0.35, np.float32), 0.3, 9, 0.2)
        canvas.blend(np.asarray(round_, np.float32), ANECHOIC_DB, 0.2)
    _coupling(canvas, probe, rng, rng.uniform(0, 4))
    return canvas.swelling((x, z), 0.3 * deep, 0.07)


def _phantom(canvas: Canvas, probe: Probe, rng: np.random.Generator) -> Pulse:
    """A quality-assurance phantom: even scatterers, at rest."""
    return np.zeros(canvas.shape, np.float32), np.zeros(canvas.shape, np.float32)


ANATOMY: dict[Preset, Callable[[Canvas, Probe, np.random.Generator], Pulse]] = {
    "abdomen": _abdomen,
    "heart": _heart,
    "superficial": _superficial,
    "phantom": _phantom,
}
"""Lays a preset out on the canvas and returns how it pulsates."""
