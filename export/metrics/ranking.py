"""Scores that rank: the area under the ROC curve, and rank correlation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

Scores = npt.NDArray[np.float64]


def auroc(inside: Scores, outside: Scores) -> float:
    """Probability that a foreign sample scores higher than a known one, ties counting half.

    The Mann-Whitney statistic over the product of the sizes (Hanley & McNeil, Radiology 1982).
    """
    statistic = stats.mannwhitneyu(outside, inside).statistic
    return float(statistic) / (len(inside) * len(outside))


def rank_correlation(a: Scores, b: Scores) -> float:
    """Spearman's coefficient; 1 where one of them is constant and both are equal."""
    if np.array_equal(a, b):
        return 1.0
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(stats.spearmanr(a, b).statistic)
