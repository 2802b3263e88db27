"""A frame: pixels, and who they are."""

from __future__ import annotations

import threading
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.runtime.geometry import Rect

Pixels = npt.NDArray[np.uint8]
Color = Literal["bgr", "rgb", "gray"]


class Region(msgspec.Struct, frozen=True, omit_defaults=True):
    """A calibrated region of the picture (DICOM PS3.3 C.8.5.5, Sequence of Ultrasound Regions).

    Attributes:
        rect: Where it lies, in captured-frame pixels.
        spacing_mm: `(mm per row, mm per column)`, None where the axes are not lengths (M-mode, Doppler).
        kind: `b-mode`, `color-flow`, `m-mode`, `doppler` or `other`.
    """

    rect: Rect
    spacing_mm: tuple[float, float] | None = None
    kind: str = "other"


class SourceReference(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a recorded frame came from.

    Attributes:
        sop_instance_uid: DICOM object.
        frame_index: Zero-based frame in that object or file.
    """

    sop_instance_uid: str | None = None
    frame_index: int | None = None


class Lease:
    """A counted loan of one pool buffer. The buffer goes back when the last holder releases it."""

    __slots__ = ("_buffer", "_count", "_lock", "_pool")

    def __init__(self, pool: FramePool, buffer: Pixels) -> None:
        self._pool = pool
        self._buffer = buffer
        self._count = 1
        self._lock = threading.Lock()

    @property
    def buffer(self) -> Pixels:
        """The lent array, `(H, W, C) uint8`."""
        return self._buffer

    def retain(self) -> None:
        """Add a holder."""
        with self._lock:
            if self._count <= 0:
                raise RuntimeError("retain() on a lease that was already given back")
            self._count += 1

    def release(self) -> None:
        """Drop a holder; the last one gives the buffer back."""
        with self._lock:
            if self._count <= 0:
                raise RuntimeError("release() on a lease that was already given back")
            self._count -= 1
            last = self._count == 0
        if last:
            self._pool._give_back(self._buffer)


class FramePool:
    """Buffers of one shape, lent and given back, so that a stream allocates nothing per frame.

    Args:
        shape: `(H, W, C)` of every buffer.
        slots: How many buffers are kept. When all are out, a lease allocates a fresh one and counts a miss: a
            slow holder costs memory that can be seen, never a wrong picture.
    """

    def __init__(self, shape: tuple[int, int, int], slots: int = 8) -> None:
        self.shape = shape
        self.misses = 0
        self._slots = slots
        self._made = 0
        self._free: list[Pixels] = []
        self._lock = threading.Lock()

    def lease(self) -> Lease:
        """Lend a buffer. Its content is whatever the last holder left."""
        with self._lock:
            if self._free:
                return Lease(self, self._free.pop())
            if self._made < self._slots:
                self._made += 1
            else:
                self.misses += 1
        return Lease(self, np.empty(self.shape, np.uint8))

    def _give_back(self, buffer: Pixels) -> None:
        with self._lock:
            if len(self._free) < self._slots:
                self._free.append(buffer)


class Frame(msgspec.Struct, frozen=True):
    """One captured picture with its identity.

    Attributes:
        pixels: `(H, W, C) uint8`; C is 3, or 1 for `gray`. A view: it may be lent (see `lease`).
        seq: Count of captured frames of this stream, from 0. Gaps downstream are losses, and the ledger has
            them.
        captured_ns: Monotonic time stamp of the hand-over by the driver, in ns.
        source: The source's name.
        color: Channel order of `pixels`.
        pts_ns: The stream's own time, where it has one, in ns.
        spacing_mm: `(mm per row, mm per column)` for the whole picture, where known.
        regions: Calibrated regions, where known.
        reference: Where a recorded frame came from.
        meta: What the source did to the pixels (DICOM window, palette, ...), for the record.
        lease: The loan behind `pixels`, None where the frame owns them.
    """

    pixels: Pixels
    seq: int
    captured_ns: int
    source: str = ""
    color: Color = "bgr"
    pts_ns: int | None = None
    spacing_mm: tuple[float, float] | None = None
    regions: tuple[Region, ...] = ()
    reference: SourceReference | None = None
    meta: dict[str, Any] | None = None
    lease: Lease | None = None

    def retain(self) -> Frame:
        """Hold the pixels beyond the current call; pair with `release`."""
        if self.lease is not None:
            self.lease.retain()
        return self

    def release(self) -> None:
        """Let go of the pixels; they must not be touched afterwards."""
        if self.lease is not None:
            self.lease.release()
