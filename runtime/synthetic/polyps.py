"""Polyps: clusters of ellipsoids that stand on the wall of the lumen, intersected with the camera's rays."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec
import numpy as np

from bedside.runtime.frame import Pixels
from bedside.runtime.synthetic.lumen import ANGLES, Lumen, Pose
from bedside.runtime.synthetic.mucosa import LENGTH, MARGIN, MAX_POLYPS, PATCH, RELIEF, SKIN
from bedside.runtime.synthetic.scene import F32, Mask

RADIUS_MM = 22.0
"""Of an insufflated colon; turns mm into radii."""


class Lobe(msgspec.Struct, frozen=True):
    """One ellipsoid of a polyp.

    Attributes:
        shift: Of its centre along the lumen, around it, and towards its axis, in radii of the lumen.
        radii: Along these three directions, in radii of the lumen.
    """

    shift: tuple[float, float, float]
    radii: tuple[float, float, float]


class Polyp(msgspec.Struct, frozen=True):
    """A sessile polyp.

    Attributes:
        along: Place of its foot along the lumen, in radii.
        around: Place of its foot around it, in radians.
        height: Of the wall there, in radii.
        radius: In radii.
        lobes: What it consists of.
    """

    along: float
    around: float
    height: float
    radius: float
    lobes: tuple[Lobe, ...]


class Rays(msgspec.Struct, frozen=True):
    """The camera's rays, one a pixel; `(h, w) float32` each: unit vectors to the right, down, ahead."""

    x: F32
    y: F32
    z: F32
    half_angle: float
    """Angle to the axis at `reach` pixels from the centre; the projection is equidistant."""
    reach: float


def grow(lumen: Lumen, relief: F32, pose: Pose, count: int, rng: np.random.Generator) -> tuple[Polyp, ...]:
    """Polyps of 6 to 15 mm at places of the wall that are seen from `pose`, apart from each other.

    Args:
        lumen: Casts the rays.
        relief: Of the wall.
        pose: Of the camera.
        count: How many, at most `MAX_POLYPS`; fewer where there is no room.
        rng: Where they are drawn from.
    """
    view = lumen.cast(relief, pose)
    ahead = view.along - np.float32(pose.along)
    rings, angles = np.nonzero((ahead > 0.75) & (ahead < 2.3) & (view.facing > 0.25) & (view.light > 0))
    polyps: list[Polyp] = []
    for _ in range(40 * count):
        if len(polyps) == min(count, MAX_POLYPS) or not len(rings):
            break
        pick = int(rng.integers(len(rings)))
        ring, angle = int(rings[pick]), int(angles[pick])
        along = float(view.along[ring, angle])
        around = ((angle + 0.5) * 2 * math.pi / ANGLES + float(view.turn[ring, angle])) % (2 * math.pi)
        radius = rng.uniform(3.0, 7.5) / RADIUS_MM
        gaps = [
            math.hypot(along - p.along, math.remainder(around - p.around, 2 * math.pi)) - p.radius - radius
            for p in polyps
        ]
        if all(gap > 0.1 for gap in gaps):
            row, column = int(along / LENGTH * RELIEF[0]), int(around / (2 * math.pi) * RELIEF[1]) % RELIEF[1]
            height = float(relief[min(row, RELIEF[0] - 1), column])
            polyps.append(Polyp(along, around, height, radius, _lobes(radius, rng)))
    return tuple(polyps)


def cover(
    polyp: Polyp, number: int, pose: Pose, rays: Rays, along: F32, columns: F32, rows: F32, surface: Pixels
) -> Iterator[tuple[slice, slice, Mask]]:
    """Draw a polyp over what the rays have hit so far.

    Args:
        polyp: What to draw.
        number: Which patch of the skin it wears.
        pose: Of the camera.
        rays: Of the camera.
        along: Place along the lumen that each ray has hit, `(h, w) float32`, in radii; changed in place.
        columns: Of the skin, `(h, w) float32`; changed in place.
        rows: Of the skin, `(h, w) float32`; changed in place.
        surface: How it is lit, `(h, w, 4) uint8`, see `lit`; changed in place.

    Yields:
        For each part in view: rows, columns, and which of these pixels show it.
    """
    foot, frame = _stand(polyp, pose)
    for lobe in polyp.lobes:
        radii = np.array(lobe.radii, np.float32)
        window = _window(foot + np.array(lobe.shift, np.float32) @ frame, max(lobe.radii), rays)
        if window is None:
            continue
        # In the lobe's own frame, divided by its radii, it is a unit sphere.
        to_unit = frame / radii[:, None]
        middle = to_unit @ foot + np.array(lobe.shift, np.float32) / radii
        rx, ry, rz = rays.x[window], rays.y[window], rays.z[window]
        dx, dy, dz = (row[0] * rx + row[1] * ry + row[2] * rz for row in to_unit)
        square = dx * dx + dy * dy + dz * dz
        half = dx * middle[0] + dy * middle[1] + dz * middle[2]
        inside = half * half - square * (middle @ middle - 1)
        way = (half - np.sqrt(np.maximum(inside, 0))) / square
        free = (along[window] - np.float32(pose.along)) / np.maximum(rz, np.float32(1e-3))
        hit = (inside > 0) & (way > 0.02) & (way < free)
        if not hit.any():
            continue
        dx, dy, dz, way, free = dx[hit], dy[hit], dz[hit], way[hit], free[hit]
        nx, ny, nz = dx * way - middle[0], dy * way - middle[1], dz * way - middle[2]
        # The ellipsoid's normal is n / radii, the ray d * radii, both in the lobe's frame: the radii cancel.
        normal = np.sqrt((nx / radii[0]) ** 2 + (ny / radii[1]) ** 2 + (nz / radii[2]) ** 2)
        facing = np.clip(-(nx * dx + ny * dy + nz * dz) / np.maximum(normal, np.float32(1e-6)), 0, 1)
        # The foot melts into the wall: light changes over a part of the radius, not at once.
        rise = np.clip((free - way) / np.float32(0.5 * polyp.radius), 0, 1)[:, None]
        own = lit((np.float32(0.35) + np.float32(0.65) * facing) / (way * way), facing)
        behind = surface[window][hit]
        surface[window][hit] = (behind + rise * (own.astype(np.float32) - behind)).astype(np.uint8)
        grain = np.float32(0.42 * PATCH)
        columns[window][hit] = MARGIN + (number % MAX_POLYPS + np.float32(0.5)) * PATCH + grain * ny
        rows[window][hit] = SKIN[0] + np.float32(0.5 * PATCH) + grain * nx
        along[window][hit] = way * rz[hit] + np.float32(pose.along)
        yield window[0], window[1], hit


def lit(light: F32, facing: F32) -> Pixels:
    """What light does to a colour, as the camera shows it.

    Automatic exposure, a gamma of about 2 and a shoulder towards white; shadows turn brown, glare turns pale.

    Args:
        light: Radiance, see `lumen.View`, any shape.
        facing: Cosine between normal and ray, same shape.

    Returns:
        One more axis of 4, uint8: factors of blue, green, red (128 leaves them), and the tendency to shine.
    """
    exposure = np.sqrt(np.minimum(light * np.float32(2.2), np.float32(9)))
    shade = np.clip(exposure * (np.float32(96) + np.float32(5) * exposure), 0, 255).astype(np.uint8)
    shine = 110 * facing * np.minimum(exposure, 1)
    return np.concatenate([_TINT[shade], shine.astype(np.uint8)[..., None]], axis=-1)


_SHADE = np.arange(256) / 128
_TINT = np.clip(128 * np.stack([_SHADE**1.16, _SHADE**1.06, _SHADE**0.97], axis=1), 0, 255).astype(np.uint8)


def _lobes(radius: float, rng: np.random.Generator) -> tuple[Lobe, ...]:
    """One dome, and up to two smaller ones beside it."""

    def dome(size: float, along: float, around: float) -> Lobe:
        radii = size * rng.uniform(0.85, 1.15), size * rng.uniform(0.85, 1.15), size * rng.uniform(0.7, 1.0)
        return Lobe((along, around, 0.15 * size), radii)

    lobes = [dome(radius, 0.0, 0.0)]
    for _ in range(int(rng.integers(0, 3))):
        heading = rng.uniform(0, 2 * math.pi)
        lobes.append(dome(rng.uniform(0.5, 0.75) * radius, 0.6 * radius * math.cos(heading), 0.6 * radius * math.sin(heading)))
    return tuple(lobes)


def _stand(polyp: Polyp, pose: Pose) -> tuple[F32, F32]:
    """Foot of the polyp in the camera's coordinates, and the directions along, around and inwards as rows."""
    z = np.float32(polyp.along - pose.along)
    cx, cy = pose.axis(np.asarray(z))
    angle = polyp.around - pose.roll
    ux, uy = math.cos(angle), math.sin(angle)
    reach = pose.wide - polyp.height
    foot = np.array([float(cx) + reach * ux, float(cy) + reach * uy, float(z)], np.float32)
    return foot, np.array([[0, 0, 1], [-uy, ux, 0], [-ux, -uy, 0]], np.float32)


def _window(centre: F32, radius: float, rays: Rays) -> tuple[slice, slice] | None:
    """Rows and columns that a ball can cover, None where it is behind the lens or out of the picture."""
    distance = float(np.linalg.norm(centre))
    if centre[2] < 0.05 or distance <= 1.05 * radius:
        return None
    angle = math.acos(float(centre[2]) / distance)
    off_axis = math.hypot(float(centre[0]), float(centre[1])) or 1.0
    height, width = rays.x.shape
    scale = rays.reach / rays.half_angle
    x = width / 2 + scale * angle * float(centre[0]) / off_axis
    y = height / 2 + scale * angle * float(centre[1]) / off_axis
    # The equidistant projection stretches across the radius by angle / sin(angle).
    around = 2 + 1.02 * scale * math.asin(radius / distance) * max(1.0, angle / max(math.sin(angle), 1e-3))
    rows = slice(max(0, int(y - around)), min(height, int(y + around) + 1))
    columns = slice(max(0, int(x - around)), min(width, int(x + around) + 1))
    return (rows, columns) if rows.stop > rows.start and columns.stop > columns.start else None
