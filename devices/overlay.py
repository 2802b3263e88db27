"""A captured frame with its result in a strip below: never over the anatomy."""

from __future__ import annotations

import math

import cv2
import numpy as np

from bedside.devices.lettering import Bgr, Lettering
from bedside.runtime.frame import Frame, Pixels
from bedside.runtime.geometry import Rect, fit
from bedside.runtime.result import Classification, Outcome, Raw, Result, TaskResult

# BGR. The accent is blue, not green: an `ok` result is one that was computed, not a finding that is normal.
_STRIP: Bgr = (27, 23, 20)
_TEXT: Bgr = (245, 243, 240)
_DIM: Bgr = (176, 165, 152)
_TRACK: Bgr = (66, 57, 50)
_OTHER: Bgr = (140, 124, 108)
_KINDS: dict[Outcome, Bgr] = {
    Outcome.OK: (230, 166, 74),
    Outcome.WITHHELD: (48, 176, 255),
    Outcome.FAILED: (92, 92, 255),
}

#: Pictures lower than this are enlarged by a whole factor towards it, so that the strip can be read.
READABLE_HEIGHT = 480
#: The canvas is at least this wide; a narrower picture stands in its middle.
READABLE_WIDTH = 480
_MAX_ENLARGED = 16
_MAX_BUFFERS = 16
_BARS = 3
# Heights in units of a small capital.
_HEIGHT = 11.2


class Overlay:
    """Draws results under frames of one stream. One thread owns it.

    Args:
        width: Of the first frame, in pixels. Later frames of another size are letterboxed into its place.
        height: Of the first frame, in pixels.
        max_pixels: Pictures with more pixels are made smaller; None for no limit.

    Attributes:
        size: `(width, height)` of what `draw` returns; both even, as video encoders want.
        picture: Where the captured picture stands in it.
    """

    def __init__(self, width: int, height: int, *, max_pixels: int | None = None) -> None:
        scale = picture_scale(width, height, max_pixels)
        wide, high = max(1, round(width * scale)), max(1, round(height * scale))
        canvas_width = _even(max(wide, READABLE_WIDTH))
        # A small capital is about a 58th of the width, as far as the height allows.
        unit = min(26, max(8, round(min(canvas_width / 58, max(high, READABLE_HEIGHT) / 44))))
        canvas_height = _even(high + round(_HEIGHT * unit))
        self.size = (canvas_width, canvas_height)
        self.picture = Rect((canvas_width - wide) // 2, 0, wide, high)
        self._unit = unit
        self._canvas: Pixels = np.zeros((canvas_height, canvas_width, 3), np.uint8)
        self._place = self._canvas[:high, self.picture.x : self.picture.x1]
        self._strip = self._canvas[high:]
        self._blank: Pixels = np.empty_like(self._strip)
        self._blank[:] = _STRIP
        self._letters = Lettering(_STRIP)
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
        self._draw_picture(frame)
        np.copyto(self._strip, self._blank)
        self._draw_strip(result)
        return self._canvas

    def _draw_picture(self, frame: Frame) -> None:
        height, width = frame.pixels.shape[:2]
        source = self._as_bgr(frame)
        target = self._place
        if (height, width) != self._shape:
            wide, high = self.picture.width, self.picture.height
            inner = fit(Rect(0, 0, width, height), wide, high, "letterbox").inner
            target[:] = 0
            target = target[inner.y : inner.y1, inner.x : inner.x1]
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

    def _draw_strip(self, result: Result) -> None:
        u, colour = self._unit, _KINDS[result.outcome]
        cv2.rectangle(self._strip, (0, 0), (round(0.7 * u) - 1, self._strip.shape[0]), colour, cv2.FILLED)
        left, middle, right = 2 * u, round(self.size[0] * 0.5), self.size[0] - u
        shown = result.result if result.outcome is Outcome.OK else None
        if shown is None:
            # Nothing competes with the reason: no bars, and the whole width for it.
            said = "no result" if result.outcome is Outcome.OK else str(result.outcome).upper()
            self._headline(f"{said} {result.reason or ''}".strip(), "", left, right, colour)
        else:
            headline, score = _headline(shown)
            self._headline(headline, score, left, middle - 2 * u, _TEXT)
            self._bars(shown, middle, right)
        self._draw_age(result, left)
        self._draw_small_print(result, left, right)

    def _headline(self, text: str, score: str, left: int, right: int, colour: Bgr) -> None:
        """The one thing to read: as large as it fits."""
        letters, u = self._letters, self._unit
        baseline = round(4.1 * u)
        capital = round(2.3 * u)
        least, room = round(1.4 * u), right - left

        def taken() -> int:
            return letters.number_width(score, capital, bold=True) + u if score else 0

        while capital > least and letters.width(text, capital, bold=True) + taken() > room:
            capital -= 1
        if letters.width(text, capital, bold=True) + taken() > room:
            score = ""  # it stands beside its bar as well, and a label cut short is worse
        fitted = letters.fitted(text, room - taken(), capital, bold=True)
        x = letters.put(self._strip, fitted, left, baseline, capital, colour, bold=True)
        if score:
            letters.put_number(self._strip, score, x + u, baseline, capital, colour, bold=True)

    def _bars(self, shown: TaskResult, left: int, right: int) -> None:
        letters, u = self._letters, self._unit
        if isinstance(shown, Raw):
            for row, output in enumerate(shown.outputs[:_BARS]):
                text = f"{output.name}: {output.min:.3g} .. {output.max:.3g}"
                baseline = round((2.4 + 2.2 * row) * u)
                letters.put(self._strip, letters.fitted(text, right - left, u), left, baseline, u, _DIM)
            return
        names = round((right - left) * 0.4)
        # As wide as the widest score, so that the bars end in one line.
        end = right - letters.number_width(">99 %", u, bold=True) - u // 2
        for row, score in enumerate(shown.top[:_BARS]):
            baseline = round((2.4 + 2.2 * row) * u)
            first = row == 0
            colour = _TEXT if first else _DIM
            name = letters.fitted(score.label, names - u, u, bold=first)
            letters.put(self._strip, name, left, baseline, u, colour, bold=first)
            begin = left + names
            top, bottom = baseline - u, baseline
            cv2.rectangle(self._strip, (begin, top), (end - 1, bottom - 1), _TRACK, cv2.FILLED)
            length = round((end - begin) * min(1.0, max(0.0, score.score)))
            if length > 0:
                kind = _KINDS[Outcome.OK] if first else _OTHER
                cv2.rectangle(self._strip, (begin, top), (begin + length - 1, bottom - 1), kind, cv2.FILLED)
            text = percent(score.score)
            x = right - letters.number_width(text, u, bold=first)
            letters.put_number(self._strip, text, x, baseline, u, colour, bold=first)

    def _draw_age(self, result: Result, left: int) -> None:
        letters, u = self._letters, self._unit
        baseline, capital = round(6.8 * u), round(1.25 * u)
        text = f"{result.age_ms:.1f} ms" if result.age_ms < 10 else f"{result.age_ms:.0f} ms"
        x = letters.put_number(self._strip, text, left, baseline, capital, _TEXT)
        x = letters.put(self._strip, " old", x, baseline, capital, _DIM)
        shown = result.result if result.outcome is Outcome.OK else None
        if isinstance(shown, Classification) and shown.smoothing is not None:
            room = self.size[0] // 2 - 2 * u - (x + 2 * u)
            for text in (f"smoothed over {shown.smoothing.frames}", "smoothed"):
                if letters.number_width(text, u) <= room:
                    letters.put_number(self._strip, text, x + 2 * u, baseline, u, _DIM)
                    break

    def _draw_small_print(self, result: Result, left: int, right: int) -> None:
        letters, u = self._letters, self._unit
        baseline = round(9.9 * u)
        mark = "Research use only"
        end = right - letters.width(mark, u)
        letters.put(self._strip, mark, end, baseline, u, _DIM)
        x = letters.put(self._strip, "frame ", left, baseline, u, _DIM)
        x = letters.put_number(self._strip, str(result.seq), x, baseline, u, _TEXT)
        # What there is no room for is left out whole, the least needed first.
        for parts in ((result.variant, result.engine, result.bundle[:8]), (result.variant, result.engine)):
            text = " / ".join(parts)
            if x + 3 * u + letters.width(text, u) + u <= end or len(parts) == 2:
                text = letters.fitted(text, end - x - 4 * u, u)
                letters.put(self._strip, text, x + 3 * u, baseline, u, _DIM)
                return


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


def percent(score: float) -> str:
    """A probability as a percentage that never claims certainty; any other score as a number."""
    if not 0 <= score <= 1:
        return f"{score:.3g}"
    if score >= 0.995:
        return ">99 %"
    return "<1 %" if score < 0.005 else f"{100 * score:.0f} %"


def _headline(shown: TaskResult) -> tuple[str, str]:
    if isinstance(shown, Classification):
        return shown.label, percent(shown.score)
    first = shown.outputs[0] if shown.outputs else None
    return (f"argmax {first.argmax}" if first is not None else "no output"), ""


def _even(value: int) -> int:
    return value + (value & 1)
