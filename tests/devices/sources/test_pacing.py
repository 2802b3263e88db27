"""Recordings played at a cadence, repeated, cut. Time is a clock that only moves when told."""

import threading
from typing import Any

import numpy as np
import pytest

from bedside.devices.sources import DicomSource, Limited, Looped, Paced, echo_cine_path
from bedside.runtime.clock import ManualClock, MonotonicClock
from bedside.runtime.errors import FrameError, SourceError
from bedside.runtime.frame import Frame
from bedside.runtime.protocols import Source
from bedside.runtime.testing.sources import ArraySource

START = 1_000_000_000


def pictures(count: int) -> list[Any]:
    return [np.full((4, 6, 3), index, np.uint8) for index in range(count)]


def drain(source: Source, most: int = 1000) -> list[Frame]:
    frames = []
    for _ in range(most):
        frame = source.read()
        if frame is None:
            break
        frames.append(frame)
    return frames


class Slow(ArraySource):
    """Takes as long to decode as told."""

    def __init__(self, frames: list[Any], clock: ManualClock, decode_ns: int, **options: Any) -> None:
        super().__init__(frames, clock=clock, **options)
        self._manual, self._decode_ns = clock, decode_ns

    def read(self) -> Frame | None:
        frame = super().read()
        self._manual.advance(self._decode_ns)
        return frame


def test_frames_are_stamped_when_they_are_due() -> None:
    clock = ManualClock(START, overshoot_ns=150_000)
    source = Paced(ArraySource(pictures(4), fps=25, clock=clock), clock)
    info = source.open()
    assert (info.live, info.fps, info.frames) == (True, 25, 4)
    clock.advance(777)  # time between open and the first read is not the stream's
    frames = drain(source)
    begin = START + 777
    assert [f.captured_ns for f in frames] == [begin + i * 40_000_000 for i in range(4)]
    assert [f.seq for f in frames] == [0, 1, 2, 3]
    # Late by the scheduler's overshoot, and that is age, not a new stamp.
    assert clock.now_ns() >= frames[-1].captured_ns + 150_000
    source.close()


def test_rounding_does_not_add_up() -> None:
    clock = ManualClock(START)
    source = Paced(Looped(ArraySource(pictures(2), fps=30, clock=clock)), clock)
    source.open()
    frames = drain(source, most=901)
    assert frames[900].captured_ns == START + 30_000_000_000
    source.close()


def test_a_late_frame_keeps_its_due_stamp_so_that_lateness_is_age() -> None:
    clock = ManualClock(START)
    source = Paced(Slow(pictures(5), clock, decode_ns=100_000_000, fps=20), clock)
    source.open()
    ages = []
    for _ in range(5):
        frame = source.read()
        assert frame is not None
        ages.append(clock.now_ns() - frame.captured_ns)
    assert ages == [100_000_000, 150_000_000, 200_000_000, 250_000_000, 300_000_000]
    source.close()


def stamps(**options: Any) -> list[int]:
    clock = ManualClock(START)
    source = Paced(ArraySource(pictures(200), fps=50, clock=clock), clock, **options)
    source.open()
    seen = [frame.captured_ns - START for frame in drain(source)]
    source.close()
    return seen


def test_jitter_is_one_sided_seeded_and_never_adds_up() -> None:
    late = np.array(stamps(jitter_ms=3.0)) - np.arange(200) * 20_000_000
    assert late.min() >= 0
    # Half of a normal distribution: its mean is the spread times sqrt(2 / pi).
    assert late.mean() / 3e6 == pytest.approx(np.sqrt(2 / np.pi), rel=0.2)
    # No lateness is handed on: the last frames are as late as the first ones.
    assert late[150:].mean() == pytest.approx(late[:50].mean(), rel=0.4)
    assert stamps(jitter_ms=3.0) == stamps(jitter_ms=3.0)
    assert stamps(jitter_ms=3.0) != stamps(jitter_ms=3.0, seed=1)
    assert stamps() == [i * 20_000_000 for i in range(200)]


def test_the_spread_can_be_read_off_the_intervals() -> None:
    """As the documentation says, so that a device can be matched."""
    intervals = np.diff(stamps(jitter_ms=2.0))
    assert intervals.std() / 0.853 == pytest.approx(2e6, rel=0.2)


def test_much_jitter_keeps_the_order() -> None:
    seen = stamps(jitter_ms=80.0)
    assert seen == sorted(seen)


@pytest.mark.fault("S8")
def test_a_jumping_wall_clock_moves_nothing() -> None:
    stamps = []
    for jumps in (False, True):
        clock = ManualClock(START)
        source = Paced(ArraySource(pictures(6), clock=clock), clock, fps=10)
        source.open()
        seen = []
        for index in range(6):
            if jumps:
                clock.jump_wall((-1) ** index * 3600 * 10**9)
            frame = source.read()
            assert frame is not None
            seen.append(frame.captured_ns)
        stamps.append(seen)
        source.close()
    assert stamps[0] == stamps[1]


def test_the_rate_asked_for_goes_before_the_files_own() -> None:
    clock = ManualClock(START)
    source = Paced(ArraySource(pictures(2), fps=25, clock=clock), clock, fps=50)
    assert source.open().fps == 50
    assert [f.captured_ns - START for f in drain(source)] == [0, 20_000_000]
    source.close()


def test_without_a_rate_there_is_no_pace() -> None:
    source = Paced(ArraySource(pictures(2)), ManualClock())
    with pytest.raises(SourceError, match=r"\?fps=N"):
        source.open()
    with pytest.raises(SourceError, match="read before open"):
        source.read()


def test_a_live_source_is_not_paced() -> None:
    inner = ArraySource(pictures(2), live=True, fps=30)
    with pytest.raises(SourceError, match="pace of its own"):
        Paced(inner, ManualClock()).open()
    inner.open()  # it was closed again
    inner.close()


@pytest.mark.fault("S3")
def test_an_unusable_frame_has_its_turn_in_the_cadence() -> None:
    clock = ManualClock(START)
    source = Paced(ArraySource(pictures(3), fps=10, clock=clock, unusable={1}), clock)
    source.open()
    assert source.read() is not None
    with pytest.raises(FrameError):
        source.read()
    frame = source.read()
    assert frame is not None
    assert (frame.seq, frame.captured_ns) == (2, START + 200_000_000)
    source.close()


def test_the_end_is_not_waited_for_twice() -> None:
    clock = ManualClock(START)
    source = Paced(ArraySource(pictures(1), fps=1, clock=clock), clock)
    source.open()
    assert len(drain(source)) == 1
    ended = clock.now_ns()
    assert source.read() is None
    assert clock.now_ns() == ended
    source.close()


@pytest.mark.fault("P4")
def test_cancel_ends_a_wait_in_another_thread() -> None:
    source = Paced(ArraySource(pictures(3), fps=0.001), MonotonicClock())
    source.open()
    assert source.read() is not None  # the next one is due in 1000 seconds
    read: list[Frame | None] = []
    waiting = threading.Thread(target=lambda: read.append(source.read()), daemon=True)
    waiting.start()
    source.cancel()
    waiting.join(timeout=30)
    assert read == [None]
    assert source.read() is None
    source.close()


def test_a_loop_goes_on_counting() -> None:
    source = Looped(ArraySource(pictures(3), fps=10), passes=3)
    info = source.open()
    assert (info.frames, info.live) == (9, False)
    frames = drain(source)
    assert [f.seq for f in frames] == list(range(9))
    assert [int(f.pixels[0, 0, 0]) for f in frames] == [0, 1, 2] * 3
    assert [f.reference and f.reference.frame_index for f in frames] == [0, 1, 2] * 3
    assert source.read() is None
    source.close()


def test_a_loop_of_seconds_is_counted_in_the_recordings_own_time() -> None:
    source = Looped(ArraySource(pictures(7), fps=30), seconds=10)
    assert source.open().frames == 300
    assert len(drain(source)) == 300
    source.close()
    with pytest.raises(SourceError, match="how many frames make a second"):
        Looped(ArraySource(pictures(2)), seconds=1).open()


def test_a_loop_without_an_end_ends_when_cancelled() -> None:
    source = Looped(ArraySource(pictures(2)))
    assert source.open().frames is None
    assert len(drain(source, most=50)) == 50
    source.cancel()
    assert source.read() is None
    source.close()


def test_a_loop_can_be_opened_again() -> None:
    source = Looped(ArraySource(pictures(2)), passes=2)
    for _ in range(2):
        source.open()
        assert [f.seq for f in drain(source)] == [0, 1, 2, 3]
        source.close()


@pytest.mark.fault("S3")
def test_a_loop_in_which_nothing_is_usable_does_not_spin_for_ever() -> None:
    source = Looped(ArraySource(pictures(3), unusable={0, 1, 2}))
    source.open()
    for _ in range(3):
        with pytest.raises(FrameError):
            source.read()
    with pytest.raises(SourceError, match="no usable frame") as caught:
        source.read()
    assert not isinstance(caught.value, FrameError)
    assert source.read() is None
    source.close()
    empty = Looped(ArraySource([]))
    empty.open()
    with pytest.raises(SourceError, match="no usable frame"):
        empty.read()


def test_a_loop_counts_unusable_frames() -> None:
    source = Looped(ArraySource(pictures(2), unusable={0}), passes=2)
    source.open()
    numbers = []
    for _ in range(4):
        try:
            frame = source.read()
            numbers.append(None if frame is None else frame.seq)
        except FrameError:
            numbers.append(-1)
    assert numbers == [-1, 1, -1, 3]
    assert source.read() is None
    source.close()


@pytest.mark.fault("S6")
def test_a_recording_that_is_replaced_while_it_is_looped_is_refused() -> None:
    frames = pictures(1)
    source = Looped(ArraySource(frames))
    source.open()
    assert source.read() is not None
    frames[0] = np.zeros((5, 5, 3), np.uint8)
    with pytest.raises(SourceError, match="was 6x4 bgr, is 5x5 bgr now"):
        source.read()
    source.close()


def test_the_demo_looks_like_a_scanner() -> None:
    """The echo cine, looped and paced, on a clock that jumps: ten seconds in no time."""
    clock = ManualClock(START)
    source = Paced(Looped(DicomSource(echo_cine_path(), clock=clock), seconds=10), clock)
    info = source.open()
    assert (info.frames, info.live) == (300, True)
    count = 0
    while (frame := source.read()) is not None:
        assert frame.seq == count
        frame.release()
        count += 1
    assert count == 300
    assert clock.now_ns() - START == pytest.approx(10e9, rel=1e-3)
    source.close()


def test_the_first_frames_only() -> None:
    source = Limited(ArraySource(pictures(9), unusable={1}), 3)
    assert source.open().frames == 3
    assert source.read() is not None
    with pytest.raises(FrameError):
        source.read()
    assert source.read() is not None
    assert source.read() is None
    source.close()
    assert Limited(ArraySource(pictures(2)), 5).open().frames == 2
    assert Limited(Looped(ArraySource(pictures(2))), 5).open().frames == 5
