"""Detection: average precision as COCO defines it, and whether scores are honest."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float32]

#: COCO: precision is read at 101 recalls, and averaged over ten overlaps.
_RECALLS = np.linspace(0.0, 1.0, 101)
OVERLAPS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))


class Found(msgspec.Struct, frozen=True):
    """Boxes of one picture.

    Attributes:
        boxes: `(n, 4) float32`, `x0, y0, x1, y1`.
        scores: `(n,) float32`; ones for a ground truth.
        labels: `(n,) int64`.
    """

    boxes: Boxes
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


class Matches(msgspec.Struct, frozen=True):
    """Boxes of one class in one picture, held against the truth.

    Attributes:
        scores: `(n,)`, falling.
        hits: `(n, 10)`: whether the box is a true positive at each of `OVERLAPS`.
        truths: How many boxes there should be.
    """

    scores: npt.NDArray[np.float32]
    hits: npt.NDArray[np.bool_]
    truths: int


def iou(a: Boxes, b: Boxes) -> npt.NDArray[np.float64]:
    """Intersection over union of every pair, `(len(a), len(b))`."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inner = np.clip(high - low, 0, None).prod(axis=2).astype(np.float64)
    size_a = np.clip(a[:, 2:] - a[:, :2], 0, None).prod(axis=1)
    size_b = np.clip(b[:, 2:] - b[:, :2], 0, None).prod(axis=1)
    union = size_a[:, None] + size_b[None, :] - inner
    return np.where(union > 0, inner / np.where(union > 0, union, 1.0), 0.0)


def match(found: Found, truth: Found, label: int) -> Matches:
    """COCO's matching: boxes by falling score take the best true box that is still free."""
    own, wanted = found.labels == label, truth.labels == label
    order = np.argsort(-found.scores[own], kind="stable")
    boxes, scores = found.boxes[own][order], found.scores[own][order]
    overlap = iou(boxes, truth.boxes[wanted])
    hits = np.zeros((len(boxes), len(OVERLAPS)), bool)
    for column, least in enumerate(OVERLAPS):
        free = np.ones(int(wanted.sum()), bool)
        for row in range(len(boxes)):
            candidates = np.where(free, overlap[row], -1.0)
            if candidates.size and candidates.max() >= least:
                free[int(candidates.argmax())] = False
                hits[row, column] = True
    return Matches(scores, hits, int(wanted.sum()))


def average_precision(matches: Sequence[Matches]) -> npt.NDArray[np.float64]:
    """Average precision of one class over pictures, at each of `OVERLAPS`.

    Returns:
        `(10,)`; NaN where the pictures have no box of the class.
    """
    truths = sum(m.truths for m in matches)
    if truths == 0:
        return np.full(len(OVERLAPS), np.nan)
    scores = np.concatenate([m.scores for m in matches])
    order = np.argsort(-scores, kind="stable")
    hits = np.concatenate([m.hits for m in matches])[order]
    good = hits.cumsum(axis=0)
    recall = good / truths
    precision = good / np.arange(1, len(hits) + 1)[:, None]
    # The largest precision at this recall or beyond it.
    precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    values = []
    for column in range(len(OVERLAPS)):
        at = np.searchsorted(recall[:, column], _RECALLS, side="left")
        inside = at < len(hits)
        values.append(
            float(np.where(inside, precision[np.minimum(at, len(hits) - 1), column], 0.0).mean())
            if len(hits)
            else 0.0
        )
    return np.array(values)
