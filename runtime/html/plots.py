"""Charts as inline SVG: drawn for a page of `bedside.runtime.html`, whose style sheet colours them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from bedside.runtime.html.axes import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Axes, coordinate, ticks
from bedside.runtime.html.markup import Content, Html, escape, join, number, tag

#: A series with more points than this is thinned to the extremes of every column.
_DENSE = 2000
_COLUMNS = 700
_COLOURS = 6
# Beyond this (NaN is as well) a value is no measurement, and scaling it would overflow.
_LARGEST = 1e100


class Series(msgspec.Struct, frozen=True):
    """Points of one colour. A point that is not finite is left out, and a line is broken there.

    Attributes:
        name: For the legend.
        x: Abscissae, ascending for a line.
        y: Ordinates, as many.
        style: `line` or `dots`.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: Literal["line", "dots"] = "line"


class Threshold(msgspec.Struct, frozen=True):
    """A horizontal limit."""

    value: float
    label: str


class Bar(msgspec.Struct, frozen=True):
    """One bar, with an interval where there is one."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None


def line_plot(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    thresholds: Sequence[Threshold] = (),
    y_from_zero: bool = True,
    height: int = 280,
) -> Html:
    """Lines or dots over a common pair of axes.

    Args:
        series: At most six colours are told apart; further ones repeat them.
        title: Says what is shown, also to a screen reader.
        x_label: With its unit, for example `time in s`.
        y_label: With its unit.
        thresholds: Limits, drawn dashed with their label.
        y_from_zero: Whether the y axis begins at 0 when no value is negative.
        height: In user units of a `WIDTH` wide drawing.
    """
    points = [
        [p if abs(p[0]) < _LARGEST and abs(p[1]) < _LARGEST else None for p in zip(s.x, s.y, strict=True)]
        for s in series
    ]
    finite = [p for one in points for p in one if p is not None]
    if not finite:
        return _figure(title, Html(""), tag("p", "No samples.", class_="note"))
    values = [y for _, y in finite] + [t.value for t in thresholds]
    low, high = min(values), max(values)
    axes = Axes(
        ticks(min(x for x, _ in finite), max(x for x, _ in finite), 8),
        ticks(min(0.0, low) if y_from_zero else low, high),
        height,
        clip_x=(min(x for x, _ in finite), max(x for x, _ in finite)),
    )
    drawn = [axes.draw(x_label, y_label)]
    for index, (one, kind) in enumerate(zip(points, series, strict=True)):
        drawn.append(_dots(axes, one, index) if kind.style == "dots" else _line(axes, one, index))
    for t in thresholds:
        y, right = axes.y(t.value), WIDTH - RIGHT
        drawn.append(tag("line", class_="limit", x1=LEFT, x2=right, y1=y, y2=y))
        # Above the line, unless that would leave the drawing.
        row = y - 5 if y > 24 else y + 14
        drawn.append(tag("text", t.label, class_="limit", x=right - 4, y=row, text_anchor="end"))
    keys = [(s.name, f"c{i % _COLOURS}") for i, s in enumerate(series)] if len(series) > 1 else []
    return _figure(title, _legend(keys), _svg(title, height, drawn))


def timeline(
    times: Sequence[float], states: Sequence[str], *, title: str, x_label: str, bad: Sequence[str] = ()
) -> Html:
    """Which state a stream was in, over time: one row per state, in order of appearance.

    A state lasts until the next sample, but no longer than three typical intervals: a gap stays a gap.

    Args:
        times: Ascending.
        states: One per time.
        title: Says what is shown.
        x_label: With its unit.
        bad: States that are drawn in the colour of a warning.
    """
    if not times:
        return _figure(title, Html(""), tag("p", "No samples.", class_="note"))
    rows = [s for s in dict.fromkeys(states) if s not in bad] + [s for s in dict.fromkeys(states) if s in bad]
    steps = sorted(b - a for a, b in itertools.pairwise(times))
    typical = steps[len(steps) // 2] if steps else 1.0
    end = times[-1] + typical
    height = TOP + 26 * len(rows) + BOTTOM
    left = min(240, max(LEFT, 16 + round(6.6 * max(len(row) for row in rows))))
    axes = Axes(ticks(times[0], end, 8), [0.0, 1.0], height, clip_x=(times[0], end), left=left)
    drawn = [axes.draw(x_label, "", y_axis=False)]
    for index, row in enumerate(rows):
        top = TOP + 26 * index
        drawn.append(tag("text", _short(row, 34), x=left - 8, y=top + 17, text_anchor="end"))
        kind = "bad" if row in bad else f"c{index % _COLOURS}"
        for begin, stop in _runs(times, states, row, min(3 * typical, end - times[0]), end):
            x0, x1 = axes.x(begin), axes.x(stop)
            width = max(0.6, x1 - x0)
            drawn.append(tag("rect", class_=f"fill {kind}", x=x0, y=top + 5, width=width, height=16))
    return _figure(title, Html(""), _svg(title, height, drawn))


def bars(
    items: Sequence[Bar],
    *,
    title: str,
    unit: str = "",
    maximum: float | None = None,
    threshold: Threshold | None = None,
) -> Html:
    """Horizontal bars from 0, with the value behind each and its interval as a whisker.

    Args:
        items: Values are at least 0; one that is not finite has no bar.
        title: Says what is shown.
        unit: Behind every value.
        maximum: End of the axis; by default the largest value.
        threshold: A limit, drawn as a dashed line.
    """
    ends = [v for b in items for v in (b.value, b.high) if v is not None and math.isfinite(v)]
    top = maximum if maximum is not None else max([*ends, threshold.value if threshold else 0.0], default=0.0)
    top = top if top > 0 else 1.0
    left = min(260, 16 + round(6.6 * max((len(b.label) for b in items), default=0)))
    width = WIDTH - left - 110
    head = 20 if threshold is not None else 4
    drawn: list[Html] = []

    def across(value: float) -> float:
        return left + width * min(1.0, max(0.0, value / top))

    for index, bar in enumerate(items):
        y = head + 28 * index
        drawn.append(tag("text", _short(bar.label, 37), x=left - 8, y=y + 17, text_anchor="end"))
        if math.isfinite(bar.value):
            length = across(bar.value) - left
            drawn.append(tag("rect", class_="fill c0", x=left, y=y + 4, width=length, height=18, rx=2))
        if bar.low is not None and bar.high is not None:
            x0, x1 = coordinate(across(bar.low)), coordinate(across(bar.high))
            path = f"M{x0} {y + 8}v10M{x1} {y + 8}v10M{x0} {y + 13}H{x1}"
            drawn.append(tag("path", class_="whisker", d=path))
        shown = f"{number(bar.value)} {unit}".strip()
        drawn.append(tag("text", shown, class_="value", x=left + width + 10, y=y + 17))
    if threshold is not None:
        x = across(threshold.value)
        drawn.append(tag("line", class_="limit", x1=x, x2=x, y1=head, y2=head + 28 * len(items)))
        drawn.append(tag("text", threshold.label, class_="limit", x=x, y=13, text_anchor="middle"))
    return _figure(title, Html(""), _svg(title, head + 28 * len(items) + 6, drawn))


_Point = tuple[float, float]


def _line(axes: Axes, points: Sequence[_Point | None], index: int) -> Html:
    runs: list[list[_Point]] = [[]]
    for point in points:
        if point is not None:
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    drawn = []
    for run in runs:
        kept = _thinned(axes, run)
        if len(kept) == 1:  # a line of one point would be invisible
            drawn.append(_dots(axes, kept, index))
        elif kept:
            path = " ".join(f"{coordinate(axes.x(x))},{coordinate(axes.y(y))}" for x, y in kept)
            drawn.append(tag("polyline", class_=f"stroke c{index % _COLOURS}", points=path))
    return join(drawn)


def _dots(axes: Axes, points: Sequence[_Point | None], index: int) -> Html:
    kept = _thinned(axes, [p for p in points if p is not None])
    # One path of tiny circles is a tenth of the size of as many elements.
    circle = "a1.8 1.8 0 1 0 3.6 0a1.8 1.8 0 1 0 -3.6 0"
    path = "".join(f"M{coordinate(axes.x(x) - 1.8)} {coordinate(axes.y(y))}{circle}" for x, y in kept)
    return tag("path", class_=f"fill c{index % _COLOURS}", d=path)


def _thinned(axes: Axes, points: Sequence[_Point]) -> Sequence[_Point]:
    """The lowest and highest point of every column, so that no peak disappears."""
    if len(points) <= _DENSE:
        return points
    columns: dict[int, list[_Point]] = {}
    for point in points:
        columns.setdefault(int(axes.x(point[0]) * _COLUMNS / WIDTH), []).append(point)
    kept: list[_Point] = []
    for column in columns.values():
        extremes = {min(column, key=lambda p: p[1]), max(column, key=lambda p: p[1])}
        kept += sorted(extremes)
    return kept


def _runs(
    times: Sequence[float], states: Sequence[str], state: str, longest: float, end: float
) -> list[tuple[float, float]]:
    """Spans in which `state` held, adjoining ones merged."""
    spans: list[tuple[float, float]] = []
    for i, (begin, current) in enumerate(zip(times, states, strict=True)):
        if current != state:
            continue
        stop = min(times[i + 1] if i + 1 < len(times) else end, begin + longest)
        if spans and begin - spans[-1][1] < 1e-9:
            spans[-1] = (spans[-1][0], stop)
        else:
            spans.append((begin, stop))
    return spans


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _legend(keys: Sequence[tuple[str, str]]) -> Html:
    if not keys:
        return Html("")
    items = [tag("li", tag("i", class_=f"key {kind}"), " ", name) for name, kind in keys]
    return tag("ul", *items, class_="legend")


def _svg(title: str, height: int, parts: Sequence[Content]) -> Html:
    opening = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
    return Html(f"{opening}{join(parts)}</svg>")


def _figure(title: str, legend: Html, drawing: Html) -> Html:
    return tag("figure", tag("figcaption", title), legend, drawing, class_="chart")
