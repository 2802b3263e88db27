"""Where the time of every frame goes: the last events of a stream, in columns that are made beforehand.

The pipeline calls the recorder where it takes its stamps anyway; without a recorder it asks one `is None`. An event
is five whole numbers in a ring: nothing is formatted, joined or kept per frame until somebody reads the record.
`bedside.devices.tracing` writes it as a file for Perfetto, `bedside.devices.frame_budget` sums it up as a table.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple

from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.frame import Frame
from bedside.runtime.result import Reason

#: Tracks. Each of them is one thread, but `FRAMES`: there several frames are under way at once.
CAPTURE: Final = "capture"
INFER: Final = "infer"
FRAMES: Final = "frames"

#: Events that others look for by name.
SOURCE: Final = "wait for source"
READ: Final = "capture"
QUEUE: Final = "queue"
WORK: Final = "work"
PUBLISH: Final = "publish"
WRITE: Final = "write"
FRAME: Final = "frame"

#: Frames that the ring holds at least, more than two minutes at 60 a second.
MOST_FRAMES = 8192

#: Three on the capturing thread, seven on the inferring one, one for the frame, and one for each of five sinks.
_EVENTS_PER_FRAME = 16

#: End of an event without a duration.
_INSTANT = -1


class Event(NamedTuple):
    """One event.

    Attributes:
        track: The thread it happened on, or `FRAMES`.
        name: What happened.
        seq: Of the frame; negative where there is none.
        begin_ns: Monotonic, in ns.
        end_ns: Monotonic, in ns; None for what has no duration.
    """

    track: str
    name: str
    seq: int
    begin_ns: int
    end_ns: int | None


class Trace:
    """Records events into a ring. Any thread may add to it; read it when the stream has ended.

    Args:
        clock: The stream's.
        frames: How many frames fit at least; older events are overwritten.
        capacity: How many events fit; None goes by `frames`.

    Attributes:
        clock: As given.
    """

    def __init__(
        self, clock: Clock | None = None, *, frames: int = MOST_FRAMES, capacity: int | None = None
    ) -> None:
        if frames < 1 or (capacity is not None and capacity < 1):
            raise ValueError(f"room for {frames} frames or {capacity} events: at least 1 is needed")
        self.clock: Clock = clock or MonotonicClock()
        self._capacity = capacity or frames * _EVENTS_PER_FRAME
        # `next` of a count is one step of the interpreter: two threads never claim the same place.
        self._places = itertools.count()
        self._claimed = 0
        self._names: dict[str, int] = {}
        # From 1: 0 is nobody's, and an empty place has it.
        self._numbers = itertools.count(1)
        # array.array stores one int in a tenth of the time that numpy takes.
        self._track = array("H", bytes(2 * self._capacity))
        self._name = array("H", bytes(2 * self._capacity))
        self._seq = array("q", bytes(8 * self._capacity))
        self._begin = array("q", bytes(8 * self._capacity))
        self._end = array("q", bytes(8 * self._capacity))
        self._read_ns = 0
        self._taken_ns = 0

    # For anybody.

    def span(self, track: str, name: str, seq: int, begin_ns: int, end_ns: int) -> None:
        """Something that took from `begin_ns` to `end_ns`; see `Event`."""
        place = next(self._places)
        at = place % self._capacity
        names = self._names
        self._track[at] = names.get(track) or self._number(track)
        self._name[at] = names.get(name) or self._number(name)
        self._seq[at] = seq
        self._begin[at] = begin_ns
        self._end[at] = end_ns
        self._claimed = place + 1

    def mark(self, track: str, name: str, seq: int = -1) -> None:
        """Something that happens now: a frame is lost, the ladder takes a step.

        Args:
            track: See `Event`.
            name: One of few: names are kept.
            seq: Of the frame, negative where there is none.
        """
        self.span(track, name, seq, self.clock.now_ns(), _INSTANT)

    # On the capturing thread.

    def read(self, frame: Frame, asked_ns: int) -> None:
        """The source gave a frame.

        Args:
            frame: With its stamp: what passed before it was waiting, what passed after it is work on this frame.
            asked_ns: When it was asked.
        """
        now = self.clock.now_ns()
        begin = min(max(frame.captured_ns, asked_ns), now)
        if begin > asked_ns:
            self.span(CAPTURE, SOURCE, frame.seq, asked_ns, begin)
        self.span(CAPTURE, READ, frame.seq, begin, now)
        self._read_ns = now

    def queued(self, seq: int) -> None:
        """The mailbox has the frame, which under `all` may have taken until there was room for it."""
        self.span(CAPTURE, QUEUE, seq, self._read_ns, self.clock.now_ns())

    # On the inferring thread.

    def take(self) -> None:
        """A frame came out of the mailbox: `WORK` begins."""
        self._taken_ns = self.clock.now_ns()

    def stages(self, seq: int, names: Sequence[str], *stamps_ns: int) -> None:
        """Stages of the work, one behind the other: stage `k` lies between stamps `k` and `k + 1`.

        Args:
            seq: Of the frame.
            names: At least one less than there are stamps; further ones did not happen.
            stamps_ns: Monotonic, in ns.
        """
        for name, (begin, end) in zip(names, itertools.pairwise(stamps_ns), strict=False):
            self.span(INFER, name, seq, begin, end)

    def done(self, frame: Frame, published_ns: int, reason: Reason | None) -> None:
        """The result is with its sinks: `PUBLISH`, `WORK` and `FRAME` end.

        Args:
            frame: Which was worked on.
            published_ns: When its age was taken.
            reason: Why it has no result; marked.
        """
        now = self.clock.now_ns()
        if reason is not None:
            self.span(INFER, reason.value, frame.seq, published_ns, _INSTANT)
        self.span(INFER, PUBLISH, frame.seq, published_ns, now)
        self.span(INFER, WORK, frame.seq, self._taken_ns, now)
        self.span(FRAMES, FRAME, frame.seq, frame.captured_ns, published_ns)

    # For readers.

    @property
    def overwritten(self) -> int:
        """Events that the ring no longer has."""
        return max(0, self._claimed - self._capacity)

    def events(self) -> list[Event]:
        """What the ring holds, by beginning; of events that begin together the longer one first."""
        names = {number: name for name, number in self._names.items()}
        columns = zip(self._track, self._name, self._seq, self._begin, self._end, strict=True)
        found = [
            Event(names[track], names[name], seq, begin, None if end == _INSTANT else end)
            for track, name, seq, begin, end in columns
            if name
        ]
        found.sort(key=lambda e: (e.begin_ns, -(e.begin_ns if e.end_ns is None else e.end_ns)))
        return found

    def _number(self, name: str) -> int:
        # Two threads may find the name missing; the first number stays, the other one is nobody's.
        return self._names.setdefault(name, next(self._numbers))
