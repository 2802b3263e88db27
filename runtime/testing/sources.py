"""Sources for tests: frames out of memory, and every way in which a source can fail."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from bedside.runtime.clock import Clock
from bedside.runtime.errors import FrameError, SourceError
from bedside.runtime.frame import Color, Frame, FramePool, Pixels, SourceReference
from bedside.runtime.protocols import SourceInfo
from bedside.runtime.source_base import SourceBase


class ArraySource(SourceBase):
    """Frames out of memory.

    Args:
        frames: `(H, W, C) uint8` each.
        live: What `SourceInfo.live` says.
        fps: Frames per second; gives `pts_ns` as well.
        clock: For the stamps.
        name: For results.
        color: Channel order of `frames`.
        pooled: Lend copies from a `FramePool`, as device sources do, instead of the arrays themselves.
        unusable: Numbers of the frames whose `read` raises `FrameError`.
        lost_at: Number of the frame whose `read` raises `SourceError`.
        hang_at: Number of the frame whose `read` returns only when `cancel` is called.
        refuse_open: Whether `open` raises `SourceError`.

    Attributes:
        pool: Where pooled frames come from, None before `open` and unless `pooled`.
    """

    def __init__(
        self,
        frames: Sequence[Pixels],
        *,
        live: bool = False,
        fps: float | None = None,
        clock: Clock | None = None,
        name: str = "array",
        color: Color = "bgr",
        pooled: bool = False,
        unusable: Collection[int] = (),
        lost_at: int | None = None,
        hang_at: int | None = None,
        refuse_open: bool = False,
    ) -> None:
        super().__init__(name, clock)
        self._frames, self._live, self._fps, self._color = frames, live, fps, color
        self._pooled, self._unusable = pooled, frozenset(unusable)
        self._lost_at, self._hang_at, self._refuse_open = lost_at, hang_at, refuse_open
        self.pool: FramePool | None = None

    def _open(self) -> SourceInfo:
        if self._refuse_open:
            raise SourceError("refused to open", where=self.name, hint="it was told to")
        shape = self._frames[0].shape if self._frames else (0, 0, 3)
        return SourceInfo(
            name=self.name,
            width=shape[1],
            height=shape[0],
            color=self._color,
            fps=self._fps,
            frames=len(self._frames),
            live=self._live,
        )

    def _next(self, seq: int, now_ns: int) -> Frame | None:
        if seq == self._hang_at:
            self._cancelled.wait()
            return None
        if seq == self._lost_at:
            raise SourceError(f"lost at frame {seq}", where=self.name)
        if seq >= len(self._frames):
            return None
        if seq in self._unusable:
            raise FrameError(f"frame {seq} is unusable", where=self.name)
        pixels, lease = self._frames[seq], None
        if self._pooled:
            height, width, channels = pixels.shape
            if self.pool is None or self.pool.shape != pixels.shape:
                self.pool = FramePool((height, width, channels))
            lease = self.pool.lease()
            np.copyto(lease.buffer, pixels)
            pixels = lease.buffer
        return Frame(
            pixels=pixels,
            seq=seq,
            captured_ns=now_ns,
            source=self.name,
            color=self._color,
            pts_ns=None if self._fps is None else round(seq * 1e9 / self._fps),
            reference=SourceReference(frame_index=seq),
            lease=lease,
        )

    def _close(self) -> None:
        """Nothing is held."""
