"""Cameras and frame grabbers, through V4L2 on Linux and OpenCV's choice elsewhere."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec

from bedside.devices.sources.grab import Capture, PooledGrabber, fourcc_name
from bedside.devices.sources.options import CaptureOptions
from bedside.runtime.clock import Clock
from bedside.runtime.errors import SourceError
from bedside.runtime.frame import Frame
from bedside.runtime.opencv import quiet_opencv
from bedside.runtime.protocols import SourceInfo
from bedside.runtime.source_base import SourceBase

SELECT_TIMEOUT_S = 1
"""How long V4L2 waits for a frame before the device counts as gone; OpenCV's own default is 10 s."""

FPS_TOLERANCE = 0.01
"""Relative difference at which a granted frame rate still is the one asked for: 29.97 is 30."""

DRIVER_STAMP_NS = 1_000_000_000
"""A driver's stamp older than this is of another clock than ours, or of a frame that the time-out would have
refused."""

Device = int | str
Opener = Callable[[Device], Capture]


class CameraEntry(msgspec.Struct, frozen=True):
    """A capture device of this host.

    Attributes:
        device: Path, for example `/dev/video0`.
        name: What the driver calls it, "" where it does not say.
    """

    device: str
    name: str


def list_cameras(
    dev: Path = Path("/dev"), sysfs: Path = Path("/sys/class/video4linux")
) -> tuple[CameraEntry, ...]:
    """The V4L2 devices of this host, by number; empty on other systems. Opens none of them.

    Args:
        dev: Where device nodes are.
        sysfs: Where the kernel tells their names.
    """
    found: list[tuple[int, CameraEntry]] = []
    for node in dev.glob("video*"):
        match = re.fullmatch(r"video(\d+)", node.name)
        if match is None:
            continue
        try:
            name = (sysfs / node.name / "name").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            name = ""
        found.append((int(match[1]), CameraEntry(str(node), name)))
    return tuple(entry for _, entry in sorted(found, key=lambda pair: pair[0]))


def open_capture(device: Device) -> Capture:
    """Open a capture device with OpenCV."""
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(SELECT_TIMEOUT_S))
    backend = cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY
    with quiet_opencv():
        return cv2.VideoCapture(device, backend)


class CameraSource(SourceBase):
    """A live camera or capture card, BGR.

    The stamp is the driver's own where it counts on the host's monotonic clock, as V4L2 drivers do
    (`V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC`, Linux media documentation, "Buffers"; OpenCV gives it as
    `CAP_PROP_POS_MSEC`): a frame that waited in the driver's queue is as old as it is. Elsewhere it is taken when
    the driver has handed the frame over, before its conversion.

    Args:
        device: Number or path.
        options: What to ask of it; what the driver grants instead is refused.
        clock: For the stamps.
        opener: Opens the device.
    """

    def __init__(
        self,
        device: Device,
        options: CaptureOptions | None = None,
        *,
        clock: Clock | None = None,
        opener: Opener = open_capture,
    ) -> None:
        super().__init__(f"camera:{device}", clock)
        self._device, self._opener = device, opener
        self._options = options or CaptureOptions()
        self._capture: Capture | None = None
        self._grabber: PooledGrabber | None = None
        self._last_ns = 0

    def _open(self) -> SourceInfo:
        capture = self._capture = self._opener(self._device)
        self._last_ns = 0
        if not capture.isOpened():
            raise SourceError("no such camera, or it is in use", where=self.name, hint=_what_there_is())
        self._ask(capture)
        granted = _read_back(capture)
        width, height = (
            int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        )
        if width <= 0 or height <= 0:
            raise SourceError("the camera does not say how large its frames are", where=self.name)
        self._grabber = PooledGrabber(self.name, (height, width, 3), self._options.adopt_size)
        rate = capture.get(cv2.CAP_PROP_FPS)
        return SourceInfo(
            name=self.name,
            width=width,
            height=height,
            color="bgr",
            fps=rate if rate > 0 else None,
            live=True,
            details={"kind": "camera", "granted": granted},
        )

    def _ask(self, capture: Capture) -> None:
        """Set what is asked for, then compare what the driver made of it."""
        options = self._options
        # The pixel format comes first: which sizes and rates there are depends on it.
        if options.fourcc is not None:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*options.fourcc))
        for prop, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, options.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, options.height),
            (cv2.CAP_PROP_FPS, options.fps),
            (cv2.CAP_PROP_BUFFERSIZE, options.buffers),
        ):
            if value is not None:
                capture.set(prop, value)
        granted = _read_back(capture)
        wrong = [
            f"{key}={value} (granted {granted[key]})"
            for key, value in msgspec.structs.asdict(options).items()
            if key in granted and value is not None and not _same(value, granted[key])
        ]
        if wrong:
            raise SourceError(
                f"the camera does not grant {', '.join(wrong)}",
                where=self.name,
                hint="ask for what it can do (v4l2-ctl --list-formats-ext lists it), or leave the option out",
            )

    def _next(self, seq: int, now_ns: int) -> Frame | None:
        if self._capture is None or self._grabber is None:
            return None
        if not self._capture.grab():
            if self._cancelled.is_set():
                return None
            raise SourceError(
                "the camera stopped giving frames",
                where=self.name,
                hint="unplugged, or taken by another program",
            )
        captured_ns, pts_ns = self._stamp(self._capture)
        lease = self._grabber.retrieve(self._capture)
        return Frame(
            pixels=lease.buffer,
            seq=seq,
            captured_ns=captured_ns,
            source=self.name,
            color="bgr",
            pts_ns=pts_ns,
            lease=lease,
        )

    def _stamp(self, capture: Capture) -> tuple[int, int | None]:
        """When the grabbed frame was captured, and the driver's own time of it where that can be used."""
        now_ns = self.clock.now_ns()
        driver_ns = round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        if 0 <= now_ns - driver_ns <= DRIVER_STAMP_NS and driver_ns > self._last_ns:
            self._last_ns = driver_ns
            return driver_ns, driver_ns
        return now_ns, None

    def _close(self) -> None:
        if self._capture is not None:
            self._capture.release()
        self._capture = self._grabber = None


def _read_back(capture: Capture) -> dict[str, float | str]:
    return {
        "width": int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        "height": int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        "fps": capture.get(cv2.CAP_PROP_FPS),
        "fourcc": fourcc_name(capture.get(cv2.CAP_PROP_FOURCC)),
        "buffers": int(capture.get(cv2.CAP_PROP_BUFFERSIZE)),
    }


def _same(asked: float | str, granted: float | str) -> bool:
    if isinstance(asked, str) or isinstance(granted, str):
        return str(asked).upper() == str(granted).upper()
    return abs(asked - granted) <= (FPS_TOLERANCE * abs(asked) if isinstance(asked, float) else 0)


def _what_there_is() -> str:
    cameras = list_cameras()
    if not cameras:
        return "this host has no capture device"
    return "there is " + ", ".join(f"{c.device} ({c.name})" if c.name else c.device for c in cameras)
