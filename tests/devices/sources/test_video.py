"""Video files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bedside.devices.sources import VideoSource
from bedside.devices.sources.grab import PooledGrabber
from bedside.runtime.clock import ManualClock
from bedside.runtime.errors import FrameError, SourceError
from bedside.runtime.frame import Pixels

MakeVideo = Callable[..., Path]


def numbers(pixels: Pixels) -> int:
    return round((float(pixels[:, pixels.shape[1] * 3 // 4 :].mean()) - 20) / 9)


def drain(source: VideoSource) -> list[tuple[int, int, int | None]]:
    seen = []
    while (frame := source.read()) is not None:
        seen.append((frame.seq, numbers(frame.pixels), frame.pts_ns))
        frame.release()
    return seen


@pytest.mark.parametrize("name", ["clip.webm", "clip.avi"])
def test_every_frame_in_order(make_video: MakeVideo, name: str) -> None:
    source = VideoSource(make_video(12, name))
    info = source.open()
    assert (info.width, info.height, info.color, info.fps, info.frames) == (64, 48, "bgr", 25.0, 12)
    assert info.details["codec"] in ("VP80", "vp80", "MJPG")
    assert not info.live
    seen = drain(source)
    assert [(seq, number) for seq, number, _ in seen] == [(i, i) for i in range(12)]
    assert [pts for _, _, pts in seen] == pytest.approx([i * 40_000_000 for i in range(12)], abs=1_000_000)
    source.close()


def test_blue_is_blue(make_video: MakeVideo) -> None:
    source = VideoSource(make_video(2))
    source.open()
    frame = source.read()
    assert frame is not None
    blue, green, red = frame.pixels[:, 5].mean(axis=0)
    assert blue > 150 > 100 > max(green, red)
    assert frame.reference is not None
    assert frame.reference.frame_index == 0
    source.close()


def test_buffers_are_lent_and_come_back(make_video: MakeVideo) -> None:
    source = VideoSource(make_video(20))
    source.open()
    first = source.read()
    assert first is not None
    buffers = {first.pixels.ctypes.data}
    kept = first.pixels.copy()
    while (frame := source.read()) is not None:
        buffers.add(frame.pixels.ctypes.data)
        assert frame.lease is not None
        frame.release()
    # One is held all along, one goes round.
    assert len(buffers) == 2
    np.testing.assert_array_equal(first.pixels, kept)
    assert source._grabber is not None
    assert source._grabber.pool.misses == 0
    source.close()
    np.testing.assert_array_equal(first.pixels, kept)


def test_the_stamp_is_taken_before_the_frame_is_read(make_video: MakeVideo) -> None:
    clock = ManualClock(start_ns=5_000)
    source = VideoSource(make_video(2), clock=clock)
    source.open()
    clock.advance(7)
    grab = source._capture.grab  # type: ignore[union-attr]

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(source._real, name)  # type: ignore[attr-defined]

        def grab(self) -> bool:
            clock.advance(1_000_000)
            return bool(grab())

    source._real, source._capture = source._capture, Slow()  # type: ignore[attr-defined, assignment]
    frame = source.read()
    assert frame is not None
    assert frame.captured_ns == 5_007
    source.close()


def test_what_is_no_video(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cases = {
        "missing.mp4": (None, "No such file"),
        "empty.mp4": (b"", "empty"),
        "text.mp4": (b"no video " * 400, "not a video"),
        "noise.mp4": (np.random.default_rng(0).bytes(20_000), "not a video|no frame"),
        "magic.mp4": (b"\0\0\0\x20ftypisom" + b"\0" * 400, "not a video|no frame"),
    }
    for name, (content, said) in cases.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SourceError, match=said) as caught:
            VideoSource(path).open()
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
    with pytest.raises(SourceError):
        VideoSource(tmp_path).open()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["none.webm", "none.avi"])
def test_a_video_without_frames(make_video: MakeVideo, name: str) -> None:
    with pytest.raises(SourceError, match=r"not a video|no frame that can be decoded"):
        VideoSource(make_video(0, name)).open()


@pytest.mark.fault("S1")
def test_a_video_that_is_cut_short_says_so_behind_its_last_frame(
    make_video: MakeVideo, capfd: pytest.CaptureFixture[str]
) -> None:
    path = make_video(100, "clip.avi", height=240, width=320)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    source = VideoSource(path)
    info = source.open()
    assert info.frames == 100
    count = 0
    with pytest.raises(SourceError, match="declared frames"):
        while (frame := source.read()) is not None:
            count += 1
            frame.release()
    assert 30 < count < 70
    assert source.read() is None
    source.close()
    assert capfd.readouterr() == ("", "")


def test_real_clips(data_root: Path) -> None:
    clips = data_root / "ultrasound" / "clips"
    for name, size, count, fps in (
        ("clarius-ocular-short.mp4", (1280, 960), 50, 25.0),
        ("butterfly-ocular-phantom.mp4", (776, 1080), 369, 12.69),
        ("sonosite-anon-eye1-video.mp4", (960, 720), 100, 25.0),
    ):
        source = VideoSource(clips / name)
        info = source.open()
        assert (info.width, info.height) == size
        assert info.frames == count
        assert info.fps == pytest.approx(fps, abs=0.01)
        stamps = []
        for _ in range(30):
            frame = source.read()
            assert frame is not None
            assert frame.pixels.shape == (size[1], size[0], 3)
            stamps.append(frame.pts_ns)
            frame.release()
        assert stamps == sorted(stamps)
        source.close()


def test_the_rate_can_be_overridden(make_video: MakeVideo) -> None:
    source = VideoSource(make_video(2), fps=10)
    assert source.open().fps == 10
    source.close()


class Changing:
    """A capture whose picture changes its size: no encoder here writes such a file."""

    def __init__(self, *pictures: Any) -> None:
        self.pictures = list(pictures)

    def retrieve(self, image: Any = None) -> tuple[bool, Any]:
        picture = self.pictures.pop(0)
        if picture is None:
            return False, None
        if image is not None and image.shape == picture.shape:
            image[...] = picture
            return True, image
        return True, picture

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} is not for the grabber to call")


@pytest.mark.fault("S6")
def test_a_change_of_size_is_refused_with_both_sizes() -> None:
    grabber = PooledGrabber("clip", (4, 6, 3), adopt_size=False)
    capture = Changing(np.ones((4, 6, 3), np.uint8), np.ones((8, 10, 3), np.uint8))
    grabber.retrieve(capture).release()
    with pytest.raises(SourceError, match="from 6x4x3 to 10x8x3") as caught:
        grabber.retrieve(capture)
    assert not isinstance(caught.value, FrameError)


@pytest.mark.fault("S6")
def test_a_change_of_size_is_adopted_where_that_is_allowed() -> None:
    grabber = PooledGrabber("clip", (4, 6, 3), adopt_size=True)
    pictures = [
        np.full((4, 6, 3), 1, np.uint8),
        np.full((8, 10, 3), 2, np.uint8),
        np.full((8, 10, 3), 3, np.uint8),
    ]
    leases = [grabber.retrieve(Changing(picture)) for picture in pictures]
    for lease, picture in zip(leases, pictures, strict=True):
        np.testing.assert_array_equal(lease.buffer, picture)
        lease.release()
    assert grabber.pool.shape == (8, 10, 3)


@pytest.mark.fault("S3")
@pytest.mark.parametrize("bad", [None, np.zeros((4, 6), np.uint8), np.zeros((4, 6, 4, 3), np.uint8)])
def test_a_frame_that_cannot_be_decoded_costs_no_buffer(bad: Any) -> None:
    grabber = PooledGrabber("clip", (4, 6, 3), adopt_size=False)
    for _ in range(30):
        with pytest.raises(FrameError):
            grabber.retrieve(Changing(bad))
    assert grabber.pool.misses == 0


def test_opening_twice_and_reading_unopened_are_errors(make_video: MakeVideo) -> None:
    source = VideoSource(make_video(1))
    with pytest.raises(SourceError, match="read before open"):
        source.read()
    source.open()
    with pytest.raises(SourceError, match="open already"):
        source.open()
    source.close()
