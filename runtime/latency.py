"""Latencies: recorded without cost, summarised without overstating what the samples carry.

A percentile printed from too few samples is a guess. The rule here is MLPerf's early stopping (mlcommons
`inference_rules.adoc`, "Appendix Early Stopping"; LoadGen's `early_stopping.cc`) at 0.99 confidence and no
tolerance: `h` samples over a bound are compatible with "the percentile lies below the bound" if so few would
be seen with probability at most 0.01, were it not so,

    P(X <= h) <= 1 - 0.99,  X ~ Binomial(n, 1 - p).

The largest such `h` gives the bound: the `(h + 1)`-th largest sample, an upper confidence limit of the
percentile. At least one overrun has to be affordable, which asks for 64 samples for p90, 130 for p95, 662 for
p99 and 6,636 for p99.9. LoadGen prints the `h`-th largest, one sample more cautious than its own inequality
asks for.
"""

from __future__ import annotations

import functools
import math
from array import array
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.99

#: Field name to percentile.
_TAILS = {"p90": 0.90, "p95": 0.95, "p99": 0.99, "p999": 0.999}


class Percentiles(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, rename={"p999": "p99.9"}):
    """Latencies of one stage, in ms.

    Attributes:
        samples: How many they are taken from.
        mean: Of the samples.
        min: Of the samples.
        max: Of the samples.
        p50: Median of the samples.
        p90: Upper bound at 0.99 confidence; None with too few samples. Likewise the ones below.
        p95: Needs 130 samples.
        p99: Needs 662 samples.
        p999: Needs 6,636 samples; `p99.9` in JSON.
    """

    samples: int
    mean: float
    min: float
    max: float
    p50: float
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p999: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON; what the samples do not carry is absent."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


@functools.lru_cache(maxsize=64)
def overruns(samples: int, percentile: float, confidence: float = CONFIDENCE) -> int | None:
    """How many samples may lie over the bound that is printed as a percentile.

    Args:
        samples: Count of samples, n.
        percentile: p, between 0 and 1.
        confidence: That the percentile lies at or below the bound.

    Returns:
        The largest `h >= 1` with `P(X <= h; n, 1 - p) <= 1 - confidence`; None where there is none.
    """
    if samples < 2:
        return None
    tail = 1.0 - percentile
    # log P(X = k) for k from 0 to a little beyond the mean, where the sum has long passed 1 - confidence.
    k = np.arange(1, int(samples * tail) + 2, dtype=np.float64)
    log_ratio = np.log((samples - k + 1) / k) + math.log(tail) - math.log1p(-tail)
    log_mass = samples * math.log1p(-tail) + np.concatenate(([0.0], np.cumsum(log_ratio)))
    mass_up_to = np.cumsum(np.exp(log_mass))
    count = int(np.searchsorted(mass_up_to, 1.0 - confidence, side="right"))
    return count - 1 if count >= 2 else None


def least_samples(percentile: float, confidence: float = CONFIDENCE) -> int:
    """The smallest count of samples that carries a percentile."""
    low, high = 1, 2
    while overruns(high, percentile, confidence) is None:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if overruns(middle, percentile, confidence) is not None else (middle, high)
    return high


def percentiles(samples_ns: npt.ArrayLike) -> Percentiles | None:
    """Summarise latencies.

    Args:
        samples_ns: Any number of durations, in ns.

    Returns:
        In ms; None without samples.
    """
    ordered = np.sort(np.asarray(samples_ns, np.int64), axis=None) / 1e6
    n = ordered.size
    if n == 0:
        return None
    tails: dict[str, float | None] = {}
    for name, p in _TAILS.items():
        h = overruns(n, p)
        tails[name] = None if h is None else float(ordered[n - 1 - h])
    return Percentiles(
        samples=n,
        mean=float(ordered.mean()),
        min=float(ordered[0]),
        max=float(ordered[-1]),
        p50=float(np.median(ordered)),
        **tails,
    )


class LatencyRecorder:
    """Rings of durations, one per stage, allocated beforehand.

    One thread adds; any thread may ask for a summary.

    Args:
        stages: Names, in the order in which `add` takes their values.
        capacity: Samples kept per stage; older ones are overwritten.
    """

    def __init__(self, stages: Sequence[str], capacity: int = 131_072) -> None:
        if capacity < 1 or not stages:
            raise ValueError(f"capacity {capacity} and {len(stages)} stages: at least 1 of each is needed")
        self.stages = tuple(stages)
        self.capacity = capacity
        self.count = 0
        # array.array stores one int in a tenth of the time that numpy takes.
        self._rings = tuple(array("q", bytes(8 * capacity)) for _ in self.stages)

    def add(self, *values_ns: int) -> None:
        """Record one frame: a duration in ns per stage, in the order of `stages`.

        Raises:
            ValueError: Not one value per stage.
        """
        at = self.count % self.capacity
        for ring, value in zip(self._rings, values_ns, strict=True):
            ring[at] = value
        self.count += 1

    def samples(self, stage: str) -> npt.NDArray[np.int64]:
        """The kept durations of a stage in ns, oldest first, as a copy.

        Raises:
            ValueError: There is no such stage.
        """
        kept = np.frombuffer(self._rings[self.stages.index(stage)], np.int64).copy()
        if self.count <= self.capacity:
            return kept[: self.count]
        return np.roll(kept, -(self.count % self.capacity))

    def percentiles(self, stage: str) -> Percentiles | None:
        """Summary of one stage; None before the first sample."""
        return percentiles(self.samples(stage))

    def summary(self) -> dict[str, dict[str, Any]]:
        """Every stage as plain data in ms: `samples`, and with at least one the rest of `Percentiles`."""
        found = {stage: self.percentiles(stage) for stage in self.stages}
        return {stage: {"samples": 0} if p is None else p.to_dict() for stage, p in found.items()}
