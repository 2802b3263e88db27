"""What a profile, or a URI, may ask of a capture device or of a stream."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Pixels = Annotated[int, Meta(ge=16, le=16384)]
Seconds = Annotated[float, Meta(gt=0, le=60)]


class CaptureOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is asked of a live source. The `[capture]` of a profile is this, with a URI and a policy.

    Attributes:
        width: Asked of the camera, in pixels; None leaves it to the driver, as below.
        height: Asked of the camera, in pixels.
        fps: Asked of the camera, in frames per second.
        fourcc: Asked of the camera: a pixel format of four characters, `MJPG`, `YUYV`, `NV12`, ...
        buffers: Frames that the driver may queue; fewer are younger.
        adopt_size: Whether a picture that changes its size in mid-stream is adopted instead of refused.
        transport: How RTP travels from an RTSP server: `tcp` loses nothing, `udp` waits for nothing.
        open_timeout_s: How long a server may take to answer until its first picture.
        read_timeout_s: How long a stream may be silent before it counts as lost.
        stream_time: Whether a stream's own time may make a stamp older than its receipt; see
            `bedside.devices.sources.stream_time`.
    """

    width: Pixels | None = None
    height: Pixels | None = None
    fps: Annotated[float, Meta(gt=0, le=1000)] | None = None
    fourcc: Annotated[str, Meta(pattern=r"^[\x21-\x7e][\x20-\x7e]{3}$")] | None = None
    buffers: Annotated[int, Meta(ge=1, le=32)] | None = None
    adopt_size: bool = False
    transport: Literal["tcp", "udp"] = "tcp"
    open_timeout_s: Seconds = 5.0
    read_timeout_s: Seconds = 2.0
    stream_time: bool = True
