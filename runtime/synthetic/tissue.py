"""What lies under the probe: echogenicity, attenuation, mirrors and lesions on the polar grid.

Levels are in dB against liver-like parenchyma (0 dB). Rough values of clinical practice: fat and muscle a few dB
below, capsules and fasciae 10 to 20 dB above, fluid without echoes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
import numpy as np

from bedside.runtime.synthetic.fan import Grid, Probe
from bedside.runtime.synthetic.scene import F32, smooth_noise

Preset = Literal["abdomen", "heart", "superficial", "phantom"]
Lesion = Literal["cyst", "hypoechoic mass", "hyperechoic mass"]

LESIONS: tuple[Lesion, ...] = ("cyst", "hypoechoic mass", "hyperechoic mass")
CLASSES = ("background", *LESIONS)

ANECHOIC_DB = -45.0

# Echogenicity in dB, attenuation against the tissue around in dB/cm/MHz. Tissue has about 0.5, fluid next to
# none: the surplus behind it is the posterior enhancement. A scirrhous mass has 1.2 and more: the shadow.
_LESION_LEVELS: dict[Lesion, tuple[float, float]] = {
    "cyst": (ANECHOIC_DB, -0.45),
    "hypoechoic mass": (-13.0, 0.55),
    "hyperechoic mass": (8.0, 0.05),
}


class LesionShape(msgspec.Struct, frozen=True):
    """One lesion on the grid.

    Attributes:
        kind: What it is.
        level: Level set, `(D, B) float32`: positive inside, 0 on the border, about -1 one radius outside.
    """

    kind: Lesion
    level: F32


class Tissue(msgspec.Struct, frozen=True):
    """The scene on the polar grid.

    Attributes:
        echo_db: Echogenicity, `(D, B) float32`.
        attenuation: Against the tissue that the time-gain compensation is set for, `(D, B)` dB/cm/MHz.
        mirror: Amplitude of specular echoes (no speckle), `(D, B) float32`.
        lesions: In drawing order.
        pulse_x: Displacement at the height of the pulse, in beams, `(D, B) float32`.
        pulse_y: The same in depth samples.
    """

    echo_db: F32
    attenuation: F32
    mirror: F32
    lesions: tuple[LesionShape, ...]
    pulse_x: F32
    pulse_y: F32


def default_probe(preset: Preset, rng: np.random.Generator) -> Probe:
    """A transducer as used for `preset`, with the spread of depths and openings that one meets."""
    if preset == "heart":
        return Probe("phased", rng.uniform(140, 170), rng.uniform(75, 88), 3.0, 2.8, 80.0)
    if preset == "superficial":
        depth = rng.uniform(32, 45)
        return Probe("linear", depth, rng.uniform(1.0, 1.2) * depth, 0.0, 9.0, 0.5 * depth)
    depth = rng.uniform(120, 160)
    return Probe("curvilinear", depth, rng.uniform(58, 70), rng.uniform(50, 60), 3.5, 0.5 * depth)


def make_tissue(
    preset: Preset, probe: Probe, grid: Grid, lesions: Sequence[Lesion], rng: np.random.Generator
) -> Tissue:
    """Lay out anatomy and lesions.

    Args:
        preset: `abdomen`: wall layers, parenchyma with vessels, diaphragm. `heart`: a beating ventricle between
            walls. `superficial`: skin, fat, fascia, muscle, bone. `phantom`: nothing but even scatterers.
        probe: The transducer.
        grid: Where to lay it out.
        lesions: Which lesions to put in; one that finds no free place after many tries is left out.
        rng: Where shapes and places are drawn from.
    """
    shape = grid.x.shape
    canvas = _Canvas(grid, np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.float32))
    pulse = _ANATOMY[preset](canvas, probe, rng)
    shapes = _place(canvas, probe, lesions, rng, preset)
    for lesion in shapes:
        echo, attenuation = _LESION_LEVELS[lesion.kind]
        inside = lesion.level > 0
        texture = 1.5 * smooth_noise(rng, (shape[0], shape[1]), (shape[0] / 60, shape[1] / 60))
        canvas.echo[inside] = echo + (0 if lesion.kind == "cyst" else texture[inside])
        canvas.attenuation[inside] = attenuation
        if lesion.kind == "cyst":
            # A smooth wall is a mirror where the beam meets it at a right angle: front and back.
            wall = np.exp(-((lesion.level / 0.07) ** 2))
            slope = np.gradient(lesion.level, axis=0)
            facing = np.abs(slope) / (np.abs(slope).max() + 1e-9)
            canvas.mirror += (2.5 * wall * facing**2).astype(np.float32)
    return Tissue(canvas.echo, canvas.attenuation, canvas.mirror, shapes, *pulse)


class _Canvas(msgspec.Struct):
    grid: Grid
    echo: F32
    attenuation: F32
    mirror: F32

    def undulation(self, rng: np.random.Generator, amplitude: float, length: float) -> F32:
        """A smooth function of the place along the skin, in mm, `(1, B)`."""
        s = self.grid.along
        waves = [rng.uniform(0.4, 1) * np.sin(s / (length * f) + rng.uniform(0, 6.3)) for f in (1.0, 0.47, 0.26)]
        return (amplitude * (waves[0] + 0.45 * waves[1] + 0.2 * waves[2])).astype(np.float32)

    def sheet(self, rng: np.random.Generator, at: F32, thick: float, gain: float) -> None:
        """A bright sheet at depth `at` (mm): echogenic, with a specular part that comes and goes along it."""
        profile = np.exp(-(((self.grid.depth - at) / thick) ** 2))
        patchy = np.clip(0.7 + 0.5 * smooth_noise(rng, (1, self.grid.x.shape[1]), (0.5, 12.0)), 0.1, 1.6)
        np.maximum(self.echo, (self.echo + gain * profile).astype(np.float32), out=self.echo)
        self.mirror += (0.25 * 10 ** (gain / 20) * profile * patchy).astype(np.float32)

    def tube(self, start: tuple[float, float], end: tuple[float, float], radius: float, wall: float) -> None:
        """A vessel in the plane from `(x, z)` to `(x, z)` in mm: no echoes inside, wall `wall` dB."""
        g = self.grid
        dx, dz = end[0] - start[0], end[1] - start[1]
        t = np.clip(((g.x - start[0]) * dx + (g.z - start[1]) * dz) / (dx * dx + dz * dz + 1e-9), 0, 1)
        distance = np.hypot(g.x - start[0] - t * dx, g.z - start[1] - t * dz) / (radius * (1 - 0.45 * t))
        rim = (distance >= 1) & (distance < 1.35)
        self.echo[rim] = np.maximum(self.echo[rim], wall)
        self.echo[distance < 1] = ANECHOIC_DB


def _still(canvas: _Canvas) -> tuple[F32, F32]:
    return np.zeros_like(canvas.echo), np.zeros_like(canvas.echo)


def _swelling(canvas: _Canvas, centre: tuple[float, float], reach: float, strain: float) -> tuple[F32, F32]:
    """Displacement of tissue around a pulsating centre, in samples of the grid: `strain` inside, fading outside."""
    g = canvas.grid
    fade = strain * np.exp(-(((g.x - centre[0]) ** 2 + (g.z - centre[1]) ** 2) / reach**2))
    move_x, move_z = (g.x - centre[0]) * fade, (g.z - centre[1]) * fade
    # Beam direction: straight down, or along the radius of the sector.
    down_x, down_z = np.gradient(g.x, axis=0) / g.sample_mm, np.gradient(g.z, axis=0) / g.sample_mm
    along, across = move_x * down_x + move_z * down_z, move_x * down_z - move_z * down_x
    return (across / g.beam_mm).astype(np.float32), (along / g.sample_mm).astype(np.float32)


def _parenchyma(canvas: _Canvas, rng: np.random.Generator, spread: float) -> None:
    rows, cols = canvas.echo.shape
    canvas.echo += spread * smooth_noise(rng, (rows, cols), (rows / 12, cols / 12))
    canvas.echo += 0.7 * spread * smooth_noise(rng, (rows, cols), (rows / 70, cols / 70))


def _abdomen(canvas: _Canvas, probe: Probe, rng: np.random.Generator) -> tuple[F32, F32]:
    g, deep = canvas.grid, probe.depth_mm
    _parenchyma(canvas, rng, 1.3)
    half = math.radians(probe.aperture) / 2
    for _ in range(rng.integers(4, 7)):
        depth, angle = rng.uniform(0.3, 0.8) * deep, rng.uniform(-0.9, 0.9) * half
        x, z = (probe.radius_mm + depth) * math.sin(angle), (probe.radius_mm + depth) * math.cos(angle) - probe.radius_mm
        heading, length = rng.uniform(0, math.pi), rng.uniform(4, 45)
        end = (x + length * math.cos(heading), z + 0.6 * length * math.sin(heading))
        canvas.tube((x, z), end, rng.uniform(1.2, 4.0), rng.choice([1.0, 9.0]))
    if rng.random() < 0.85:
        # The diaphragm, with the lung's haze behind it.
        bend, base = rng.uniform(0.002, 0.005), rng.uniform(0.82, 0.95) * deep
        dome = base - bend * (g.x - rng.uniform(-25, 25)) ** 2
        beyond = g.z > dome
        canvas.echo[beyond] -= 7
        arc = np.exp(-(((g.z - dome) / 1.3) ** 2))
        patchy = np.clip(0.6 + 0.5 * smooth_noise(rng, (1, g.x.shape[1]), (0.5, 14.0)), 0, 1.5)
        canvas.echo += (16 * arc).astype(np.float32)
        canvas.mirror += (3.0 * arc * patchy).astype(np.float32)
    edge = 0.0
    for index in range(rng.integers(3, 5)):
        thick = rng.uniform(3, 8) if index else rng.uniform(1.5, 2.5)
        lower = edge + thick + canvas.undulation(rng, 0.35, 16)
        layer = (g.depth >= edge) & (g.depth < lower)
        streaks = smooth_noise(rng, (canvas.echo.shape[0], canvas.echo.shape[1]), (1.0, 14.0))
        level = 7.0 if index == 0 else rng.uniform(-6, 2)
        canvas.echo[layer] = (level + 3.5 * streaks)[layer]
        canvas.sheet(rng, lower.astype(np.float32), 0.5, rng.uniform(6, 12))
        edge += thick
    centre = (rng.uniform(-15, 15), rng.uniform(0.5, 0.7) * deep)
    return _swelling(canvas, centre, 0.35 * deep, 0.035)


def _heart(canvas: _Canvas, probe: Probe, rng: np.random.Generator) -> tuple[F32, F32]:
    g, deep = canvas.grid, probe.depth_mm
    _parenchyma(canvas, rng, 2.0)
    canvas.echo -= 7
    cx, cz = rng.uniform(-6, 6), rng.uniform(0.45, 0.52) * deep
    tilt, across, tall = rng.uniform(-0.25, 0.25), rng.uniform(0.12, 0.15) * deep, rng.uniform(0.27, 0.32) * deep

    def chamber(dx: float, dz: float, a: float, b: float) -> F32:
        u = (g.x - cx - dx) * math.cos(tilt) + (g.z - cz - dz) * math.sin(tilt)
        v = -(g.x - cx - dx) * math.sin(tilt) + (g.z - cz - dz) * math.cos(tilt)
        squeeze = 1 + 0.35 * v / b  # the apex points at the probe
        return np.asarray(np.hypot(u / (a * np.clip(squeeze, 0.3, 1.4)), v / b), np.float32)

    wall = rng.uniform(9, 12)
    # Left ventricle, right ventricle and both atria, each in its wall.
    rooms = [(0.0, 0.0, across, tall), (-across - 1.9 * wall, 0.1 * tall, 0.75 * across, 0.8 * tall)]
    rooms += [(0.05 * deep, tall * 1.32, across * 0.95, 0.24 * deep * 0.6), (-across - 1.4 * wall, tall * 1.3, across * 0.8, 0.13 * deep)]
    streaks = smooth_noise(rng, (canvas.echo.shape[0], canvas.echo.shape[1]), (1.5, 6.0))
    for dx, dz, a, b in rooms:
        muscle = chamber(dx, dz, a + wall, b + wall)
        canvas.echo[muscle < 1] = (-3 + 3 * streaks)[muscle < 1]
    for dx, dz, a, b in rooms:
        room = chamber(dx, dz, a, b)
        rim = np.exp(-(((room - 1) * a / 1.6) ** 2))
        canvas.echo[room < 1] = ANECHOIC_DB + 12
        canvas.echo += (6 * rim).astype(np.float32)
    border = chamber(-0.35 * across, 0.2 * tall, 2.3 * across + 2.2 * wall, 1.55 * tall + wall)
    rim = np.exp(-(((border - 1) * 2.3 * across / 2.2) ** 2))
    canvas.echo += (11 * rim).astype(np.float32)
    canvas.mirror += (1.5 * rim * (g.z > cz)).astype(np.float32)
    # Mitral leaflets: two bright flaps between ventricle and atrium.
    for side in (-1.0, 1.0):
        x0, z0 = cx + side * across * 0.9, cz + tall * 0.97
        t = np.clip(((g.x - x0) * (-side * 0.75) + (g.z - z0) * -0.55) / (0.93 * across), 0, 1)
        away = np.hypot(g.x - x0 + side * 0.7 * across * t, g.z - z0 + 0.5 * across * t)
        canvas.echo[:] = np.maximum(canvas.echo, np.where(away < 1.5, 6.0, -99.0))
    near = np.exp(-g.depth / 6)
    canvas.echo += (12 * near).astype(np.float32)
    return _swelling(canvas, (cx, cz + 0.15 * tall), 2.2 * across, 0.22)


def _superficial(canvas: _Canvas, probe: Probe, rng: np.random.Generator) -> tuple[F32, F32]:
    g, deep = canvas.grid, probe.depth_mm
    shape = (canvas.echo.shape[0], canvas.echo.shape[1])
    skin = 1.6 + canvas.undulation(rng, 0.1, 6)
    fat = rng.uniform(0.14, 0.24) * deep + canvas.undulation(rng, 0.5, 9)
    muscle = rng.uniform(0.68, 0.85) * deep + canvas.undulation(rng, 0.8, 12)
    # Muscle: dark bundles between bright oblique fibres; lines of a sheared coordinate.
    slope = rng.uniform(0.08, 0.3) * rng.choice([-1, 1])
    wavy = smooth_noise(rng, shape, (shape[0] / 10, shape[1] / 6))
    fibres = smooth_noise(rng, (1, 600), (0.5, 2.2))[0]
    place = (g.z - slope * g.x + 0.6 * wavy) / deep * 260 + 150
    broken = smooth_noise(rng, shape, (shape[0] / 90, shape[1] / 9))
    lines = np.interp(place, np.arange(600), fibres).astype(np.float32)
    canvas.echo += -7 + 6.5 * np.clip(lines + 0.5 * broken - 0.3, -0.6, 2.0)
    # Fat: darker lobules between thin septa nearly parallel to the skin.
    lobules = smooth_noise(rng, shape, (shape[0] / 90, shape[1] / 7))
    fatty = g.depth < fat
    canvas.echo[fatty] = (-5 + 9 * np.clip(np.abs(lobules) < 0.16, 0, 1) + 1.5 * lobules)[fatty]
    below = g.depth > muscle
    canvas.echo[below] = (-11 + 3 * broken)[below]
    canvas.echo[np.broadcast_to(g.depth < skin, shape)] = 8
    canvas.sheet(rng, skin.astype(np.float32), 0.15, 6)
    canvas.sheet(rng, fat.astype(np.float32), 0.28, 15)
    canvas.sheet(rng, (fat + rng.uniform(0.8, 1.6)).astype(np.float32), 0.18, 9)
    canvas.sheet(rng, muscle.astype(np.float32), 0.3, 14)
    x, z = rng.uniform(-0.35, 0.35) * probe.aperture, rng.uniform(0.3, 0.62) * deep
    if rng.random() < 0.6:
        canvas.tube((x, z), (x + rng.uniform(-1, 1), z + 0.3), rng.uniform(1.3, 2.6), 5.0)
    return _swelling(canvas, (x, z), 0.3 * deep, 0.07)


def _phantom(canvas: _Canvas, probe: Probe, rng: np.random.Generator) -> tuple[F32, F32]:
    return _still(canvas)


_ANATOMY: dict[Preset, Callable[[_Canvas, Probe, np.random.Generator], tuple[F32, F32]]] = {
    "abdomen": _abdomen,
    "heart": _heart,
    "superficial": _superficial,
    "phantom": _phantom,
}

_PLACES: dict[Preset, tuple[float, float]] = {
    "abdomen": (0.28, 0.72),
    "heart": (0.3, 0.8),
    "superficial": (0.22, 0.68),
    "phantom": (0.2, 0.8),
}


def _place(
    canvas: _Canvas, probe: Probe, lesions: Sequence[Lesion], rng: np.random.Generator, preset: Preset
) -> tuple[LesionShape, ...]:
    """Lesions at random places of the plane that do not touch each other."""
    grid, deep = canvas.grid, probe.depth_mm
    inner = slice(2 * grid.sweep, grid.x.shape[1] - 2 * grid.sweep)
    shapes: list[LesionShape] = []
    taken = np.zeros(grid.x.shape, np.bool_)
    for kind in lesions:
        for _ in range(60):
            size = rng.uniform(0.07, 0.13) * deep
            row = int(rng.uniform(*_PLACES[preset]) * grid.x.shape[0])
            column = int(rng.integers(inner.start, max(inner.stop, inner.start + 1)))
            centre = float(grid.x[row, column]), float(grid.z[row, column])
            level = _outline(grid, centre, size, kind, rng)
            reach = level > -0.35
            if reach.any() and not (reach & taken).any():
                taken |= reach
                shapes.append(LesionShape(kind, level))
                break
    return tuple(shapes)


def _outline(grid: Grid, centre: tuple[float, float], size: float, kind: Lesion, rng: np.random.Generator) -> F32:
    """Level set of an ellipse; that of a mass is lobulated or spiculated by a few Fourier terms of its angle."""
    tilt = rng.uniform(-0.5, 0.5)
    u = (grid.x - centre[0]) * math.cos(tilt) + (grid.z - centre[1]) * math.sin(tilt)
    v = -(grid.x - centre[0]) * math.sin(tilt) + (grid.z - centre[1]) * math.cos(tilt)
    v = v * rng.uniform(1.1, 1.5)
    rough = {"cyst": 0.03, "hyperechoic mass": 0.07, "hypoechoic mass": 0.16}[kind]
    angle = np.arctan2(v, u)
    edge = np.ones_like(angle)
    for order in range(2, 9):
        edge += rough * rng.normal() / order**0.6 * np.cos(order * angle + rng.uniform(0, 6.3))
    return np.asarray(1 - np.hypot(u, v) / (size * np.clip(edge, 0.55, 1.5)), np.float32)
