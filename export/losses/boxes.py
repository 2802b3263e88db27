"""Boxes: overlap, and the two ways to write them."""

from __future__ import annotations

from typing import Any

from bedside.export.backend import keras

#: Area in squared units of the boxes, so that two empty boxes divide by something.
_EPSILON = 1e-9


def giou(first: Any, second: Any, xp: Any = keras.ops) -> Any:
    """Generalized intersection over union (Rezatofighi et al., 2019, algorithm 1).

    Args:
        first: `(..., 4)` boxes x0, y0, x1, y1 with x0 <= x1 and y0 <= y1, in any unit.
        second: The same; the shapes broadcast.
        xp: `keras.ops`, or `numpy` for arrays outside a graph.

    Returns:
        `(...)`, from -1 (far apart) to 1 (equal).
    """
    overlap, union = _overlap(first, second, xp)
    hull = (xp.maximum(first[..., 2], second[..., 2]) - xp.minimum(first[..., 0], second[..., 0])) * (
        xp.maximum(first[..., 3], second[..., 3]) - xp.minimum(first[..., 1], second[..., 1])
    )
    return overlap / xp.maximum(union, _EPSILON) - (hull - union) / xp.maximum(hull, _EPSILON)


def iou(first: Any, second: Any, xp: Any = keras.ops) -> Any:
    """Intersection over union, `(...)` from 0 to 1; arguments as for `giou`."""
    overlap, union = _overlap(first, second, xp)
    return overlap / xp.maximum(union, _EPSILON)


def _overlap(first: Any, second: Any, xp: Any) -> tuple[Any, Any]:
    across = xp.minimum(first[..., 2], second[..., 2]) - xp.maximum(first[..., 0], second[..., 0])
    down = xp.minimum(first[..., 3], second[..., 3]) - xp.maximum(first[..., 1], second[..., 1])
    overlap = xp.maximum(across, 0.0) * xp.maximum(down, 0.0)
    return overlap, _area(first) + _area(second) - overlap


def _area(boxes: Any) -> Any:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def corners(boxes: Any, xp: Any = keras.ops) -> Any:
    """Centre x, centre y, width, height to x0, y0, x1, y1, `(..., 4)`; `xp` as for `giou`."""
    x, y, width, height = (boxes[..., index] for index in range(4))
    return xp.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=-1)
