"""Colonoscopy: a flight to and fro in a folded lumen with polyps, lit from the lens, with ground truth.

Shading is Lambert's with the lamp at the lens and the inverse square of the distance, then the camera's
gamma; highlights come from a wet surface whose normal wavers. Real frames differ in anatomy, not in kind.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from bedside.runtime.frame import Color, Pixels
from bedside.runtime.geometry import Rect
from bedside.runtime.synthetic.furniture import Overlay, endoscope_overlay
from bedside.runtime.synthetic.lumen import ANGLES, RINGS, Lumen, Pose
from bedside.runtime.synthetic.mucosa import LENGTH, MARGIN, MAX_POLYPS, SKIN, folds, make_wall
from bedside.runtime.synthetic.polyps import Rays, Sight, cover, expose, grow
from bedside.runtime.synthetic.scene import Mask, Truth, check_frame, generator, lesion_truth

CLASSES = ("background", "polyp")
"""Class ids of the truth masks."""

_HALF_ANGLE = math.radians(
    72
)  # to the corners of the picture: a field of view of 140 degrees is the usual one
_DETAIL = 400  # rows of the picture that are computed; above, it is enlarged, as lenses and sensors blur too

# Shade to a factor per channel, 128 being 1: shadows turn brown, glare turns pale.
_LEVEL = np.arange(256) / 128
_TINT = [np.clip(128 * _LEVEL**power, 0, 255).astype(np.uint8) for power in (1.16, 1.06, 0.97)]


class EndoscopyScene:
    """A colonoscopy cine.

    Args:
        width: Of the frame, in pixels, at least 48.
        height: Of the frame, in pixels, at least 48.
        fps: Frames per second: how much moves from one frame to the next.
        seed: At least 0; same seed, same cine.
        polyps: How many, up to 4; by default 1 to 3, drawn from the seed.
        furniture: Whether text is written beside the picture.
        color: `bgr` or `gray`.
    """

    name = "endoscopy"
    spacing_mm: tuple[float, float] | None = None  # perspective: no scale

    def __init__(
        self,
        *,
        width: int = 1280,
        height: int = 720,
        fps: float = 30.0,
        seed: int = 0,
        polyps: int | None = None,
        furniture: bool = True,
        color: Color = "bgr",
    ) -> None:
        check_frame(width, height, fps, color)
        self.width, self.height, self.fps, self.color = width, height, fps, color
        rng = generator(seed, "endoscopy")
        self._phase = rng.uniform(0, 2 * math.pi, 8)
        self._bend = rng.uniform(0.06, 0.16), rng.uniform(0, 2 * math.pi)
        self._start = rng.uniform(0.5, LENGTH - 7.3)
        self._lumen = Lumen(_HALF_ANGLE)
        relief = folds(generator(seed, "folds"))
        count = int(rng.integers(1, 4)) if polyps is None else polyps
        if not 0 <= count <= MAX_POLYPS:
            raise ValueError(f"polyps is {count}; 0 to {MAX_POLYPS} can be drawn")
        self._polyps = grow(self._lumen, relief, self.pose(0), count, rng)
        feet = [(polyp.along, polyp.around, polyp.radius) for polyp in self._polyps]
        self._wall = make_wall(relief, feet, generator(seed, "mucosa"))

        # The picture: a square with cut corners, or a circle cut at the top and bottom.
        side = min(height, width)
        margin = int(0.03 * side) if furniture else 0
        tall = side - 2 * margin
        wide = min(width - 2 * margin, int(tall * rng.uniform(1.0, 1.15)))
        left = min(width - wide - margin, int((width - wide) * (0.72 if furniture else 0.5)))
        self.box = Rect(left, (height - tall) // 2, wide, tall)
        shrink = max(1.0, tall / _DETAIL)
        self._inner = (max(8, round(wide / shrink)), max(8, round(tall / shrink)))
        x = (np.arange(self._inner[0], dtype=np.float32) + 0.5)[None, :] / self._inner[0] * 2 - 1
        y = (np.arange(self._inner[1], dtype=np.float32) + 0.5)[:, None] / self._inner[1] * 2 - 1
        x = x * np.float32(wide / tall)
        round_ = rng.random() < 0.4
        reach = 1.06 if round_ else math.hypot(wide / tall, 0.62)  # to the corners of the picture
        self._ray = np.ascontiguousarray(np.arctan2(*np.broadcast_arrays(y, x)) % (2 * math.pi), np.float32)
        ring = np.hypot(x, y) / np.float32(reach)
        angle = ring * np.float32(_HALF_ANGLE)
        way = np.stack([np.sin(angle) * np.cos(self._ray), np.sin(angle) * np.sin(self._ray), np.cos(angle)])
        self._rays = Rays(way.astype(np.float32), reach * self._inner[1] / 2 / _HALF_ANGLE)
        self._map_x = self._ray * np.float32(ANGLES / (2 * math.pi)) + np.float32(0.5)
        self._map_y = np.clip(ring * RINGS - 0.5, 0, RINGS - 1).astype(np.float32)
        fx = np.abs((np.arange(wide) + 0.5)[None, :] / wide * 2 - 1) * (wide / tall)
        fy = np.abs((np.arange(tall) + 0.5)[:, None] / tall * 2 - 1)
        shape = np.hypot(fx, fy) <= 1.06 if round_ else fx + fy <= wide / tall + 0.62
        self.view: Mask = np.zeros((height, width), np.bool_)
        self.view[self.box.y : self.box.y1, self.box.x : self.box.x1] = shape
        self._keep = np.repeat(shape[:, :, None], 3, axis=2).astype(np.uint8) * np.uint8(255)
        self._overlay = Overlay(np.zeros((height, width, 3), np.uint8), self.box, color)
        if furniture:
            self._overlay = endoscope_overlay(
                width, height, self.box, self.view, color, generator(seed, "furniture")
            )
        # A wet surface mirrors the lamp where it faces it, and where it wavers.
        self._glint = np.clip((np.arange(256) - 148) * 7, 0, 255).astype(np.uint8)

    def pose(self, index: int) -> Pose:
        """Where the camera is in frame `index`."""
        t, p = index / self.fps, self._phase
        breath = math.sin(2 * math.pi * t / 3.7 + p[0])
        along = (
            self._start
            + 0.45 * math.sin(2 * math.pi * t / 7.1 + p[1])
            + 0.02 * math.sin(2 * math.pi * t * 1.2)
        )
        offset = 0.24 * math.sin(2 * math.pi * t / 5.9 + p[2]), 0.24 * math.sin(2 * math.pi * t / 4.7 + p[3])
        size, heading = self._bend
        heading += 0.35 * math.sin(2 * math.pi * t / 8.3 + p[4])
        roll = 0.14 * math.sin(2 * math.pi * t / 6.7 + p[5])
        return Pose(
            along, offset, (size * math.cos(heading), size * math.sin(heading)), roll, 1 + 0.03 * breath
        )

    def render(self, index: int, out: Pixels | None = None) -> Pixels:
        """See `Scene`."""
        channels = 3 if self.color != "gray" else 1
        if out is None:
            out = np.empty((self.height, self.width, channels), np.uint8)
        sight, _ = self._look(index)
        skin = cv2.remap(
            self._wall.skin, sight.columns, sight.rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        shade, shine = cv2.convertScaleAbs(sight.shade), cv2.convertScaleAbs(sight.shine)
        surface = cv2.merge([*(cv2.LUT(shade, curve) for curve in _TINT), shine])
        shaded = cv2.multiply(skin, surface, scale=1 / 128)
        glint = cv2.LUT(cv2.extractChannel(shaded, 3), self._glint)
        picture = cv2.add(cv2.cvtColor(shaded, cv2.COLOR_BGRA2BGR), cv2.cvtColor(glint, cv2.COLOR_GRAY2BGR))

        box = self.box
        target = out[box.y : box.y1, box.x : box.x1]
        if channels == 3:
            cv2.resize(picture, (box.width, box.height), dst=target, interpolation=cv2.INTER_LINEAR)
            cv2.bitwise_and(target, self._keep, dst=target)
        else:
            gray = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), (box.width, box.height))
            target[:, :, 0] = cv2.bitwise_and(gray, self._keep[:, :, 0])
        self._overlay.draw(out)
        return out

    def label(self, index: int) -> str:
        """See `Scene`."""
        return self.name

    def truth(self, index: int) -> Truth:
        """See `Scene`."""
        _, shown = self._look(index)
        box = self.box
        instances: list[tuple[int, Mask]] = []
        for seen in shown:
            pixels = np.zeros((self.height, self.width), np.bool_)
            large = cv2.resize(
                seen.astype(np.float32), (box.width, box.height), interpolation=cv2.INTER_LINEAR
            )
            pixels[box.y : box.y1, box.x : box.x1] = large > 0.5
            instances.append((1, pixels))
        return lesion_truth(
            label=self.name, classes=CLASSES, instances=instances, view=self.view, spacing_mm=self.spacing_mm
        )

    def _look(self, index: int) -> tuple[Sight, list[Mask]]:
        """What every ray of frame `index` meets, and each polyp's pixels."""
        pose = self.pose(index)
        view = self._lumen.cast(self._wall.relief, pose)
        polar = np.dstack([view.turn, view.along, *expose(view.light, view.facing)])
        # One column is repeated at each end to close the circle. Float maps and one or four channels are what
        # OpenCV 5 is fastest at.
        polar = np.concatenate([polar[:, -1:], polar, polar[:, :1]], axis=1)
        met = cv2.remap(polar, self._map_x, self._map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        turn, along, shade, shine = (np.asarray(channel, np.float32) for channel in cv2.split(met))
        columns = (turn + self._ray) * np.float32(SKIN[1] / (2 * math.pi)) + np.float32(MARGIN - 0.5)
        rows = np.minimum(along * np.float32(SKIN[0] / LENGTH) - np.float32(0.5), np.float32(SKIN[0] - 1))
        sight = Sight(columns, rows, along, shade, shine)
        owner = np.zeros(along.shape, np.uint8)
        for number, polyp in enumerate(self._polyps):
            for y, x, seen in cover(polyp, number, pose, self._rays, sight):
                owner[y, x][seen] = number + 1
        return sight, [owner == number + 1 for number in range(len(self._polyps))]
