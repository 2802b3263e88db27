"""What an endoscope's camera sees of a folded tube: hidden surfaces, distances and slopes, on a polar grid.

The wall is a height field over (distance along the tube, angle around it). A ray of the camera keeps its
angle, so each column is a profile of its own: a point of the wall is seen where it stands further into the
picture than all nearer points, which is a running minimum (the floating horizon of Wright, IEEE Trans.
Comput. C-22(1), 1973). That replaces ray marching, and costs a few array passes a frame.
"""

from __future__ import annotations

import math

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from bedside.runtime.synthetic.mucosa import LENGTH, RELIEF
from bedside.runtime.synthetic.scene import F32

NEAR, FAR = 0.22, 6.5
"""Range along the tube that is looked at, in radii."""

STEPS, ANGLES, RINGS = 120, 216, 144
"""Samples along the tube, around it, and from the picture's centre to its edge."""


class Pose(msgspec.Struct, frozen=True):
    """Where the camera is; lengths in radii of the lumen.

    Attributes:
        along: Place along the tube.
        offset: Of the tube's axis from the camera, `(x, y)`; the picture's x to the right, y down.
        bend: Curvature of the tube's axis, `(x, y)` per radius.
        roll: Of the camera, in radians, at most a quarter turn either way.
        wide: Relative width of the lumen: breathing and insufflation.
    """

    along: float
    offset: tuple[float, float]
    bend: tuple[float, float]
    roll: float = 0.0
    wide: float = 1.0

    def axis(self, z: F32) -> tuple[F32, F32]:
        """Where the tube's axis is at the distance `z` ahead, against the camera's axis; all in radii."""
        half = np.float32(0.5) * z * z
        x = np.float32(self.offset[0]) + np.float32(self.bend[0]) * half
        y = np.float32(self.offset[1]) + np.float32(self.bend[1]) * half
        return np.asarray(x, np.float32), np.asarray(y, np.float32)


class View(msgspec.Struct, frozen=True):
    """What each ray hits; `(RINGS, ANGLES) float32` each.

    Attributes:
        turn: Angle around the tube minus the ray's angle (roll included), in radians.
        along: Place along the tube, in radii.
        light: Radiance under a lamp at the lens, 1 for a wall facing it one radius away.
        facing: Cosine between the wall's normal and the ray, 0..1.
    """

    turn: F32
    along: F32
    light: F32
    facing: F32


def lambert(facing: F32) -> F32:
    """Reflected part of the light; mucosa scatters, and its surroundings light it, so it is never black."""
    return np.asarray(np.float32(0.22) + np.float32(0.78) * facing, np.float32)


class Lumen:
    """Casts rays into a relief.

    Args:
        half_angle: Between the axis and the outermost ring, in radians, below pi / 2. Rings are equidistant
            in angle.
    """

    def __init__(self, half_angle: float) -> None:
        self.half_angle = half_angle
        self._z = np.geomspace(NEAR, FAR, STEPS, dtype=np.float32)[:, None]
        self._theta = ((np.arange(ANGLES, dtype=np.float32) + 0.5) * np.float32(2 * math.pi / ANGLES))[
            None, :
        ]
        self._cos, self._sin = np.cos(self._theta), np.sin(self._theta)
        self._ring = ((np.arange(RINGS, dtype=np.float32) + 0.5) * np.float32(half_angle / RINGS))[:, None]
        self._column = np.arange(ANGLES, dtype=np.int32)[None, :]
        self._place = np.ascontiguousarray(np.broadcast_to(self._column, (RINGS, ANGLES)), np.float32)

    def wall(self, relief: F32, pose: Pose) -> tuple[F32, F32]:
        """Distance of the wall from the camera's axis, and its angle around the tube minus the ray's.

        Returns:
            `(STEPS, ANGLES) float32` each, in radii and radians. 0 where the axis has left the tube.
        """
        z = self._z
        cx, cy = pose.axis(z)
        ahead = cx * self._cos + cy * self._sin
        aside = cx * self._sin - cy * self._cos
        aside *= aside
        wide = np.float32(pose.wide)
        smooth = np.maximum(ahead + np.sqrt(np.maximum(wide * wide - aside, 0)), 0)
        angle = np.asarray(cv2.phase(smooth * self._cos - cx, smooth * self._sin - cy))
        turn = angle - self._theta
        turn -= np.float32(2 * math.pi) * np.round(turn / np.float32(2 * math.pi))
        # The relief goes on for a quarter turn at each side, so that the roll needs no wrapping.
        margin = RELIEF[1] // 4
        relief = np.concatenate([relief[:, -margin:], relief, relief[:, :margin]], axis=1)
        columns = (angle + np.float32(pose.roll)) * np.float32(RELIEF[1] / (2 * math.pi)) + np.float32(
            margin - 0.5
        )
        rows = np.ascontiguousarray(
            np.broadcast_to(
                (z + np.float32(pose.along)) * np.float32(RELIEF[0] / LENGTH) - np.float32(0.5), angle.shape
            )
        )
        bumps = cv2.remap(relief, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        radius = wide - bumps
        inside = radius * radius - aside
        reach = ahead + np.sqrt(np.maximum(inside, 0))
        return np.maximum(reach, 0), turn + np.float32(pose.roll)

    def cast(self, relief: F32, pose: Pose) -> View:
        """Look into the tube from `pose`."""
        reach, turn = self.wall(relief, pose)
        z = self._z
        slope_z = np.gradient(reach, axis=0) / np.gradient(z, axis=0)
        around = np.concatenate([reach[:, -1:], reach, reach[:, :1]], axis=1)
        slope_t = (around[:, 2:] - around[:, :-2]) * np.float32(ANGLES / (4 * math.pi))
        slope_t /= np.maximum(reach, np.float32(0.05))
        squared = reach * reach + z * z
        facing = (reach - z * slope_z) / np.sqrt(squared * (1 + slope_z * slope_z + slope_t * slope_t))
        np.clip(facing, 0, 1, out=facing)
        light = lambert(facing) / squared

        # Visible: nothing nearer stands in the way of the same ray.
        angle = np.arctan2(reach, z)
        edge = np.minimum.accumulate(angle, axis=0)
        ring = np.clip(edge * np.float32(RINGS / self.half_angle) + np.float32(0.5), 0, RINGS).astype(
            np.int32
        )
        flat = np.bincount((ring * ANGLES + self._column).ravel(), minlength=(RINGS + 1) * ANGLES)
        beyond = flat.reshape(RINGS + 1, ANGLES)[:0:-1].cumsum(axis=0)[
            ::-1
        ]  # samples that lie outside each ring
        last = np.clip(beyond, 1, STEPS - 1)
        before, after = edge[last - 1, self._column], edge[last, self._column]
        part = np.clip((before - self._ring) / np.maximum(before - after, np.float32(1e-6)), 0, 1)
        # Behind a crest the ray meets the next surface that can be seen, not the crest's back.
        part[(angle > edge)[last - 1, self._column]] = 1
        step = (last - 1 + part).astype(np.float32)
        open_end = beyond >= STEPS

        def at(field: npt.NDArray[np.floating]) -> F32:
            return np.asarray(
                cv2.remap(field, self._place, step, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            )

        along = np.exp(step * np.float32(math.log(FAR / NEAR) / (STEPS - 1))) * np.float32(NEAR)
        light = at(light) * np.clip(1.25 - along / np.float32(0.8 * FAR), 0, 1)  # fades into the dark
        light[open_end] = 0
        return View(at(turn), along + np.float32(pose.along), light, at(facing))
