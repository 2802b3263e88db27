"""Polyps: clusters of ellipsoids that stand on the wall of the lumen, intersected with the camera's rays."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec
import numpy as np

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
    """The camera's rays, one a pixel.

    Attributes:
        way: Unit vectors, `(3, h, w) float32`: to the right, down, ahead.
        scale: Pixels from the picture's centre per radian from the axis; the projection is equidistant.
    """

    way: F32
    scale: float


class Sight(msgspec.Struct, frozen=True):
    """What each ray meets; `(h, w) float32` each, changed in place when something stands before it.

    Attributes:
        columns: In the skin.
        rows: In the skin.
        along: Place along the lumen, in radii.
        shade: See `expose`.
        shine: See `expose`.
    """

    columns: F32
    rows: F32
    along: F32
    shade: F32
    shine: F32


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
    polyp: Polyp, number: int, pose: Pose, rays: Rays, sight: Sight
) -> Iterator[tuple[slice, slice, Mask]]:
    """Draw a polyp before what the rays have met so far.

    Args:
        polyp: What to draw.
        number: Which patch of the skin it wears.
        pose: Of the camera.
        rays: Of the camera.
        sight: Changed in place.

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
        ray = np.ascontiguousarray(rays.way[:, window[0], window[1]])
        shape = ray.shape[1:]
        d = to_unit @ ray.reshape(3, -1)
        square, half = np.einsum("ij,ij->j", d, d), middle @ d
        inside = half * half - square * (middle @ middle - 1)
        way = (half - np.sqrt(np.maximum(inside, 0))) / square
        free = ((sight.along[window] - np.float32(pose.along)) / np.maximum(ray[2], np.float32(1e-3))).ravel()
        hit = ((inside > 0) & (way > 0.02) & (way < free)).reshape(shape)
        if not hit.any():
            continue
        n = d * way - middle[:, None]
        # The ellipsoid's normal is n / radii, the ray d * radii, both in the lobe's frame: the radii cancel.
        normal = np.sqrt(np.einsum("ij,ij,i->j", n, n, 1 / radii**2))
        facing = np.clip(np.einsum("ij,ij->j", n, d) / -np.maximum(normal, np.float32(1e-6)), 0, 1)
        glow = (np.float32(0.35) + np.float32(0.65) * facing) / np.maximum(way * way, np.float32(1e-3))
        # The foot melts into the wall: light changes over a part of the radius, not at once.
        rise = np.clip((free - way) / np.float32(0.5 * polyp.radius), 0, 1).reshape(shape)
        for behind, own in zip((sight.shade[window], sight.shine[window]), expose(glow, facing), strict=True):
            np.copyto(behind, behind + rise * (own.reshape(shape) - behind), where=hit)
        grain, patch = np.float32(0.42 * PATCH), number % MAX_POLYPS + 0.5
        np.copyto(
            sight.columns[window],
            (n[1] * grain).reshape(shape) + np.float32(MARGIN + patch * PATCH),
            where=hit,
        )
        np.copyto(
            sight.rows[window], (n[0] * grain).reshape(shape) + np.float32(SKIN[0] + 0.5 * PATCH), where=hit
        )
        np.copyto(sight.along[window], way.reshape(shape) * ray[2] + np.float32(pose.along), where=hit)
        yield window[0], window[1], hit


def expose(light: F32, facing: F32) -> tuple[F32, F32]:
    """What the camera makes of light: automatic exposure, a gamma of about 2, a shoulder towards white.

    Args:
        light: Radiance, see `lumen.View`, float32 of any shape.
        facing: Cosine between normal and ray, of the same shape.

    Returns:
        Shade, 0 to 333: 128 shows a colour as it is. Shine, 0 to 110: how much the lamp is mirrored.
    """
    exposure = np.sqrt(np.minimum(light * np.float32(2.2), np.float32(9)))
    shade = exposure * (np.float32(96) + np.float32(5) * exposure)
    return shade, np.float32(110) * facing * np.minimum(exposure, np.float32(1))


def _lobes(radius: float, rng: np.random.Generator) -> tuple[Lobe, ...]:
    """One dome, and up to two smaller ones beside it."""

    def dome(size: float, along: float, around: float) -> Lobe:
        radii = size * rng.uniform(0.85, 1.15), size * rng.uniform(0.85, 1.15), size * rng.uniform(0.7, 1.0)
        return Lobe((along, around, 0.15 * size), radii)

    lobes = [dome(radius, 0.0, 0.0)]
    for _ in range(int(rng.integers(0, 3))):
        heading = rng.uniform(0, 2 * math.pi)
        lobes.append(
            dome(
                rng.uniform(0.5, 0.75) * radius,
                0.6 * radius * math.cos(heading),
                0.6 * radius * math.sin(heading),
            )
        )
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
    height, width = rays.way.shape[1:]
    scale = rays.scale
    x = width / 2 + scale * angle * float(centre[0]) / off_axis
    y = height / 2 + scale * angle * float(centre[1]) / off_axis
    # The equidistant projection stretches across the radius by angle / sin(angle).
    around = 2 + 1.02 * scale * math.asin(radius / distance) * max(1.0, angle / max(math.sin(angle), 1e-3))
    rows = slice(max(0, int(y - around)), min(height, int(y + around) + 1))
    columns = slice(max(0, int(x - around)), min(width, int(x + around) + 1))
    return (rows, columns) if rows.stop > rows.start and columns.stop > columns.start else None
