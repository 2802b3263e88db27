"""Servers on loopback for tests, with pictures that say when they were sent: HTTP, MPEG-TS over UDP, silence.

RTSP is in `rtsp.py`. Each is a context manager, listens on a free port of 127.0.0.1 and ends with its threads. A
picture carries a number in black and white squares, which JPEG and H.264 leave readable, and `sent_ns(number)` says
when it was handed to the socket.
"""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np

from bedside.runtime.frame import Pixels
from bedside.runtime.opencv import quiet_opencv

WIDTH, HEIGHT = 320, 240
_SQUARE, _BITS = 16, 16


def numbered(number: int, width: int = WIDTH, height: int = HEIGHT) -> Pixels:
    """A gray picture with `number` in its first row of squares."""
    pixels = np.full((height, width, 3), 90, np.uint8)
    for bit in range(_BITS):
        value = 255 if number >> bit & 1 else 0
        pixels[:_SQUARE, bit * _SQUARE : (bit + 1) * _SQUARE] = value
    return pixels


def number_of(pixels: Pixels) -> int:
    """The number that a picture carries."""
    squares = pixels[_SQUARE // 2, _SQUARE // 2 : _BITS * _SQUARE : _SQUARE].mean(axis=1)
    return sum(1 << bit for bit, value in enumerate(squares) if value > 128)


def jpeg(number: int) -> bytes:
    """The picture as baseline JPEG, 4:2:0, with the standard Huffman tables."""
    # RTP carries neither Huffman tables nor marker segments (RFC 2435, section 4.1): no optimized ones.
    done, data = cv2.imencode(".jpg", numbered(number), [cv2.IMWRITE_JPEG_QUALITY, 80])
    assert done
    return bytes(data)


class Server:
    """What the servers share: a pace, the moments of sending, and an end.

    Args:
        fps: Pictures a second.
        count: How many before the stream ends; None for no end.
        stall_at: Number of the picture before which it falls silent, connection open.
    """

    scheme = "tcp"

    def __init__(self, fps: float = 25.0, count: int | None = None, stall_at: int | None = None) -> None:
        self.fps, self.count, self.stall_at = fps, count, stall_at
        self.stop = threading.Event()
        self.sent: dict[int, int] = {}
        self.port = 0
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self.scheme}://127.0.0.1:{self.port}/stream"

    def sent_ns(self, number: int) -> int:
        """Monotonic time at which the picture went to the socket."""
        return self.sent[number]

    def pictures(self, send: Callable[[int, bytes], None]) -> None:
        """Call `send` with every picture at its time, until the end, the client's leaving or `stop`."""
        begin = time.monotonic()
        number = 0
        while not self.stop.is_set() and (self.count is None or number < self.count):
            if number == self.stall_at:
                self.stop.wait()
                return
            data = jpeg(number)
            if self.stop.wait(max(0.0, begin + number / self.fps - time.monotonic())):
                return
            self.sent[number] = time.monotonic_ns()
            try:
                send(number, data)
            except OSError:
                return
            number += 1

    def start(self) -> None:
        """Begin to listen; sets `port`."""
        raise NotImplementedError

    def thread(self, work: Callable[[], None]) -> None:
        """Run `work` beside, until `close`."""
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)

    def close(self) -> None:
        """End; threads are joined."""
        self.stop.set()
        for thread in self._threads:
            thread.join(10)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Http(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


class HttpMjpegServer(Server):
    """Motion JPEG as cameras and scanners send it over HTTP: `multipart/x-mixed-replace`."""

    scheme = "http"

    def start(self) -> None:
        """See `Server`."""
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()

                def send(number: int, data: bytes) -> None:
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    self.wfile.write(head.encode() + data + b"\r\n")

                outer.pictures(send)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = _Http(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.thread(lambda: self._server.serve_forever(poll_interval=0.05))

    def close(self) -> None:
        """See `Server`."""
        self.stop.set()
        self._server.shutdown()
        self._server.server_close()
        super().close()


class SilentServer(Server):
    """Accepts connections and never says a word."""

    def __init__(self, scheme: str = "rtsp") -> None:
        super().__init__()
        self.scheme = scheme
        self.clients: list[socket.socket] = []

    def start(self) -> None:
        """See `Server`."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._listener.settimeout(0.05)
        self.thread(self._accept)

    def _accept(self) -> None:
        while not self.stop.is_set():
            with contextlib.suppress(TimeoutError):
                self.clients.append(self._listener.accept()[0])

    def close(self) -> None:
        """See `Server`."""
        super().close()
        for client in (*self.clients, self._listener):
            client.close()


class UdpServer(Server):
    """MPEG-TS sent to a UDP port of the reader, seven packets a datagram, at the pace of the pictures.

    Args:
        folder: For the transport stream, which OpenCV writes as a file first.
        settings: See `Server`; `count` is how many pictures the file has.
    """

    scheme = "udp"

    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__(**settings)
        self._file = folder / "stream.ts"

    def start(self) -> None:
        """See `Server`."""
        assert self.count is not None
        with quiet_opencv():
            fourcc = cv2.VideoWriter.fourcc(*"mp1v")
            writer = cv2.VideoWriter(str(self._file), cv2.CAP_FFMPEG, fourcc, self.fps, (WIDTH, HEIGHT))
        assert writer.isOpened()
        for number in range(self.count):
            writer.write(numbered(number))
        writer.release()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.thread(self._send)

    @property
    def url(self) -> str:
        """Where the reader listens."""
        return f"udp://127.0.0.1:{self.port}"

    def _send(self) -> None:
        assert self.count is not None
        data = self._file.read_bytes()
        size, end = 188, self.count / self.fps
        pieces = [data[i : i + size] for i in range(0, len(data), size)]
        begin = time.monotonic()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            for index, piece in enumerate(pieces):
                if self.stop.wait(max(0.0, begin + index / len(pieces) * end - time.monotonic())):
                    return
                with contextlib.suppress(OSError):  # nobody listens yet
                    out.sendto(piece, ("127.0.0.1", self.port))
