"""The control law of the ladder: when to step down, when to climb back. Time is told to it; it has no clock.

The stream stands on one of `n` rungs, 0 the preferred one, `n - 1` the cheapest. Three things press it down:

- *Misses*. A frame counts as missed where its result came too old to be shown, where it was dropped before it
  was begun because it would have, and where working on it took longer than its turn: `k` turns are `k` frames,
  of which `k - 1` had no turn. Down with a miss when, in the last `window_s` (and at least the last three
  observations, for models that are slower than that), at least two observations and at least `misses` frames
  missed, and those are at least `down_share` of all. One hiccup is one observation, and does nothing.
- *Heat*, as the host tells. Down at once, and again every `pressure_s` while it lasts: temperature answers
  slowly.
- *A busy host*. The same, but never to a rung that leaves frames out: while no deadline is missed, no result is
  given up for the comfort of others.

Up, one rung at a time, when it has been calm for a while and there is room:

- *Calm* ends with every step, with any pressure, and with two missed frames that are at least `calm_share` of
  the last `window_s`. `calm_share` is far below `down_share`: that gap is the hysteresis.
- *For a while* is `up_s`, doubled with each climb that failed (a step down less than `up_s` after it), at most
  `up_most_s`. A rung that held for `up_s` sets it back. So a rung that is simply too slow for the host is tried
  once in `up_most_s`, for `down_s`.
- *Room* is for the caller to judge, see `Ladder`.

It follows: a step down never comes earlier than `down_s` after any step, a climb never earlier than `up_s`; so
in `t` seconds there are at most `t / up_s + 1` climbs, whatever happens. Without trouble and with room the
preferred rung is reached in at most `window_s + up_most_s + n * up_s`.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

import msgspec

Cause = Literal["misses", "heat", "busy", "calm"]

#: Observations that are looked at however old they are.
_LEAST_OBSERVED = 3

#: A single late frame is no trouble, nor does it end a calm.
_LEAST_TROUBLED = 2


class Pressure(msgspec.Struct, frozen=True):
    """The host is in trouble.

    Attributes:
        cause: `heat` or `busy`.
        detail: What was read, for people: `package at 97 °C, limit 95`.
    """

    cause: Literal["heat", "busy"]
    detail: str


class LadderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Constants of the law. All of them, and nothing else, decide when a step is taken.

    Attributes:
        window_s: How far back misses are counted.
        misses: Missed frames that it takes at least.
        down_share: Share of the frames that it takes at least.
        calm_share: Share of missed frames that still counts as calm.
        down_s: Between a step and a step down.
        pressure_s: Between a step and a step down for heat or a busy host.
        up_s: Calm before a climb.
        up_most_s: The same, after climbs that failed.
        headroom: Share of the deadline on the rung above that frames may take on this one before a climb.
    """

    window_s: float = 1.0
    misses: int = 3
    down_share: float = 0.2
    calm_share: float = 0.05
    down_s: float = 0.5
    pressure_s: float = 10.0
    up_s: float = 5.0
    up_most_s: float = 60.0
    headroom: float = 0.8


class Move(msgspec.Struct, frozen=True):
    """One step.

    Attributes:
        at_ns: When.
        before: Rung that was left.
        after: Rung that was taken: one more, or one less.
        cause: Why.
        detail: The numbers behind it, for people.
    """

    at_ns: int
    before: int
    after: int
    cause: Cause
    detail: str


class ControlLaw:
    """The law, observation by observation. One thread owns it.

    Args:
        rungs: How many there are, at least 1.
        full: How many of them, from the top, work on every frame; at least 1.
        settings: Constants.

    Attributes:
        rung: Where the stream stands.
    """

    def __init__(self, rungs: int, full: int, settings: LadderSettings | None = None) -> None:
        if not 1 <= full <= rungs:
            raise ValueError(f"{full} of {rungs} rungs work on every frame: at least 1, and at most all")
        self.rung = 0
        self._rungs, self._full = rungs, full
        self._settings = s = settings or LadderSettings()
        self._window_ns, self._down_ns = int(s.window_s * 1e9), int(s.down_s * 1e9)
        self._pressure_ns, self._up_ns = int(s.pressure_s * 1e9), int(s.up_s * 1e9)
        # (when, frames, missed)
        self._seen: deque[tuple[int, int, int]] = deque()
        self._frames = self._missed = self._troubled = 0
        self._changed_ns: int | None = None
        self._calm_since_ns: int | None = None
        self._climbed = False
        self._failed = 0

    def observe(
        self, now_ns: int, *, frames: int, missed: int, pressure: Pressure | None = None, room: bool = True
    ) -> Move | None:
        """Tell what became of a frame.

        Args:
            now_ns: When; never earlier than before.
            frames: Frames whose turn it took, at least 1.
            missed: Those of them that missed their deadline.
            pressure: What the host says.
            room: Whether this rung leaves room for the one above.

        Returns:
            The step that was taken.
        """
        if self._calm_since_ns is None:
            self._calm_since_ns = now_ns
        self._count(now_ns, frames, missed)
        settings = self._settings
        share = self._missed / self._frames
        if pressure is not None or (self._missed >= _LEAST_TROUBLED and share >= settings.calm_share):
            self._calm_since_ns = now_ns
        since = None if self._changed_ns is None else now_ns - self._changed_ns
        if self._climbed and since is not None and since >= self._up_ns:
            self._climbed, self._failed = False, 0
        overrun = missed > 0 and self._overrun(share)  # what is over is no reason any more
        if overrun and self.rung + 1 < self._rungs and (since is None or since >= self._down_ns):
            detail = f"{self._missed} of {self._frames} frames missed their deadline"
            return self._step(now_ns, self.rung + 1, "misses", detail)
        if pressure is not None:
            floor = self._rungs if pressure.cause == "heat" else self._full
            if self.rung + 1 < floor and (since is None or since >= self._pressure_ns):
                return self._step(now_ns, self.rung + 1, pressure.cause, pressure.detail)
        calm_ns = now_ns - self._calm_since_ns
        if self.rung > 0 and room and calm_ns >= self._hold_ns():
            return self._step(now_ns, self.rung - 1, "calm", f"calm for {calm_ns / 1e9:.0f} s")
        return None

    def _hold_ns(self) -> int:
        seconds = min(self._settings.up_s * 2.0 ** min(self._failed, 64), self._settings.up_most_s)
        return max(self._up_ns, int(seconds * 1e9))

    def _overrun(self, share: float) -> bool:
        return (
            self._troubled >= _LEAST_TROUBLED
            and self._missed >= self._settings.misses
            and share >= self._settings.down_share
        )

    def _step(self, now_ns: int, rung: int, cause: Cause, detail: str) -> Move:
        move = Move(now_ns, self.rung, rung, cause, detail)
        if rung > self.rung and self._climbed:  # still set: the climb has not held
            self._failed += 1
        self._climbed = rung < self.rung
        self.rung = rung
        self._changed_ns = self._calm_since_ns = now_ns
        # What happened on another rung says nothing about this one.
        self._seen.clear()
        self._frames = self._missed = self._troubled = 0
        return move

    def _count(self, now_ns: int, frames: int, missed: int) -> None:
        seen = self._seen
        seen.append((now_ns, frames, missed))
        self._frames += frames
        self._missed += missed
        self._troubled += missed > 0
        while len(seen) > _LEAST_OBSERVED and now_ns - seen[0][0] > self._window_ns:
            _, old_frames, old_missed = seen.popleft()
            self._frames -= old_frames
            self._missed -= old_missed
            self._troubled -= old_missed > 0
