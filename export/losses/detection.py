"""Loss of the anchor-free detector, and its targets per cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bedside.export.backend import keras
from bedside.export.data.types import BoxesTarget
from bedside.export.losses.boxes import giou, iou
from bedside.export.losses.focal import quality_focal
from bedside.export.models.levels import Level

#: Cells whose centre lies within so many strides of a box's centre may predict it: centre sampling of the FCOS
#: journal paper (Tian et al., TPAMI 2020, section 3.1).
RADIUS = 1.5
#: Of the boxes' part beside the scores' (Li et al., Generalized Focal Loss, 2020, reference code).
BOX_WEIGHT = 2.0
#: Label of a cell that has to predict nothing.
EMPTY = -1


def encode_boxes(targets: Sequence[BoxesTarget], grid: Sequence[Level]) -> dict[str, npt.NDArray[Any]]:
    """What every cell has to predict (Tian et al., FCOS, 2019, section 3.1, with centre sampling).

    A cell is given a box if its centre lies inside it, within `RADIUS` strides of the box's centre, and if the
    farthest side is as far as the level is there for; of several boxes the smallest wins.

    Args:
        targets: One per picture: boxes `(n, 4) float32` x0, y0, x1, y1 in pixels of the model's input and labels
            `(n,) int64`, n from 0.
        grid: From `bedside.export.models.levels.levels`, the detector's own.

    Returns:
        Per stride s: `boxes_s (N, h, w, 4) float32`, left, top, right, bottom in cells, zeros in empty cells;
        `labels_s (N, h, w) int32`, -1 in empty cells. And `positives (N,) float32`: cells with a box per picture,
        the mean over this batch (not each picture's own), so that shards of a batch are normalized alike.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    for level in grid:
        boxes = np.zeros((len(targets), level.rows, level.columns, 4), np.float32)
        labels = np.full((len(targets), level.rows, level.columns), EMPTY, np.int32)
        for index, target in enumerate(targets):
            boxes[index], labels[index] = _assign(target, level)
        arrays[f"boxes_{level.stride}"], arrays[f"labels_{level.stride}"] = boxes, labels
    positives = sum(int((arrays[f"labels_{level.stride}"] != EMPTY).sum()) for level in grid)
    share = max(positives, 1) / max(len(targets), 1)
    return {**arrays, "positives": np.full(len(targets), share, np.float32)}


def learnable(target: BoxesTarget, grid: Sequence[Level]) -> npt.NDArray[np.bool_]:
    """Which boxes some cell has to predict: `(n,) bool`.

    The others hold no cell's centre because they are narrower than a cell of the level that their length puts
    them on, or lie outside the picture, or smaller boxes took all their cells. A box at least as wide and as
    high as the coarsest cell is safe from the first. A recipe with many of them needs finer strides or larger
    pictures.
    """
    found = np.zeros(len(target.labels), bool)
    for level in grid:
        owner, _ = _owners(target, level)
        found[owner[owner != EMPTY]] = True
    return found


def _assign(target: BoxesTarget, level: Level) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    owner, distances = _owners(target, level)
    positive = owner != EMPTY
    boxes = np.zeros((*owner.shape, 4), np.float32)
    labels = np.full(owner.shape, EMPTY, np.int32)
    rows, columns = np.nonzero(positive)
    boxes[positive] = distances[rows, columns, owner[positive]] / level.stride
    labels[positive] = target.labels[owner[positive]]
    return boxes, labels


def _owners(target: BoxesTarget, level: Level) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Index of each cell's box or EMPTY, `(h, w)`, and all distances `(h, w, n, 4)` in pixels."""
    boxes = target.boxes.astype(np.float64).reshape(1, 1, -1, 4)
    centres = level.centres()[:, :, None]
    distances = np.concatenate([centres - boxes[..., :2], boxes[..., 2:] - centres], axis=-1)
    if not len(target.labels):
        return np.full((level.rows, level.columns), EMPTY, np.int64), distances
    offset = np.abs(centres - (boxes[..., :2] + boxes[..., 2:]) / 2).max(axis=-1)
    farthest = distances.max(axis=-1)
    candidate = (
        (distances.min(axis=-1) > 0)
        & (offset <= RADIUS * level.stride)
        & (farthest > level.smallest)
        & (farthest <= level.largest)
    )
    areas = np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1)
    areas = np.where(candidate, areas, np.inf)
    return np.where(candidate.any(axis=-1), areas.argmin(axis=-1), EMPTY), distances


def decode_boxes(distances: npt.NDArray[Any], level: Level) -> npt.NDArray[np.float64]:
    """Boxes x0, y0, x1, y1 in pixels of the model's input from `(..., h, w, 4)` distances in cells."""
    centres, pixels = level.centres(), distances.astype(np.float64) * level.stride
    return np.concatenate([centres - pixels[..., :2], centres + pixels[..., 2:]], axis=-1)


def detection_loss(targets: Mapping[str, Any], outputs: Sequence[Any]) -> Any:
    """Quality focal loss of the scores plus generalized IoU loss of the boxes, per positive cell.

    A positive cell's score learns the overlap of its own box with the object, an empty cell's learns zero (Li et
    al., Generalized Focal Loss, 2020): so scores rank boxes, without a centre-ness output.

    Args:
        targets: See `encode_boxes`.
        outputs: `boxes_s, scores_s` per stride, finest first, as `anchor_free_detector` gives them.

    Returns:
        A scalar, 0 for perfect boxes with perfect scores.
    """
    ops = keras.ops
    strides = sorted(int(name.removeprefix("labels_")) for name in targets if name.startswith("labels_"))
    if len(outputs) != 2 * len(strides):
        raise ValueError(
            f"{len(outputs)} outputs for the strides {strides}, expected boxes and scores of each"
        )
    total: Any = 0.0
    for index, stride in enumerate(strides):
        boxes, scores = outputs[2 * index], outputs[2 * index + 1]
        labels = ops.cast(targets[f"labels_{stride}"], "int32")
        positive = ops.cast(ops.not_equal(labels, EMPTY), "float32")
        predicted, truth = _around(boxes), _around(targets[f"boxes_{stride}"])
        quality = ops.stop_gradient(iou(predicted, truth)) * positive
        classes = ops.one_hot(ops.maximum(labels, 0), int(scores.shape[-1]))
        total += ops.sum(quality_focal(classes * ops.expand_dims(quality, -1), scores))
        total += BOX_WEIGHT * ops.sum((1.0 - giou(predicted, truth)) * positive)
    return total / ops.sum(targets["positives"])


def _around(distances: Any) -> Any:
    """Distances as corners around the cell's own centre: overlaps need no grid."""
    return keras.ops.concatenate([-distances[..., :2], distances[..., 2:]], axis=-1)
