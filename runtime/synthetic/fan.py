"""Probe geometry: the polar grid that echoes are sampled on, and scan conversion to the screen."""

from __future__ import annotations

import math
from typing import Any, Literal

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from bedside.runtime.frame import Pixels
from bedside.runtime.geometry import Rect
from bedside.runtime.synthetic.scene import F32, Mask

ProbeKind = Literal["curvilinear", "phased", "linear"]


class Probe(msgspec.Struct, frozen=True):
    """What the transducer sees.

    Attributes:
        kind: `curvilinear` and `phased` scan a sector, `linear` a rectangle.
        depth_mm: From the skin to the last sample.
        aperture: Opening of the sector in degrees, or width of the linear array in mm.
        radius_mm: Radius of curvature of the array's face: about 60 for an abdominal convex probe, next to 0
            for a phased array, unused for a linear one.
        frequency_mhz: Centre frequency; attenuation and resolution follow from it.
        focus_mm: Depth of the transmit focus.
    """

    kind: ProbeKind
    depth_mm: float
    aperture: float
    radius_mm: float = 0.0
    frequency_mhz: float = 3.5
    focus_mm: float = 60.0


class Grid(msgspec.Struct, frozen=True):
    """The sampled plane, wider than the fan by the way the probe sweeps. Arrays are `(D, B) float32` or
    broadcast.

    Attributes:
        depth: Depth along the beam in mm, `(D, 1)`.
        along: Arc length along the skin in mm, `(1, B)`.
        x: Lateral position in mm.
        z: Position below the probe's centre in mm.
        beam_mm: Distance of neighbouring beams in mm, `(D, 1)`.
        sample_mm: Distance of neighbouring depth samples in mm.
        sweep: Beams beyond each side of the fan when the probe is centred.
    """

    depth: F32
    along: F32
    x: F32
    z: F32
    beam_mm: F32
    sample_mm: float
    sweep: int


class Fan:
    """Where the fan lies on the screen, and how polar samples get there.

    Args:
        probe: The transducer.
        width: Of the frame, in pixels.
        height: Of the frame, in pixels.
        area: Part of the frame that the fan may fill; it is fitted into it, centred, touching the top.
        sweep: How far the probe moves to each side, as a part of the fan's opening.
    """

    def __init__(self, probe: Probe, width: int, height: int, area: Rect, sweep: float) -> None:
        self.probe = probe
        half_mm, top_mm, tall_mm = _extent(probe)
        self.mm = max(2 * half_mm / area.width, tall_mm / area.height)
        fan_w = min(area.width, math.ceil(2 * half_mm / self.mm))
        fan_h = min(area.height, math.ceil(tall_mm / self.mm))
        self.box = Rect(area.x + (area.width - fan_w) // 2, area.y, fan_w, fan_h)
        # About 0.65 samples a pixel in depth: fine enough for speckle, and it bounds the cost of a frame.
        self.samples = int(np.clip(0.65 * fan_h, 96, 640))
        self.beams = int(np.clip(0.3 * fan_w, 64, 288))
        self.grid = self._make_grid(round(sweep * self.beams))

        cols = (np.arange(fan_w, dtype=np.float32) + 0.5 - fan_w / 2)[None, :] * np.float32(self.mm)
        rows = (np.arange(fan_h, dtype=np.float32) + 0.5)[:, None] * np.float32(self.mm) + np.float32(top_mm)
        if probe.kind == "linear":
            depth, lateral = np.broadcast_to(rows, (fan_h, fan_w)), np.broadcast_to(cols, (fan_h, fan_w))
            half = probe.aperture / 2
        else:
            depth, lateral = np.hypot(cols, rows) - np.float32(probe.radius_mm), np.arctan2(cols, rows)
            half = math.radians(probe.aperture) / 2
        inside = (np.abs(lateral) <= half) & (depth >= 0) & (depth <= probe.depth_mm)
        beam = np.clip((lateral + half) / (2 * half) * self.beams - 0.5, 0, self.beams - 1)
        sample = np.clip(depth / probe.depth_mm * self.samples - 0.5, 0, self.samples - 1)
        outside = np.float32(-4)
        # Float maps: on one channel OpenCV 5 is faster with them than with fixed-point ones.
        self._map_x = np.where(inside, beam, outside).astype(np.float32)
        self._map_y = np.where(inside, sample, outside).astype(np.float32)
        self.view: Mask = np.zeros((height, width), np.bool_)
        self.view[self.box.y : self.box.y1, self.box.x : self.box.x1] = inside

    def scan_convert(self, polar: F32 | Pixels) -> npt.NDArray[Any]:
        """Draw a polar picture as a fan.

        Args:
            polar: `(samples, beams)` uint8 or float32.

        Returns:
            `(box.height, box.width)` of the same dtype; 0 outside the fan.
        """
        return np.asarray(
            cv2.remap(polar, self._map_x, self._map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        )

    def _make_grid(self, sweep: int) -> Grid:
        probe = self.probe
        step = probe.depth_mm / self.samples
        depth = ((np.arange(self.samples) + 0.5) * step)[:, None]
        opening = probe.aperture if probe.kind == "linear" else math.radians(probe.aperture)
        lateral = ((np.arange(self.beams + 2 * sweep) - sweep + 0.5) / self.beams - 0.5)[None, :] * opening
        if probe.kind == "linear":
            x, z = np.broadcast_arrays(lateral, depth)
            along, beam_mm = lateral, np.full_like(depth, opening / self.beams)
        else:
            radius = depth + probe.radius_mm
            x, z = radius * np.sin(lateral), radius * np.cos(lateral) - probe.radius_mm
            along = lateral * max(probe.radius_mm, probe.depth_mm / 2)
            beam_mm = radius * (opening / self.beams)
        f32 = np.float32
        return Grid(
            depth=depth.astype(f32),
            along=along.astype(f32),
            x=np.ascontiguousarray(x, f32),
            z=np.ascontiguousarray(z, f32),
            beam_mm=beam_mm.astype(f32),
            sample_mm=step,
            sweep=sweep,
        )


def _extent(probe: Probe) -> tuple[float, float, float]:
    """Half the width, the top's distance from the sector's centre, and the height of the fan, in mm."""
    if probe.kind == "linear":
        return probe.aperture / 2, 0.0, probe.depth_mm
    half = math.radians(probe.aperture) / 2
    far = probe.radius_mm + probe.depth_mm
    top = probe.radius_mm * math.cos(half)
    return far * math.sin(half), top, far - top
