"""Streams from servers on loopback: what arrives, how old it says it is, and every way in which a server fails."""

from __future__ import annotations

import contextlib
import http.server
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from bedside.devices.sources import CaptureOptions, NetworkSource, VideoSource, open_source
from bedside.devices.sources.network import NETWORK_SCHEMES, shown
from bedside.runtime.errors import SourceError, UsageError
from bedside.runtime.frame import Frame
from bedside.runtime.testing.rtsp import RtspServer
from bedside.runtime.testing.streams import (
    HEIGHT,
    WIDTH,
    HttpMjpegServer,
    Server,
    SilentServer,
    UdpServer,
    number_of,
)

MakeVideo = Callable[..., Path]

QUICK = CaptureOptions(open_timeout_s=1.0, read_timeout_s=1.0)
#: On a busy machine a time-out comes late; one that does not come at all takes FFmpeg's 30 s.
SOON_S = 15.0


@contextlib.contextmanager
def opened(url: str, options: CaptureOptions | None = None) -> Iterator[NetworkSource]:
    source = open_source(url, capture=options or CaptureOptions(read_timeout_s=10, open_timeout_s=20))
    assert isinstance(source, NetworkSource)
    try:
        yield source
    finally:
        source.close()


def take(source: NetworkSource, count: int) -> list[Frame]:
    frames = []
    while len(frames) < count and (frame := source.read()) is not None:
        frames.append(frame)
    return frames


def make(kind: str, folder: Path) -> Server:
    if kind == "udp":
        return UdpServer(folder, fps=25, count=250)
    return {"rtsp": RtspServer, "http": HttpMjpegServer}[kind](fps=25)


@pytest.mark.parametrize("kind", ["rtsp", "http", "udp"])
def test_frames_arrive_in_order_with_growing_stamps(kind: str, tmp_path: Path) -> None:
    with make(kind, tmp_path) as server, opened(server.url) as source:
        info = source.open()
        assert (info.width, info.height, info.live, info.frames, info.color) == (
            WIDTH,
            HEIGHT,
            True,
            None,
            "bgr",
        )
        assert info.details["kind"] == "network"
        # Motion JPEG over HTTP has no clock of its sender's; RTP and MPEG-TS have one.
        assert info.details["stream_time"] is (kind != "http")
        frames = take(source, 12)
        numbers = [number_of(frame.pixels) for frame in frames]
        assert len(set(numbers)) == 12 and numbers == sorted(numbers)
        assert [frame.seq for frame in frames] == list(range(12))
        stamps = [frame.captured_ns for frame in frames]
        assert stamps == sorted(stamps) and stamps[-1] <= time.monotonic_ns()
        times = [frame.pts_ns for frame in frames]
        if kind == "http":
            assert times == [None] * 12
        else:
            # The stream's time goes with the pictures, whatever the network does to them.
            steps = [(numbers[i] - numbers[0]) * 40e6 for i in range(12)]
            assert [t - times[0] for t in times] == pytest.approx(steps, abs=1e6)  # type: ignore[operator]
        assert source.read() is not None
        for frame in frames:
            frame.release()


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_the_transport_is_the_one_asked_for(transport: str) -> None:
    with RtspServer(fps=25) as server, opened(f"{server.url}#transport={transport}") as source:
        assert source.open().details["transport"] == transport
        assert server.granted == [transport]
        assert source.read() is not None


def test_a_transport_that_the_server_refuses_is_an_error() -> None:
    with RtspServer(transports=("udp",)) as server, opened(server.url, QUICK) as source:
        with pytest.raises(SourceError, match=r"no stream that FFmpeg can open .*transport"):
            source.open()
        assert server.granted == []


@pytest.mark.parametrize("kind", ["rtsp", "http"])
def test_a_stamp_is_close_to_the_moment_of_sending(kind: str, tmp_path: Path) -> None:
    with make(kind, tmp_path) as server, opened(server.url) as source:
        source.open()
        late = []
        for frame in take(source, 25):
            late.append((frame.captured_ns - server.sent_ns(number_of(frame.pixels))) / 40e6)
            frame.release()
        # In frame intervals; the median of many, as the machine may be busy at any moment.
        assert -0.5 < sorted(late)[12] < 1


def test_what_is_buffered_at_the_beginning_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg made to examine the stream for 20 frames, as it does unless told otherwise."""
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "fpsprobesize;20")
    with RtspServer(fps=25) as server, opened(server.url) as source:
        info = source.open()
        assert info.details["drained"] >= 15
        frame = source.read()
        assert frame is not None
        # Not one of those that FFmpeg kept, and stamped when it came, not when somebody asked.
        number = number_of(frame.pixels)
        assert number >= 15
        assert frame.captured_ns - server.sent_ns(number) < 10 * 40e6
    assert os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] == "fpsprobesize;20"  # as the user had it


class Hiccup(RtspServer):
    """Sends nothing for `pause` frames, then everything at once, as a network does after a fault."""

    first, pause = 20, 25

    def pictures(self, send: Callable[[int, bytes], None]) -> None:
        held: list[tuple[int, bytes]] = []

        def later(number: int, data: bytes) -> None:
            if self.first <= number < self.first + self.pause:
                held.append((number, data))
                return
            for late in (*held, (number, data)):
                send(*late)
            held.clear()

        super().pictures(later)


def test_after_a_stall_old_frames_are_neither_handed_on_nor_called_new() -> None:
    with Hiccup(fps=25) as server, opened(server.url) as source:
        source.open()
        ages: dict[int, float] = {}
        while not ages or max(ages) < 60:
            frame = source.read()
            assert frame is not None
            number = number_of(frame.pixels)
            # `sent` is when the frame was due; the stamp must say so, however late it came.
            ages[number] = (frame.captured_ns - server.sent_ns(number)) / 40e6
            frame.release()
        held = range(Hiccup.first, Hiccup.first + Hiccup.pause)
        assert source.skipped >= 10
        assert sum(number in ages for number in held) <= Hiccup.pause - 10
        # In frame intervals: none of those that were held for up to 25 of them has a stamp of its receipt.
        assert all(age < 10 for number, age in ages.items() if number in held)


def test_without_the_streams_time_the_stamp_is_the_receipt() -> None:
    with RtspServer(fps=25) as server, opened(f"{server.url}#stream_time=false") as source:
        assert source.open().details["stream_time"] is False
        frame = source.read()
        assert frame is not None
        assert frame.pts_ns is None


@pytest.mark.fault("S10")
@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_server_that_says_nothing_is_refused_in_time(
    scheme: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with SilentServer(scheme) as server, opened(server.url, QUICK) as source:
        begin = time.monotonic()
        with pytest.raises(SourceError, match=r"no answer within 1 s .*open_timeout_s"):
            source.open()
        assert time.monotonic() - begin < SOON_S
    assert capfd.readouterr() == ("", "")


@pytest.mark.fault("S10")
@pytest.mark.parametrize("server", [RtspServer, HttpMjpegServer])
def test_a_server_that_falls_silent_is_a_lost_source(
    server: type[Server], capfd: pytest.CaptureFixture[str]
) -> None:
    with server(fps=25, stall_at=10) as running, opened(running.url, QUICK) as source:
        source.open()
        begin = time.monotonic()
        with pytest.raises(SourceError, match=r"no frame for 1 s .*read_timeout_s"):
            take(source, 30)
        assert time.monotonic() - begin < SOON_S
        assert source.read() is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("server", [RtspServer, HttpMjpegServer])
def test_the_end_of_a_stream_is_an_error_that_says_so(server: type[Server]) -> None:
    with server(fps=25, count=12) as running, opened(running.url) as source:
        source.open()
        with pytest.raises(SourceError, match="the server ended the stream"):
            take(source, 30)


@pytest.mark.fault("P4")
def test_cancel_ends_a_blocked_read() -> None:
    patient = CaptureOptions(open_timeout_s=60, read_timeout_s=60)
    with RtspServer(fps=25, stall_at=6) as server, opened(server.url, patient) as source:
        source.open()
        read: list[Frame | None] = []
        waiting = threading.Thread(target=lambda: read.extend(iter(source.read, None)), daemon=True)
        waiting.start()
        time.sleep(0.3)
        begin = time.monotonic()
        source.cancel()
        waiting.join(timeout=SOON_S)
        assert not waiting.is_alive()
        assert time.monotonic() - begin < SOON_S  # OpenCV itself would wait for a minute
        assert source.read() is None
        source.close()
        assert time.monotonic() - begin < SOON_S


@pytest.mark.fault("P4")
def test_cancel_ends_a_blocked_open() -> None:
    patient = CaptureOptions(open_timeout_s=60, read_timeout_s=60)
    with SilentServer() as server, opened(server.url, patient) as source:
        failed: list[SourceError] = []

        def work() -> None:
            try:
                source.open()
            except SourceError as error:
                failed.append(error)

        opening = threading.Thread(target=work, daemon=True)
        opening.start()
        time.sleep(0.2)
        source.cancel()
        opening.join(timeout=SOON_S)
        assert "stopped while it was being opened" in str(failed[0])


def test_nobody_there(capfd: pytest.CaptureFixture[str]) -> None:
    with SilentServer() as server:
        port = server.port
    for url, said in (
        (f"rtsp://user:secret@127.0.0.1:{port}/stream?token=secret", "cannot connect: Connection refused"),
        (f"http://127.0.0.1:{port}/stream", "cannot connect: Connection refused"),
        ("http://host.invalid/stream", "cannot connect: "),
        ("rtsp://127.0.0.1:99999/stream", "cannot connect: "),
    ):
        with opened(url, QUICK) as source, pytest.raises(SourceError, match=said) as caught:
            source.open()
        assert "secret" not in str(caught.value)
        assert caught.value.exit_code == 4
    assert capfd.readouterr() == ("", "")


def test_a_web_server_without_a_video(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>no video</p>")
    with web(tmp_path) as url, opened(f"{url}/page.html", QUICK) as source, pytest.raises(SourceError):
        source.open()


@contextlib.contextmanager
def web(folder: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.05), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_file_on_a_web_server_is_a_recording(make_video: MakeVideo) -> None:
    """Every frame of it, in order, and then its end: nothing is drained or skipped."""
    path = make_video(40)
    recorded = VideoSource(path)
    recorded.open()
    with web(path.parent) as url, opened(f"{url}/{path.name}") as source:
        info = source.open()
        assert not info.live and info.frames == 40
        count = 0
        while (frame := source.read()) is not None:
            same = recorded.read()
            assert same is not None and (frame.pixels == same.pixels).all()
            frame.release()
            same.release()
            count += 1
            time.sleep(0.001)  # slower than the server: it has to wait
        assert count == 40
        assert source.skipped == 0
    recorded.close()


def test_it_opens_again() -> None:
    with RtspServer(fps=25) as server, opened(server.url) as source:
        for _ in range(2):
            source.open()
            frame = source.read()
            assert frame is not None and frame.seq == 0
            frame.release()
            source.close()


@pytest.mark.fault("P3")
def test_released_buffers_are_used_again() -> None:
    with HttpMjpegServer(fps=50) as server, opened(server.url) as source:
        source.open()
        buffers = set()
        for _ in range(40):
            frame = source.read()
            assert frame is not None
            buffers.add(frame.pixels.ctypes.data)
            frame.release()
        assert len(buffers) <= 8


def test_a_playlist_from_a_server_names_no_file_of_this_host(make_video: MakeVideo, tmp_path: Path) -> None:
    secret = make_video(5, name="secret.avi")
    served = tmp_path / "served"
    served.mkdir()
    (served / "list.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    )
    with web(served) as url, opened(f"{url}/list.m3u8", QUICK) as source, pytest.raises(SourceError):
        source.open()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("rtsp://user:pass@10.0.0.5:8554/live/1", "rtsp://10.0.0.5:8554/live/1"),
        ("http://10.0.0.5/stream?token=abc", "http://10.0.0.5/stream"),
        ("udp://@239.0.0.1:1234", "udp://239.0.0.1:1234"),
    ],
)
def test_secrets_are_not_shown(url: str, name: str) -> None:
    assert shown(url) == name
    assert open_source(url).name == name  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fragment", "said"),
    [
        ("transport=sctp", "expected tcp or udp"),
        ("read_timeout=0", "number above 0"),
        ("open_timeout=61", "at most 60 seconds"),
        ("stream_time=1", "expected true or false"),
        ("fps=3", "allowed here: open_timeout, read_timeout, stream_time, transport"),
        ("transport", "malformed option"),
    ],
)
def test_options_of_a_stream(fragment: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_source(f"rtsp://127.0.0.1/stream#{fragment}")


def test_every_scheme_is_a_stream() -> None:
    for scheme in NETWORK_SCHEMES:
        assert isinstance(
            open_source(f"{scheme.upper()}://127.0.0.1:1/stream?a=b#read_timeout=1"), NetworkSource
        )
