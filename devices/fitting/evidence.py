"""What a number of frames say of every pixel: how bright it gets, and whether it changes."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np

from bedside.runtime.errors import FrameError, SourceError
from bedside.runtime.frame import Frame, Pixels
from bedside.runtime.protocols import Source

FRAMES = 60
"""Two seconds at 30 a second: two heartbeats, and a hand that moves."""

MOST_READ = 900
"""Of a recording, so many frames are spread over at most; half a minute."""


class Evidence(msgspec.Struct, frozen=True):
    """What frames have in common. Arrays are `(H, W) uint8`, of the brightest colour channel.

    Attributes:
        brightest: Over all frames.
        darkest: Over all frames.
        example: A frame of them, `(H, W, 3) uint8` BGR, to draw on.
        frames: How many were looked at.
        other_sizes: How many were left out, because their size is not that of the first.
    """

    brightest: Pixels
    darkest: Pixels
    example: Pixels
    frames: int
    other_sizes: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames, in pixels."""
        return self.brightest.shape[1], self.brightest.shape[0]

    @property
    def change(self) -> Pixels:
        """Difference between the brightest and the darkest moment of every pixel."""
        return cv2.subtract(self.brightest, self.darkest).astype(np.uint8, copy=False)


def gather(source: Source, frames: int = FRAMES) -> Evidence:
    """Look at frames of a source, spread over a recording.

    Args:
        source: Opened and closed here.
        frames: How many to look at, at least 1.

    Raises:
        SourceError: It cannot be opened, is lost, or has no usable frame.
    """
    info = source.open()
    try:
        stride = 1 if info.live or info.frames is None else max(1, min(info.frames, MOST_READ) // frames)
        brightest = darkest = example = None
        count = others = position = 0
        while count < frames and position < frames * stride:
            try:
                frame = source.read()
            except FrameError:
                position += 1
                continue
            if frame is None:
                break
            position += 1
            if (position - 1) % stride == 0:
                level = _level(frame)
                if brightest is None or darkest is None:
                    brightest, darkest = level.copy(), level.copy()
                elif level.shape != brightest.shape:
                    others += 1
                    frame.release()
                    continue
                cv2.max(brightest, level, dst=brightest)
                cv2.min(darkest, level, dst=darkest)
                example, count = _bgr(frame), count + 1
            frame.release()
    finally:
        source.close()
    if brightest is None or darkest is None or example is None:
        raise SourceError("there is no usable frame to look at", where=info.name)
    return Evidence(brightest, darkest, example, count, others)


def _level(frame: Frame) -> Pixels:
    """The brightest channel: a saturated colour is no darker than a gray of its strongest component."""
    pixels = frame.pixels
    return pixels[:, :, 0] if pixels.shape[2] == 1 else np.asarray(pixels.max(axis=2))


def _bgr(frame: Frame) -> Pixels:
    if frame.color == "gray":
        return np.asarray(cv2.cvtColor(frame.pixels, cv2.COLOR_GRAY2BGR), np.uint8)
    return np.ascontiguousarray(frame.pixels[:, :, ::-1]) if frame.color == "rgb" else frame.pixels.copy()
