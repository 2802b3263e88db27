"""Bipartite matching of predictions and objects, on the host.

The stated exception from backend neutrality: the Hungarian algorithm is scipy's and sees numpy arrays. It stands
between the forward pass and the loss, and no gradient passes through it, so plain `model.fit(x, y)` cannot
train a DETR. A loop can, `targets` being those of `bedside.export.losses.sets.encode_sets`:

    with tf.GradientTape() as tape:                     # or the other backends' own means
        outputs = model(pixels, training=True)
        matched = match_eager(targets, outputs)         # eager: run_eagerly, or a loop of your own
        matched = match_in_graph(targets, outputs)      # TensorFlow, inside a tf.function
        loss = detr_loss(matched, outputs)

One forward pass is enough. Matched targets have a fixed shape, so the loss is pure `keras.ops`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from bedside.export.backend import keras
from bedside.export.losses.boxes import corners, giou
from bedside.export.losses.focal import ALPHA, GAMMA

#: Label of an empty slot, and of a query that has to predict nothing.
EMPTY = -1
#: Weights of score, L1 and generalized IoU, in the costs and in the loss (Carion et al., 2020, appendix A.4: 5 and
#: 2; Zhu et al., Deformable DETR, 2021, reference code: 2 for the focal scores).
SCORE_WEIGHT, L1_WEIGHT, GIOU_WEIGHT = 2.0, 5.0, 2.0

Floats = npt.NDArray[np.floating[Any]]


def match(
    boxes: Floats, scores: Floats, truth_boxes: Floats, truth_labels: npt.NDArray[np.integer[Any]]
) -> npt.NDArray[np.int32]:
    """The one-to-one matching of least total cost (Carion et al., 2020, section 3.1).

    Args:
        boxes: `(N, Q, 4)` predicted, centre x, centre y, width, height in 0..1.
        scores: `(N, Q, K)` predicted, after the sigmoid.
        truth_boxes: `(N, M, 4)`, the same form.
        truth_labels: `(N, M)`, -1 in empty slots.

    Returns:
        `(N, Q) int32`: per query the slot of its object, or -1. Of more objects than queries the cheapest are
        matched.
    """
    matched = np.full(scores.shape[:2], EMPTY, np.int32)
    for index in range(len(boxes)):
        (slots,) = np.nonzero(truth_labels[index] != EMPTY)
        costs = matching_costs(
            boxes[index], scores[index], truth_boxes[index, slots], truth_labels[index, slots]
        )
        queries, columns = linear_sum_assignment(costs)
        matched[index, queries] = slots[columns]
    return matched


def matching_costs(
    boxes: Floats, scores: Floats, truth_boxes: Floats, truth_labels: npt.NDArray[np.integer[Any]]
) -> npt.NDArray[np.float64]:
    """What each pair of query and object would cost: `(Q, n) float64`.

    The score's part is what the focal loss would gain by the match (Deformable DETR, reference code).

    Args:
        boxes: `(Q, 4)`.
        scores: `(Q, K)`.
        truth_boxes: `(n, 4)`.
        truth_labels: `(n,)`, no empty ones.
    """
    p = np.clip(scores[:, truth_labels].astype(np.float64), 1e-7, 1 - 1e-7)
    gain = -ALPHA * (1 - p) ** GAMMA * np.log(p) + (1 - ALPHA) * p**GAMMA * np.log(1 - p)
    pairs = boxes[:, None].astype(np.float64), truth_boxes[None].astype(np.float64)
    distance = np.abs(pairs[0] - pairs[1]).sum(axis=-1)
    overlap = giou(corners(pairs[0], np), corners(pairs[1], np), np)
    costs = SCORE_WEIGHT * gain + L1_WEIGHT * distance - GIOU_WEIGHT * overlap
    # A model that diverged: any matching will do, its loss is not finite and says so.
    return np.asarray(np.nan_to_num(costs, nan=1e6, posinf=1e6, neginf=-1e6), np.float64)


def match_targets(
    targets: Mapping[str, npt.NDArray[Any]], outputs: Sequence[npt.NDArray[Any]]
) -> dict[str, npt.NDArray[Any]]:
    """Targets per query, of every decoder layer that the outputs have.

    Args:
        targets: `boxes (N, M, 4)`, `labels (N, M)`, `positives (N,)`, see `encode_sets`.
        outputs: Boxes and scores in turn, as `detr` gives them.

    Returns:
        `boxes (N, Q, 4) float32`, zeros where there is nothing to predict, `labels (N, Q) int32`, -1 there, and
        `positives`; `boxes_1, labels_1` and so on for auxiliary outputs.
    """
    matched: dict[str, npt.NDArray[Any]] = {"positives": np.asarray(targets["positives"], np.float32)}
    truth_boxes, truth_labels = np.asarray(targets["boxes"]), np.asarray(targets["labels"])
    for layer in range(len(outputs) // 2):
        index = match(outputs[2 * layer], outputs[2 * layer + 1], truth_boxes, truth_labels)
        chosen, slot = index != EMPTY, np.maximum(index, 0)
        boxes = np.take_along_axis(truth_boxes, slot[..., None], axis=1) * chosen[..., None]
        labels = np.where(chosen, np.take_along_axis(truth_labels, slot, axis=1), EMPTY)
        suffix = f"_{layer}" if layer else ""
        matched[f"boxes{suffix}"], matched[f"labels{suffix}"] = (
            boxes.astype(np.float32),
            labels.astype(np.int32),
        )
    return matched


def match_eager(targets: Mapping[str, Any], outputs: Sequence[Any]) -> dict[str, Any]:
    """`match_targets` for tensors of any backend, outside a traced function."""
    numpy = keras.ops.convert_to_numpy
    return match_targets(
        {name: numpy(value) for name, value in targets.items()},
        [numpy(keras.ops.stop_gradient(output)) for output in outputs],
    )


def match_in_graph(targets: Mapping[str, Any], outputs: Sequence[Any]) -> dict[str, Any]:
    """`match_targets` inside a `tf.function`, by way of `tf.numpy_function`. TensorFlow only."""
    import tensorflow as tf

    names = sorted(targets)
    layers = len(outputs) // 2
    results = ["positives"]
    for layer in range(layers):
        suffix = f"_{layer}" if layer else ""
        results += [f"boxes{suffix}", f"labels{suffix}"]

    def on_host(*arrays: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        matched = match_targets(
            dict(zip(names, arrays[: len(names)], strict=True)), list(arrays[len(names) :])
        )
        return [matched[name] for name in results]

    kinds = [tf.int32 if name.startswith("labels") else tf.float32 for name in results]
    tensors = tf.numpy_function(
        on_host, [*(targets[name] for name in names), *outputs], kinds, stateful=False
    )
    batch, queries = outputs[0].shape[0], outputs[0].shape[1]
    for name, tensor in zip(results, tensors, strict=True):
        shape = {"positives": (batch,), "boxes": (batch, queries, 4), "labels": (batch, queries)}
        tensor.set_shape(shape[name.partition("_")[0]])
    return dict(zip(results, tensors, strict=True))
