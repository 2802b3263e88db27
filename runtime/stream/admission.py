"""Which frames are begun: those that can still be shown when they are done.

A frame that will be too old is dropped before it is touched, not after it has held up the next one. Nobody knows
how long it will take; what is known is how long the last ones took on the same rung, from the first touch to the
publication. The rule, for a frame of age `a` and a limit `m`:

- `a + q90 <= m`, with `q90` the 90th percentile of the last two seconds (at most 64 frames): begin. Nine in ten
  finish in time.
- Else, where `q90 <= m`: drop. It has waited; the next frame, which has not, can make it.
- Else not even a frame that did not wait is safe, and none that comes is better placed. Then the median decides:
  begin where `a + q50 <= m`, since the result is more likely to be shown than not; else drop.

And never for long: a rung of which every frame was dropped would never be measured again, and would stay dropped
after the load that slowed it has ended. So whatever the estimate says, a frame is begun when none has been for
`RETRY_NS`. Under `latest` that frame is the newest there is. If its result is too old all the same, it is
withheld as stale.
"""

from __future__ import annotations

from typing import Final

from bedside.runtime.result import Dropped
from bedside.runtime.stream.quantile import RunningQuantile

#: Longest time without any frame begun: two tries a second cost a model that is too slow little, and one that
#: recovers is seen to do so within half a second.
RETRY_NS: Final = 500_000_000

_HIGH: Final = 0.9
_MEDIAN: Final = 0.5


class Admission:
    """Decides frame by frame. One thread owns it.

    Args:
        max_age_ns: Results may be so old at most; None for any age.
    """

    def __init__(self, max_age_ns: int | None) -> None:
        self._max_age_ns = max_age_ns
        self._begun_ns: int | None = None
        self._begun_seq: int | None = None

    def refusal(
        self,
        seq: int,
        captured_ns: int,
        now_ns: int,
        *,
        every: int,
        times: RunningQuantile,
        expected_ns: int = 0,
    ) -> Dropped | None:
        """Whether to begin a frame now.

        Args:
            seq: Of the frame.
            captured_ns: Its stamp.
            now_ns: Of the same clock.
            every: Begin one frame of so many, counted from the last one begun, not from the first one of the
                stream: so a frame that had to wait is passed over, and the next one is taken fresh.
            times: What frames took on this rung.
            expected_ns: What one is expected to take where `times` is empty.

        Returns:
            None to begin it, which the caller does at once; else why not.
        """
        if every > 1 and self._begun_seq is not None and 0 < seq - self._begun_seq < every:
            return Dropped.SKIPPED
        if self._max_age_ns is not None and self._late(now_ns - captured_ns, now_ns, times, expected_ns):
            return Dropped.LATE
        self._begun_ns, self._begun_seq = now_ns, seq
        return None

    def _late(self, age_ns: int, now_ns: int, times: RunningQuantile, expected_ns: int) -> bool:
        assert self._max_age_ns is not None
        if self._begun_ns is None or now_ns - self._begun_ns >= RETRY_NS:
            return False
        high = times.value(_HIGH, now_ns)
        needed = expected_ns if high is None else high
        if needed > self._max_age_ns and (median := times.value(_MEDIAN, now_ns)) is not None:
            needed = median
        return age_ns + needed > self._max_age_ns
