"""Sources around sources: played at a cadence, repeated, cut."""

from __future__ import annotations

import threading

import msgspec
import numpy as np

from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.errors import FrameError, SourceError
from bedside.runtime.frame import Frame
from bedside.runtime.protocols import Source, SourceInfo


class _Wrapper:
    """Passes everything on to the source inside."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def open(self) -> SourceInfo:
        """Open the source inside; see `Source.open`."""
        return self._source.open()

    def read(self) -> Frame | None:
        """The next frame of the source inside; see `Source.read`."""
        return self._source.read()

    def cancel(self) -> None:
        """Cancel the source inside; see `Source.cancel`."""
        self._source.cancel()

    def close(self) -> None:
        """Close the source inside; see `Source.close`."""
        self._source.close()


class Paced(_Wrapper):
    """A recording played as a camera would give it: frame `i` is due at `t0 + i / fps`, from the first read.

    The stamp is the moment the frame was due, so decoding, and being late, count as age. A frame that cannot
    be decoded has its turn in the cadence too. Nothing is skipped here: what is too much is the mailbox's to
    drop.

    With jitter, frame `i` is due at `t0 + i / fps + d[i]`, and never before the frame that precedes it. `d[i]` is
    the absolute value of a normal variable: transfer, interrupt and wake-up can only add to the moment of
    exposure. Each delay counts from the cadence, as an exposure does not wait for the host; lateness therefore
    never adds up. This is a model, not a measurement. To match a device, take the standard deviation of the
    differences of `captured_ns` in a run on it and divide it by 0.853: the difference of two such delays has a
    variance of `2 (1 - 2/pi)` spreads squared.

    Args:
        source: A recording.
        clock: Waits and stamps.
        fps: Frames per second; the source's own rate by default.
        jitter_ms: Spread of the normal variable, in ms.
        seed: Of the delays: the same ones with every `open`.
    """

    def __init__(
        self,
        source: Source,
        clock: Clock | None = None,
        fps: float | None = None,
        *,
        jitter_ms: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(source)
        self._clock: Clock = clock or MonotonicClock()
        self._wanted = fps
        self._jitter_ns, self._seed = jitter_ms * 1e6, seed
        self._delays = np.random.default_rng(seed)
        self._fps = 0.0
        self._begin_ns: int | None = None
        self._due_ns = self._count = 0
        self._ended = False
        self._stop = threading.Event()

    def open(self) -> SourceInfo:
        """Open the recording; its info becomes `live`.

        Raises:
            SourceError: It cannot be opened, is live already, or nothing says how fast to play it.
        """
        info = super().open()
        fps = self._wanted or info.fps
        if info.live or fps is None or not 0 < fps < float("inf"):
            self.close()
            if info.live:
                raise SourceError(
                    "a live source has a pace of its own", where=info.name, hint="leave --paced out"
                )
            raise SourceError(
                "nothing says how fast to play it",
                where=info.name,
                hint="add ?fps=N to the source, or --pace N",
            )
        self._fps, self._begin_ns, self._count, self._ended = fps, None, 0, False
        self._delays = np.random.default_rng(self._seed)
        return msgspec.structs.replace(info, fps=fps, live=True)

    def read(self) -> Frame | None:
        """Wait until the next frame is due, then read it; None at the end, and once cancelled."""
        if self._ended:
            return None
        if not self._fps:
            return super().read()  # is not open, and says so
        if self._begin_ns is None:
            self._begin_ns = self._due_ns = self._clock.now_ns()
        due_ns = self._begin_ns + round(self._count * 1e9 / self._fps)
        if self._jitter_ns:
            due_ns += abs(round(self._delays.normal(0.0, self._jitter_ns)))
        self._due_ns = due_ns = max(due_ns, self._due_ns)
        if not self._clock.sleep_until(due_ns, self._stop):
            return None
        self._count += 1
        frame = super().read()
        self._ended = frame is None
        return None if frame is None else msgspec.structs.replace(frame, captured_ns=due_ns)

    def close(self) -> None:
        """Close the recording."""
        self._fps, self._ended = 0.0, False
        super().close()

    def cancel(self) -> None:
        """End a wait; this `read` and later ones return None."""
        self._stop.set()
        super().cancel()


class Looped(_Wrapper):
    """A recording played over and over: closed and opened again at its end, while `seq` goes on counting.

    Time stamps of the recording (`pts_ns`) and references begin again with every pass.

    Args:
        source: A recording that can be opened again.
        passes: How often to play it, None for ever.
        seconds: How much of the recording's own time to play, None for no limit; needs a known frame rate.
    """

    def __init__(self, source: Source, *, passes: int | None = None, seconds: float | None = None) -> None:
        super().__init__(source)
        self._passes, self._seconds = passes, seconds
        self._info: SourceInfo | None = None
        self._limit: int | None = None
        self._stop = threading.Event()
        self._ended = False
        self._pass = self._seq = self._usable = 0

    def open(self) -> SourceInfo:
        """Open the recording.

        Raises:
            SourceError: It cannot be opened, or `seconds` is given and its frame rate is not known.
        """
        info = super().open()
        self._limit, total = None, None
        if self._seconds is not None:
            if info.fps is None:
                self.close()
                raise SourceError(
                    "nothing says how many frames make a second",
                    where=info.name,
                    hint="add ?fps=N to the source",
                )
            self._limit = total = max(1, round(self._seconds * info.fps))
        if self._passes is not None and info.frames is not None:
            total = min(total or info.frames * self._passes, info.frames * self._passes)
        self._ended = False
        self._pass = self._seq = self._usable = 0
        self._info = msgspec.structs.replace(info, frames=total)
        return self._info

    def read(self) -> Frame | None:
        """The next frame; None when everything asked for was played, and once cancelled.

        Raises:
            SourceError: A whole pass had no usable frame, or the recording is another one when opened again.
        """
        while not self._ended and not self._stop.is_set() and self._seq != self._limit:
            try:
                frame = super().read()
            except FrameError:
                self._seq += 1
                raise
            if frame is not None:
                seq, self._seq = self._seq, self._seq + 1
                self._usable += 1
                return msgspec.structs.replace(frame, seq=seq)
            if not self._stop.is_set():
                self._begin_again()
        return None

    def _begin_again(self) -> None:
        self._pass += 1
        if self._pass == self._passes or self._info is None:
            self._ended = True
            return
        if not self._usable:
            self._ended = True
            raise SourceError("no usable frame in a whole pass", where=self._info.name)
        self._usable = 0
        super().close()
        info, before = super().open(), self._info
        if (info.width, info.height, info.color) != (before.width, before.height, before.color):
            self._ended = True
            raise SourceError(
                f"was {before.width}x{before.height} {before.color}, "
                f"is {info.width}x{info.height} {info.color} now",
                where=info.name,
                hint="the recording was replaced while it was looped",
            )

    def cancel(self) -> None:
        """Make this `read` and later ones return None."""
        self._stop.set()
        super().cancel()


class Limited(_Wrapper):
    """The first frames of a source; those that cannot be decoded count.

    Args:
        source: Any source.
        max_frames: How many reads to pass on.
    """

    def __init__(self, source: Source, max_frames: int) -> None:
        super().__init__(source)
        self._max_frames = max_frames
        self._count = 0

    def open(self) -> SourceInfo:
        """Open the source inside."""
        info = super().open()
        self._count = 0
        frames = self._max_frames if info.frames is None else min(info.frames, self._max_frames)
        return msgspec.structs.replace(info, frames=None if info.live and info.frames is None else frames)

    def read(self) -> Frame | None:
        """The next frame; None behind the last one asked for."""
        if self._count >= self._max_frames:
            return None
        self._count += 1
        return super().read()
