"""Against GStreamer's RTSP server, which is not ours: H.264, both transports, and its end.

Debian has it as gir1.2-gst-rtsp-server-1.0 (LGPL; for this test only), with python3-gi and gstreamer1.0-plugins-
good, -bad and -ugly.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest

from bedside.devices.sources import CaptureOptions, open_source
from bedside.runtime.errors import SourceError
from bedside.runtime.opencv import quiet_opencv
from bedside.runtime.testing.streams import HEIGHT, WIDTH, number_of, numbered

SERVER = """
import sys, gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
for name in ("avidemux", "jpegdec", "x264enc", "rtph264pay"):
    if Gst.ElementFactory.find(name) is None:
        sys.exit(f"GStreamer has no {name}")
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(sys.argv[1])
server.get_mount_points().add_factory("/stream", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"""
FPS, COUNT = 25, 75
Serve = Callable[[], str]


def interpreters() -> list[str]:
    """This Python, and the system's, for which a distribution packages GStreamer."""
    system = shutil.which("python3", path=os.defpath)
    return [sys.executable, *([system] if system else [])]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server that plays numbered pictures to each client from the beginning."""
    clip = tmp_path / "clip.avi"
    with quiet_opencv():
        writer = cv2.VideoWriter(
            str(clip), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), FPS, (WIDTH, HEIGHT)
        )
    for number in range(COUNT):
        writer.write(numbered(number))
    writer.release()
    launch = (
        f"( filesrc location={clip} ! avidemux ! jpegdec ! videoconvert ! video/x-raw,format=I420 ! "
        "x264enc tune=zerolatency key-int-max=25 ! rtph264pay name=pay0 pt=96 config-interval=1 )"
    )
    for python in interpreters():
        server = subprocess.Popen(
            [python, "-c", SERVER, launch], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        try:
            if port:
                yield f"rtsp://127.0.0.1:{port}/stream"
                return
        finally:
            server.kill()
            server.wait()
            server.stdout.close()
    pytest.skip("GStreamer's RTSP server is absent: apt install gir1.2-gst-rtsp-server-1.0 python3-gi ...")


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_h264_from_another_program(url: str, transport: str) -> None:
    source = open_source(
        f"{url}#transport={transport}", capture=CaptureOptions(open_timeout_s=20, read_timeout_s=10)
    )
    info = source.open()
    assert (info.width, info.height, info.live) == (WIDTH, HEIGHT, True)
    assert info.details["codec"].lower() in ("h264", "avc1")
    assert info.details["stream_time"] is True
    numbers, offsets, steps = [], [], []
    for _ in range(30):
        frame = source.read()
        assert frame is not None and frame.pts_ns is not None
        numbers.append(number_of(frame.pixels))
        offsets.append(frame.captured_ns - numbers[-1] * 1e9 / FPS)
        steps.append(frame.pts_ns - numbers[-1] * 1e9 / FPS)
        frame.release()
    assert numbers == sorted(set(numbers))
    assert numbers[0] < 40  # it did not wait for the decoder's threads, or for a second of pictures
    # The stream's time is the pictures' own, and stamps follow it: within a frame interval, in the median.
    assert max(steps) - min(steps) < 2e6
    assert sorted(offsets)[15] - min(offsets) < 1e9 / FPS
    source.close()


def test_the_end_of_what_it_plays_is_an_error_in_time(url: str) -> None:
    source = open_source(url, capture=CaptureOptions(open_timeout_s=20, read_timeout_s=2))
    source.open()
    with pytest.raises(SourceError, match=r"the server ended the stream|no frame for 2 s"):
        for _ in range(2 * COUNT):
            frame = source.read()
            assert frame is not None
            frame.release()
    source.close()
