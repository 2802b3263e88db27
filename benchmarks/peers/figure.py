"""The comparison as one SVG picture: six panels, one row per candidate, ours included where it loses."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
from records import AGAIN, BEDSIDE, METRICS, Comparison, Estimate, Row

from bedside.runtime.html.axes import ticks
from bedside.runtime.html.markup import Html, join, tag

WIDTH = 1000
MARGIN, GAP, LABELS = 16, 30, 184
ROW, HEAD, FOOT = 22, 46, 30
COLUMNS = 2

OURS, THEIRS, NOISE, INK, DIM, RULE = "#0b6fae", "#5f6b7a", "#8fb8d6", "#1b2430", "#566271", "#d9dfe6"
#: A panel whose values span more than this is logarithmic.
WIDE = 12.0


class Mark(msgspec.Struct, frozen=True):
    """One row of a panel.

    Attributes:
        name: Of the candidate.
        title: For people.
        value: Where the dot stands; None for a row without.
        low: Where the line behind it begins.
        high: Where it ends.
    """

    name: str
    title: str
    value: float | None
    low: float | None = None
    high: float | None = None


class Panel(msgspec.Struct, frozen=True):
    """One number of all candidates.

    Attributes:
        title: With its unit.
        hint: Which direction is better, and what the line is.
        marks: One per candidate.
    """

    title: str
    hint: str
    marks: tuple[Mark, ...]


def figure(found: Comparison) -> str:
    """A standalone SVG file, with a page of its own so that it can be read on any background."""
    panels = [panel for panel in _panels(found.rows) if any(m.value is not None for m in panel.marks)]
    rows = len(found.rows)
    height_of = HEAD + ROW * rows + FOOT
    width_of = (WIDTH - 2 * MARGIN - GAP * (COLUMNS - 1)) / COLUMNS
    top = 58 if found.quick else 40
    lines = math.ceil(len(panels) / COLUMNS)
    height = top + lines * height_of + MARGIN
    parts = [
        tag("rect", width=WIDTH, height=height, fill="#fff"),
        _text(MARGIN, 26, "bedside beside what people use today", size=17, weight="600"),
    ]
    if found.quick:
        parts.append(_text(MARGIN, 46, "Quick run: the numbers mean nothing.", fill="#b3400f", size=13))
    for index, panel in enumerate(panels):
        x = MARGIN + (index % COLUMNS) * (width_of + GAP)
        parts.append(_draw(panel, x, top + (index // COLUMNS) * height_of, width_of))
    if not panels:
        parts.append(_text(MARGIN, top + 20, "No numbers.", fill=DIM))
    body = join(parts)
    font = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" '
        f'height="{height:g}" role="img" aria-label="bedside and its peers" font-family="{font}" '
        f'font-size="13">{body}</svg>\n'
    )


def _panels(rows: Sequence[Row]) -> list[Panel]:
    def metric(name: str, title: str) -> Panel:
        better = "more is better" if METRICS[name].better == "more" else "less is better"
        marks = tuple(_of(row, row.metrics.get(name)) for row in rows)
        line = "; line: 95 % interval" if any(m.low is not None for m in marks) else ""
        return Panel(title, better + line, marks)

    def age(scenario: str, title: str) -> Panel:
        known = [row.ages_ms[scenario] for row in rows if scenario in row.ages_ms]
        # The furthest percentile that all of them carry.
        tail = next((key for key in ("p99", "p95", "p90") if all(key in ages for ages in known)), "")
        marks = []
        for row in rows:
            ages = row.ages_ms.get(scenario, {})
            marks.append(Mark(row.name, row.title, ages.get("p50"), ages.get("p50"), ages.get(tail)))
        return Panel(
            title, "less is better; dot: median" + (f", line: to {tail}" if tail else ""), tuple(marks)
        )

    return [
        age("paced", "Age of a result, 60 frames/s, ms"),
        age("overload", "Age when the model takes three frame intervals, ms"),
        metric("saturated_fps", "Throughput from a file, frames/s"),
        metric("cold_s", "Cold start to the first result, s"),
        metric("peak_mb", "Peak memory, MB"),
        metric("idle_cpu", "Processor at 30 frames/s, % of a core"),
    ]


def _of(row: Row, found: Estimate | None) -> Mark:
    if found is None:
        return Mark(row.name, row.title, None)
    return Mark(row.name, row.title, found.median, found.low, found.high)


class Scale:
    """From values to columns; logarithmic where they span much.

    Args:
        values: All that have to fit, at least one.
        left: Column of the axis' begin.
        right: Of its end.
    """

    def __init__(self, values: Sequence[float], left: float, right: float) -> None:
        least, most = min(values), max(values)
        self.logarithmic = least > 0 and most / least > WIDE
        self._left, self._right = left, right
        if self.logarithmic:
            self._from, self._to = math.log10(least) - 0.08, math.log10(most) + 0.08
            powers = range(math.floor(self._from), math.ceil(self._to) + 1)
            places = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
            self.ticks = [place for place in places if self._from <= math.log10(place) <= self._to]
        else:
            self.ticks = ticks(0.0, most, 5)
            self._from, self._to = self.ticks[0], self.ticks[-1]

    def __call__(self, value: float) -> float:
        """Column of a value."""
        at = math.log10(value) if self.logarithmic else value
        return self._left + (at - self._from) / (self._to - self._from) * (self._right - self._left)


def _draw(panel: Panel, x: float, y: float, width: float) -> Html:
    values = [v for m in panel.marks for v in (m.value, m.low, m.high) if v is not None]
    # Room behind the axis for the number of the last dot.
    scale = Scale(values, x + LABELS, x + width - 52)
    bottom = y + HEAD + ROW * len(panel.marks)
    parts = [
        _text(x, y + 16, panel.title, weight="600"),
        _text(x, y + 33, panel.hint + ("; logarithmic" if scale.logarithmic else ""), fill=DIM, size=11.5),
    ]
    for value in scale.ticks:
        at = scale(value)
        parts.append(tag("line", x1=at, x2=at, y1=y + HEAD - 4, y2=bottom, stroke=RULE))
        parts.append(_text(at, bottom + 14, f"{value:g}", fill=DIM, size=11, anchor="middle"))
    for index, mark in enumerate(panel.marks):
        parts.append(_row(mark, scale, x, y + HEAD + ROW * index + ROW / 2, width))
    return join(parts)


def _row(mark: Mark, scale: Scale, x: float, y: float, width: float) -> Html:
    colour = OURS if mark.name == BEDSIDE else NOISE if mark.name == AGAIN else THEIRS
    weight = "600" if mark.name == BEDSIDE else "400"
    parts = [_text(x + LABELS - 12, y + 4, mark.title, anchor="end", weight=weight, size=12)]
    if mark.value is None:
        parts.append(_text(x + LABELS + 6, y + 4, "no number, see the page", fill=DIM, size=11))
        return join(parts)
    if mark.low is not None and mark.high is not None and mark.high > mark.low:
        ends = {"x1": scale(mark.low), "x2": scale(mark.high), "y1": y, "y2": y}
        parts.append(tag("line", **ends, stroke=colour, stroke_width=3, stroke_opacity=0.45))
    parts.append(tag("circle", cx=scale(mark.value), cy=y, r=5.0, fill=colour))
    parts.append(_text(x + width, y + 4, _short(mark.value), anchor="end", size=12, weight=weight))
    return join(parts)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _text(
    x: float,
    y: float,
    text: str,
    *,
    fill: str = INK,
    size: float | None = None,
    anchor: str | None = None,
    weight: str | None = None,
) -> Html:
    return tag("text", text, x=x, y=y, fill=fill, font_size=size, text_anchor=anchor, font_weight=weight)
