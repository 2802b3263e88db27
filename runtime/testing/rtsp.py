"""An RTSP server on loopback for tests, with pictures that say when they were sent."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Callable
from typing import Any

from bedside.runtime.testing.streams import HEIGHT, WIDTH, Server


class RtspServer(Server):
    """RTSP 1.0 (RFC 2326) with Motion JPEG in RTP (RFC 2435), interleaved on the TCP connection or over UDP.

    As much of it as FFmpeg's client uses: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN.

    Args:
        transports: What it grants; the others are answered with 461.
        settings: See `Server`.
    """

    scheme = "rtsp"

    def __init__(self, transports: tuple[str, ...] = ("tcp", "udp"), **settings: Any) -> None:
        super().__init__(**settings)
        self.transports = transports
        self.granted: list[str] = []

    def start(self) -> None:
        """See `Server`."""
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    _RtspSession(outer, self).serve()

        class Listener(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False

        self._server = Listener(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.thread(lambda: self._server.serve_forever(poll_interval=0.05))

    def close(self) -> None:
        """See `Server`."""
        self.stop.set()
        self._server.shutdown()
        self._server.server_close()
        super().close()


class _RtspSession:
    """One client's connection."""

    def __init__(self, server: RtspServer, handler: socketserver.StreamRequestHandler) -> None:
        self._server, self._handler = server, handler
        self._lock = threading.Lock()
        self._send_packet: Callable[[bytes], None] | None = None
        self._sequence = 0
        self._gone = threading.Event()
        self._datagrams: socket.socket | None = None

    def serve(self) -> None:
        """Answer until the client leaves."""
        try:
            while (request := self._request()) is not None:
                self._answer(*request)
        finally:
            self._gone.set()

    def _request(self) -> tuple[str, dict[str, str]] | None:
        read = self._handler.rfile
        while (first := read.read(1)) == b"$":  # RTCP of the receiver
            _, length = struct.unpack("!BH", read.read(3))
            read.read(length)
        if not first:
            return None
        line = (first + read.readline()).decode().split(" ")
        fields: dict[str, str] = {}
        while header := read.readline().decode().strip():
            name, _, value = header.partition(":")
            fields[name.lower()] = value.strip()
        return line[0], fields

    def _answer(self, method: str, fields: dict[str, str]) -> None:
        headers, body, status = {"CSeq": fields.get("cseq", "0")}, "", "200 OK"
        if method == "OPTIONS":
            headers["Public"] = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"
        elif method == "DESCRIBE":
            body = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
                f"m=video 0 RTP/AVP 26\r\na=framerate:{self._server.fps}\r\na=control:track\r\n"
            )
            headers |= {"Content-Type": "application/sdp", "Content-Base": f"{self._server.url}/"}
        elif method == "SETUP":
            kind = "tcp" if "TCP" in fields["transport"] else "udp"
            if kind in self._server.transports:
                self._server.granted.append(kind)
                headers |= {"Transport": self._set_up(kind, fields["transport"]), "Session": "1"}
            else:
                status = "461 Unsupported Transport"
        elif method == "PLAY":
            headers["Session"] = "1"
        if body:
            headers["Content-Length"] = str(len(body))
        lines = [f"RTSP/1.0 {status}", *(f"{k}: {v}" for k, v in headers.items()), "", body]
        with self._lock:
            self._handler.wfile.write("\r\n".join(lines).encode())
        if method == "PLAY":
            self._server.thread(self._play)

    def _play(self) -> None:
        self._server.pictures(self._send_picture)
        if self._datagrams is not None:
            self._datagrams.close()
        with contextlib.suppress(OSError):
            self._handler.connection.shutdown(socket.SHUT_RDWR)

    def _set_up(self, kind: str, asked: str) -> str:
        if kind == "tcp":

            def interleaved(packet: bytes) -> None:
                with self._lock:
                    self._handler.wfile.write(struct.pack("!cBH", b"$", 0, len(packet)) + packet)

            self._send_packet = interleaved
            return "RTP/AVP/TCP;unicast;interleaved=0-1"
        port = int(asked.partition("client_port=")[2].split("-")[0])
        out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        out.bind(("127.0.0.1", 0))

        def datagram(packet: bytes) -> None:
            out.sendto(packet, ("127.0.0.1", port))

        self._send_packet, self._datagrams = datagram, out
        own = out.getsockname()[1]
        return f"RTP/AVP;unicast;client_port={port}-{port + 1};server_port={own}-{own + 1}"

    def _send_picture(self, number: int, data: bytes) -> None:
        """RFC 2435, section 3.1: the scan without its headers, the quantization tables beside it."""
        if self._gone.is_set():
            raise BrokenPipeError
        tables, scan = _tables_and_scan(data)
        stamp = round(number * 90_000 / self._server.fps) & 0xFFFFFFFF
        offset, room = 0, 1300
        while offset < len(scan):
            part = scan[offset : offset + room]
            last = offset + len(part) == len(scan)
            head = struct.pack("!BBHII", 0x80, 26 | (0x80 if last else 0), self._sequence, stamp, 1)
            # Type 1 is 4:2:0; quality 255 says that the tables follow in the first packet.
            kind = struct.pack("!II", offset, (1 << 24) | (255 << 16) | (WIDTH // 8 << 8) | HEIGHT // 8)
            if offset == 0:
                kind += struct.pack("!BBH", 0, 0, len(tables)) + tables
            assert self._send_packet is not None
            self._send_packet(head + kind + part)
            self._sequence = (self._sequence + 1) & 0xFFFF
            offset += len(part)


def _tables_and_scan(data: bytes) -> tuple[bytes, bytes]:
    """The two quantization tables, 64 bytes each, and the entropy-coded scan of a JPEG file."""
    tables, at = b"", 2
    while True:
        marker, length = data[at + 1], struct.unpack("!H", data[at + 2 : at + 4])[0]
        segment = data[at + 4 : at + 2 + length]
        if marker == 0xDB:
            while segment:
                tables, segment = tables + segment[1:65], segment[65:]
        at += 2 + length
        if marker == 0xDA:
            return tables, data[at:-2]
