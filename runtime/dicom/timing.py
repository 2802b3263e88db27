"""When the frames of a cine were taken (PS3.3 C.7.6.5 Cine, C.7.6.6 Multi-frame)."""

from __future__ import annotations

from itertools import accumulate
from math import isfinite
from typing import Any

import msgspec

from bedside.runtime.dicom.header import Header

_FRAME_TIME_VECTOR = 0x00181065


class Timing(msgspec.Struct, frozen=True):
    """The time axis of an object.

    Attributes:
        fps: Mean frames per second, None where nothing in the file says.
        origin: The attribute it comes from, None likewise.
        times_ms: Time of every frame from the first, in ms, where the file gives increments.
        timed: Whether `fps` is the rate of acquisition, which gives time stamps, and not one for display.
    """

    fps: float | None = None
    origin: str | None = None
    times_ms: tuple[float, ...] = ()
    timed: bool = False

    def pts_ns(self, index: int) -> int | None:
        """Time of a frame from the first one, in ns."""
        if self.times_ms:
            return round(self.times_ms[index] * 1e6)
        return round(index * 1e9 / self.fps) if self.timed and self.fps else None


def read_timing(header: Header, notes: list[str]) -> Timing:
    """Find the frame rate: the increments the file points at, else its cine rates.

    Args:
        header: Of the object.
        notes: Receives what was ignored.
    """
    dataset = header.dataset
    vector = [float(value) for value in _values(dataset.get("FrameTimeVector"))]
    step = next((float(value) for value in _values(dataset.get("FrameTime"))), 0.0)
    pointer = [int(tag) for tag in _values(dataset.get("FrameIncrementPointer"))]
    if vector and (_FRAME_TIME_VECTOR in pointer or step <= 0):
        # The first entry is the increment before the first frame, 0 by definition.
        times = list(accumulate(vector[1:], initial=0.0))
        usable = len(vector) == header.frames and min(vector[1:], default=0.0) >= 0 and isfinite(times[-1])
        if usable and times[-1] > 0:
            return Timing((len(times) - 1) * 1000.0 / times[-1], "FrameTimeVector", tuple(times), True)
        notes.append(f"FrameTimeVector of {len(vector)} entries for {header.frames} frames is ignored")
    if step > 0 and isfinite(step):
        return Timing(1000.0 / step, "FrameTime", timed=True)
    for keyword, timed in (("CineRate", True), ("RecommendedDisplayFrameRate", False)):
        rate = next((float(value) for value in _values(dataset.get(keyword))), 0.0)
        if rate > 0 and isfinite(rate):
            return Timing(rate, keyword, timed=timed)
    return Timing()


def _values(value: Any) -> list[Any]:
    """An attribute's values, whatever its multiplicity."""
    if value is None or value == "":
        return []
    if isinstance(value, (str, int, float)):
        return [value]
    return list(value) if hasattr(value, "__iter__") else [value]
