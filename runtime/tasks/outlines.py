"""Outlines of a mask: along the edges of its pixels, not through their centres."""

from __future__ import annotations

import itertools

import cv2
import numpy as np

from bedside.runtime.frame import Pixels
from bedside.runtime.geometry import Point, Transform

#: Outlines per mask, longest first: noise has thousands, and a result is no place for them.
MOST_OUTLINES = 64

#: Simplified by at most half a pixel of the mask.
_TOLERANCE = 0.5
_AROUND = np.ones((3, 3), np.uint8)


def outlines(
    mask: Pixels, transform: Transform, offset: tuple[int, int] = (0, 0)
) -> tuple[tuple[Point, ...], ...]:
    """Closed outlines, outer ones and holes alike (even-odd rule).

    On a grid of twice the size plus one, pixel `(x, y)` covers the nodes `2x .. 2x + 2`: the border nodes
    then lie on the edges of the pixels, which is where OpenCV's tracing through centres finds them.

    Args:
        mask: `(h, w) uint8`, 0 and not 0, in model pixels.
        transform: Captured frame to model input.
        offset: Of the mask in the model input, `(x, y)`.

    Returns:
        Points in captured-frame pixels, to a hundredth; pixels that touch at a corner are one region.
    """
    height, width = mask.shape
    nodes = np.zeros((2 * height + 1, 2 * width + 1), np.uint8)
    nodes[1::2, 1::2] = mask
    found, _ = cv2.findContours(cv2.dilate(nodes, _AROUND), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if len(found) > MOST_OUTLINES:
        found = sorted(found, key=lambda c: -cv2.arcLength(c, True))[:MOST_OUTLINES]
    simple = [cv2.approxPolyDP(contour, 2 * _TOLERANCE, True)[:, 0] for contour in found]
    simple = [points for points in simple if len(points) > 2]
    if not simple:
        return ()
    # All at once: numpy costs a microsecond per call, an outline has a hundred points.
    nodes_xy = np.concatenate(simple).T
    xs = np.round((nodes_xy[0] * 0.5 + offset[0] - transform.tx) / transform.sx, 2).tolist()
    ys = np.round((nodes_xy[1] * 0.5 + offset[1] - transform.ty) / transform.sy, 2).tolist()
    points = iter(zip(xs, ys, strict=True))
    return tuple([tuple(itertools.islice(points, len(outline))) for outline in simple])
