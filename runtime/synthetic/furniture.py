"""What a scanner draws around the picture: scale, gray bar, text."""

from __future__ import annotations

import math

import cv2
import numpy as np

from bedside.runtime.frame import Color, Pixels
from bedside.runtime.geometry import Rect
from bedside.runtime.synthetic.fan import Fan, ProbeKind
from bedside.runtime.synthetic.scene import Mask

BgrColor = tuple[int, int, int]


_NAMES: dict[ProbeKind, str] = {"curvilinear": "C5-2", "phased": "P4-1", "linear": "L12-4"}


class Overlay:
    """Graphics drawn once and laid around, and over, every picture.

    Args:
        canvas: `(H, W, 3) uint8`, black where nothing is drawn.
        box: The part that the moving picture covers.
        color: `bgr` or `gray`: which channels the frames have.
    """

    def __init__(self, canvas: Pixels, box: Rect, color: Color) -> None:
        gray = np.asarray(cv2.cvtColor(canvas, cv2.COLOR_BGR2GRAY), np.uint8)[:, :, None]
        self._canvas: Pixels = gray if color == "gray" else canvas
        around = [slice(0, box.y), slice(box.y1, None)]
        beside = [slice(0, box.x), slice(box.x1, None)]
        everywhere, middle = slice(None), slice(box.y, box.y1)
        self._strips = [(rows, everywhere) for rows in around] + [(middle, columns) for columns in beside]
        rows, columns = np.nonzero(self._canvas[box.y : box.y1, box.x : box.x1].any(axis=2))
        self._over = (rows + box.y, columns + box.x)
        self._ink = self._canvas[self._over]

    def draw(self, out: Pixels) -> None:
        """Fill `out`, `(H, W, C) uint8`, outside the box, and draw over the picture in it."""
        for strip in self._strips:
            out[strip] = self._canvas[strip]
        if len(self._ink):
            out[self._over] = self._ink


def text(canvas: Pixels, words: str, at: tuple[int, int], height: float, color: BgrColor) -> None:
    """Write one line.

    Args:
        canvas: `(H, W, 3) uint8`.
        words: ASCII text.
        at: Left end of the base line, `(x, y)` in pixels.
        height: Of a capital letter, in pixels.
        color: Blue, green, red.
    """
    scale = max(height, 5.0) / 21.0  # a capital of this Hershey font is 21 units tall
    thick = max(1, round(height / 11))
    cv2.putText(canvas, words, at, cv2.FONT_HERSHEY_SIMPLEX, scale, color, thick, cv2.LINE_AA)


def scanner_overlay(
    width: int, height: int, fan: Fan, preset: str, color: Color, rng: np.random.Generator
) -> Overlay:
    """The furniture of a B-mode screen. It says SYNTHETIC, so that nobody takes it for a patient's."""
    canvas = np.zeros((height, width, 3), np.uint8)
    ink: BgrColor = (200, 200, 200)
    letter = max(5.0, height / 62)
    line = int(letter * 1.9)
    left = max(2, int(0.012 * width))
    if width >= 200:
        lines = ["SYNTHETIC", f"{preset[:3].upper()} {_NAMES[fan.probe.kind]}"]
        lines += ["", f"MI {rng.uniform(0.5, 1.3):.1f}  TIs {rng.uniform(0.1, 0.9):.1f}"]
        lines += [
            f"{rng.integers(18, 60)} Hz",
            f"{fan.probe.depth_mm / 10:.1f} cm",
            f"G {rng.integers(40, 80)}%",
            "DR 60",
        ]
        for number, words in enumerate(lines):
            text(canvas, words, (left, int(0.06 * height) + number * line), letter, ink)
    # Gray bar, white on top, at the right edge.
    bar_w, bar_h = max(3, int(0.011 * width)), int(0.28 * height)
    bar_x, bar_y = width - left - bar_w, int(0.06 * height)
    ramp = np.linspace(255, 0, bar_h).astype(np.uint8)
    canvas[bar_y : bar_y + bar_h, bar_x : bar_x + bar_w] = ramp[:, None, None]
    # Depth scale beside the fan: a tick a centimetre, a longer one every five.
    axis = min(fan.box.x1 + max(2, int(0.012 * width)), width - left - 2 * bar_w)
    top = fan.box.y + (0.0 if fan.probe.kind == "linear" else _skin_drop(fan))
    for centimetre in range(int(fan.probe.depth_mm / 10) + 1):
        y = int(top + centimetre * 10 / fan.mm)
        if y < height:
            long = 2 if centimetre % 5 == 0 else 1
            cv2.line(
                canvas, (axis, y), (axis + long * max(2, int(0.004 * width)), y), ink, max(1, height // 700)
            )
            if long == 2 and centimetre and width >= 320:
                text(canvas, str(centimetre), (axis + int(0.012 * width), y + int(letter / 2)), letter, ink)
    focus = int(top + fan.probe.focus_mm / fan.mm)
    tip = max(2, int(0.006 * width))
    corners = np.array(
        [(axis - 1, focus), (axis - 1 - tip, focus - tip // 2 - 1), (axis - 1 - tip, focus + tip // 2 + 1)]
    )
    cv2.fillPoly(canvas, [corners.astype(np.int32)], (60, 200, 230), cv2.LINE_AA)
    # Orientation mark beside the first beam.
    first = fan.probe.radius_mm * math.sin(math.radians(fan.probe.aperture) / 2) / fan.mm
    edge = fan.box.x if fan.probe.kind == "linear" else fan.box.x + fan.box.width / 2 - first
    mark = (int(edge) - 3 * tip, fan.box.y + tip + 1)
    cv2.circle(canvas, mark, max(2, int(0.006 * width)), (220, 150, 40), -1, cv2.LINE_AA)
    return Overlay(canvas, fan.box, color)


def _skin_drop(fan: Fan) -> float:
    """Pixels from the top of the fan's box down to the skin at the centre of the probe."""
    half = math.radians(fan.probe.aperture) / 2
    return fan.probe.radius_mm * (1 - math.cos(half)) / fan.mm


def endoscope_overlay(
    width: int, height: int, box: Rect, view: Mask, color: Color, rng: np.random.Generator
) -> Overlay:
    """Text beside an endoscopic picture. It says SYNTHETIC; see `scanner_overlay`."""
    canvas = np.zeros((height, width, 3), np.uint8)
    letter = max(5.0, height / 58)
    left, line = max(2, int(0.012 * width)), int(letter * 2.1)
    if width >= 200:
        stamp = f"{rng.integers(0, 24):02d}:{rng.integers(0, 60):02d}:{rng.integers(0, 60):02d}"
        lines = [
            "SYNTHETIC",
            "",
            stamp,
            f"CVP:{rng.integers(1, 9)}",
            f"Eh:A{rng.integers(1, 6)}",
            f"D.F:{rng.integers(1, 4)}",
        ]
        for number, words in enumerate(lines):
            text(canvas, words, (left, int(0.3 * height) + number * line), letter, (190, 190, 190))
    canvas[view] = 0  # the picture is not written on
    return Overlay(canvas, box, color)
