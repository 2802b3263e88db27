"""Non-maximum suppression: of boxes that show the same thing, the best stays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def best_first(scores: npt.NDArray[np.floating], limit: int) -> npt.NDArray[np.intp]:
    """Positions of the highest scores, best first; of equal ones the lower position, on every host.

    Args:
        scores: `(n,)`.
        limit: At most so many.

    Returns:
        `(min(n, limit),)`.
    """
    chosen = np.arange(scores.size)
    if scores.size > limit:
        # Sorting ten thousands costs milliseconds, finding the last that belongs to them does not.
        chosen = np.flatnonzero(scores >= np.partition(scores, scores.size - limit)[scores.size - limit])
    order = np.argsort(-scores[chosen], kind="stable")
    return chosen[order[:limit]]


def suppress(
    boxes: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], iou: float, limit: int
) -> npt.NDArray[np.intp]:
    """Greedy non-maximum suppression within each class.

    From the best on, a box removes those of its class behind it that overlap it by more than `iou`
    (intersection over union).

    Args:
        boxes: `(n, 4)`, x0 y0 x1 y1, best first.
        labels: `(n,)`, class of each.
        iou: 0..1.
        limit: Stop when so many are kept.

    Returns:
        Positions of those that stay, in order.
    """
    x0, y0, x1, y1 = boxes.T
    areas = (x1 - x0) * (y1 - y0)
    rest = np.arange(len(boxes))
    kept: list[int] = []
    while rest.size and len(kept) < limit:
        first, rest = rest[0], rest[1:]
        kept.append(int(first))
        width = np.minimum(x1[rest], x1[first]) - np.maximum(x0[rest], x0[first])
        height = np.minimum(y1[rest], y1[first]) - np.maximum(y0[rest], y0[first])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        # Without a division: boxes without an area are no special case.
        apart = shared <= iou * (areas[rest] + areas[first] - shared)
        rest = rest[apart | (labels[rest] != labels[first])]
    return np.array(kept, np.intp)
