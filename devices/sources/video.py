"""Video files, decoded by the FFmpeg inside OpenCV."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from bedside.devices.sources.grab import Capture, PooledGrabber, Shape, fourcc_name
from bedside.runtime.clock import Clock
from bedside.runtime.errors import SourceError
from bedside.runtime.frame import Frame, SourceReference
from bedside.runtime.opencv import quiet_opencv
from bedside.runtime.protocols import SourceInfo
from bedside.runtime.source_base import SourceBase

MAX_SHORTFALL = 0.1
"""A file that ends with more than this part of its declared frames missing is cut short: containers that only
estimate the count are off by less."""

_MAX_FPS = 1000.0


class VideoSource(SourceBase):
    """A video file, BGR. The stamp is taken before a frame is read, so decoding counts as age.

    Args:
        path: The file.
        fps: Overrides the rate in the file.
        adopt_size: Go on when the picture changes its size in mid-stream.
        clock: For the stamps.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fps: float | None = None,
        adopt_size: bool = False,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(str(path), clock)
        self._path, self._fps, self._adopt_size = Path(path), fps, adopt_size
        self._capture: Capture | None = None
        self._grabber: PooledGrabber | None = None
        self._declared: int | None = None
        self._last_pts_ns = -1

    def _open(self) -> SourceInfo:
        try:
            if not self._path.stat().st_size:
                raise SourceError("the file is empty", where=self.name)
            with self._path.open("rb"):
                pass
        except OSError as error:
            raise SourceError(f"cannot open: {error.strerror or error}", where=self.name) from error
        # The first picture says what its header only claims: that there is one, and its size behind rotation.
        # It is decoded twice, so that its age, too, counts from before the read.
        shape = self._probe()
        capture = self._capture = self._start()
        self._grabber = PooledGrabber(self.name, shape, self._adopt_size)
        self._last_pts_ns = -1
        rate = capture.get(cv2.CAP_PROP_FPS)
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self._declared = int(count) if 0 < count < 2**53 else None
        return SourceInfo(
            name=self.name,
            width=shape[1],
            height=shape[0],
            color="bgr",
            fps=self._fps or (rate if 0 < rate <= _MAX_FPS else None),
            frames=self._declared,
            details={"kind": "video", "codec": fourcc_name(capture.get(cv2.CAP_PROP_FOURCC))},
        )

    def _start(self) -> Capture:
        with quiet_opencv():
            capture: Capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            capture.release()
            raise SourceError(
                "not a video that FFmpeg can open",
                where=self.name,
                hint="the file is damaged, incomplete, or something else",
            )
        return capture

    def _probe(self) -> Shape:
        capture = self._start()
        try:
            got, picture = capture.retrieve() if capture.grab() else (False, None)
        except cv2.error:
            got, picture = False, None
        finally:
            capture.release()
        if not got or picture is None or picture.dtype != np.uint8 or picture.ndim != 3:
            raise SourceError(
                "the video has no frame that can be decoded",
                where=self.name,
                hint="is it an audio file, or empty?",
            )
        height, width, channels = picture.shape
        return height, width, channels

    def _next(self, seq: int, now_ns: int) -> Frame | None:
        if self._capture is None or self._grabber is None:
            return None
        if not self._capture.grab():
            self._check_end(seq)
            return None
        pts_ns = self._pts_ns()
        lease = self._grabber.retrieve(self._capture)
        return Frame(
            pixels=lease.buffer,
            seq=seq,
            captured_ns=now_ns,
            source=self.name,
            color="bgr",
            pts_ns=pts_ns,
            reference=SourceReference(frame_index=seq),
            lease=lease,
        )

    def _pts_ns(self) -> int | None:
        """The stream's time of the frame; None where there is none, which FFmpeg reports as 0 again."""
        pts_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6) if self._capture is not None else -1
        if pts_ns <= self._last_pts_ns:
            return None
        self._last_pts_ns = pts_ns
        return pts_ns

    def _check_end(self, read: int) -> None:
        if self._declared is not None and read < self._declared * (1 - MAX_SHORTFALL):
            raise SourceError(
                f"the video ends after {read} of {self._declared} declared frames",
                where=self.name,
                hint="the file is cut short or damaged",
            )

    def _close(self) -> None:
        if self._capture is not None:
            self._capture.release()
        self._capture = self._grabber = None
