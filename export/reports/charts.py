"""Charts that only export reports have: histograms and reliability diagrams, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bedside.runtime.html.axes import TOP, WIDTH, Axes, coordinate, ticks
from bedside.runtime.html.markup import Content, Html, escape, join, tag

#: Per bin: its middle, mean confidence, fraction that was right, and count; see `Marks.reliability`.
Diagram = Sequence[tuple[float, float, float, int]]

_HEIGHT = 230
_SQUARE = 400
_MOST_BINS = 60


def histogram(
    values: Sequence[float], *, title: str, x_label: str, y_label: str, limit: float, limit_label: str
) -> Html:
    """How often each value occurs, with a limit; bars beyond the limit are in the colour of a warning.

    Args:
        values: At least one, finite.
        title: Says what is shown.
        x_label: With its unit.
        y_label: What is counted.
        limit: Drawn dashed.
        limit_label: Beside it.
    """
    sample = np.asarray(values, np.float64)
    low, high = min(0.0, float(sample.min())), max(float(sample.max()), limit) * 1.05
    # The limit is an edge, so that no bar is on both sides of it.
    width = _bin_width(sample, high - low)
    below = max(1, math.ceil((limit - low) / width))
    edges = limit + width * np.arange(-below, max(1, math.ceil((high - limit) / width)) + 1)
    # A value at the limit is within it.
    counts, _ = np.histogram(-sample, -edges[::-1])
    counts = counts[::-1]
    axes = Axes(
        ticks(float(edges[0]), float(edges[-1]), 8),
        _whole(max(1, int(counts.max()))),
        _HEIGHT,
        clip_x=(float(edges[0]), float(edges[-1])),
    )
    drawn = [axes.draw(x_label, y_label)]
    floor = axes.y(0)
    for count, start, end in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            x0, x1, y = axes.x(float(start)), axes.x(float(end)), axes.y(float(count))
            kind = "bad" if start >= limit else "c0"
            drawn.append(
                tag(
                    "rect",
                    class_=f"fill {kind}",
                    x=x0 + 0.5,
                    y=y,
                    width=max(0.5, x1 - x0 - 1),
                    height=floor - y,
                )
            )
    x = axes.x(limit)
    drawn.append(tag("line", class_="limit", x1=x, x2=x, y1=TOP, y2=floor))
    on_left = x > WIDTH / 2
    drawn.append(
        tag(
            "text",
            limit_label,
            class_="limit",
            x=x - 6 if on_left else x + 6,
            y=TOP + 12,
            text_anchor="end" if on_left else "start",
        )
    )
    return _figure(title, Html(""), _svg(title, WIDTH, _HEIGHT, drawn))


def reliability(diagrams: Sequence[tuple[str, Diagram]], *, title: str, x_label: str, y_label: str) -> Html:
    """Reliability diagram: how often a stated confidence was right, beside the diagonal where it should lie.

    The area of a dot grows with the number of samples in its bin.

    Args:
        diagrams: With their names.
        title: Says what is shown.
        x_label: The confidence.
        y_label: The frequency.
    """
    grid = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    axes = Axes(grid, grid, _SQUARE, clip_x=(0.0, 1.0))
    drawn = [axes.draw(x_label, y_label)]
    ends = f"M{coordinate(axes.x(0))} {coordinate(axes.y(0))}L{coordinate(axes.x(1))} {coordinate(axes.y(1))}"
    drawn.append(tag("path", d=ends, class_="axis", fill="none", stroke_dasharray="3 4"))
    largest = max((n for _, bins in diagrams for *_, n in bins), default=1)
    for index, (_, bins) in enumerate(diagrams):
        path = " ".join(f"{coordinate(axes.x(c))},{coordinate(axes.y(r))}" for _, c, r, _ in bins)
        drawn.append(tag("polyline", class_=f"stroke c{index}", points=path))
        for _, confidence, right, count in bins:
            drawn.append(
                tag(
                    "circle",
                    tag("title", f"{confidence:.2f} stated, {right:.2f} right, {count} samples"),
                    class_=f"fill c{index}",
                    cx=round(axes.x(confidence), 1),
                    cy=round(axes.y(right), 1),
                    r=round(2 + 7 * math.sqrt(count / largest), 1),
                    fill_opacity=0.75,
                )
            )
    keys = [tag("li", tag("i", class_=f"key c{i}"), " ", name) for i, (name, _) in enumerate(diagrams)]
    return _figure(title, tag("ul", *keys, class_="legend"), _svg(title, WIDTH, _SQUARE, drawn))


def _whole(most: int) -> list[float]:
    """Ticks for a count."""
    every = (ticks(0, most, count) for count in (6, 5, 4, 3, 2))
    return next(found for found in every if all(t == round(t) for t in found))


def _bin_width(sample: np.ndarray[tuple[int], np.dtype[np.float64]], span: float) -> float:
    """Freedman & Diaconis, 1981: twice the interquartile range over the cube root of the count."""
    q1, q3 = np.percentile(sample, [25, 75])
    width = 2 * float(q3 - q1) / len(sample) ** (1 / 3)
    return min(max(width, span / _MOST_BINS), span / 5) if span > 0 else 1.0


def _svg(title: str, width: int, height: int, parts: Sequence[Content]) -> Html:
    opening = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
    return Html(f"{opening}{join(parts)}</svg>")


def _figure(title: str, legend: Html, drawing: Html) -> Html:
    return tag("figure", tag("figcaption", title), legend, drawing, class_="chart")
