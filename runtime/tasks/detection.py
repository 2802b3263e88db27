"""Box and score tensors to boxes in the captured frame."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bedside.runtime.answers import DetectedBox, Detections
from bedside.runtime.bundle.decode import DetectionDecode
from bedside.runtime.bundle.manifest import TensorSpec
from bedside.runtime.engines.protocol import Array
from bedside.runtime.errors import EngineError
from bedside.runtime.geometry import Box, Transform
from bedside.runtime.tasks.codes import logit, over, sigmoid
from bedside.runtime.tasks.nms import best_first, suppress
from bedside.runtime.tasks.protocol import View, check_finite, dequantize

#: Boxes that go into non-maximum suppression, best first: as many as RetinaNet and FCOS keep per level.
MOST_CANDIDATES = 1000

_Found = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]


class DetectionDecoder:
    """Boxes above the threshold, after non-maximum suppression, in the captured frame.

    The threshold is compared with the codes of a quantized tensor; only what is above it is dequantized. A box
    with several scores above the threshold is found once per class.

    Args:
        decode: How the tensors are read, from the manifest.
    """

    needs_input = False

    def __init__(self, decode: DetectionDecode) -> None:
        self._decode = decode
        self._centres: dict[tuple[int, int], npt.NDArray[np.float64]] = {}

    def decode(self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...], view: View) -> Detections:
        """Boxes, best first; see `TaskDecoder.decode`. What lies in the padding of a letterbox is cut off."""
        width, height = view.fit.size
        boxes, scores, labels = self.detections(outputs, specs, (height, width))
        if not len(boxes):
            return Detections(())
        crop = view.fit.crop
        # All at once, as `Transform.box_to_frame` would do it box by box.
        corners = _boxes_to_frame(boxes, view.fit.transform)
        np.maximum(corners, (crop.x, crop.y, -np.inf, -np.inf), out=corners)
        np.minimum(corners, (np.inf, np.inf, crop.x1, crop.y1), out=corners)
        listed = []
        for (x0, y0, x1, y1), score, k in zip(
            corners.tolist(), scores.tolist(), labels.tolist(), strict=True
        ):
            if x0 >= x1 or y0 >= y1:
                continue
            size = None
            if view.spacing_mm is not None:
                size = ((x1 - x0) * view.spacing_mm[1], (y1 - y0) * view.spacing_mm[0])
            listed.append(DetectedBox(k, self._decode.labels[k], score, Box(x0, y0, x1, y1), size))
        return Detections(tuple(listed))

    def reset(self) -> None:
        """Nothing to forget."""

    def detections(
        self,
        outputs: tuple[Array, ...],
        specs: tuple[TensorSpec, ...],
        size: tuple[int, int],
        *,
        threshold: float | None = None,
    ) -> _Found:
        """What `decode` finds, in model-input pixels.

        Args:
            outputs: Of the session, batch of 1 included.
            specs: Of the outputs.
            size: `(height, width)` of the model input.
            threshold: In place of the manifest's, lower for a precision-recall curve.

        Returns:
            Boxes `(n, 4) float32`, x0 y0 x1 y1, cut to the input; scores `(n,) float32`, best first; classes
            `(n,) int64`.

        Raises:
            NotFiniteError: An output holds NaN or infinity.
            EngineError: The tensors do not fit each other or the labels.
        """
        check_finite(outputs, specs)
        decode = self._decode
        level = decode.threshold if threshold is None else threshold
        pairs = zip(decode.boxes, decode.scores, strict=True)
        levels = [self._level(outputs, specs, boxes, scores, level, size) for boxes, scores in pairs]
        boxes = np.concatenate([found[0] for found in levels])
        scores = np.concatenate([found[1] for found in levels])
        labels = np.concatenate([found[2] for found in levels])
        order = best_first(scores, MOST_CANDIDATES)
        boxes, scores, labels = boxes[order], scores[order], labels[order]
        if decode.iou is None:
            kept = np.arange(min(len(boxes), decode.limit))
        else:
            kept = suppress(boxes, labels, decode.iou, decode.limit)
        return boxes[kept], scores[kept], labels[kept]

    def _level(
        self,
        outputs: tuple[Array, ...],
        specs: tuple[TensorSpec, ...],
        at_boxes: int,
        at_scores: int,
        threshold: float,
        size: tuple[int, int],
    ) -> _Found:
        """Boxes of one level above the threshold, with an area, in the order of the tensor."""
        boxes, spec = outputs[at_boxes], specs[at_boxes]
        if boxes.shape[-1:] != (4,):
            raise EngineError(f"the output {spec.name!r} of shape {list(boxes.shape)} holds no boxes")
        rows = boxes.reshape(-1, 4)
        place, label, scores = self._candidates(outputs[at_scores], specs[at_scores], len(rows), threshold)
        if len(place) > MOST_CANDIDATES:
            order = np.sort(best_first(scores, MOST_CANDIDATES))
            place, label, scores = place[order], label[order], scores[order]
        # In float64, and cut to the input: no value of a broken model overflows on the way.
        corners = self._corners(dequantize(rows[place], spec).astype(np.float64), place, boxes, spec, size)
        height, width = size
        np.clip(corners, 0, (width, height, width, height), out=corners)
        flat = corners.astype(np.float32)
        solid = (flat[:, 0] < flat[:, 2]) & (flat[:, 1] < flat[:, 3])
        return flat[solid], scores[solid], label[solid]

    def _candidates(
        self, tensor: Array, spec: TensorSpec, boxes: int, threshold: float
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Box, class and score of everything at the threshold or above."""
        decode = self._decode
        classes = len(decode.labels) + (decode.background != "none")
        if tensor.size != boxes * classes:
            raise EngineError(
                f"the output {spec.name!r} of shape {list(tensor.shape)} does not give {classes} scores "
                f"for each of {boxes} boxes"
            )
        rows = tensor.reshape(boxes, classes)
        first = 1 if decode.background == "first" else 0
        if decode.activation == "softmax":
            real = dequantize(rows, spec)
            real -= real.max(axis=1, keepdims=True)
            np.exp(real, out=real)
            real /= real.sum(axis=1, keepdims=True)
            real = real[:, first : first + len(decode.labels)]
            place, label = np.nonzero(real >= threshold)
            return place, label.astype(np.int64), real[place, label]
        rows = rows[:, first : first + len(decode.labels)]
        level = logit(threshold) if decode.activation == "sigmoid" else threshold
        place, label = np.nonzero(over(rows, spec, level, inclusive=True))
        scores = dequantize(rows[place, label], spec)
        if decode.activation == "sigmoid":
            scores = sigmoid(scores)
        return place, label.astype(np.int64), scores

    def _corners(
        self,
        values: npt.NDArray[np.float64],
        place: npt.NDArray[np.intp],
        tensor: Array,
        spec: TensorSpec,
        size: tuple[int, int],
    ) -> npt.NDArray[np.float64]:
        """x0 y0 x1 y1 in model-input pixels."""
        decode, (height, width) = self._decode, size
        unit = np.array((width, height) if decode.units == "normalized" else (1, 1), np.float64)
        if decode.coding == "ltrb":
            if tensor.ndim != 4:
                raise EngineError(f"the output {spec.name!r} of shape {list(tensor.shape)} has no grid")
            grid = (tensor.shape[1], tensor.shape[2])
            cell = np.array((width / grid[1], height / grid[0]))
            if decode.units == "cells":
                unit = cell
            centres = self._grid(grid)[place] * cell
            return np.hstack((centres - values[:, :2] * unit, centres + values[:, 2:] * unit))
        if decode.coding == "cxcywh":
            half = values[:, 2:] / 2
            return np.hstack(((values[:, :2] - half) * unit, (values[:, :2] + half) * unit))
        if decode.coding == "yxyx":
            values = values[:, [1, 0, 3, 2]]
        return values * np.tile(unit, 2)

    def _grid(self, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
        """Centres of the cells `(x, y)`, in cells, row by row; made once per level."""
        if shape not in self._centres:
            y, x = np.mgrid[: shape[0], : shape[1]]
            self._centres[shape] = np.stack((x, y), axis=-1).reshape(-1, 2) + 0.5
        return self._centres[shape]


def _boxes_to_frame(boxes: npt.NDArray[np.float32], transform: Transform) -> npt.NDArray[np.float64]:
    """Boxes `(n, 4)` of model-input pixels in captured-frame pixels."""
    shift = (transform.tx, transform.ty, transform.tx, transform.ty)
    scale = (transform.sx, transform.sy, transform.sx, transform.sy)
    moved: npt.NDArray[np.float64] = (boxes.astype(np.float64) - shift) / scale
    return moved
