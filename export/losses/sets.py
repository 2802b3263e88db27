"""Loss of DETR, and its targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bedside.export.backend import keras
from bedside.export.data.types import BoxesTarget
from bedside.export.losses.boxes import corners, giou
from bedside.export.losses.focal import focal
from bedside.export.losses.matching import EMPTY, GIOU_WEIGHT, L1_WEIGHT, SCORE_WEIGHT
from bedside.runtime.errors import RecipeError


def encode_sets(
    targets: Sequence[BoxesTarget], *, width: int, height: int, slots: int
) -> dict[str, npt.NDArray[Any]]:
    """Objects of a batch, padded to a fixed number. They still have to be matched: see `matching`.

    Args:
        targets: One per picture: boxes `(n, 4) float32` x0, y0, x1, y1 in pixels of the model's input and labels
            `(n,) int64`, n from 0.
        width: Of the model's input, in pixels.
        height: Of the model's input, in pixels.
        slots: M, at least the most objects in a picture, at most the model's queries.

    Returns:
        `boxes (N, M, 4) float32`, centre x, centre y, width, height in 0..1; `labels (N, M) int32`, -1 in empty
        slots; `positives (N,) float32`: objects per picture, the mean over this batch (not each picture's own),
        so that shards of a batch are normalized alike.

    Raises:
        RecipeError: A picture has more objects than slots.
    """
    most = max((len(target.labels) for target in targets), default=0)
    if most > slots:
        raise RecipeError(
            f"a picture has {most} objects, the model answers {slots} at most",
            where="model.queries",
            hint=f"at least {most} queries",
        )
    boxes = np.zeros((len(targets), slots, 4), np.float32)
    labels = np.full((len(targets), slots), EMPTY, np.int32)
    sides = np.array([width, height], np.float64)
    for index, target in enumerate(targets):
        low, high = (target.boxes.astype(np.float64).reshape(-1, 2, 2) / sides).swapaxes(0, 1)
        boxes[index, : len(low)] = np.concatenate([(low + high) / 2, high - low], axis=-1)
        labels[index, : len(low)] = target.labels
    share = max(int((labels != EMPTY).sum()), 1) / max(len(targets), 1)
    return {"boxes": boxes, "labels": labels, "positives": np.full(len(targets), share, np.float32)}


def detr_loss(targets: Mapping[str, Any], outputs: Sequence[Any]) -> Any:
    """Focal loss of all scores, L1 and generalized IoU of the matched boxes, per object.

    Carion et al., 2020, section 3.1, with focal scores as in Zhu et al., Deformable DETR, 2021. Auxiliary outputs
    add the same loss each (Carion et al., section 3.2).

    Args:
        targets: Matched to these outputs by one of the functions in `bedside.export.losses.matching`.
        outputs: Boxes `(N, Q, 4)` and scores `(N, Q, K)` in turn, as `detr` gives them.

    Returns:
        A scalar, 0 for perfect boxes with perfect scores.
    """
    ops = keras.ops
    total: Any = 0.0
    for layer in range(len(outputs) // 2):
        boxes, scores = outputs[2 * layer], outputs[2 * layer + 1]
        suffix = f"_{layer}" if layer else ""
        truth = targets[f"boxes{suffix}"]
        labels = ops.cast(targets[f"labels{suffix}"], "int32")
        if labels.shape[-1] != boxes.shape[1]:
            raise ValueError(
                f"labels of {labels.shape[-1]} slots for {boxes.shape[1]} queries: match the targets first"
            )
        matched = ops.cast(ops.not_equal(labels, EMPTY), "float32")
        classes = ops.one_hot(ops.maximum(labels, 0), int(scores.shape[-1])) * ops.expand_dims(matched, -1)
        total += SCORE_WEIGHT * ops.sum(focal(classes, scores))
        total += L1_WEIGHT * ops.sum(ops.sum(ops.abs(boxes - truth), axis=-1) * matched)
        total += GIOU_WEIGHT * ops.sum((1.0 - giou(corners(boxes), corners(truth))) * matched)
    return total / ops.sum(targets["positives"])
