"""Calibrated probabilities and prediction sets, on the device and where they are fitted."""

from __future__ import annotations

import numpy as np

from bedside.runtime.tasks.protocol import Scores


def softmax(scores: Scores, temperature: float = 1.0) -> Scores:
    """`softmax(scores / temperature)` over the last axis, in place.

    Args:
        scores: Logits, `(..., K) float32`, finite.
        temperature: Above 0.

    Returns:
        `scores`.
    """
    # Shifted by the largest, so that exp cannot overflow.
    scores -= scores.max(axis=-1, keepdims=True)
    if temperature != 1.0:
        scores /= temperature
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


def temper(probabilities: Scores, temperature: float) -> Scores:
    """`softmax(log p / temperature)` over the last axis, in place (Guo et al., "On Calibration of Modern Neural
    Networks", ICML 2017).

    That is `p ** (1 / temperature)`, normalized: written so, a probability of 0, which int8 outputs have, needs
    no logarithm and stays 0. Values below 0, which rounding can give, count as 0.

    Args:
        probabilities: `(..., K) float32`, finite.
        temperature: Above 0.

    Returns:
        `probabilities`; all equal where none was above 0.
    """
    np.maximum(probabilities, 0.0, out=probabilities)
    largest = probabilities.max(axis=-1, keepdims=True)
    if not largest.all():
        # int8 rounds 1,000 equal classes to 0.
        probabilities += largest == 0
        largest = probabilities.max(axis=-1, keepdims=True)
    probabilities /= largest  # so that a high power cannot underflow everywhere
    np.power(probabilities, 1.0 / temperature, out=probabilities)
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    return probabilities


def prediction_set(probabilities: Scores, threshold: float) -> list[int]:
    """Classes that a conformal prediction set holds, best first.

    The best class is always among them. The method alone gives an empty set where no class reaches the
    threshold; adding a class can only raise the coverage, and an empty set tells a reader nothing.

    Args:
        probabilities: Calibrated, `(K,) float32`.
        threshold: See `bedside.runtime.bundle.decode.Conformal`.
    """
    inside = np.flatnonzero(probabilities >= threshold)
    if inside.size == 0:
        return [int(probabilities.argmax())]
    return [int(k) for k in inside[np.argsort(-probabilities[inside], kind="stable")]]
