"""A thread that reads a stream as fast as it comes: no frame grows old in a decoder, and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

import cv2
import msgspec
import numpy as np

from bedside.devices.sources.grab import Capture, PooledGrabber, Shape, fourcc_name
from bedside.devices.sources.options import CaptureOptions
from bedside.devices.sources.stream_time import Stamp, StreamTime
from bedside.runtime.clock import Clock
from bedside.runtime.errors import FrameError, SourceError
from bedside.runtime.frame import Lease
from bedside.runtime.opencv import quiet_opencv

DEPTH = 4
"""Frames that wait for `read`. They are taken at once, and a pipeline's mailbox counts what it replaces; this is
room for a moment in which the host was busy elsewhere."""

SETTLED = 2
"""Frames in a row that had to be waited for: then nothing older is buffered. One alone may be a hiccup."""

DRAIN_NS = 2_000_000_000
"""How long old frames are drained at most, at the beginning and in mid-stream: a decoder that cannot keep up has
no end of them, and results that are late, and say so, are more use than none."""

WAITED_NS = 1_000_000
"""A read that took so much longer than its own processor time had to wait for the network. On loopback, frames
that were buffered came within 0.1 ms of it, others took most of a frame interval."""

BEHIND = 1.5
"""In mid-stream, a frame that came early after another, and lags by more frame intervals than this, has newer ones
behind it."""

SILENT_PART = 0.8
"""A read that failed after this part of its time-out failed by it: OpenCV does not say why."""

PATIENCE_S = 0.5
"""How long OpenCV may take longer than its own time-out, and to come back when the stream is closed."""

MAX_FPS = 1000.0
"""A higher rate is FFmpeg's time base, not a rate of pictures."""


class Opened(msgspec.Struct, frozen=True):
    """What an open stream turned out to be.

    Attributes:
        shape: `(H, W, 3)` of its pictures.
        fps: Frames per second, where it says so.
        codec: FOURCC, "" where there is none.
        frames: How many there are, of a file on a server; None of a live stream.
        drained: Frames that were buffered before the first one that was handed on.
        stream_time: Whether stamps go by the stream's own time.
    """

    shape: Shape
    fps: float | None
    codec: str
    frames: int | None
    drained: int
    stream_time: bool

    @property
    def live(self) -> bool:
        """Whether frames come at their own time."""
        return self.frames is None


class Received(msgspec.Struct, frozen=True):
    """A frame, or why there is none.

    Attributes:
        stamp: Its times.
        lease: Pixels `(H, W, 3) uint8`, BGR; None where `error` is set.
        error: It could not be decoded.
    """

    stamp: Stamp
    lease: Lease | None = None
    error: FrameError | None = None


class _Grabbed(msgspec.Struct, frozen=True):
    """A frame in the capture, not converted yet.

    Attributes:
        stamp: Its times.
        fresh: It came at the pace of the stream, so that nothing newer is buffered behind it.
        step_ns: The stream's time since the frame before it, 0 where it is not known.
    """

    stamp: Stamp
    fresh: bool
    step_ns: int


class StreamReader:
    """Opens, reads and releases a capture on a thread of its own, which OpenCV may keep waiting.

    Args:
        name: For errors.
        connect: Opens the capture, on the thread.
        clocked: Whether a stream of that codec carries a sampling clock that may be used.
        files: Whether something that says how many frames it has is a file, and not a live stream.
        options: Time-outs, and whether another size is adopted.
        clock: For the stamps.

    Attributes:
        skipped: Old frames that were left behind in mid-stream.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Capture],
        clocked: Callable[[str], bool],
        files: bool,
        options: CaptureOptions,
        clock: Clock,
    ) -> None:
        self._name, self._connect, self._clocked, self._files = name, connect, clocked, files
        self._options, self._clock = options, clock
        self._changed = threading.Condition()
        self._waiting: deque[Received] = deque()
        self._opened: Opened | None = None
        self._error: BaseException | None = None
        self._ended = self._stopped = False
        self.skipped = 0
        self._received_ns, self._pts_ns = 0, -1
        self._thread = threading.Thread(target=self._run, name=f"reader of {name}", daemon=True)

    def open(self) -> Opened:
        """Start, and wait for the first frame that is new.

        Raises:
            SourceError: There is no stream, no picture in it, no answer in time, or it was stopped meanwhile.
        """
        self._thread.start()
        limit_s = self._options.open_timeout_s + DRAIN_NS / 1e9
        with self._changed:
            self._wait(lambda: self._opened is not None, limit_s)
            if self._opened is not None:
                return self._opened
            raise self._error or SourceError("stopped while it was being opened", where=self._name)

    def next(self) -> Received | None:
        """The next frame; None at the end of a recording, and once stopped.

        Raises:
            SourceError: The stream is lost.
        """
        with self._changed:
            self._wait(lambda: bool(self._waiting), self._options.read_timeout_s)
            if self._stopped:
                return None
            if self._waiting:
                received = self._waiting.popleft()
                self._changed.notify_all()
                return received
            if self._error is not None:
                raise self._error
            return None

    def stop(self) -> None:
        """End a wait in `open` or `next`, and the thread as soon as OpenCV lets it go. Any thread may call it."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def close(self) -> None:
        """Stop, and give back what waits. A thread that OpenCV keeps waiting releases the capture later."""
        self.stop()
        if self._thread.is_alive():
            self._thread.join(PATIENCE_S)
        with self._changed:
            while self._waiting:
                _give_back(self._waiting.popleft())

    def _wait(self, ready: Callable[[], bool], limit_s: float) -> None:
        """Wait until there is something, or nothing more will come.

        Raises:
            SourceError: OpenCV did not come back within its own time-out.
        """
        until = time.monotonic() + limit_s + PATIENCE_S
        while not (ready() or self._ended or self._stopped):
            left = until - time.monotonic()
            if left <= 0 or not self._changed.wait(left):
                self._stopped = True
                raise SourceError(
                    f"the decoder has not come back for {limit_s + PATIENCE_S:g} s", where=self._name
                )

    # On the thread.

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            with quiet_opencv():
                capture = self._connect()
                try:
                    self._read(capture)
                finally:
                    capture.release()
        except cv2.error as problem:
            error = SourceError(f"OpenCV gave up: {problem.err or 'no reason given'}", where=self._name)
        except BaseException as problem:  # a bug must surface in `read`, not die with this thread
            error = problem
        with self._changed:
            self._error, self._ended = error, True
            self._changed.notify_all()

    def _read(self, capture: Capture) -> None:
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        frames = int(count) if self._files and 0 < count < 2**53 else None
        codec = fourcc_name(capture.get(cv2.CAP_PROP_FOURCC))
        times = StreamTime(self._options.stream_time and frames is None and self._clocked(codec))
        drained, grabbed = self._first(capture, times, frames)
        if grabbed is None:
            return
        got, picture = capture.retrieve()
        if not got or picture is None or picture.dtype != np.uint8 or picture.ndim != 3:
            raise SourceError("the stream has no picture that can be decoded", where=self._name)
        height, width, channels = picture.shape
        grabber = PooledGrabber(self._name, (height, width, channels), self._options.adopt_size)
        rate = capture.get(cv2.CAP_PROP_FPS)
        opened = Opened(
            grabber.pool.shape, rate if 0 < rate <= MAX_FPS else None, codec, frames, drained, times.usable
        )
        with self._changed:
            self._opened = opened
            self._changed.notify_all()
        handed_ns = grabbed.stamp.captured_ns
        while grabbed is not None:
            stamp = grabbed.stamp
            behind = not grabbed.fresh and grabbed.step_ns and stamp.lag_ns > BEHIND * grabbed.step_ns
            if behind and opened.live and stamp.captured_ns - handed_ns < DRAIN_NS:
                self.skipped += 1
            else:
                handed_ns = stamp.captured_ns
                self._hand_over(self._convert(grabber, capture, stamp), opened.live)
            grabbed = self._grab(capture, times, frames)

    def _first(self, capture: Capture, times: StreamTime, frames: int | None) -> tuple[int, _Grabbed | None]:
        """Leave behind what was buffered while the stream was examined; count it."""
        grabbed = self._grab(capture, times, frames)
        begin_ns, drained, settled = self._received_ns, 0, 0
        while grabbed is not None and frames is None and settled < SETTLED:
            if self._received_ns - begin_ns > DRAIN_NS:
                break
            grabbed = self._grab(capture, times, frames)
            drained += 1
            settled = settled + 1 if grabbed is not None and grabbed.fresh else 0
        return drained, grabbed

    def _grab(self, capture: Capture, times: StreamTime, frames: int | None) -> _Grabbed | None:
        """The next frame in the capture; None once stopped, and at the end of a recording.

        Raises:
            SourceError: The stream is lost.
        """
        begin_ns, busy_ns = time.perf_counter_ns(), time.thread_time_ns()
        got = capture.grab()
        took_ns, busy_ns = time.perf_counter_ns() - begin_ns, time.thread_time_ns() - busy_ns
        if self._stopped:
            return None
        silent = took_ns >= SILENT_PART * self._options.read_timeout_s * 1e9
        if silent and not got:
            raise SourceError(
                f"no frame for {self._options.read_timeout_s:g} s",
                where=self._name,
                hint="the server is silent, or the network is down; [capture] read_timeout_s sets the limit",
            )
        if not got:
            if frames is not None:
                return None
            raise SourceError("the server ended the stream", where=self._name)
        before_ns, self._received_ns = self._received_ns, self._clock.now_ns()
        stamp = times.stamp(round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6), self._received_ns)
        step_ns = 0
        if stamp.pts_ns is not None:
            step_ns = max(0, stamp.pts_ns - self._pts_ns) if self._pts_ns >= 0 else 0
            self._pts_ns = stamp.pts_ns
        # By the stream's time where there is one: a wait may as well have been for the processor.
        waited = self._received_ns - before_ns >= step_ns / 2 if step_ns else took_ns - busy_ns >= WAITED_NS
        return _Grabbed(stamp, waited, step_ns)

    def _convert(self, grabber: PooledGrabber, capture: Capture, stamp: Stamp) -> Received:
        try:
            return Received(stamp, grabber.retrieve(capture))
        except FrameError as error:
            return Received(stamp, error=error)

    def _hand_over(self, received: Received, live: bool) -> None:
        """Put a frame where `next` finds it; of a live stream the oldest one makes room."""
        with self._changed:
            while len(self._waiting) >= DEPTH and not live and not self._stopped:
                self._changed.wait()
            if self._stopped:
                _give_back(received)
                return
            if len(self._waiting) >= DEPTH:
                self.skipped += 1
                _give_back(self._waiting.popleft())
            self._waiting.append(received)
            self._changed.notify_all()


def _give_back(received: Received) -> None:
    if received.lease is not None:
        received.lease.release()
