"""Soft Dice plus cross-entropy, and its targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bedside.export.backend import keras
from bedside.export.data.types import MaskTarget
from bedside.runtime.errors import RecipeError

#: Pixels that nobody judged, or that augmentation brought in from outside: no part of the loss.
IGNORED = 255
#: Pixels added to both sides of the fraction, so that a class in neither picture has Dice 1 and a few stray
#: pixels of it cost something.
SMOOTH = 1.0


def encode_masks(targets: Sequence[MaskTarget], *, classes: int) -> dict[str, npt.NDArray[Any]]:
    """Masks of a batch as they are.

    Args:
        targets: One per picture, `(H, W) uint8` class indices at the size of the model's output; 255 is not
            judged. With two classes, 1 is the foreground.
        classes: K, the background among them.

    Returns:
        `mask (N, H, W) uint8`.

    Raises:
        RecipeError: Masks differ in size, or hold a class that the model does not have.
    """
    sizes = sorted({target.classes.shape for target in targets})
    if len(sizes) != 1:
        raise RecipeError(f"masks of one batch have the sizes {sizes}, expected one", where="data")
    mask = np.stack([target.classes for target in targets]).astype(np.uint8, copy=False)
    unknown = np.unique(mask[(mask >= classes) & (mask != IGNORED)])
    if unknown.size:
        raise RecipeError(
            f"masks hold the classes {unknown.tolist()}, the model has 0 to {classes - 1}",
            where="data",
            hint="map them to the labels of the recipe; 255 means not judged",
        )
    return {"mask": mask}


def segmentation_loss(targets: Mapping[str, Any], outputs: Sequence[Any]) -> Any:
    """Cross-entropy plus one minus soft Dice (Milletari et al., V-Net, 2016; the sum as in nnU-Net, Isensee
    et al., 2021).

    Both are means within a picture first, then over the batch, so the mean of equal shards is the loss of the
    whole batch. With a sigmoid output Dice is the foreground's, with a softmax the mean over all classes.

    Args:
        targets: `mask (N, H, W)` integers, see `encode_masks`.
        outputs: The first one counts: `(N, H, W, 1)` sigmoid or `(N, H, W, K)` softmax.

    Returns:
        A scalar, 0 where every judged pixel is right with certainty.
    """
    ops = keras.ops
    predicted = outputs[0]
    mask = ops.cast(targets["mask"], "int32")
    if tuple(predicted.shape[1:3]) != tuple(mask.shape[1:3]):
        raise ValueError(f"the output is {tuple(predicted.shape)}, the masks are {tuple(mask.shape)}")
    judged = ops.cast(ops.not_equal(mask, IGNORED), "float32")
    mask = ops.where(ops.equal(mask, IGNORED), 0, mask)
    channels = int(predicted.shape[-1])
    if channels == 1:
        truth = ops.expand_dims(ops.cast(ops.equal(mask, 1), "float32"), -1)
        entropy = ops.squeeze(ops.binary_crossentropy(truth, predicted), -1)
    else:
        truth = ops.one_hot(mask, channels)
        entropy = ops.sparse_categorical_crossentropy(mask, predicted)
    pixels = ops.maximum(ops.sum(judged, axis=(1, 2)), 1.0)
    entropy = ops.sum(entropy * judged, axis=(1, 2)) / pixels
    dice = soft_dice(truth, predicted, ops.expand_dims(judged, -1))
    return ops.mean(entropy) + 1.0 - ops.mean(dice)


def soft_dice(truth: Any, predicted: Any, judged: Any) -> Any:
    """Dice of probabilities, per picture and class, smoothed by `SMOOTH` pixels.

    Args:
        truth: `(N, H, W, K)` float, 0 or 1.
        predicted: `(N, H, W, K)` float, 0 to 1.
        judged: `(N, H, W, 1)` float: 1 where a pixel counts, else 0.

    Returns:
        `(N, K)`.
    """
    ops = keras.ops
    common = ops.sum(truth * predicted * judged, axis=(1, 2))
    total = ops.sum((truth + predicted) * judged, axis=(1, 2))
    return (2.0 * common + SMOOTH) / (total + SMOOTH)
