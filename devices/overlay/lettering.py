"""Text on pictures: measured, cached, and sized by the height of its capitals in pixels."""

from __future__ import annotations

import unicodedata
from collections import OrderedDict

import cv2
import numpy as np

from bedside.runtime.frame import Pixels

Bgr = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BOLD = cv2.FONT_HERSHEY_DUPLEX
#: OpenCV 5 draws its text from outlines and knows other scripts; OpenCV 4 draws strokes, and only ASCII.
_OUTLINES = int(cv2.__version__.split(".")[0]) >= 5
# Below the baseline, in capitals' heights.
_DESCENT = 0.45
_ASCENT = 1.35


class Lettering:
    """Draws text on one background colour.

    Drawing text costs OpenCV 0.05 to 0.5 ms, copying what it drew a few microseconds. So whole strings are
    remembered, and numbers are put together from remembered digits.

    Args:
        background: Colour of what the text will stand on.
        remember: How many strings are kept.
    """

    def __init__(self, background: Bgr, *, remember: int = 512) -> None:
        self._background = background
        self._remember = remember
        self._tiles: OrderedDict[tuple[str, int, Bgr, bool], Pixels] = OrderedDict()
        self._fits: dict[tuple[int, bool], tuple[float, int]] = {}

    def put(
        self,
        canvas: Pixels,
        text: str,
        x: int,
        baseline: int,
        capital: int,
        colour: Bgr,
        *,
        bold: bool = False,
    ) -> int:
        """Draw `text`; what does not fit on the canvas is cut off.

        Args:
            canvas: `(H, W, 3) uint8`, BGR.
            text: One line.
            x: Left edge, in pixels.
            baseline: Row of the baseline.
            capital: Height of a capital, in pixels.
            colour: Of the text, BGR.
            bold: Heavier strokes.

        Returns:
            The column behind the text.
        """
        tile = self._tile(text, capital, colour, bold)
        top = baseline - round(_ASCENT * capital)
        height, width = tile.shape[:2]
        y0, y1 = max(0, top), min(canvas.shape[0], top + height)
        x0, x1 = max(0, x), min(canvas.shape[1], x + width)
        if y0 < y1 and x0 < x1:
            canvas[y0:y1, x0:x1] = tile[y0 - top : y1 - top, x0 - x : x1 - x]
        return int(x + width)

    def put_number(
        self,
        canvas: Pixels,
        text: str,
        x: int,
        baseline: int,
        capital: int,
        colour: Bgr,
        *,
        bold: bool = False,
    ) -> int:
        """As `put`, for text that changes all the time: all digits are equally wide, and nothing jumps."""
        pitch = self.width("0", capital, bold=bold)
        for character in text:
            end = self.put(canvas, character, x, baseline, capital, colour, bold=bold)
            x = x + pitch if character.isdigit() else end
        return x

    def width(self, text: str, capital: int, *, bold: bool = False) -> int:
        """Columns that `put` takes."""
        return int(self._tile(text, capital, (255, 255, 255), bold).shape[1])

    def number_width(self, text: str, capital: int, *, bold: bool = False) -> int:
        """Columns that `put_number` takes."""
        pitch = self.width("0", capital, bold=bold)
        return sum(pitch if c.isdigit() else self.width(c, capital, bold=bold) for c in text)

    def fitted(self, text: str, width: int, capital: int, *, bold: bool = False) -> str:
        """`text`, or as much of its beginning as fits into `width` columns with dots behind it."""
        if self.width(text, capital, bold=bold) <= width:
            return text
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            if self.width(text[:middle].rstrip() + "..", capital, bold=bold) <= width:
                low = middle
            else:
                high = middle - 1
        return text[:low].rstrip() + ".." if low else ""

    def _tile(self, text: str, capital: int, colour: Bgr, bold: bool) -> Pixels:
        key = (text, capital, colour, bold)
        tile = self._tiles.get(key)
        if tile is None:
            tile = self._tiles[key] = self._draw(text, capital, colour, bold)
            if len(self._tiles) > self._remember:
                self._tiles.popitem(last=False)
        else:
            self._tiles.move_to_end(key)
        return tile

    def _draw(self, text: str, capital: int, colour: Bgr, bold: bool) -> Pixels:
        shown = drawable(text)
        font, stroke = _BOLD if bold else _FONT, _stroke(capital, bold)
        scale, below = self._fit(capital, bold)
        width = cv2.getTextSize(shown, font, scale, stroke)[0][0] if shown else 0
        ascent, descent = round(_ASCENT * capital), round(_DESCENT * capital)
        tile = np.empty((ascent + descent, max(1, width), 3), np.uint8)
        tile[:] = self._background
        cv2.putText(tile, shown, (0, ascent - below), font, scale, colour, stroke, cv2.LINE_AA)
        return tile

    def _fit(self, capital: int, bold: bool) -> tuple[float, int]:
        """The scale at which an H is `capital` rows high, and by how much it then reaches below its baseline.

        OpenCV 4 and 5 differ, and in 4 the strokes add to the height, so it is measured.
        """
        key = (capital, bold)
        if key not in self._fits:
            scale, below = capital / 21.0, 0
            for _ in range(3):
                probe = np.zeros((4 * capital + 40, 4 * capital + 40), np.uint8)
                baseline = 3 * capital
                font, stroke = _BOLD if bold else _FONT, _stroke(capital, bold)
                cv2.putText(probe, "H", (10, baseline), font, scale, 255, stroke, cv2.LINE_AA)
                rows = np.flatnonzero(probe.max(axis=1) > 127)
                scale *= capital / (rows[-1] - rows[0] + 1)
                below = int(rows[-1]) + 1 - baseline
            self._fits[key] = (scale, below)
        return self._fits[key]


def drawable(text: str) -> str:
    """`text` in characters that this OpenCV can draw, on one line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split(" "))
    if _OUTLINES:
        return line
    folded = unicodedata.normalize("NFKD", line)
    return "".join(c if c.isascii() else "?" for c in folded if not unicodedata.combining(c))


def _stroke(capital: int, bold: bool) -> int:
    # OpenCV 5 takes the thickness for the font's weight, and 1 is regular.
    return 1 if _OUTLINES else max(1, round(capital / (9 if bold else 12)))
