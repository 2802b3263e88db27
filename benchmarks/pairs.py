"""Two programs compared: alternating runs, ratios within a pair, and the noise of identical code beside them.

Runs come in quads, A B B A: a slow drift of the host moves both alike. Each quad gives two pairs; its two runs of
B, one behind the other, are the same code twice, and their ratio is what chance alone does here.
"""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

Measured = TypeVar("Measured")

#: Of intervals.
CONFIDENCE = 0.95

#: Pairs of a comparison; fewer only to see that a benchmark works.
PAIRS = int(os.environ.get("BEDSIDE_BENCH_PAIRS", "20"))

#: Length of a run, as a share of what it should be.
SHARE = float(os.environ.get("BEDSIDE_BENCH_SHARE", "1"))

#: Whether a criterion that is missed fails the benchmark.
STRICT = os.environ.get("BEDSIDE_BENCH_STRICT", "") == "1"


class Interval(NamedTuple):
    """A median and its confidence interval; no bounds with too few values."""

    median: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.median:.3f} (too few pairs for an interval)"
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


class Pairs(Generic[Measured]):
    """All runs of a comparison, as pairs `(a, b)` and as runs of `b` one behind the other."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Measured, Measured]] = []
        self.identical: list[tuple[Measured, Measured]] = []

    def ratios(self, of: Callable[[Measured], float]) -> tuple[Interval, Interval]:
        """a over b, and b over b."""
        return (
            interval([of(a) / of(b) for a, b in self.pairs]),
            interval([of(b) / of(c) for b, c in self.identical]),
        )

    def differences(self, of: Callable[[Measured], float]) -> tuple[Interval, Interval]:
        """a less b, and b less b."""
        return (
            interval([of(a) - of(b) for a, b in self.pairs]),
            interval([of(b) - of(c) for b, c in self.identical]),
        )


def alternate(a: Callable[[], Measured], b: Callable[[], Measured], pairs: int = PAIRS) -> Pairs[Measured]:
    """Run quads until there are `pairs` pairs; one run of each before it, to warm up, is not counted."""
    a()
    b()
    found: Pairs[Measured] = Pairs()
    while len(found.pairs) < pairs:
        a1, b1, b2, a2 = a(), b(), b(), a()
        found.pairs.extend(((a1, b1), (a2, b2)))
        found.identical.append((b1, b2))
    return found


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The median, between two order statistics.

    The chance that the median lies outside of the `k`-th smallest and `k`-th largest of `n` values is
    `2 P(X < k)`, `X ~ Binomial(n, 1/2)`, whatever the distribution (David and Nagaraja, Order Statistics, 2003,
    section 7.1).
    """
    ordered, n = sorted(values), len(values)
    place, outside = -1, 0.0
    for k in range(n // 2):
        outside += 2 * math.comb(n, k) / 2**n
        if outside > 1 - confidence:
            break
        place = k
    if place < 0:
        return Interval(statistics.median(ordered), None, None)
    return Interval(statistics.median(ordered), ordered[place], ordered[-1 - place])


def verdict(met: bool | None, criterion: str) -> str:
    """A criterion with its result: None where the samples do not say.

    Raises:
        AssertionError: It is missed, and `STRICT`.
    """
    said = {True: "met", False: "MISSED", None: "cannot be said"}[met]
    assert met is not False or not STRICT, criterion
    return f"  {said}: {criterion}"
