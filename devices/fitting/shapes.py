"""The outlines that imaging devices draw: fan, circle, octagon, rectangle; which one an area has, and how well."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import cv2
import msgspec
import numpy as np

from bedside.devices.fitting.area import Mask

Kind = Literal["sector", "circle", "octagon", "rectangle", "whole"]
Outline = tuple[tuple[float, float], ...]

_ARC = 33  # points of an arc: straight pieces of 3 degrees at most
# Of the search, as parts of the area's size: each about half of the one before.
_STEPS = (0.06, 0.03, 0.015, 0.007, 0.003)


class Shape(msgspec.Struct, frozen=True):
    """An outline that was fitted to an area.

    Attributes:
        kind: `whole` is the frame itself.
        outline: Corners `(x, y)` of a polygon, clockwise.
        overlap: Intersection over union with the area.
    """

    kind: Kind
    outline: Outline
    overlap: float


def fit_shape(mask: Mask) -> Shape:
    """The simplest shape that describes an area, or the best one if none does.

    Args:
        mask: `(h, w) bool` with at least one pixel.
    """
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    box = (float(x), float(y), float(x + width), float(y + height))
    rows, columns = mask.shape
    whole = Shape("whole", _corners(0, 0, columns, rows), 0.0)
    candidates: list[Callable[[], Shape]] = [
        lambda: _fit(mask, "rectangle", box, lambda p: _corners(*p), box),
        lambda: _octagon(mask, box),
        lambda: _circle(mask, box),
        lambda: _sector(mask, box),
    ]
    if (x, y, width, height) == (0, 0, columns, rows) and mask.mean() > _WHOLE:
        return msgspec.structs.replace(whole, overlap=float(mask.mean()))
    best: Shape | None = None
    for candidate in candidates:
        shape = candidate()
        if best is None or shape.overlap > best.overlap + _SIMPLER:
            best = shape
    assert best is not None
    return best


_WHOLE = 0.985
"""A picture that covers this part of the frame is not cut by anything."""

_SIMPLER = 0.012
"""A shape with more parameters has to describe this much more of the area, or it describes ragged edges."""


def rasterized(outline: Outline, shape: tuple[int, int]) -> Mask:
    """Pixels whose centres lie within a polygon, `(h, w) bool`."""
    corners = np.asarray(outline, np.float64)
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    # A pixel's centre is at +0.5 here and at 0 for OpenCV, which also fills the pixels that an edge only touches:
    # half a pixel inwards on each side. In sixteenths of a pixel.
    corners = corners - 0.5 - np.clip(corners - middle, -0.5, 0.5)
    corners = np.rint(corners * 16).astype(np.int32)
    canvas = np.zeros(shape, np.uint8)
    cv2.fillPoly(canvas, [corners], 1, shift=4)
    return canvas.astype(np.bool_)


def overlap(outline: Outline, mask: Mask) -> float:
    """Intersection over union of a polygon and an area."""
    drawn = rasterized(outline, (mask.shape[0], mask.shape[1]))
    union = np.count_nonzero(drawn | mask)
    return float(np.count_nonzero(drawn & mask) / union) if union else 0.0


def _corners(x0: float, y0: float, x1: float, y1: float) -> Outline:
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))


_Box = tuple[float, float, float, float]
_Draw = Callable[[Sequence[float]], Outline]


def _fit(mask: Mask, kind: Kind, start: Sequence[float], draw: _Draw, box: _Box) -> Shape:
    """Improve parameters, one at a time, as long as the overlap grows (coordinate search)."""
    best = [float(value) for value in start]
    outline = draw(best)
    reached = overlap(outline, mask)
    reach = max(box[2] - box[0], box[3] - box[1])
    for step in _STEPS:
        improved = True
        while improved:
            improved = False
            for index in range(len(best)):
                for sign in (-1.0, 1.0):
                    tried = list(best)
                    tried[index] += sign * step * reach
                    outline = draw(tried)
                    found = overlap(outline, mask)
                    if found > reached + 1e-4:
                        best, reached, improved = tried, found, True
    return Shape(kind, draw(best), reached)


def _octagon(mask: Mask, box: _Box) -> Shape:
    """A rectangle with its corners cut at 45 degrees, all alike: what video processors blank."""
    x0, y0, x1, y1 = box

    def draw(p: Sequence[float]) -> Outline:
        left, top, right, bottom, cut = p
        cut = min(max(cut, 0.0), (right - left) / 2, (bottom - top) / 2)
        return (
            (left + cut, top), (right - cut, top), (right, top + cut), (right, bottom - cut),
            (right - cut, bottom), (left + cut, bottom), (left, bottom - cut), (left, top + cut),
        )  # fmt: skip

    # The cut alone first: one at a time, edges and cut hold each other in place.
    cuts = [side * min(x1 - x0, y1 - y0) for side in np.arange(0.02, 0.48, 0.03)]
    cut = max(cuts, key=lambda value: overlap(draw((*box, value)), mask))
    return _fit(mask, "octagon", (*box, cut), draw, box)


def _circle(mask: Mask, box: _Box) -> Shape:
    """A circle, cut by the edges of the area's box: sensors and screens are wider than high."""
    x0, y0, x1, y1 = box
    angles = np.linspace(0, 2 * math.pi, 4 * _ARC, endpoint=False)

    def draw(p: Sequence[float]) -> Outline:
        cx, cy, radius = p
        xs = np.clip(cx + radius * np.cos(angles), x0, x1)
        ys = np.clip(cy + radius * np.sin(angles), y0, y1)
        return tuple(zip(xs.tolist(), ys.tolist(), strict=True))

    start = ((x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, y1 - y0) / 2)
    return _fit(mask, "circle", start, draw, box)


def _sector(mask: Mask, box: _Box) -> Shape:
    """Part of a ring, its tip up: phased and curved arrays. Cut by the sides of the area's box."""
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    best: Shape | None = None

    def draw(p: Sequence[float]) -> Outline:
        # All in pixels, so that one step length fits all: centre, skin and depth below it, half width at depth.
        cx, cy, skin, depth, left, right = p
        skin, depth = max(skin, 0.0), max(depth, 1.0)
        low, high = (math.asin(min(max(side / depth, 0.02), 0.999)) for side in (left, right))
        angles = np.linspace(-low, high, _ARC)
        outer = [(cx + depth * math.sin(a), cy + depth * math.cos(a)) for a in angles[::-1]]
        inner = [(cx + skin * math.sin(a), cy + skin * math.cos(a)) for a in angles]
        return tuple((min(max(x, x0), x1), min(max(y, y0), y1)) for x, y in (*inner, *outer))

    for part in (0.0, 0.15, 0.4):  # of the depth that lies above the skin: phased, curved, flat arrays
        skin = part * height / (1 - part)
        cy = y0 - skin
        depth = height + skin
        start = ((x0 + x1) / 2, cy, skin, depth, width / 2, width / 2)
        found = _fit(mask, "sector", start, draw, box)
        if best is None or found.overlap > best.overlap:
            best = found
    assert best is not None
    return best
