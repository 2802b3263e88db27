"""When a frame of a stream was due, by the stream's own time.

A frame may wait before it is received: in the server's queue, in sockets, in the demultiplexer, in a driver. Its
receipt then says that it is new, and only the stream's own time says that it is not. That time counts from an
unknown moment, so the frame that was least late fixes it, as the sample of least delay does in NTP's clock filter
(RFC 5905, section 10): with `offset = received - pts`, the least offset seen is the path at its best, and what an
offset exceeds it by is how long that frame was held up.

The stream's time is usable where

- the protocol carries the sender's sampling clock: RTP does (RFC 3550, section 5.1), MPEG-TS does (ISO 13818-1,
  section 2.4.3.7); Motion JPEG over HTTP does not, its times are made up by the reader;
- it advances: a time that repeats or goes back belongs to no frame;
- nobody said otherwise: a camera whose clock runs wrong by more than `DRIFT` makes every frame look older and
  older. That cannot be told from a network that falls behind, so it is not guessed: `stream_time = false` in the
  profile says it.
"""

from __future__ import annotations

import msgspec

DRIFT = 500e-6
"""How fast the least offset may rise: two clocks may differ in rate by this (RFC 5905, appendix A.1.1, MAXFREQ,
500 ppm; quartz crystals stay below 100)."""

RESTART_NS = 1_000_000_000
"""A stream's time that goes back by more than this is a sender that counts anew, not pictures out of order."""


class Stamp(msgspec.Struct, frozen=True):
    """What is known of a frame's time.

    Attributes:
        captured_ns: When it was due on the host's monotonic clock: its receipt less `lag_ns`.
        pts_ns: The stream's own time of it; None where there is none that is usable.
        lag_ns: How much later than the least delayed frame it came.
    """

    captured_ns: int
    pts_ns: int | None
    lag_ns: int


class StreamTime:
    """Stamps the frames of one connection, in their order.

    Args:
        usable: Whether the stream's time is a sampling clock, and may be used.
    """

    def __init__(self, usable: bool) -> None:
        self.usable = usable
        self._least: float | None = None
        self._pts_ns = self._received_ns = self._captured_ns = -1

    def stamp(self, pts_ns: int, received_ns: int) -> Stamp:
        """Stamp the next frame.

        Args:
            pts_ns: The stream's own time.
            received_ns: Monotonic time of its receipt.
        """
        if pts_ns < self._pts_ns - RESTART_NS:
            self._least, self._pts_ns = None, -1
        if not self.usable or pts_ns <= self._pts_ns:
            return self._stamped(received_ns, None, received_ns)
        offset = float(received_ns - pts_ns)
        if self._least is not None:
            offset = min(offset, self._least + DRIFT * (received_ns - self._received_ns))
        self._least, self._pts_ns, self._received_ns = offset, pts_ns, received_ns
        return self._stamped(pts_ns + round(offset), pts_ns, received_ns)

    def _stamped(self, captured_ns: int, pts_ns: int | None, received_ns: int) -> Stamp:
        """No frame is older than the one before it, or younger than its receipt."""
        self._captured_ns = min(max(captured_ns, self._captured_ns), received_ns)
        return Stamp(self._captured_ns, pts_ns, received_ns - self._captured_ns)
