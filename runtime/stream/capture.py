"""The capturing thread of a stream: opens a source, reads it into the mailbox, closes it."""

from __future__ import annotations

import threading

import msgspec

from bedside.runtime.clock import Clock
from bedside.runtime.errors import FrameError
from bedside.runtime.frame import Frame
from bedside.runtime.protocols import Source, SourceInfo
from bedside.runtime.result import Dropped, Failed, Reason
from bedside.runtime.stream.ending import Ending
from bedside.runtime.stream.ledger import Ledger
from bedside.runtime.stream.mailbox import Mailbox
from bedside.runtime.stream.trace import CAPTURE, Trace


class StreamLimits(msgspec.Struct, frozen=True):
    """When a stream ends by itself, and which results are too old.

    Attributes:
        max_frames: Stop capturing after so many frames.
        seconds: Stop capturing so long after the first frame was awaited.
        max_age_ms: On a live stream, older results are withheld.
    """

    max_frames: int | None = None
    seconds: float | None = None
    max_age_ms: float | None = None


class Capture:
    """Owns the source, on a thread of its own.

    The mailbox needs a policy, and the policy needs to know whether the source is live: so the thread opens
    the source, sets `opened`, and reads once it was given a mailbox.

    Args:
        source: Opened, read and closed by the thread.
        ledger: Takes every frame in.
        limits: When to stop reading.
        clock: For `limits`.
        ending: Of the stream.
        trace: Records when each frame was read.

    Attributes:
        opened: Set when the source is open, refused to, or is no longer waited for.
        info: Of the source; None until it is open.
        mailbox: Where frames go; None until `read_into`.
    """

    def __init__(
        self,
        source: Source,
        ledger: Ledger,
        limits: StreamLimits,
        clock: Clock,
        ending: Ending,
        trace: Trace | None = None,
    ) -> None:
        self.opened = threading.Event()
        self.info: SourceInfo | None = None
        self.mailbox: Mailbox | None = None
        self._source, self._ledger, self._limits = source, ledger, limits
        self._clock, self._ending, self._trace = clock, ending, trace
        self._prepared = threading.Event()
        self._reading = True
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def start(self) -> None:
        """Open the source on its thread; `opened` tells when."""
        self._thread.start()

    def read_into(self, mailbox: Mailbox | None) -> None:
        """Read on, into a mailbox; None: there is nobody to read for."""
        self.mailbox = mailbox
        self._prepared.set()

    def cancel(self) -> None:
        """End a `read` that waits. Any thread may call it."""
        try:
            self._source.cancel()
        except Exception as error:  # whatever a source does, the rest of the shutdown has to happen
            self._ending.note(error)

    def finish(self) -> None:
        """As `cancel`, unless the source is at its end, and may be opened again by whoever owns it."""
        if self._reading:
            self.cancel()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread. A driver may block in `read` for ever; the thread is a daemon."""
        self._thread.join(timeout_s)

    def drain(self) -> None:
        """Close the mailbox; what waits is `dropped(shutdown)`."""
        if self.mailbox is not None:
            for frame in self.mailbox.drain():
                self._lose(frame, Dropped.SHUTDOWN)

    # On the thread.

    def _run(self) -> None:
        try:
            try:
                self.info = self._source.open()
            finally:
                self.opened.set()
            self._prepared.wait()
            if self.mailbox is not None:
                self._read_all(self.mailbox)
        except BaseException as error:
            # Of ours: what was captured before it is still worth a result, the stream ends when the mailbox
            # is empty. Else: a bug in a source must surface in `run`, not die with this thread.
            self._ending.note(error)
        finally:
            self._reading = False
            if self.mailbox is not None:
                self.mailbox.close()
            self._close()

    def _close(self) -> None:
        try:
            self._source.close()
        except BaseException as error:
            self._ending.note(error)

    def _read_all(self, mailbox: Mailbox) -> None:
        limits, trace = self._limits, self._trace
        begin = self._clock.now_ns()
        until = None if limits.seconds is None else begin + int(limits.seconds * 1e9)
        captured = 0
        while not self._ending.stop.is_set():
            if limits.max_frames is not None and captured >= limits.max_frames:
                return
            if until is not None and self._clock.now_ns() >= until:
                return
            asked = 0 if trace is None else self._clock.now_ns()
            try:
                frame = self._source.read()
            except FrameError:
                captured += 1
                # It has no frame to ask for its number; a negative one is nobody else's.
                self._ledger.capture(-captured)
                self._ledger.lose(-captured, Failed.UNDECODABLE)
                continue
            if frame is None:
                return
            captured += 1
            if trace is not None:
                trace.read(frame, asked)
            self._ledger.capture(frame.seq)
            lost = mailbox.put(frame)
            if trace is not None:
                trace.queued(frame.seq)
            if lost is not None:
                self._lose(lost, Dropped.SHUTDOWN if lost is frame else Dropped.REPLACED)

    def _lose(self, frame: Frame, reason: Reason) -> None:
        self._ledger.lose(frame.seq, reason)
        if self._trace is not None:
            self._trace.mark(CAPTURE, reason.value, frame.seq)
        frame.release()
