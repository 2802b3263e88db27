"""Losses for sigmoid scores of which nearly all have to be zero."""

from __future__ import annotations

from typing import Any

from bedside.export.backend import keras

#: Of the focal loss: exponent, and weight of the positives (Lin et al., RetinaNet, 2017, table 1b).
GAMMA = 2.0
ALPHA = 0.25


def focal(truth: Any, scores: Any) -> Any:
    """Focal loss, element by element (Lin et al., 2017, equation 5).

    Args:
        truth: `(..., K)` float, 0 or 1.
        scores: `(..., K)` float, after the sigmoid.

    Returns:
        `(..., K)`.
    """
    ops = keras.ops
    missed = ops.abs(truth - scores)
    weight = truth * ALPHA + (1.0 - truth) * (1.0 - ALPHA)
    return weight * missed**GAMMA * ops.binary_crossentropy(truth, scores)


def quality_focal(quality: Any, scores: Any) -> Any:
    """Focal loss towards a quality between 0 and 1, element by element.

    Li et al., Generalized Focal Loss, 2020, equation 2, with beta = 2.

    Args:
        quality: `(..., K)` float: overlap of the predicted box with its object, at the object's class; else 0.
        scores: `(..., K)` float, after the sigmoid.

    Returns:
        `(..., K)`, zero where a score equals its quality.
    """
    ops = keras.ops
    return ops.abs(quality - scores) ** 2 * ops.binary_crossentropy(quality, scores)
