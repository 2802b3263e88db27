"""The ladder of a stream: its rungs, the one it stands on, and what is told of every step.

A rung is a session whose goldens held, and every how many frames it works on one. All sessions are loaded and
warm before the stream begins: a step changes which one gets the next frame, and costs none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from bedside.runtime.loading import Loaded
from bedside.runtime.result import Dropped, LadderState
from bedside.runtime.stream.admission import Admission
from bedside.runtime.stream.control import ControlLaw, LadderSettings, Move, Pressure
from bedside.runtime.stream.quantile import RunningQuantile

#: Steps that are remembered; more are counted.
MOST_STEPS = 256


class Rung(msgspec.Struct, frozen=True):
    """One way to run a stream.

    Attributes:
        loaded: A session whose goldens were replayed.
        every: One frame of so many is worked on.
        expected_ms: What a frame is expected to take here, in ms, where somebody measured; None where nobody
            did.
    """

    loaded: Loaded
    every: int = 1
    expected_ms: float | None = None

    @property
    def precision(self) -> str:
        """Of the variant, with the engine's precision hint behind a `+` where one was set."""
        hint = self.loaded.session.options.hint
        return self.loaded.variant.precision + (f"+{hint}" if hint else "")

    def describe(self) -> dict[str, Any]:
        """Plain data for summaries."""
        session = self.loaded.session
        return {
            "variant": self.loaded.variant.id,
            "engine": session.engine,
            "precision": self.precision,
            "threads": session.options.threads,
            "every": self.every,
            "expected_ms": self.expected_ms,
        }


class Step(msgspec.Struct, frozen=True):
    """A step that was taken.

    Attributes:
        seq: Of the frame after which it was taken.
        move: From where to where, when and why.
        before: Rung that was left.
        after: Rung that was taken.
    """

    seq: int
    move: Move
    before: Rung
    after: Rung

    def describe(self, began_ns: int) -> dict[str, Any]:
        """Plain data for summaries; see `Ladder.summary`."""
        move = self.move
        return {
            "at_s": round((move.at_ns - began_ns) / 1e9, 3),
            "seq": self.seq,
            "before": move.before,
            "after": move.after,
            "cause": move.cause,
            "detail": move.detail,
        }


class Ladder:
    """Which rung a stream stands on, and which frames it begins there. The inferring thread owns it.

    Args:
        rungs: The preferred one first, then cheaper and cheaper ones; those that leave frames out last.
        settings: Constants of the control law.
        pressure: What the host says of itself, asked once a frame: must only look at what is there.
        on_step: Called with every step, on the inferring thread; must be quick.

    Attributes:
        rungs: As given.
        index: Where the stream stands.
        results: Results per rung.
        steps: The last `MOST_STEPS` steps.
        taken: How many there were.

    Raises:
        ValueError: No rung, or one that works on more frames than the one above it.
    """

    def __init__(
        self,
        rungs: Sequence[Rung],
        *,
        settings: LadderSettings | None = None,
        pressure: Callable[[], Pressure | None] | None = None,
        on_step: Callable[[Step], None] | None = None,
    ) -> None:
        every = [rung.every for rung in rungs]
        if not rungs or every != sorted(every) or every[0] < 1:
            raise ValueError(
                f"rungs that work on every n-th frame, n = {every}: at least one, n rising from 1"
            )
        self.rungs = tuple(rungs)
        self.index = 0
        self.results = [0] * len(rungs)
        self.steps: deque[Step] = deque(maxlen=MOST_STEPS)
        self.taken = 0
        self._settings = settings or LadderSettings()
        self._pressure = pressure
        self._on_step = on_step
        self._law: ControlLaw | None = None
        self._admission: Admission | None = None
        self._max_age_ns: int | None = None
        # One per session: two rungs of one session take the same time for a frame.
        times: dict[int, RunningQuantile] = {}
        self._times = [times.setdefault(id(rung.loaded.session), RunningQuantile()) for rung in rungs]
        self._expected_ns = [int((rung.expected_ms or 0.0) * 1e6) for rung in rungs]
        # Between two captured frames, from their stamps: what a driver says of its rate is not always what it
        # does.
        self._interval = RunningQuantile(31, 10.0)
        self._last: tuple[int, int] | None = None
        self._states = [LadderState(k, len(rungs), rung.every) for k, rung in enumerate(rungs)]
        self._stepped: str | None = None

    @property
    def rung(self) -> Rung:
        """Where the stream stands."""
        return self.rungs[self.index]

    def begin(self, max_age_ns: int | None) -> None:
        """The stream is one where the newest frame counts. Unless this is called, every frame is begun, on
        the first rung: a recording has no deadline.

        Args:
            max_age_ns: Results may be so old at most; None for any age.
        """
        self._max_age_ns = max_age_ns
        self._admission = Admission(max_age_ns)
        if len(self.rungs) > 1:
            full = sum(rung.every == self.rungs[0].every for rung in self.rungs)
            self._law = ControlLaw(len(self.rungs), full, self._settings)

    def refusal(self, seq: int, captured_ns: int, now_ns: int) -> Dropped | None:
        """Whether to begin a frame, which the caller then does at once; see `Admission`.

        Returns:
            None to begin it; else why not.
        """
        if self._admission is None:
            return None
        self._see(seq, captured_ns, now_ns)
        refused = self._admission.refusal(
            seq,
            captured_ns,
            now_ns,
            every=self.rung.every,
            times=self._times[self.index],
            expected_ns=self._expected_ns[self.index],
        )
        if refused is Dropped.LATE:
            self._observe(seq, now_ns, 1, 1)
        return refused

    def state(self) -> LadderState | None:
        """For the next result, which is counted; None where there is nothing to choose."""
        self.results[self.index] += 1
        if len(self.rungs) == 1:
            return None
        state, step = self._states[self.index], self._stepped
        if step is None:
            return state
        self._stepped = None
        return msgspec.structs.replace(state, step=step)

    def done(self, seq: int, captured_ns: int, begun_ns: int, published_ns: int) -> None:
        """A frame was worked on, whatever came of it."""
        if self._admission is None:
            return
        spent = published_ns - begun_ns
        self._times[self.index].add(published_ns, spent)
        turn = self._turn(self.index, published_ns)
        turns = 1 if turn is None else max(1, -(-spent // turn))
        stale = self._max_age_ns is not None and published_ns - captured_ns > self._max_age_ns
        self._observe(seq, published_ns, turns, turns if stale else turns - 1)

    def summary(self, began_ns: int) -> dict[str, Any]:
        """Plain data: `rungs` with their `results`, how many `steps` there were, and the last of them.

        Args:
            began_ns: When the stream began, in monotonic ns: steps are told in seconds from it.
        """
        rungs = [{**rung.describe(), "results": n} for rung, n in zip(self.rungs, self.results, strict=True)]
        return {"rungs": rungs, "steps": self.taken, "last_steps": [s.describe(began_ns) for s in self.steps]}

    def _see(self, seq: int, captured_ns: int, now_ns: int) -> None:
        if self._last is not None and seq > self._last[0] and captured_ns > self._last[1]:
            self._interval.add(now_ns, (captured_ns - self._last[1]) // (seq - self._last[0]))
        self._last = (seq, captured_ns)

    def _turn(self, index: int, now_ns: int) -> int | None:
        """How long a frame may take on a rung before the next one of its frames comes, in ns."""
        interval = self._interval.value(0.5, now_ns)
        return max(1, interval * self.rungs[index].every) if interval is not None else None

    def _room(self, now_ns: int) -> bool:
        """Whether frames take so little here that they could on the rung above, where they cost no less."""
        if self.index == 0:
            return False
        limits = [t for t in (self._turn(self.index - 1, now_ns), self._max_age_ns) if t is not None]
        spent = self._times[self.index].value(0.9, now_ns)
        return spent is None or not limits or spent <= self._settings.headroom * min(limits)

    def _observe(self, seq: int, now_ns: int, frames: int, missed: int) -> None:
        if self._law is None:
            return
        pressure = self._pressure() if self._pressure is not None else None
        room = self._room(now_ns)
        move = self._law.observe(now_ns, frames=frames, missed=missed, pressure=pressure, room=room)
        if move is None:
            return
        step = Step(seq, move, self.rungs[move.before], self.rungs[move.after])
        self.index = move.after
        self.steps.append(step)
        self.taken += 1
        self._stepped = move.cause
        if self._on_step is not None:
            self._on_step(step)
