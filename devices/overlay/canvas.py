"""A captured frame, its result drawn over it, and a strip below it."""

from __future__ import annotations

import math

import cv2
import numpy as np

from bedside.devices.overlay.drawings import Drawings, draw_beside
from bedside.devices.overlay.strip import HEIGHT, Strip
from bedside.runtime.answers import Generation, Translation
from bedside.runtime.frame import Frame, Pixels
from bedside.runtime.geometry import Rect, fit
from bedside.runtime.result import Outcome, Result

#: Pictures lower than this are enlarged by a whole factor towards it, so that the strip can be read.
READABLE_HEIGHT = 480
#: The canvas is at least this wide; a narrower picture stands in its middle.
READABLE_WIDTH = 480
#: Tasks whose result is a picture: it stands beside the frame, never over it.
BESIDE = ("translation", "generation")
_MAX_ENLARGED = 16
_MAX_BUFFERS = 16


class Overlay:
    """Draws results over and under frames of one stream. One thread owns it.

    Args:
        width: Of the first frame, in pixels. Later frames of another size are letterboxed into its place.
        height: Of the first frame, in pixels.
        max_pixels: Pictures with more pixels are made smaller; None for no limit.
        task: Of the results; those of `BESIDE` get a canvas of two halves.

    Attributes:
        size: `(width, height)` of what `draw` returns; both even, as video encoders want.
        picture: Where the captured picture stands in it.
        beside: Where the model's picture stands in it; None where it makes none.
    """

    def __init__(self, width: int, height: int, *, max_pixels: int | None = None, task: str = "") -> None:
        halves = 2 if task in BESIDE else 1
        scale = picture_scale(halves * width, height, max_pixels)
        wide, high = max(1, round(width * scale)), max(1, round(height * scale))
        gap = max(2, wide // 100) if halves == 2 else 0
        canvas_width = _even(max(halves * wide + gap, READABLE_WIDTH))
        # A small capital is about a 58th of the width, as far as the height allows.
        unit = min(26, max(8, round(min(canvas_width / 58, max(high, READABLE_HEIGHT) / 44))))
        canvas_height = _even(high + round(HEIGHT * unit))
        self.size = (canvas_width, canvas_height)
        self.picture = Rect((canvas_width - halves * wide - gap) // 2, 0, wide, high)
        self.beside = Rect(self.picture.x1 + gap, 0, wide, high) if halves == 2 else None
        self._canvas: Pixels = np.zeros((canvas_height, canvas_width, 3), np.uint8)
        self._place = self._canvas[:high, self.picture.x : self.picture.x1]
        self._strip = Strip(self._canvas[high:], unit)
        self._drawings = Drawings(high, unit)
        self._shape = (height, width)
        self._buffers: dict[tuple[int, int, int], Pixels] = {}

    def draw(self, frame: Frame, result: Result) -> Pixels:
        """The frame with its result.

        A result that is not `ok` is never shown, whatever it holds: only why there is none.

        Args:
            frame: `(H, W, 1 or 3) uint8` pixels; not changed.
            result: Of this frame.

        Returns:
            `(height, width, 3) uint8`, BGR; the same array every time, valid until the next call.

        Raises:
            ValueError: The result belongs to another frame.
        """
        if result.seq != frame.seq:
            raise ValueError(f"the result of frame {result.seq} with the pixels of frame {frame.seq}")
        height, width = frame.pixels.shape[:2]
        inner = self._inner(width, height)
        target = self._place[inner.y : inner.y1, inner.x : inner.x1]
        self._draw_picture(frame, target)
        scale = (inner.width / width, inner.height / height)
        shown = result.result if result.outcome is Outcome.OK else None
        if shown is not None:
            self._drawings.draw(target, shown, scale)
        if self.beside is not None:
            beside = self._canvas[: self.beside.height, self.beside.x : self.beside.x1]
            beside[:] = 0
            beside = beside[inner.y : inner.y1, inner.x : inner.x1]
            made = shown.picture if isinstance(shown, Translation | Generation) else None
            draw_beside(beside, made, shown.box if isinstance(shown, Translation) else None, scale)
        self._strip.draw(result)
        return self._canvas

    def _inner(self, width: int, height: int) -> Rect:
        """Where a frame of that size stands in the picture's place."""
        wide, high = self.picture.width, self.picture.height
        if (height, width) == self._shape:
            return Rect(0, 0, wide, high)
        self._place[:] = 0
        return fit(Rect(0, 0, width, height), wide, high, "letterbox").inner

    def _draw_picture(self, frame: Frame, target: Pixels) -> None:
        source = self._as_bgr(frame)
        if source.shape == target.shape:
            np.copyto(target, source)
            return
        # Averaging areas is fast at exactly a half, and ten times slower at any other factor; down to a half,
        # linear interpolation sees every pixel.
        high, wide = target.shape[:2]
        while source.shape[0] >= 2 * high and source.shape[1] >= 2 * wide:
            half = (source.shape[1] // 2, source.shape[0] // 2)
            smaller = self._buffer((half[1], half[0], 3))
            cv2.resize(source, half, dst=smaller, interpolation=cv2.INTER_AREA)
            source = smaller
        cv2.resize(source, (wide, high), dst=target, interpolation=cv2.INTER_LINEAR)

    def _as_bgr(self, frame: Frame) -> Pixels:
        if frame.color == "bgr":
            return frame.pixels
        converted = self._buffer((frame.pixels.shape[0], frame.pixels.shape[1], 3))
        code = cv2.COLOR_GRAY2BGR if frame.color == "gray" else cv2.COLOR_RGB2BGR
        cv2.cvtColor(frame.pixels, code, dst=converted)
        return converted

    def _buffer(self, shape: tuple[int, int, int]) -> Pixels:
        """One of a few buffers that are kept from frame to frame."""
        if shape not in self._buffers:
            if len(self._buffers) >= _MAX_BUFFERS:  # a stream whose size keeps changing
                self._buffers.clear()
            self._buffers[shape] = np.empty(shape, np.uint8)
        return self._buffers[shape]


def picture_scale(width: int, height: int, max_pixels: int | None) -> float:
    """By how much a picture is enlarged (a whole factor) or made smaller.

    Args:
        width: In pixels.
        height: In pixels.
        max_pixels: Upper limit of the product, None for none.
    """
    limit = math.inf if max_pixels is None else math.sqrt(max_pixels / (width * height))
    if limit < 1:
        return limit
    return min(
        _MAX_ENLARGED, max(1, round(READABLE_HEIGHT / height)), math.floor(limit) if limit < 16 else 16
    )


def _even(value: int) -> int:
    return value + (value & 1)
