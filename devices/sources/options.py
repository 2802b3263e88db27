"""What a profile, or a URI, may ask of a capture device."""

from __future__ import annotations

import msgspec


class CaptureOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is asked of a capture device; None leaves it to the driver.

    Attributes:
        width: In pixels.
        height: In pixels.
        fps: Frames per second.
        fourcc: Pixel format, four characters: `MJPG`, `YUYV`, `NV12`, ...
        buffers: How many frames the driver may queue; fewer are younger.
        adopt_size: Go on when the picture changes its size in mid-stream, instead of ending with an error.
    """

    width: int | None = None
    height: int | None = None
    fps: float | None = None
    fourcc: str | None = None
    buffers: int | None = None
    adopt_size: bool = False
