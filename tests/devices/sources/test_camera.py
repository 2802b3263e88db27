"""Cameras: what there is, what is asked for and what is granted. No test here needs a camera."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bedside.devices.sources import CameraSource, CaptureOptions, list_cameras, open_source
from bedside.devices.sources.camera import CameraEntry
from bedside.runtime.clock import ManualClock
from bedside.runtime.errors import FrameError, SourceError


class Driver:
    """A capture device as OpenCV shows one: it takes what is set, or keeps to its own mind."""

    def __init__(
        self, clock: ManualClock, *, opened: bool = True, stubborn: bool = False, frames: int = 3
    ) -> None:
        self.clock, self.opened, self.stubborn, self.left = clock, opened, stubborn, frames
        self.values: dict[int, float] = {
            cv2.CAP_PROP_FRAME_WIDTH: 640,
            cv2.CAP_PROP_FRAME_HEIGHT: 480,
            cv2.CAP_PROP_FPS: 30,
            cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"YUYV"),
            cv2.CAP_PROP_BUFFERSIZE: 4,
        }
        self.order: list[int] = []
        self.released = 0
        self.undecodable = False
        #: When the grabbed frame was captured, in ms of the driver's clock; 0 where it does not say.
        self.stamp_ms: Callable[[], float] = lambda: 0.0

    def isOpened(self) -> bool:
        return self.opened

    def set(self, propId: int, value: float) -> bool:
        self.order.append(propId)
        if not self.stubborn:
            self.values[propId] = value
        return True  # drivers say so, whatever they do

    def get(self, propId: int) -> float:
        return self.stamp_ms() if propId == cv2.CAP_PROP_POS_MSEC else self.values[propId]

    def grab(self) -> bool:
        self.clock.advance(33_000_000)  # waiting for the frame
        self.left -= 1
        return self.left >= 0

    def retrieve(self, image: Any = None) -> tuple[bool, Any]:
        self.clock.advance(5_000_000)  # converting it
        if self.undecodable:
            return False, None
        height, width = int(self.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(self.get(cv2.CAP_PROP_FRAME_WIDTH))
        picture = np.full((height, width, 3), self.left, np.uint8)
        if image is not None and image.shape == picture.shape:
            image[...] = picture
            return True, image
        return True, picture

    def release(self) -> None:
        self.released += 1


def camera(driver: Driver, **options: Any) -> CameraSource:
    return CameraSource(0, CaptureOptions(**options), clock=driver.clock, opener=lambda _: driver)


def test_a_missing_camera_is_named_with_what_there_is(capfd: pytest.CaptureFixture[str]) -> None:
    """The real path, down to V4L2."""
    with pytest.raises(SourceError) as caught:
        open_source("camera:97").open()
    assert "camera:97: no such camera" in str(caught.value)
    assert "capture device" in str(caught.value) or "there is /dev/video" in str(caught.value)
    with pytest.raises(SourceError, match="camera:/dev/video97"):
        open_source("camera:/dev/video97").open()
    assert capfd.readouterr() == ("", "")


def test_cameras_are_listed_by_number_with_their_names(tmp_path: Path) -> None:
    dev, sysfs = tmp_path / "dev", tmp_path / "sysfs"
    dev.mkdir()
    for node in ("video10", "video2", "video-enc", "null"):
        (dev / node).touch()
    (sysfs / "video2").mkdir(parents=True)
    (sysfs / "video2" / "name").write_text("USB Frame Grabber\n")
    assert list_cameras(dev, sysfs) == (
        CameraEntry(str(dev / "video2"), "USB Frame Grabber"),
        CameraEntry(str(dev / "video10"), ""),
    )
    assert list_cameras(tmp_path / "missing", sysfs) == ()


def test_what_is_granted_is_reported() -> None:
    driver = Driver(ManualClock())
    source = camera(driver, width=1280, height=720, fps=60.0, fourcc="MJPG", buffers=2)
    info = source.open()
    assert (info.width, info.height, info.fps, info.live, info.frames) == (1280, 720, 60.0, True, None)
    assert info.details["granted"] == {
        "width": 1280,
        "height": 720,
        "fps": 60.0,
        "fourcc": "MJPG",
        "buffers": 2,
    }
    # Sizes and rates depend on the pixel format: it has to be set before them.
    assert driver.order[0] == cv2.CAP_PROP_FOURCC
    source.close()


def test_nothing_is_set_that_was_not_asked_for() -> None:
    driver = Driver(ManualClock())
    source = camera(driver)
    assert source.open().width == 640
    assert driver.order == []
    source.close()


def test_what_is_not_granted_is_refused_with_both_values() -> None:
    driver = Driver(ManualClock(), stubborn=True)
    source = camera(driver, width=1280, height=480, fps=60.0, fourcc="MJPG", buffers=4)
    with pytest.raises(SourceError) as caught:
        source.open()
    text = str(caught.value)
    assert "width=1280 (granted 640)" in text
    assert "fps=60.0 (granted 30)" in text
    assert "fourcc=MJPG (granted YUYV)" in text
    assert "height" not in text
    assert "buffers" not in text
    assert driver.released == 1


@pytest.mark.parametrize(("granted", "fine"), [(29.97, True), (30.0, True), (25.0, False), (15.0, False)])
def test_a_rate_within_one_percent_is_the_one_asked_for(granted: float, fine: bool) -> None:
    driver = Driver(ManualClock(), stubborn=True)
    driver.values[cv2.CAP_PROP_FPS] = granted
    source = camera(driver, fps=30.0)
    if fine:
        assert source.open().fps == granted
        source.close()
    else:
        with pytest.raises(SourceError, match="fps"):
            source.open()


def test_the_stamp_lies_between_the_hand_over_and_the_conversion() -> None:
    clock = ManualClock(start_ns=0)
    source = camera(Driver(clock))
    source.open()
    stamps = []
    for _ in range(3):
        frame = source.read()
        assert frame is not None
        stamps.append(frame.captured_ns)
        frame.release()
    assert stamps == [33_000_000, 71_000_000, 109_000_000]
    source.close()


def test_a_frame_that_waited_in_the_driver_is_as_old_as_the_driver_says() -> None:
    clock = ManualClock(start_ns=7_000_000_000)
    driver = Driver(clock)
    driver.stamp_ms = lambda: clock.now_ns() / 1e6 - 12.5
    source = camera(driver)
    source.open()
    frame = source.read()
    assert frame is not None
    assert frame.captured_ns == frame.pts_ns == 7_000_000_000 + 33_000_000 - 12_500_000
    source.close()


@pytest.mark.parametrize(
    "stamp_ms",
    [
        pytest.param(lambda now_ms: 0.0, id="none"),
        pytest.param(lambda now_ms: now_ms + 1, id="ahead"),
        pytest.param(lambda now_ms: 1_700_000_000_000.0, id="wall clock"),
        pytest.param(lambda now_ms: now_ms - 1500, id="older than the time-out"),
        pytest.param(lambda now_ms: 7_020.0, id="stuck"),
    ],
)
def test_a_drivers_stamp_of_another_clock_is_not_used(stamp_ms: Callable[[float], float]) -> None:
    clock = ManualClock(start_ns=7_000_000_000)
    driver = Driver(clock)
    driver.stamp_ms = lambda: stamp_ms(clock.now_ns() / 1e6)
    source = camera(driver)
    source.open()
    first, second = source.read(), source.read()
    assert first is not None and second is not None
    # The first of a stuck clock cannot be told from a good one.
    assert second.captured_ns == 7_000_000_000 + 71_000_000
    assert second.pts_ns is None
    source.close()


@pytest.mark.fault("P4")
def test_a_cancelled_camera_that_gives_no_frame_ends_without_an_error() -> None:
    """V4L2 comes back within its time-out of a second; by then nobody wants the frame any more."""
    driver = Driver(ManualClock(), frames=0)
    source = camera(driver)
    source.open()
    grab = driver.grab

    def cancelled_meanwhile() -> bool:
        source.cancel()
        return grab()

    driver.grab = cancelled_meanwhile  # type: ignore[method-assign]
    assert source.read() is None
    source.close()


@pytest.mark.fault("S1")
def test_an_unplugged_camera_is_a_lost_source() -> None:
    driver = Driver(ManualClock(), frames=2)
    source = camera(driver)
    source.open()
    for _ in range(2):
        frame = source.read()
        assert frame is not None
        frame.release()
    with pytest.raises(SourceError, match="stopped giving frames") as caught:
        source.read()
    assert not isinstance(caught.value, FrameError)
    assert source.read() is None
    source.close()
    source.close()
    assert driver.released == 1


@pytest.mark.fault("S3")
def test_a_frame_that_cannot_be_converted_is_one_lost_frame() -> None:
    driver = Driver(ManualClock())
    source = camera(driver)
    source.open()
    driver.undecodable = True
    with pytest.raises(FrameError):
        source.read()
    driver.undecodable = False
    frame = source.read()
    assert frame is not None
    assert frame.seq == 1
    source.close()


@pytest.mark.fault("S6")
@pytest.mark.parametrize("adopt", [False, True])
def test_a_size_that_changes_in_mid_stream(adopt: bool) -> None:
    driver = Driver(ManualClock())
    source = camera(driver, adopt_size=adopt)
    source.open()
    frame = source.read()
    assert frame is not None
    driver.values[cv2.CAP_PROP_FRAME_WIDTH] = 800
    if adopt:
        frame = source.read()
        assert frame is not None
        assert frame.pixels.shape == (480, 800, 3)
    else:
        with pytest.raises(SourceError, match="from 640x480x3 to 800x480x3"):
            source.read()
    source.close()


def test_a_camera_without_a_size() -> None:
    driver = Driver(ManualClock())
    driver.values[cv2.CAP_PROP_FRAME_WIDTH] = 0
    with pytest.raises(SourceError, match="how large"):
        camera(driver).open()
