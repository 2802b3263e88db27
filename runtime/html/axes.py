"""Axes of a chart: round ticks, and the way from data to the drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bedside.runtime.html.markup import Html, join, tag

#: Width of every chart in user units; the page scales it.
WIDTH = 760
#: Margins around the data, in the same units.
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 44


class Axes:
    """A pair of axes, and the map from data to the drawing.

    Args:
        x_ticks: Round abscissae; those outside the data are not drawn.
        y_ticks: Round ordinates, the first and last of which are the ends of the axis.
        height: Of the drawing.
        clip_x: First and last abscissa of the data, where the x axis ends.
        left: Left margin.
    """

    def __init__(
        self,
        x_ticks: list[float],
        y_ticks: list[float],
        height: int,
        *,
        clip_x: tuple[float, float],
        left: int = LEFT,
    ) -> None:
        # The x axis ends with the data, the y axis at a round number.
        self._x0, self._x1 = widened(*clip_x)
        self._y0, self._y1 = y_ticks[0], y_ticks[-1]
        self._x_ticks = [t for t in x_ticks if self._x0 <= t <= self._x1]
        self._y_ticks = y_ticks
        self._height = height
        self._left = left

    def x(self, value: float) -> float:
        """Column of an abscissa."""
        return self._left + (value - self._x0) / (self._x1 - self._x0) * (WIDTH - RIGHT - self._left)

    def y(self, value: float) -> float:
        """Row of an ordinate."""
        bottom = self._height - BOTTOM
        return bottom - (value - self._y0) / (self._y1 - self._y0) * (bottom - TOP)

    def draw(self, x_label: str, y_label: str, *, y_axis: bool = True) -> Html:
        """Grid, tick labels and axis labels."""
        left, right, bottom = self._left, WIDTH - RIGHT, self._height - BOTTOM
        parts: list[Html] = []
        for value in self._x_ticks:
            x = self.x(value)
            parts.append(tag("line", class_="grid", x1=x, x2=x, y1=TOP, y2=bottom))
            parts.append(tag("text", _tick(value, self._x_ticks), x=x, y=bottom + 17, text_anchor="middle"))
        for value in self._y_ticks if y_axis else ():
            y = self.y(value)
            parts.append(tag("line", class_="grid", x1=left, x2=right, y1=y, y2=y))
            parts.append(tag("text", _tick(value, self._y_ticks), x=left - 7, y=y + 4, text_anchor="end"))
        parts.append(tag("line", class_="axis", x1=left, x2=right, y1=bottom, y2=bottom))
        centre = (left + right) / 2
        parts.append(tag("text", x_label, class_="label", x=centre, y=self._height - 7, text_anchor="middle"))
        if y_label:
            turned = f"translate(14 {(TOP + bottom) / 2:g}) rotate(-90)"
            parts.append(tag("text", y_label, class_="label", transform=turned, text_anchor="middle"))
        return join(parts)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers that cover `low..high`: multiples of 1, 2, 2.5 or 5 times a power of ten.

    Heckbert, "Nice Numbers for Graph Labels", Graphics Gems, 1990, with 2.5 added.
    """
    low, high = widened(low, high)
    rough = (high - low) / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10, 20) if factor * power >= rough * 0.999)
    first = math.floor(low / step + 1e-6)
    last = max(first + 1, math.ceil(high / step - 1e-6))
    return [step * i for i in range(first, last + 1)]


def widened(low: float, high: float) -> tuple[float, float]:
    """`low..high`, made wide enough to be divided into ticks where all values are practically one."""
    size = max(abs(low), abs(high))
    if high - low > max(1e-9 * size, 1e-100):
        return low, high
    half = size / 2 if size > 1e-100 else 0.5
    return low - half, high + half


def coordinate(value: float) -> str:
    """A coordinate to a tenth of a unit, for paths."""
    return f"{value:.1f}".removesuffix(".0")


def _tick(value: float, among: Sequence[float]) -> str:
    """A tick's text, with as many decimals as the step between ticks has."""
    step = among[1] - among[0] if len(among) > 1 else abs(value) or 1.0
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(step * 10**decimals - round(step * 10**decimals)) > 1e-6:
        decimals += 1  # a step of 2.5, 0.25, ...
    if decimals > 6 or abs(value) >= 1e7:
        return f"{value:.3g}"
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text
