"""Whether a stated probability is what it says: expected calibration error, temperature, conformal sets."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from bedside.runtime.bundle.decode import Conformal

Probabilities = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

#: Of the reliability diagram (Guo et al., ICML 2017, use 15).
BINS = 15
#: Logarithms of probabilities stop here: an int8 softmax gives exact zeros.
_SMALLEST = 1e-7
_COLDEST, _HOTTEST = 0.05, 20.0
#: The temperature is looked for within this factor of the most likely one, at so many places.
_AROUND, _TRIED = 3.0, 81
#: Fewer samples in a bin, and its frequency is noise: 0.5 +- 0.07.
_PER_BIN = 50
#: What rounding may add to a product that is a whole number.
_ROUNDING = 1e-9


def expected_calibration_error(confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> float:
    """Mean distance between confidence and frequency over bins of equal width, weighted by their counts.

    Args:
        confidence: `(N,)` of the decisions.
        right: `(N,)`.

    Naeini, Cooper & Hauskrecht, AAAI 2015.
    """
    return sum(abs(b[1] - b[2]) * b[3] for b in reliability(confidence, right)) / max(1, len(right))


def reliability(
    confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_], bins: int = BINS
) -> tuple[tuple[float, float, float, int], ...]:
    """The reliability diagram.

    Returns:
        Per bin that has samples: its middle, mean confidence, fraction that was right, and count.
    """
    index = np.clip((confidence * bins).astype(int), 0, bins - 1)
    found = []
    for k in range(bins):
        own = index == k
        if own.any():
            found.append(
                ((k + 0.5) / bins, float(confidence[own].mean()), float(right[own].mean()), int(own.sum()))
            )
    return tuple(found)


def logarithms(probabilities: Probabilities) -> npt.NDArray[np.float64]:
    """`log p`, with exact zeros taken for the smallest probability that is told apart from 0."""
    return np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST))


def heated(probabilities: Probabilities, temperature: float) -> Probabilities:
    """`softmax(log p / T)`, `(N, K)`; what the device's decoder does."""
    logits = logarithms(probabilities) / temperature
    logits -= logits.max(axis=1, keepdims=True)
    scaled = np.exp(logits)
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True), np.float32)


def fit_temperature(probabilities: Probabilities, truth: Labels) -> float:
    """The temperature with the smallest calibration error on the calibration split (Mukhoti et al., NeurIPS 2020).

    The temperature with the smallest negative log-likelihood (Guo et al., ICML 2017, section 4.2) follows the few
    answers that are wrong and sure of it. The error is over bins of equal count (Nguyen & O'Connor, EMNLP 2015);
    few samples make one bin, and the temperature is that of expectation consistency (Clarte et al., UAI 2023).

    It is 1 where the most likely one is no better than chance allows (likelihood-ratio test at 5 %: Wilks 1938):
    a model that is calibrated already would only be made worse by following the noise of a small split.

    Args:
        probabilities: `(N, K)` on the calibration split.
        truth: `(N,)`.
    """
    logits = logarithms(probabilities)
    rows = np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[rows, truth]).mean())

    found = optimize.minimize_scalar(loss, bounds=(math.log(_COLDEST), math.log(_HOTTEST)), method="bounded")
    gain = 2.0 * len(truth) * (loss(0.0) - float(found.fun))
    if gain <= stats.chi2.ppf(0.95, 1):
        return 1.0
    right = probabilities.argmax(axis=1) == truth
    around = math.exp(found.x) * np.geomspace(1.0 / _AROUND, _AROUND, _TRIED)
    errors = [_even_error(heated(probabilities, t).max(axis=1), right) for t in around]
    return float(np.clip(around[int(np.argmin(errors))], _COLDEST, _HOTTEST))


def _even_error(confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> float:
    """As `expected_calibration_error`, over bins that hold the same number of samples each."""
    bins = max(1, min(BINS, len(right) // _PER_BIN))
    parts = np.array_split(np.argsort(confidence, kind="stable"), bins)
    return sum(abs(float(confidence[p].mean()) - float(right[p].mean())) * len(p) for p in parts) / len(right)


def fit_conformal(probabilities: Probabilities, truth: Labels, coverage: float) -> Conformal | None:
    """The threshold that makes sets of `{k: p_k >= threshold}` hold the truth often enough.

    With n calibration samples it is the `ceil((n + 1) * coverage)`-th smallest of the scores `1 - p_truth`
    (Vovk, Gammerman & Shafer, 2005; Sadinle, Lei & Wasserman, JASA 2019).

    Args:
        probabilities: `(N, K)` on the calibration split, calibrated.
        truth: `(N,)`.
        coverage: Wanted.

    Returns:
        None where there are too few samples for the coverage to be stated.
    """
    n = len(truth)
    rank = conformal_rank(n, coverage)
    if rank > n:
        return None
    scores = np.sort(1.0 - probabilities[np.arange(n), truth].astype(np.float64))
    # One float32 step lower: the device compares in float32, and a tie belongs into the set.
    threshold = float(np.nextafter(np.float32(1.0 - scores[rank - 1]), np.float32(0.0)))
    return Conformal(coverage=coverage, threshold=max(0.0, threshold), samples=n)


def conformal_rank(samples: int, coverage: float) -> int:
    """`ceil((n + 1) * coverage)`, from 1; more than `samples` where those are too few."""
    return math.ceil((samples + 1) * coverage - _ROUNDING)


def coverage_interval(
    calibration: int, test: int, coverage: float, level: float = 0.99
) -> tuple[float, float]:
    """Where the coverage on a test set lies by chance alone: a beta-binomial interval.

    Args:
        calibration: Samples of the calibration split.
        test: Samples of the test set.
        coverage: That was asked for.
        level: Of the interval.

    Angelopoulos & Bates, A gentle introduction to conformal prediction, 2023, section 3.2: the count is
    beta-binomial with `a = n + 1 - l`, `b = l`, `l = floor((n + 1) * (1 - coverage))`; `a` is the rank of the
    threshold.
    """
    rank = min(conformal_rank(calibration, coverage), calibration)
    law = stats.betabinom(test, rank, calibration + 1 - rank)
    low, high = law.ppf((1 - level) / 2), law.ppf((1 + level) / 2)
    return float(low) / test, float(high) / test
