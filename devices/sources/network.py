"""Streams from a server: RTSP, Motion JPEG and other streams over HTTP, MPEG-TS over UDP."""

from __future__ import annotations

import os
import socket
import threading
import time
from urllib.parse import urlsplit

import cv2

from bedside.devices.sources.grab import Capture
from bedside.devices.sources.options import CaptureOptions
from bedside.devices.sources.reader import SILENT_PART, StreamReader
from bedside.runtime.clock import Clock
from bedside.runtime.errors import SourceError
from bedside.runtime.frame import Frame
from bedside.runtime.protocols import SourceInfo
from bedside.runtime.source_base import SourceBase

NETWORK_SCHEMES = ("http", "https", "rtsp", "rtsps", "udp")

DECODER_THREADS = 1
"""FFmpeg decodes H.264 and H.265 with one frame in each thread, and so gives every frame as many frame times later
as there are further threads (libavcodec, doc/multithreading.txt, "Frame threading"). One is enough for 1080p60."""

_PORTS = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322}
#: How a failed connection is asked once more, for a reason: FFmpeg's stays in OpenCV.
_DIAGNOSIS_S = 1.0
_ENVIRONMENT = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_OPENING = threading.Lock()


class NetworkSource(SourceBase):
    """A stream from a server, BGR. A thread reads it all the time, so that frames do not grow old in buffers.

    The stamp is the moment of receipt, or an earlier one where the stream's own time says that the frame was held
    up (`StreamTime`); that time is `Frame.pts_ns`. What was buffered while FFmpeg examined the stream is left
    behind, and so is what piles up in a stall: `skipped` counts it. A file on a web server is a recording: every
    frame of it is given, and nothing is stamped back.

    Args:
        url: With one of `NETWORK_SCHEMES`. User and password are never shown.
        options: Transport, time-outs, whether the stream's own time counts.
        clock: For the stamps.
    """

    def __init__(
        self, url: str, options: CaptureOptions | None = None, *, clock: Clock | None = None
    ) -> None:
        super().__init__(shown(url), clock)
        self._url, self._options = url, options or CaptureOptions()
        self._reader: StreamReader | None = None
        self._starting = threading.Lock()

    @property
    def skipped(self) -> int:
        """Old frames that were left behind in mid-stream."""
        return 0 if self._reader is None else self._reader.skipped

    def _open(self) -> SourceInfo:
        scheme = urlsplit(self._url).scheme
        # An RTSP server that plays a file says how long it is, and paces it all the same.
        files = scheme in ("http", "https")
        reader = StreamReader(self.name, self._connect, self._clocked, files, self._options, self.clock)
        with self._starting:  # a cancel comes either before, or to this reader
            self._reader = reader
            if self._cancelled.is_set():
                reader.stop()
        opened = reader.open()
        return SourceInfo(
            name=self.name,
            width=opened.shape[1],
            height=opened.shape[0],
            color="bgr",
            fps=opened.fps,
            frames=opened.frames,
            live=opened.live,
            details={
                "kind": "network",
                "codec": opened.codec,
                "transport": self._options.transport if scheme.startswith("rtsp") else scheme,
                "stream_time": opened.stream_time,
                "drained": opened.drained,
            },
        )

    def _connect(self) -> Capture:
        begin = time.monotonic()
        capture = open_stream(self._url, self._options)
        if capture.isOpened():
            return capture
        capture.release()
        if time.monotonic() - begin >= SILENT_PART * self._options.open_timeout_s:
            raise SourceError(
                f"no answer within {self._options.open_timeout_s:g} s",
                where=self.name,
                hint="is it the right address? [capture] open_timeout_s sets the limit",
            )
        why = _unreachable(self._url)
        if why:
            raise SourceError(f"cannot connect: {why}", where=self.name)
        raise SourceError(
            "there is no stream that FFmpeg can open",
            where=self.name,
            hint="check the path, user and password, and [capture] transport",
        )

    def _clocked(self, codec: str) -> bool:
        """Whether the protocol carries a sampling clock; see `stream_time`."""
        return codec != "MJPG" or not self._url.startswith("http")

    def _next(self, seq: int, now_ns: int) -> Frame | None:
        received = None if self._reader is None else self._reader.next()
        if received is None:
            return None
        if received.error is not None:
            raise received.error
        assert received.lease is not None
        return Frame(
            pixels=received.lease.buffer,
            seq=seq,
            captured_ns=received.stamp.captured_ns,
            source=self.name,
            color="bgr",
            pts_ns=received.stamp.pts_ns,
            lease=received.lease,
        )

    def cancel(self) -> None:
        """End an `open` or a `read` that waits for the server."""
        super().cancel()
        with self._starting:
            if self._reader is not None:
                self._reader.stop()

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()


def open_stream(url: str, options: CaptureOptions) -> Capture:
    """Connect with OpenCV's FFmpeg.

    Its options travel in an environment variable, so one stream is opened at a time; what the user has put there
    stays in force, and goes before ours.
    """
    own = {
        "rtsp_transport": options.transport,
        # FFmpeg would keep 20 frames to count their rate: most of a second, in which they grow old.
        "fpsprobesize": "0",
        # A playlist from a server must not name files of this host.
        "protocol_whitelist": "rtsp,rtsps,rtp,srtp,rtcp,udp,tcp,tls,http,https,httpproxy,crypto,data",
    }
    with _OPENING:
        before = os.environ.get(_ENVIRONMENT)
        pairs = [f"{key};{value}" for key, value in own.items()]
        os.environ[_ENVIRONMENT] = "|".join([*pairs, before] if before else pairs)
        try:
            return cv2.VideoCapture(
                url,
                cv2.CAP_FFMPEG,
                [
                    cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
                    max(1, round(options.open_timeout_s * 1000)),
                    cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                    max(1, round(options.read_timeout_s * 1000)),
                    cv2.CAP_PROP_N_THREADS,
                    DECODER_THREADS,
                ],
            )
        finally:
            if before is None:
                del os.environ[_ENVIRONMENT]
            else:
                os.environ[_ENVIRONMENT] = before


def shown(url: str) -> str:
    """The URL as it may be printed and kept in results: without user, password and query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _unreachable(url: str) -> str:
    """Why nothing listens there; "" where something does, or cannot be asked."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        return ""
    try:
        port = parts.port or _PORTS[parts.scheme]
        socket.create_connection((parts.hostname, port), timeout=_DIAGNOSIS_S).close()
    except (OSError, ValueError) as error:  # ValueError: a port that is none
        return getattr(error, "strerror", None) or str(error) or "no answer"
    return ""
