"""Frames with their results under them, as a WebM video that any browser plays."""

from __future__ import annotations

import contextlib
import math
import re
import shutil
from pathlib import Path

import cv2

from bedside.devices.overlay import Overlay
from bedside.devices.sinks.failure import sink_error
from bedside.runtime.engines.quiet import filtered_stderr
from bedside.runtime.errors import SinkError, UsageError
from bedside.runtime.frame import Frame, Pixels
from bedside.runtime.opencv import quiet_opencv
from bedside.runtime.protocols import SourceInfo
from bedside.runtime.result import Result

#: Larger pictures are made smaller. Encoding VP8 costs about 60 ns of processor time per pixel, strip
#: included (OpenCV passes no speed option on, opencv #24570): 28 ms for this many, with which one core keeps
#: up at 30 frames a second.
MAX_PIXELS = 800 * 450

#: A video stops when the disk has less than this left: results are worth more than pictures of them.
RESERVE_BYTES = 32 << 20

#: The picture stands still for frames that never came here, so that the video keeps the time of the stream,
#: but for no more than this many in a row, so that a slow encoder is not slowed further.
MAX_HELD = 4

# Printed for every WebM, whatever the log level: its muxer has no table of fourccs in which VP80 could be.
_CHATTER = re.compile(rb"OpenCV: FFMPEG: |\[ ?(WARN|ERROR):\S*\] global \S*cap_ffmpeg")

_FALLBACK_FPS = 30.0
_MAX_FPS = 240.0


class VideoSink:
    """Overlay video, VP8 in WebM.

    The file is written beside its name and gets it when it is whole, so that the name never stands for half a
    video. Without a single frame there is no file.

    Args:
        path: Has to end in `.webm`. An existing file is removed when the sink is opened: it would be taken
            for the video of this run.
        max_pixels: Of the picture in the video; None for no limit.
        reserve_bytes: Free space to leave on the disk.

    Raises:
        UsageError: Another container. Those that OpenCV can write do not play in browsers.
    """

    durable = False
    needs_frame = True

    def __init__(
        self, path: str | Path, *, max_pixels: int | None = MAX_PIXELS, reserve_bytes: int = RESERVE_BYTES
    ) -> None:
        self.name = f"video:{path}"
        self._path = Path(path).expanduser()
        if self._path.suffix.lower() != ".webm":
            raise UsageError(
                f"the name of the video has to end in .webm, not {self._path.suffix or 'in nothing'}",
                where=f"sink {self.name!r}",
                hint="OpenCV writes no other video that a browser plays",
            )
        self._partial = self._path.with_name(f"{self._path.stem}.partial.webm")
        self._max_pixels = max_pixels
        self._reserve = reserve_bytes
        self._fps = _FALLBACK_FPS
        self._opened = False
        self._writer: cv2.VideoWriter | None = None
        self._overlay: Overlay | None = None
        self._picture: Pixels | None = None
        self._seq = -1

    def open(self, info: SourceInfo) -> None:
        """See that the video can be written. It begins with the first frame, which has its size.

        Raises:
            SinkError: It cannot.
        """
        fps = info.fps or 0.0
        self._fps = fps if math.isfinite(fps) and 0 < fps <= _MAX_FPS else _FALLBACK_FPS
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._partial.open("wb").close()
            self._opened = True
            self._path.unlink(missing_ok=True)
        except OSError as error:
            self._discard()
            raise sink_error(self.name, "cannot create the video", error) from None
        try:
            self._check_space()
        except SinkError:
            self._discard()
            raise

    def write(self, result: Result, frame: Frame | None) -> None:
        """Add one frame; without a frame there is nothing to show.

        Raises:
            SinkError: The encoder is missing, or the disk is full.
        """
        if not self._opened:
            raise SinkError("not open", where=self.name)
        if frame is None:
            return
        self._check_space()
        if self._overlay is None:
            height, width = frame.pixels.shape[:2]
            self._overlay = Overlay(width, height, max_pixels=self._max_pixels, task=result.task)
            self._writer = self._begin(self._overlay.size)
        if self._picture is not None:
            for _ in range(min(MAX_HELD, result.seq - self._seq - 1)):
                self._add(self._picture)
        self._picture = self._overlay.draw(frame, result)
        self._seq = result.seq
        self._add(self._picture)

    def close(self) -> None:
        """Finish the video and give it its name.

        Raises:
            SinkError: It is not whole; then nothing is left of it.
        """
        if not self._opened:
            return
        begun = self._writer is not None
        if self._writer is not None:
            with quiet_opencv():
                self._writer.release()
        self._writer, self._overlay, self._picture, self._seq = None, None, None, -1
        if not begun:
            self._discard()
            return
        try:
            whole = is_whole_webm(self._partial)
            if whole:
                self._partial.replace(self._path)
                self._opened = False
        except OSError as error:
            self._discard()
            raise sink_error(self.name, "cannot finish the video", error) from None
        if not whole:
            self._discard()
            raise SinkError(
                "the end of the video could not be written",
                where=self.name,
                hint="free some space on the disk",
            )

    def _begin(self, size: tuple[int, int]) -> cv2.VideoWriter:
        # An absolute path: FFmpeg would take a colon in a relative one for a protocol.
        path = str(self._partial.absolute())
        with filtered_stderr(_CHATTER), quiet_opencv():
            writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"VP80"), self._fps, size)
        if not writer.isOpened():
            writer.release()
            raise SinkError(
                f"OpenCV {cv2.__version__} cannot write a VP8 video here",
                where=self.name,
                hint="install opencv-python-headless from PyPI, which brings an FFmpeg with VP8",
            )
        return writer

    def _add(self, picture: Pixels) -> None:
        assert self._writer is not None
        with quiet_opencv():
            # OpenCV 5 says whether it worked, 4 says nothing: there, `close` finds out.
            written: bool | None = self._writer.write(picture)
        if written is False:
            raise SinkError("the video could not be written", where=self.name, hint="is the disk full?")

    def _check_space(self) -> None:
        try:
            usage = shutil.disk_usage(self._path.parent)
        except OSError as error:
            raise sink_error(self.name, "the disk is gone", error) from None
        # Some virtual file systems know no size.
        if usage.total > 0 and usage.free < self._reserve:
            raise SinkError(
                f"{usage.free >> 20} MiB are left on the disk, less than {self._reserve >> 20}",
                where=self.name,
                hint="free some space, or run without the video: results need the rest",
            )

    def _discard(self) -> None:
        self._opened = False
        with contextlib.suppress(OSError):
            self._partial.unlink()


def is_whole_webm(path: Path) -> bool:
    """Whether the file's outermost elements fill it exactly.

    FFmpeg writes the length of the segment last, at the front, so that a file whose end is missing says so:
    its segment is of unknown or of another length (RFC 8794, sections 4 to 6; RFC 9559, section 5.1).

    Raises:
        OSError: The file cannot be read.
    """
    end = path.stat().st_size
    with path.open("rb") as file:
        position = 0
        for expected in (0x1A45DFA3, 0x18538067):  # EBML, Segment
            file.seek(position)
            head = file.read(12)
            if len(head) < 5 or int.from_bytes(head[:4], "big") != expected or head[4] == 0:
                return False
            length = 9 - head[4].bit_length()
            coded = int.from_bytes(head[4 : 4 + length], "big")
            size = coded & ((1 << 7 * length) - 1)
            if size == (1 << 7 * length) - 1:  # unknown
                return False
            position += 4 + length + size
    return position == end
