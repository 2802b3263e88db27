"""What every source does, run over every source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from bedside.devices.sources import (
    DicomSource,
    ImageSource,
    Limited,
    Looped,
    Paced,
    VideoSource,
    echo_cine_path,
    open_source,
)
from bedside.runtime.clock import Clock, ManualClock
from bedside.runtime.errors import SourceError
from bedside.runtime.frame import Frame, Pixels
from bedside.runtime.opencv import quiet_opencv
from bedside.runtime.protocols import Source
from bedside.runtime.testing.sources import ArraySource

COUNT = 10


def shade(index: int) -> Pixels:
    """A picture that says which one it is: its right half."""
    pixels = np.full((48, 64, 3), 20 + 9 * index, np.uint8)
    pixels[:, :32] = (200, 60, 60)
    return pixels


def shade_index(frame: Frame) -> int:
    return round((float(frame.pixels[:, 40:].mean()) - 20) / 9)


def video(folder: Path, name: str) -> Path:
    path = folder / name
    fourcc = cv2.VideoWriter.fourcc(*("VP80" if path.suffix == ".webm" else "MJPG"))
    with quiet_opencv():
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, 25.0, (64, 48))
    for index in range(COUNT):
        writer.write(shade(index))
    writer.release()
    return path


def pictures(folder: Path) -> Path:
    for index in range(COUNT):
        assert cv2.imwrite(str(folder / f"{index}.png"), shade(index))
    return folder


class Case(NamedTuple):
    """How to make a source, how many frames it has, and what number a frame shows (None: not to be told)."""

    make: Callable[[Path, Clock], Source]
    count: int
    number: Callable[[Frame], int] | None = shade_index
    lends: bool = True


def arrays(clock: Clock, count: int = COUNT, **options: object) -> ArraySource:
    return ArraySource([shade(i) for i in range(count)], clock=clock, fps=25, **options)  # type: ignore[arg-type]


CASES = {
    "array": Case(lambda folder, clock: arrays(clock), COUNT, lends=False),
    "pooled": Case(lambda folder, clock: arrays(clock, pooled=True), COUNT),
    "webm": Case(lambda folder, clock: VideoSource(video(folder, "a.webm"), clock=clock), COUNT),
    "avi": Case(lambda folder, clock: VideoSource(video(folder, "a.avi"), clock=clock), COUNT),
    "images": Case(lambda folder, clock: ImageSource(pictures(folder), clock=clock), COUNT, lends=False),
    "dicom": Case(lambda folder, clock: DicomSource(echo_cine_path(), clock=clock), 30, None),
    "sample": Case(lambda folder, clock: open_source("sample:echo-cine", clock=clock), 30, None),
    "paced": Case(lambda folder, clock: Paced(arrays(clock, pooled=True), clock), COUNT),
    "looped": Case(
        lambda folder, clock: Looped(arrays(clock, 5, pooled=True), passes=2),
        COUNT,
        lambda frame: shade_index(frame) + 5 * (frame.seq // 5),
    ),
    "limited": Case(lambda folder, clock: Limited(arrays(clock, 20, pooled=True), COUNT), COUNT),
    "paced-looped-video": Case(
        lambda folder, clock: Paced(
            Looped(VideoSource(video(folder, "a.webm"), clock=clock), passes=2), clock
        ),
        2 * COUNT,
        lambda frame: shade_index(frame) + COUNT * (frame.seq // COUNT),
    ),
    "synthetic-ultrasound": Case(
        lambda folder, clock: open_source("synthetic:ultrasound?frames=5&size=96x64", clock=clock),
        5,
        None,
        lends=False,
    ),
    "synthetic-endoscopy": Case(
        lambda folder, clock: open_source("synthetic:endoscopy?frames=5&size=96x64", clock=clock),
        5,
        None,
        lends=False,
    ),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    if request.param.startswith("synthetic"):
        pytest.importorskip("bedside.devices.sources.synthetic")
    return CASES[request.param]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def source(case: Case, tmp_path: Path, clock: ManualClock) -> Source:
    return case.make(tmp_path, clock)


def test_it_is_a_source(source: Source) -> None:
    assert isinstance(source, Source)


def test_frames_are_numbered_stamped_and_what_they_should_be(
    case: Case, source: Source, clock: ManualClock
) -> None:
    info = source.open()
    assert info.name
    assert info.frames in (case.count, None)
    assert info.fps is None or info.fps > 0
    last_ns = -1
    for seq in range(case.count):
        clock.advance(1000)
        frame = source.read()
        assert frame is not None
        assert frame.seq == seq
        assert last_ns <= frame.captured_ns <= clock.now_ns()
        last_ns = frame.captured_ns
        assert frame.pixels.dtype == np.uint8
        assert frame.color == info.color
        assert frame.pixels.shape == (info.height, info.width, 1 if info.color == "gray" else 3)
        assert frame.pixels.flags.c_contiguous
        assert frame.source
        if case.lends:
            assert frame.lease is not None
        if case.number is not None:
            assert case.number(frame) == seq
        frame.release()
    assert source.read() is None
    source.close()


def test_the_end_stays_the_end(case: Case, source: Source) -> None:
    source.open()
    for _ in range(case.count):
        frame = source.read()
        assert frame is not None
        frame.release()
    for _ in range(3):
        assert source.read() is None
    source.close()


def test_frames_that_are_held_do_not_change(case: Case, source: Source) -> None:
    source.open()
    held, copies = [], []
    while (frame := source.read()) is not None:
        held.append(frame)
        copies.append(frame.pixels.copy())
    assert len(held) == case.count
    for frame, copy in zip(held, copies, strict=True):
        np.testing.assert_array_equal(frame.pixels, copy)
    source.close()
    np.testing.assert_array_equal(held[0].pixels, copies[0])
    for frame in held:
        frame.release()


@pytest.mark.fault("P3")
def test_released_buffers_are_used_again(case: Case, source: Source) -> None:
    if not case.lends:
        pytest.skip("its frames own their pixels")
    source.open()
    buffers = set()
    while (frame := source.read()) is not None:
        buffers.add(frame.pixels.ctypes.data)
        frame.retain()
        frame.release()
        frame.release()
    # A looped recording opens again, and begins a new pool then.
    assert len(buffers) <= 2
    source.close()


def test_closing_any_time(source: Source) -> None:
    source.close()
    source.close()
    source.open()
    assert source.read() is not None
    source.close()
    source.close()
    with pytest.raises(SourceError):
        source.read()


def test_reading_unopened_is_an_error(source: Source) -> None:
    with pytest.raises(SourceError):
        source.read()


def test_it_opens_again_from_the_beginning(source: Source) -> None:
    first: list[Pixels] = []
    for _ in range(2):
        source.open()
        frame = source.read()
        assert frame is not None
        assert frame.seq == 0
        first.append(frame.pixels.copy())
        frame.release()
        source.close()
    np.testing.assert_array_equal(first[0], first[1])


def test_a_cancelled_source_ends(source: Source) -> None:
    source.open()
    assert source.read() is not None
    source.cancel()
    assert source.read() is None
    assert source.read() is None
    source.close()
