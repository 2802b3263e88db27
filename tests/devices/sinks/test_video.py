from __future__ import annotations

import contextlib
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from bedside.devices.sinks import VideoSink
from bedside.devices.sinks import video as video_module
from bedside.devices.sinks.video import is_whole_webm
from bedside.runtime.errors import SinkError
from bedside.runtime.frame import Frame, Pixels
from bedside.runtime.protocols import SourceInfo
from bedside.runtime.result import Result

INFO = SourceInfo("test", 96, 64, fps=12.69)
MakeResult = Callable[..., Result]


def frame(seq: int, level: int | None = None) -> Frame:
    return Frame(np.full((64, 96, 3), seq if level is None else level, np.uint8), seq, 0)


def read(path: Path) -> tuple[float, list[Pixels]]:
    video = cv2.VideoCapture(str(path))
    pictures = []
    while True:
        ok, picture = video.read()
        if not ok:
            return video.get(cv2.CAP_PROP_FPS), pictures
        pictures.append(picture)


def test_the_video_has_the_cadence_and_the_pictures_of_the_source(
    tmp_path: Path, make_result: MakeResult
) -> None:
    sink = VideoSink(tmp_path / "o.webm")
    sink.open(INFO)
    for seq in range(10):
        sink.write(make_result(seq), frame(seq, 20 * seq))
    sink.close()
    fps, pictures = read(tmp_path / "o.webm")
    assert fps == pytest.approx(12.69, abs=0.01)
    levels = [float(p[100:300, 200:400].mean()) for p in pictures]
    assert levels == pytest.approx([20 * seq for seq in range(10)], abs=4)
    assert (tmp_path / "o.webm").read_bytes().count(b"V_VP8") == 1


@pytest.mark.parametrize("fps", [None, 0.0, -1.0, float("nan"), float("inf"), 90_000.0])
def test_a_source_without_a_sensible_cadence_gets_thirty(
    fps: float | None, tmp_path: Path, make_result: MakeResult
) -> None:
    sink = VideoSink(tmp_path / "o.webm")
    sink.open(SourceInfo("test", 96, 64, fps=fps))
    for seq in range(5):
        sink.write(make_result(seq), frame(seq))
    sink.close()
    assert read(tmp_path / "o.webm")[0] == pytest.approx(30.0, abs=0.01)


def test_the_name_stands_for_a_whole_video_only(tmp_path: Path, make_result: MakeResult) -> None:
    sink = VideoSink(tmp_path / "o.webm")
    sink.open(INFO)
    assert [p.name for p in tmp_path.iterdir()] == ["o.partial.webm"]
    sink.write(make_result(0), frame(0))
    assert [p.name for p in tmp_path.iterdir()] == ["o.partial.webm"]
    sink.close()
    assert [p.name for p in tmp_path.iterdir()] == ["o.webm"]


def test_the_picture_stands_still_for_lost_frames_but_not_for_ever(
    tmp_path: Path, make_result: MakeResult
) -> None:
    sink = VideoSink(tmp_path / "o.webm")
    sink.open(INFO)
    for seq, level in ((0, 50), (3, 100), (1000, 150)):
        sink.write(make_result(seq), frame(seq, level))
    sink.close()
    levels = [float(p[100:300, 200:400].mean()) for p in read(tmp_path / "o.webm")[1]]
    assert levels == pytest.approx([50, 50, 50, *[100] * (1 + video_module.MAX_HELD), 150], abs=4)


def test_large_pictures_are_made_smaller(tmp_path: Path, make_result: MakeResult) -> None:
    sink = VideoSink(tmp_path / "o.webm")
    sink.open(SourceInfo("test", 1920, 1080, fps=30.0))
    sink.write(make_result(0), Frame(np.zeros((1080, 1920, 3), np.uint8), 0, 0))
    sink.close()
    height, width = read(tmp_path / "o.webm")[1][0].shape[:2]
    assert width == 800
    assert 450 < height < 600


def test_a_name_that_looks_like_a_protocol_is_a_file(
    tmp_path: Path, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sink = VideoSink("udp:1.webm")
    sink.open(INFO)
    sink.write(make_result(0), frame(0))
    sink.close()
    assert is_whole_webm(tmp_path / "udp:1.webm")


def test_nothing_is_printed(
    tmp_path: Path, make_result: MakeResult, capfd: pytest.CaptureFixture[str]
) -> None:
    sink = VideoSink(tmp_path / "o.webm")
    sink.open(INFO)
    sink.write(make_result(0), frame(0))
    sink.close()
    assert capfd.readouterr() == ("", "")


@pytest.mark.fault("K1")
def test_a_video_leaves_the_rest_of_the_disk_to_results(tmp_path: Path, make_result: MakeResult) -> None:
    greedy = 1 << 62
    with pytest.raises(SinkError, match="MiB are left on the disk"):
        VideoSink(tmp_path / "o.webm", reserve_bytes=greedy).open(INFO)
    assert list(tmp_path.iterdir()) == []

    sink = VideoSink(tmp_path / "o.webm")
    sink.open(INFO)
    sink.write(make_result(0), frame(0))
    sink._reserve = greedy  # the disk fills up in the middle
    with pytest.raises(SinkError, match="MiB are left on the disk"):
        sink.write(make_result(1), frame(1))
    sink.close()
    assert len(read(tmp_path / "o.webm")[1]) == 1


@pytest.mark.fault("K1")
def test_a_video_whose_end_could_not_be_written_leaves_nothing(
    tmp_path: Path, make_result: MakeResult
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    noise = np.random.default_rng(0)
    sink = VideoSink(tmp_path / "o.webm")
    sink.open(INFO)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, before[1]))
        with pytest.raises(SinkError) as caught:
            for seq in range(60):
                pixels = noise.integers(0, 256, (480, 640, 3), dtype=np.uint8)
                sink.write(make_result(seq), Frame(pixels, seq, 0))
            sink.close()  # OpenCV 4 says nothing earlier
        assert "could not be written" in str(caught.value)
        with contextlib.suppress(SinkError):
            sink.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_an_opencv_without_vp8_is_one_clear_line(
    tmp_path: Path,
    make_result: MakeResult,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # FFmpeg knows no such codec, as a build without libvpx knows no VP8.
    monkeypatch.setattr(cv2.VideoWriter, "fourcc", staticmethod(lambda *_: cv2.VideoWriter_fourcc(*"ZZZZ")))
    sink = VideoSink(tmp_path / "o.webm")
    sink.open(INFO)
    with pytest.raises(SinkError, match="cannot write a VP8 video here"):
        sink.write(make_result(0), frame(0))
    sink.close()
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


class TestWhole:
    @pytest.fixture
    def webm(self, tmp_path: Path, make_result: MakeResult) -> Path:
        sink = VideoSink(tmp_path / "o.webm")
        sink.open(INFO)
        for seq in range(5):
            sink.write(make_result(seq), frame(seq))
        sink.close()
        return tmp_path / "o.webm"

    def test_no_truncation_is_whole(self, webm: Path, tmp_path: Path) -> None:
        data = webm.read_bytes()
        assert is_whole_webm(webm)
        cut = tmp_path / "cut.webm"
        for length in [*range(0, 100), *range(100, len(data), 97)]:
            cut.write_bytes(data[:length])
            assert not is_whole_webm(cut), length

    def test_an_unknown_length_is_not_whole(self, webm: Path) -> None:
        data = webm.read_bytes()
        at = data.index(bytes.fromhex("18538067")) + 4
        webm.write_bytes(data[:at] + b"\x01" + b"\xff" * 7 + data[at + 8 :])
        assert not is_whole_webm(webm)

    def test_anything_else_is_not_whole(self, tmp_path: Path) -> None:
        other = tmp_path / "x.webm"
        for data in (b"", b"\0" * 64, b"RIFF" + b"\1" * 60, bytes.fromhex("1a45dfa300")):
            other.write_bytes(data)
            assert not is_whole_webm(other)
