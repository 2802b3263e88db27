"""Order statistics of the last moments, cheap enough for every frame."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque


class RunningQuantile:
    """Quantiles of recent durations: at most `most` of them, and none older than `seconds`.

    The newest one is kept whatever its age, so that there is an estimate from the first sample on. Both
    bounds are needed: a count alone would remember a slow spell for ever where few frames are worked on, a
    time alone would grow with the frame rate. A sample costs two searches in a sorted list of at most `most`.

    Args:
        most: Samples kept, at least 1.
        seconds: How long they count, above 0.
    """

    def __init__(self, most: int = 64, seconds: float = 2.0) -> None:
        if most < 1 or seconds <= 0:
            raise ValueError(f"{most} samples over {seconds} s: at least 1 and more than 0 s are needed")
        self._most = most
        self._lifetime_ns = int(seconds * 1e9)
        self._arrived: deque[tuple[int, int]] = deque()
        self._sorted: list[int] = []

    def __len__(self) -> int:
        """Samples that count."""
        return len(self._sorted)

    def add(self, now_ns: int, value_ns: int) -> None:
        """Take in a sample; the oldest goes where there are too many."""
        if len(self._arrived) == self._most:
            self._drop()
        self._arrived.append((now_ns, value_ns))
        insort(self._sorted, value_ns)

    def value(self, q: float, now_ns: int) -> int | None:
        """The smallest sample that at least the share `q` of the samples does not exceed (nearest rank; type
        1 of Hyndman and Fan, "Sample quantiles in statistical packages", The American Statistician 50, 1996).

        Args:
            q: Above 0, at most 1.
            now_ns: Older samples than `seconds` before it are forgotten.

        Returns:
            In the unit of the samples; None before the first one.
        """
        arrived = self._arrived
        while len(arrived) > 1 and now_ns - arrived[0][0] > self._lifetime_ns:
            self._drop()
        count = len(self._sorted)
        # 0.9 * 10 is a little more than 9 in binary: what is that close to a whole rank is meant to be it.
        return self._sorted[max(0, math.ceil(q * count - 1e-9) - 1)] if count else None

    def _drop(self) -> None:
        _, value = self._arrived.popleft()
        del self._sorted[bisect_left(self._sorted, value)]
