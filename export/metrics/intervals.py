"""95 % intervals: of a proportion, and of anything that is computed over frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Interval = tuple[float, float]

#: Two-sided 95 % of the standard normal distribution.
_Z95 = 1.959963984540054
#: Resamples of a bootstrap: enough for two digits of a percentile interval (Efron & Tibshirani, 1993, ch. 13).
RESAMPLES = 1000


def wilson(correct: int, samples: int) -> Interval:
    """95 % score interval of a proportion (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    p, n, z2 = correct / samples, samples, _Z95 * _Z95
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(
    statistic: Callable[[npt.NDArray[np.int64]], float],
    groups: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """95 % percentile interval of a statistic, groups drawn with replacement.

    Frames of one subject or video resemble each other; drawing single frames would make the interval too
    narrow (Field & Welsh, Bootstrapping clustered data, JRSS B 2007). Where all are of one group, single frames are
    drawn: that says how sure the number is of this group, and nothing of others; `how` puts it into words.

    Args:
        statistic: Of the frames with these indices, `(n,) int64`; NaN where it is undefined, which is left out.
        groups: Of every frame.
        resamples: How many.
        seed: Of the draw: the same frames give the same interval.
    """
    names: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        names.setdefault(group, []).append(index)
    members = [np.array(found, np.int64) for found in names.values()]
    if len(members) == 1:
        members = [np.array([index], np.int64) for index in members[0]]
    rng = np.random.default_rng(seed)
    values = np.array(
        [
            statistic(np.concatenate([members[k] for k in rng.integers(0, len(members), len(members))]))
            for _ in range(resamples)
        ]
    )
    values = values[np.isfinite(values)]
    if not values.size:
        return math.nan, math.nan
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def how(groups: Sequence[str], resamples: int = RESAMPLES) -> str:
    """What `bootstrap` does, for reports."""
    over = "groups" if len(set(groups)) != 1 else "frames of one group, so it says nothing of others"
    return f"bootstrap over {over}, {resamples} resamples"


def half_sampling(
    statistic: Callable[[npt.NDArray[np.int64]], float], samples: int, *, draws: int = 100, seed: int = 0
) -> Interval:
    """95 % interval of a statistic that repeated samples would spoil, such as a distance of distributions.

    Of random halves without replacement the statistic varies as of whole samples between data sets (the delete-d
    jackknife with d = n / 2: Shao & Wu, Annals of Statistics 1989).

    Args:
        statistic: Of the samples with these indices.
        samples: How many there are, at least 4.
        draws: How many halves.
        seed: Of the draw.
    """
    rng = np.random.default_rng(seed)
    value = statistic(np.arange(samples))
    half = [statistic(rng.permutation(samples)[: samples // 2]) for _ in range(draws)]
    reach = _Z95 * float(np.std(half, ddof=1))
    return max(0.0, value - reach), value + reach
