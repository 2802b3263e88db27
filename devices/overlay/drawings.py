"""What is drawn over the picture: outlines, boxes with small tags, and translucent maps. No other text."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from bedside.devices.overlay.lettering import Lettering
from bedside.devices.overlay.palette import STRIP, TEXT, UNDER, class_colour
from bedside.devices.overlay.wording import percent
from bedside.runtime.answers import (
    Classification,
    DetectedBox,
    Detections,
    HeatMap,
    Picture,
    Reconstruction,
    Region,
    Segmentation,
    TaskResult,
)
from bedside.runtime.frame import Pixels
from bedside.runtime.geometry import Box, Rect, fit

#: How much of a region's colour lies over it. The outline says where it ends; the anatomy stays what it was.
FILL = 0.12
#: A map is drawn from this part of its range on, and covers at most so much.
FLOOR, COVER = 0.5, 0.4
#: An error of so many grey levels is the top of an error map's range.
FULL_ERROR = 64.0

_FIRST = 0.1
# Fractional bits of coordinates that OpenCV draws.
_SHIFT = 4


class Drawings:
    """Draws over pictures of one canvas.

    Args:
        height: Of the picture on the canvas: lines are as thick as its size asks.
        unit: Height of a small capital, in pixels.
    """

    def __init__(self, height: int, unit: int) -> None:
        self._thick = max(1, round(height / 300))
        self._capital = max(7, round(0.85 * unit))
        self._letters = Lettering(STRIP)

    def draw(self, picture: Pixels, shown: TaskResult, scale: tuple[float, float]) -> None:
        """Draw a result over its frame.

        Args:
            picture: `(h, w, 3) uint8`, BGR, the captured frame as it stands on the canvas; drawn in place.
            shown: Its geometry is in captured-frame pixels.
            scale: Captured-frame pixels to those of `picture`, `(x, y)`.
        """
        if isinstance(shown, Segmentation):
            self._regions(picture, shown.regions, scale)
        elif isinstance(shown, Detections):
            # The best on top.
            for box in reversed(shown.boxes):
                self._box(picture, box, scale)
        elif isinstance(shown, Classification) and shown.map is not None:
            _heat(picture, shown.map, scale, shown.map.low, shown.map.high)
        elif isinstance(shown, Reconstruction) and shown.map is not None:
            _heat(picture, shown.map, scale, 0.0, FULL_ERROR)

    def _regions(self, picture: Pixels, regions: tuple[Region, ...], scale: tuple[float, float]) -> None:
        # The largest comes first, so that small ones lie on top.
        drawn = [([_points(c, scale) for c in r.contours], class_colour(r.index - 1)) for r in regions]
        drawn = [(lines, colour) for lines, colour in drawn if lines]
        if not drawn:
            return
        filled = picture.copy()
        for lines, colour in drawn:
            cv2.fillPoly(filled, lines, colour, cv2.LINE_AA, _SHIFT)  # even-odd
        cv2.addWeighted(filled, FILL, picture, 1 - FILL, 0, dst=picture)
        for lines, _ in drawn:
            cv2.polylines(picture, lines, True, UNDER, self._thick + 2, cv2.LINE_AA, _SHIFT)
        for lines, colour in drawn:
            cv2.polylines(picture, lines, True, colour, self._thick, cv2.LINE_AA, _SHIFT)

    def _box(self, picture: Pixels, found: DetectedBox, scale: tuple[float, float]) -> None:
        x0, y0, x1, y1 = _inside(found.box, scale, picture)
        colour = class_colour(found.index)
        for thick, line in ((self._thick + 2, UNDER), (self._thick, colour)):
            cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), line, thick)
        self._tag(picture, f"{found.label} {percent(found.score)}", x0, y0, y1)

    def _tag(self, picture: Pixels, text: str, x: int, y0: int, y1: int) -> None:
        """Above the box; below it, or else in its corner, where there is no room above."""
        height, width = picture.shape[:2]
        capital, letters = self._capital, self._letters
        text = letters.fitted(text, width // 2, capital)
        pad = max(2, capital // 3)
        wide, high = letters.width(text, capital) + 2 * pad, capital + 2 * pad
        if wide > width or high > height:
            return
        x = min(x, width - wide)
        gap = self._thick
        top = y0 - gap - high
        if top < 0:
            top = y1 + gap if y1 + gap + high <= height else min(y0 + gap, height - high)
        cv2.rectangle(picture, (x, top), (x + wide - 1, top + high - 1), STRIP, cv2.FILLED)
        # On a view of its own: the tile of a text is higher than its capitals.
        plate = picture[top : top + high, x : x + wide]
        letters.put(plate, text, pad, pad + capital, capital, TEXT)


def draw_beside(target: Pixels, made: Picture | None, box: Box | None, scale: tuple[float, float]) -> None:
    """A picture that the model made, where the frame that it shows stands in the other half.

    Args:
        target: `(h, w, 3) uint8`, BGR, black: the place beside the frame's.
        made: None for nothing.
        box: What it shows of the captured frame; None: nothing, it is centred.
        scale: Captured-frame pixels to those of `target`.
    """
    if made is None:
        return
    height, width = target.shape[:2]
    if box is None:
        inner = fit(Rect(0, 0, made.width, made.height), width, height, "letterbox").inner
        x0, y0, x1, y1 = inner.x, inner.y, inner.x1, inner.y1
    else:
        x0, y0, x1, y1 = _inside(box, scale, target)
    channels = 1 if made.color == "gray" else 3
    pixels = np.frombuffer(made.pixels, np.uint8).reshape(made.height, made.width, channels)
    if made.color != "bgr":
        code = cv2.COLOR_GRAY2BGR if made.color == "gray" else cv2.COLOR_RGB2BGR
        pixels = np.asarray(cv2.cvtColor(pixels, code), np.uint8)
    method = cv2.INTER_AREA if x1 - x0 < made.width else cv2.INTER_LINEAR
    target[y0:y1, x0:x1] = cv2.resize(pixels, (x1 - x0, y1 - y0), interpolation=method)


def _heat(picture: Pixels, heat: HeatMap, scale: tuple[float, float], low: float, high: float) -> None:
    """A map in viridis, clear below the floor, so that the anatomy is seen."""
    if high <= low:
        return
    codes = np.frombuffer(heat.codes, np.uint8).reshape(heat.height, heat.width).astype(np.float32)
    values = heat.low + codes * np.float32((heat.high - heat.low) / 255)
    levels = (values - low) / (high - low)
    x0, y0, x1, y1 = _inside(heat.box, scale, picture)
    large = cv2.resize(levels, (x1 - x0, y1 - y0), interpolation=cv2.INTER_CUBIC)
    smooth = np.clip(np.asarray(large, np.float32), 0, 1)
    if smooth.max() <= FLOOR:
        return
    part = picture[y0:y1, x0:x1]
    colours = cv2.applyColorMap((smooth * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    # It begins with a step, so that the eye sees where.
    cover = _FIRST + (smooth - FLOOR) * np.float32((COVER - _FIRST) / (1 - FLOOR))
    cover[smooth <= FLOOR] = 0
    part[:] = cv2.blendLinear(colours, np.ascontiguousarray(part), cover, 1 - cover)


def _points(contour: tuple[tuple[float, float], ...], scale: tuple[float, float]) -> npt.NDArray[np.int32]:
    # OpenCV counts from the centre of the first pixel, bedside from its edge.
    points = np.array(contour) * scale - 0.5
    return np.rint(points * (1 << _SHIFT)).astype(np.int32)


def _inside(box: Box, scale: tuple[float, float], picture: Pixels) -> tuple[int, int, int, int]:
    """Whole pixels of the picture, half-open, at least one."""
    height, width = picture.shape[:2]
    x0 = min(max(round(box.x0 * scale[0]), 0), width - 1)
    y0 = min(max(round(box.y0 * scale[1]), 0), height - 1)
    x1 = min(max(round(box.x1 * scale[0]), x0 + 1), width)
    y1 = min(max(round(box.y1 * scale[1]), y0 + 1), height)
    return x0, y0, x1, y1
