"""What a network learns: per task the targets of a batch, the loss, and one number that people understand.

Losses are `bedside.export.losses`, pure `keras.ops`; targets are made on the host, batch by batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from bedside.export.backend import keras
from bedside.export.data.types import BoxesTarget, MaskTarget, PictureTarget, Target
from bedside.export.losses.detection import detection_loss, encode_boxes
from bedside.export.losses.matching import match_in_graph
from bedside.export.losses.segmentation import encode_masks, segmentation_loss
from bedside.export.losses.sets import detr_loss, encode_sets
from bedside.export.models.levels import levels
from bedside.export.models.recipe import AnchorFree, Detr, task_of
from bedside.export.recipe import Recipe
from bedside.runtime.frame import Pixels

Targets = dict[str, npt.NDArray[Any]]


class Objective(Protocol):
    """One task's.

    Attributes:
        metric: Name of the number for people; empty where the loss has to do.
    """

    metric: str

    def encode(
        self, frames: Sequence[Pixels], labels: npt.NDArray[np.int64], targets: Sequence[Target | None]
    ) -> Targets:
        """Targets of a batch, of fixed shapes.

        Args:
            frames: `(H, W, C) uint8` as augmented.
            labels: `(N,)`.
            targets: Of every frame, moved as the frame was.
        """
        ...

    def loss(self, targets: Mapping[str, Any], outputs: Sequence[Any]) -> Any:
        """A scalar, the mean over the batch."""
        ...

    def score(self, targets: Mapping[str, Any], outputs: Sequence[Any]) -> Any:
        """The metric of a batch, a scalar."""
        ...


class Classes:
    """Categorical cross-entropy.

    Args:
        classes: K.
        smoothing: Of the labels (Szegedy et al., CVPR 2016, section 7).
        weights: Per class, `(K,)`; None for equal ones.
    """

    metric = "accuracy"

    def __init__(self, classes: int, smoothing: float, weights: npt.NDArray[np.float32] | None) -> None:
        self._classes, self._smoothing = classes, smoothing
        self._weights = np.ones(classes, np.float32) if weights is None else weights

    def encode(
        self, frames: Sequence[Pixels], labels: npt.NDArray[np.int64], targets: Sequence[Target | None]
    ) -> Targets:
        """See `Objective.encode`."""
        return {"label": labels.astype(np.int32), "weight": self._weights[labels]}

    def loss(self, targets: Mapping[str, Any], outputs: Sequence[Any]) -> Any:
        """See `Objective.loss`."""
        ops = keras.ops
        truth = ops.one_hot(targets["label"], self._classes) * (1 - self._smoothing)
        truth = truth + self._smoothing / self._classes
        each = ops.categorical_crossentropy(truth, outputs[0])
        return ops.mean(each * ops.cast(targets["weight"], each.dtype))

    def score(self, targets: Mapping[str, Any], outputs: Sequence[Any]) -> Any:
        """Fraction that is right."""
        ops = keras.ops
        decided = ops.cast(ops.argmax(outputs[0], axis=-1), "int32")
        return ops.mean(ops.cast(ops.equal(decided, ops.cast(targets["label"], "int32")), "float32"))


class Masks:
    """Dice and cross-entropy, see `bedside.export.losses.segmentation`.

    Args:
        classes: K, the background included.
    """

    metric = "Dice"

    def __init__(self, classes: int) -> None:
        self._classes = classes

    def encode(
        self, frames: Sequence[Pixels], labels: npt.NDArray[np.int64], targets: Sequence[Target | None]
    ) -> Targets:
        """See `Objective.encode`."""
        return encode_masks([cast(MaskTarget, t) for t in targets], classes=self._classes)

    def loss(self, targets: Mapping[str, Any], outputs: Sequence[Any]) -> Any:
        """See `Objective.loss`."""
        return segmentation_loss(targets, outputs)

    def score(self, targets: Mapping[str, Any], outputs: Sequence[Any]) -> Any:
        """Dice per picture over the foreground classes that are there or found, averaged."""
        ops = keras.ops
        truth = ops.cast(targets["mask"], "int32")
        out = outputs[0]
        if int(out.shape[-1]) == 1:
            found = ops.cast(out[..., 0] > 0.5, "int32")
        else:
            found = ops.cast(ops.argmax(out, axis=-1), "int32")
        judged = ops.cast(ops.not_equal(truth, 255), "float32")
        kinds = ops.reshape(ops.arange(1, self._classes, dtype="int32"), (-1, 1, 1, 1))
        f = ops.cast(ops.equal(found[None], kinds), "float32") * judged[None]
        t = ops.cast(ops.equal(truth[None], kinds), "float32") * judged[None]
        both, total = ops.sum(f * t, axis=(2, 3)), ops.sum(f + t, axis=(2, 3))
        there = ops.cast(total > 0, "float32")
        dice = ops.sum(2 * both / ops.maximum(total, 1.0) * there, axis=0)
        count = ops.sum(there, axis=0)
        return ops.mean(ops.where(count > 0, dice / ops.maximum(count, 1.0), 1.0))


class Boxes:
    """Of the anchor-free detector, see `bedside.export.losses.detection`.

    Args:
        model: `[model]`.
    """

    metric = ""

    def __init__(self, model: AnchorFree) -> None:
        self._grid = levels(model.width, model.height, model.strides)

    def encode(
        self, frames: Sequence[Pixels], labels: npt.NDArray[np.int64], targets: Sequence[Target | None]
    ) -> Targets:
        """See `Objective.encode`."""
        return encode_boxes([cast(BoxesTarget, t) for t in targets], self._grid)

    def loss(self, targets: Mapping[str, Any], outputs: Sequence[Any]) -> Any:
        """See `Objective.loss`."""
        return detection_loss(targets, outputs)

    def score(self, targets: Mapping[str, Any], outputs: Sequence[Any]) -> Any:
        """None: average precision needs the whole split."""
        return keras.ops.zeros(())


class Sets:
    """Of DETR, see `bedside.export.losses.sets`. Its matching runs on the host inside the step, by
    `tf.numpy_function`: the one exception from backend neutrality.

    Args:
        model: `[model]`.
    """

    metric = ""

    def __init__(self, model: Detr) -> None:
        self._model = model

    def encode(
        self, frames: Sequence[Pixels], labels: npt.NDArray[np.int64], targets: Sequence[Target | None]
    ) -> Targets:
        """See `Objective.encode`."""
        model = self._model
        boxes = [cast(BoxesTarget, t) for t in targets]
        return encode_sets(boxes, width=model.width, height=model.height, slots=model.queries)

    def loss(self, targets: Mapping[str, Any], outputs: Sequence[Any]) -> Any:
        """See `Objective.loss`."""
        return detr_loss(match_in_graph(targets, outputs), outputs)

    def score(self, targets: Mapping[str, Any], outputs: Sequence[Any]) -> Any:
        """None: average precision needs the whole split."""
        return keras.ops.zeros(())


class Pictures:
    """Mean squared error to the frame itself (reconstruction), or mean absolute error to another picture
    (translation, Isola et al., 2017), pixels in 0..1.

    Args:
        itself: Whether the frame is the target.
    """

    metric = "error"

    def __init__(self, *, itself: bool) -> None:
        self._itself = itself

    def encode(
        self, frames: Sequence[Pixels], labels: npt.NDArray[np.int64], targets: Sequence[Target | None]
    ) -> Targets:
        """See `Objective.encode`."""
        pictures = frames if self._itself else [cast(PictureTarget, t).pixels for t in targets]
        return {"picture": np.stack(pictures)}

    def loss(self, targets: Mapping[str, Any], outputs: Sequence[Any]) -> Any:
        """See `Objective.loss`."""
        ops = keras.ops
        wrong = outputs[0] - ops.cast(targets["picture"], "float32") / 255.0
        return ops.mean(ops.square(wrong)) if self._itself else ops.mean(ops.abs(wrong))

    def score(self, targets: Mapping[str, Any], outputs: Sequence[Any]) -> Any:
        """Mean absolute error in grey levels."""
        ops = keras.ops
        return 255.0 * ops.mean(ops.abs(outputs[0] - ops.cast(targets["picture"], "float32") / 255.0))


def objective_of(
    recipe: Recipe, labels: tuple[str, ...], weights: npt.NDArray[np.float32] | None = None
) -> Objective:
    """The objective of a recipe's network; generators have a loop of their own.

    Args:
        recipe: `[model]` and `[training]` count.
        labels: From the data.
        weights: Of classes.
    """
    model = recipe.model
    if isinstance(model, AnchorFree):
        return Boxes(model)
    if isinstance(model, Detr):
        return Sets(model)
    match task_of(model):
        case "classification":
            return Classes(len(labels), recipe.training.label_smoothing, weights)
        case "segmentation":
            return Masks(len(labels))
        case "reconstruction":
            return Pictures(itself=True)
        case _:
            return Pictures(itself=False)
