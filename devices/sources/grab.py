"""Frames out of an OpenCV capture, into lent buffers."""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np

from bedside.runtime.errors import FrameError, SourceError
from bedside.runtime.frame import FramePool, Lease, Pixels

Shape = tuple[int, int, int]


class Capture(Protocol):
    """The part of `cv2.VideoCapture` that is used here."""

    def isOpened(self) -> bool:
        """Whether the device or file is open."""
        ...

    def grab(self) -> bool:
        """Wait for the next frame."""
        ...

    def retrieve(self, image: Any = None) -> tuple[bool, Any]:
        """Convert the frame that was grabbed."""
        ...

    def get(self, propId: int) -> float:
        """Read a property."""
        ...

    def set(self, propId: int, value: float) -> bool:
        """Ask for a property."""
        ...

    def release(self) -> None:
        """Close it."""
        ...


class PooledGrabber:
    """Retrieves grabbed frames into buffers of a pool, and notices when the picture changes its size.

    Args:
        where: Name of the source, for errors.
        shape: `(H, W, C)` that frames have.
        adopt_size: Go on with the new size instead of refusing it.
    """

    def __init__(self, where: str, shape: Shape, adopt_size: bool) -> None:
        self._where, self._adopt_size = where, adopt_size
        self.pool = FramePool(shape)

    def retrieve(self, capture: Capture) -> Lease:
        """The grabbed frame, on loan.

        Raises:
            FrameError: It could not be decoded.
            SourceError: Its size is not what it was.
        """
        lease = self.pool.lease()
        try:
            got, picture = capture.retrieve(lease.buffer)
        except cv2.error as error:
            lease.release()
            raise FrameError(
                f"undecodable frame: {error.err or 'OpenCV error'}", where=self._where
            ) from error
        if got and np.may_share_memory(picture, lease.buffer):
            return lease
        lease.release()
        if not got or picture is None or picture.dtype != np.uint8 or picture.ndim != 3:
            raise FrameError("undecodable frame", where=self._where)
        return self._changed(picture)

    def _changed(self, picture: Pixels) -> Lease:
        """OpenCV allocates a new picture when the lent buffer does not fit."""
        height, width, channels = picture.shape
        old = self.pool.shape
        if not self._adopt_size:
            raise SourceError(
                f"the picture changed from {old[1]}x{old[0]}x{old[2]} to {width}x{height}x{channels} "
                "in mid-stream",
                where=self._where,
                hint="allow it with adopt_size, or give each size a stream of its own",
            )
        self.pool = FramePool((height, width, channels))
        lease = self.pool.lease()
        np.copyto(lease.buffer, picture)
        return lease


def fourcc_name(value: float) -> str:
    """A FOURCC as text, "" where there is none."""
    raw = (int(value) & 0xFFFFFFFF).to_bytes(4, "little") if value > 0 else b""
    return raw.decode("latin-1").strip("\0 ")
