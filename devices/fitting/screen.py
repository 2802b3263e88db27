"""The region of interest and the masks of a screen, or a plain word that they were not found."""

from __future__ import annotations

import math

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from bedside.devices.fitting.area import Area, find_area, lit_pixels
from bedside.devices.fitting.evidence import Evidence
from bedside.devices.fitting.lettering import lettering
from bedside.devices.fitting.shapes import Kind, Outline, Shape, fit_shape, rasterized
from bedside.runtime.geometry import Rect

LEAST_PART = 0.08
"""Scanners give at least a tenth of their screen to the image; a smaller area is an icon, or a part of a fan."""

LEAST_OVERLAP = 0.86
"""An area of which its best shape describes less has another outline, or is only partly lit."""

GOOD_OVERLAP, HULL_OVERLAP = 0.9, 0.94
"""From the first on, an area's own shape is taken. Below, its hull has to have a shape by the second: a hull hides
what it encloses, letters beside the image as well."""

LEAST_HULL = 0.55
"""Part of its hull that an area has to fill; a linear probe over an eye, black from side to side, fills 0.59."""

MOST_FLAT = 0.5
"""Part of the area that may have one colour: dark chambers and an eye make up to a third."""

LEAST_MOVING = 0.2
"""Part of a picture without borders that has to change, to be told from a menu or a test pattern."""

SNAP = 3
"""Working pixels within which an edge of the region follows the pixels of the captured frame."""


class ScreenFit(msgspec.Struct, frozen=True):
    """Where the image lies on a screen.

    Attributes:
        width: Of the frames, in pixels.
        height: Of the frames, in pixels.
        frames: How many were looked at.
        shape: Of the image; None where nothing was found.
        outline: Its corners `(x, y)` in captured-frame pixels.
        overlap: How much of the image's area and its shape is common to both, 0 to 1.
        moving: Part of the image that changes between frames.
        roi: Region of interest; None where the fit is unsure, and where the image is the whole frame.
        masks: Rectangles over letters and icons; empty where the fit is unsure.
        doubts: Why it is unsure, one line each.
    """

    width: int
    height: int
    frames: int
    shape: Kind | None
    outline: Outline = ()
    overlap: float = 0.0
    moving: float = 0.0
    roi: Rect | None = None
    masks: tuple[Rect, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def sure(self) -> bool:
        """Whether region and masks may be used."""
        return not self.doubts


def fit_screen(evidence: Evidence) -> ScreenFit:
    """Find where the image lies.

    Args:
        evidence: Of one frame or, better, of many.
    """
    width, height = evidence.size
    area = find_area(evidence)
    found = ScreenFit(width, height, evidence.frames, None, moving=round(area.moving, 3))
    if not area.mask.any():
        return msgspec.structs.replace(found, doubts=("nothing stands out from the background",))
    shape = _shape_of(area)
    outline = tuple((round(x / area.scale, 1), round(y / area.scale, 1)) for x, y in shape.outline)
    found = msgspec.structs.replace(found, shape=shape.kind, outline=outline, overlap=round(shape.overlap, 3))
    doubts = _doubts(area, shape)
    if doubts:
        return msgspec.structs.replace(found, doubts=doubts)
    lit = cv2.resize(area.mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    picture = rasterized(outline, (height, width)) | lit.astype(np.bool_)
    roi = Rect(0, 0, width, height) if shape.kind == "whole" else _region(evidence, area, shape, outline)
    masks = lettering(evidence, area.background, picture, roi)
    whole = roi == Rect(0, 0, width, height)
    return msgspec.structs.replace(found, roi=None if whole else roi, masks=masks)


def _shape_of(area: Area) -> Shape:
    """The shape of the lit area, or of its hull where the area has none: weak echoes at a fan's edges are dark."""
    shape = fit_shape(area.mask)
    if shape.overlap >= GOOD_OVERLAP:
        return shape
    hull = fit_shape(area.hull)
    return hull if hull.overlap >= HULL_OVERLAP else shape


def _doubts(area: Area, shape: Shape) -> tuple[str, ...]:
    doubts = []
    part = float(area.mask.mean())
    if part < LEAST_PART:
        doubts.append(
            f"the largest area covers {part:.0%} of the frame, an image at least {LEAST_PART:.0%}: "
            "let the probe or the scope show something"
        )
    if area.flat > MOST_FLAT:
        doubts.append(f"{area.flat:.0%} of it has one colour: a menu, a message or a test pattern")
    if np.count_nonzero(area.mask) < LEAST_HULL * np.count_nonzero(area.hull):
        doubts.append("it is scattered over the screen: several views, or no image")
    if area.moving < LEAST_MOVING and (
        shape.kind == "whole" or (shape.kind == "rectangle" and _sides(area) > 2)
    ):
        doubts.append("it has no borders, and little in it moves: a menu, a photograph or a still")
    if shape.kind != "whole" and shape.overlap < LEAST_OVERLAP:
        doubts.append(
            f"its outline is no fan, circle, octagon or rectangle: the best, a {shape.kind}, has an overlap of "
            f"{shape.overlap:.2f}, {LEAST_OVERLAP} is needed"
        )
    return tuple(doubts)


def _sides(area: Area) -> int:
    """How many sides of the frame the area reaches along most of them."""
    mask = area.mask
    return sum(bool(side.mean() > 0.5) for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))


def _region(evidence: Evidence, area: Area, shape: Shape, outline: Outline) -> Rect:
    """The box of the outline, each edge at the pixels of the frame where they are close to it."""
    width, height = evidence.size
    xs, ys = [p[0] for p in outline], [p[1] for p in outline]
    reach = SNAP / area.scale
    x0, x1 = max(0, math.floor(min(xs) - reach)), min(width, math.ceil(max(xs) + reach))
    y0, y1 = max(0, math.floor(min(ys) - reach)), min(height, math.ceil(max(ys) + reach))
    lit = lit_pixels(evidence, area.background)[y0:y1, x0:x1]
    # A rectangle's edge is lit along its length; the tips of the others are short, and noise is shorter still.
    least = 0.3 if shape.kind == "rectangle" else 0.01
    columns = x0 + np.flatnonzero(np.count_nonzero(lit, axis=0) >= max(2, least * (y1 - y0)))
    rows = y0 + np.flatnonzero(np.count_nonzero(lit, axis=1) >= max(2, least * (x1 - x0)))
    left, right = _edges(columns, min(xs), max(xs), reach)
    top, bottom = _edges(rows, min(ys), max(ys), reach)
    left, top = max(0, left), max(0, top)
    return Rect(left, top, min(width, right) - left, min(height, bottom) - top)


def _edges(lit: npt.NDArray[np.intp], low: float, high: float, reach: float) -> tuple[int, int]:
    first, last = (int(lit[0]), int(lit[-1]) + 1) if len(lit) else (round(low), round(high))
    return (
        first if abs(first - low) <= reach else round(low),
        last if abs(last - high) <= reach else round(high),
    )
