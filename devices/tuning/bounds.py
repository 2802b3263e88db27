"""Lower bounds of percentiles, beside the upper ones of `bedside.runtime.latency`."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from bedside.runtime.latency import CONFIDENCE


def lower_limit(samples_ns: npt.ArrayLike, percentile: float, confidence: float = CONFIDENCE) -> float:
    """The largest sample of which the percentile is at least as large, at a confidence.

    How many of n samples lie above the percentile is binomial: `X ~ Binomial(n, 1 - p)`. The `(m + 1)`-th largest
    sample is a lower bound if at most `m` of them do, for the smallest `m` with `P(X <= m) >= confidence` (Conover,
    Practical Nonparametric Statistics, 1999, section 3.2, "Confidence interval for a quantile").

    Args:
        samples_ns: Durations, in ns.
        percentile: p, between 0 and 1.
        confidence: That the percentile lies at or above the bound.

    Returns:
        In ms; 0 where the samples are too few to say.
    """
    ordered = np.sort(np.asarray(samples_ns, np.int64), axis=None)
    n = ordered.size
    k = np.arange(n, dtype=np.float64)
    # log P(X = k) for k = 0 .. n - 1, from the ratio of neighbours.
    steps = np.log((n - k[:-1]) / (k[:-1] + 1)) + math.log(1 - percentile) - math.log(percentile)
    log_mass = n * math.log(percentile) + np.concatenate(([0.0], np.cumsum(steps)))
    enough = np.flatnonzero(np.cumsum(np.exp(log_mass[:n])) >= confidence)
    return float(ordered[n - 1 - enough[0]]) / 1e6 if enough.size else 0.0
