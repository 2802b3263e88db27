from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.runtime import html
from bedside.runtime.html import Bar, Html, Series, Threshold
from bedside.runtime.html.axes import Axes, ticks
from bedside.runtime.html.plots import WIDTH

VOID = {"meta", "img", "br", "hr", "line", "rect", "circle", "path", "polyline"}


class Checker(HTMLParser):
    """Collects elements, attributes and text, and insists that everything is closed in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(markup: str) -> Checker:
    checker = Checker()
    checker.feed(markup)
    checker.close()
    assert checker.open == []
    return checker


def shapes(markup: str, name: str, class_: str) -> list[dict[str, str | None]]:
    return [
        a for tag, a in parsed(markup).elements if tag == name and class_ in (a.get("class") or "").split()
    ]


class TestMarkup:
    @given(st.text())
    def test_text_is_text(self, text: str) -> None:
        shown = parsed(html.paragraph(text))
        assert [tag for tag, _ in shown.elements] == ["p"]

    @pytest.mark.parametrize(
        "text", ["<script>alert(1)</script>", "a & b", "\"'><img src=x onerror=y>", "]]>"]
    )
    def test_markup_in_text_is_shown_not_obeyed(self, text: str) -> None:
        assert "".join(parsed(html.paragraph(text)).text) == text
        ((_, attributes),) = parsed(html.tag("p", title=text)).elements
        assert attributes == {"title": text}

    def test_control_characters_and_surrogates_never_reach_the_file(self) -> None:
        document = html.paragraph("a\x00b\x1bc\ud800d\x85e")
        assert document.count("\N{REPLACEMENT CHARACTER}") == 4
        document.encode("utf-8")

    def test_markup_is_not_escaped_twice(self) -> None:
        assert html.escape(html.escape("a & b")) == "a &amp; b"

    def test_concatenation_forgets_that_it_was_markup(self) -> None:
        # Html + str is str again: what was joined by hand is escaped, not trusted.
        assert "&lt;b&gt;" in html.paragraph(html.tag("b") + "<i>")

    @pytest.mark.parametrize("name", ["p onclick=x", "", "<p", "p>"])
    def test_only_names_are_elements(self, name: str) -> None:
        with pytest.raises(ValueError, match="not an element name"):
            html.tag(name)

    def test_only_names_are_attributes(self) -> None:
        with pytest.raises(ValueError, match="not an attribute name"):
            html.tag("p", **{"on click": "x"})

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (None, "–"),
            (float("nan"), "–"),
            (float("inf"), "–"),
            (0, "0"),
            (0.0, "0"),
            (1234567, "1\u202f234\u202f567"),
            (-1234, "-1\u202f234"),
            (0.98765, "0.988"),
            (12.345, "12.35"),
            (123.456, "123.5"),
            (1234.5, "1\u202f234"),
            (0.0001234, "0.000123"),
            (1.5e9, "1.5e+09"),
            (True, "True"),
        ],
    )
    def test_numbers(self, value: float | None, text: str) -> None:
        assert html.number(value) == text


class TestPage:
    def test_it_is_one_document_that_fetches_and_runs_nothing(self) -> None:
        document = html.page("A <title>", [html.section("One", "text")], subtitle="sub", footer="foot")
        shown = parsed(document.removeprefix("<!doctype html>"))
        names = [tag for tag, _ in shown.elements]
        assert names[:2] == ["html", "head"]
        assert names.count("h1") == names.count("title") == 1
        assert {"script", "link", "iframe"}.isdisjoint(names)
        assert "http:" not in document
        assert "https:" not in document
        assert "@import" not in document
        policy = next(a["content"] for t, a in shown.elements if a.get("http-equiv"))
        assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

    def test_it_follows_the_reader_and_the_paper(self) -> None:
        document = html.page("t", [])
        assert "prefers-color-scheme: dark" in document
        assert "@media print" in document

    @settings(max_examples=50, deadline=None)
    @given(st.text(max_size=50))
    def test_no_text_breaks_out_anywhere(self, text: str) -> None:
        found, plain = (
            parsed(html.page(t, self._parts(t), subtitle=t, footer=t).removeprefix("<!doctype html>"))
            for t in (f"_{text}", "_x")
        )
        assert [(tag, sorted(a)) for tag, a in found.elements] == [
            (tag, sorted(a)) for tag, a in plain.elements
        ]

    @staticmethod
    def _parts(text: str) -> list[Html]:
        return [
            html.section(
                text, html.paragraph(text), html.note(text), html.badge(text), html.details(text, text)
            ),
            html.table([text, text], [[text, 1.5]], caption=text),
            html.key_values([(text, text)]),
            html.line_plot(
                [Series(text, [0, 1], [0, 1]), Series(text, [0], [1], "dots")],
                title=text,
                x_label=text,
                y_label=text,
                thresholds=[Threshold(0.5, text)],
            ),
            html.bars([Bar(text, 1.0)], title=text, unit=text, threshold=Threshold(1.0, text)),
            html.timeline([0.0, 1.0], [text, "b"], title=text, x_label=text, bad=["b"]),
            html.confusion([text, "b"], [[1, 2], [3, 4]], title=text),
            html.image(np.zeros((2, 2, 3), np.uint8), text),
        ]

    def test_details_are_folded(self) -> None:
        assert parsed(html.details("more", "hidden")).elements == [("details", {}), ("summary", {})]


class TestTables:
    def test_numbers_stand_flush_right_and_the_first_cell_heads_its_row(self) -> None:
        markup = html.table(["name", "count", "note"], [["a", 1, "x"], ["b", None, "y"]])
        cells = [
            (tag, a.get("class"), a.get("scope")) for tag, a in parsed(markup).elements if tag in ("th", "td")
        ]
        assert cells == [
            ("th", None, "col"),
            ("th", "num", "col"),
            ("th", None, "col"),
            *[("th", None, "row"), ("td", "num", None), ("td", None, None)] * 2,
        ]

    def test_columns_can_be_named_numeric(self) -> None:
        markup = html.table(["a", "b"], [["x", "1.0 %"]], numeric=[1])
        assert markup.count('class="num"') == 2

    def test_a_crooked_row_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="a row of 1 cells under 2 columns"):
            html.table(["a", "b"], [["x"]])

    def test_without_rows_there_is_a_header(self) -> None:
        assert "<thead>" in html.table(["a"], [])

    def test_confusion_shades_by_the_share_of_the_row(self) -> None:
        markup = html.confusion(["a", "b", "c"], [[8, 2, 0], [0, 4, 0], [0, 0, 0]], title="t")
        assert [a["style"] for a in shapes(markup, "td", "hit") if a.get("style")] == [
            "--share:52%",
            "--share:65%",
        ]
        assert [a["style"] for a in shapes(markup, "td", "miss") if a.get("style")] == ["--share:13%"]
        assert re.findall(r"[\d.]+ %|–", " ".join(parsed(markup).text)) == ["80.0 %", "100.0 %", "–"]

    def test_a_matrix_has_to_fit_its_labels(self) -> None:
        with pytest.raises(ValueError, match="for 2 labels"):
            html.confusion(["a", "b"], [[1, 2], [3]], title="t")


class TestImages:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_pixels_survive_without_loss(self, channels: int) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (7, 5, channels), dtype=np.uint8)
        ((_, _), (_, attributes), *_) = parsed(html.image(pixels, "c", lossless=True)).elements
        data = base64.b64decode((attributes["src"] or "").removeprefix("data:image/png;base64,"))
        read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(read.reshape(pixels.shape), pixels)
        assert (attributes["width"], attributes["height"], attributes["alt"]) == ("5", "7", "c")

    def test_colour_order_is_obeyed(self) -> None:
        pixels = np.zeros((16, 16, 3), np.uint8)
        pixels[..., 0] = 255  # red in RGB
        source = (
            next(a["src"] for t, a in parsed(html.image(pixels, color="rgb")).elements if t == "img") or ""
        )
        data = base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))
        blue, green, red = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[8, 8]
        assert red > 240
        assert max(blue, green) < 15

    def test_what_cannot_be_encoded_is_an_error(self) -> None:
        with pytest.raises(ValueError, match=r"cannot encode a picture of shape \(0, 5, 3\)"):
            html.image(np.zeros((0, 5, 3), np.uint8))


class TestTicks:
    @given(
        st.floats(-1e12, 1e12, allow_nan=False),
        st.floats(-1e12, 1e12, allow_nan=False),
        st.integers(2, 12),
    )
    def test_they_cover_the_data_and_are_few(self, a: float, b: float, count: int) -> None:
        low, high = min(a, b), max(a, b)
        found = ticks(low, high, count)
        assert 2 <= len(found) <= 3 * count + 3
        assert found == sorted(set(found))
        step = found[1] - found[0]
        assert found[0] <= low + 1e-5 * step
        assert found[-1] >= high - 1e-5 * step

    def test_they_are_round(self) -> None:
        assert ticks(0, 97) == [0, 25, 50, 75, 100]
        assert ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1.0]
        assert ticks(12, 19, 8) == [12, 13, 14, 15, 16, 17, 18, 19]
        assert ticks(3, 3) == [1, 2, 3, 4, 5]
        assert ticks(0, 0) == [-0.5, -0.25, 0, 0.25, 0.5]


class TestPlots:
    def test_points_land_where_the_axes_say(self) -> None:
        markup = html.line_plot([Series("a", [0, 5, 10], [0, 50, 100])], title="t", x_label="s", y_label="ms")
        (line,) = shapes(markup, "polyline", "stroke")
        points = [tuple(float(v) for v in pair.split(",")) for pair in (line["points"] or "").split()]
        axes = Axes([], [0, 25, 50, 75, 100], 280, clip_x=(0, 10))
        assert points == [pytest.approx((axes.x(x), axes.y(10 * x)), abs=0.06) for x in (0, 5, 10)]
        assert points[0][0] < points[1][0] < points[2][0] <= WIDTH
        assert points[0][1] > points[1][1] > points[2][1] >= 0

    def test_a_line_breaks_where_a_value_is_missing(self) -> None:
        y = [1.0, 2.0, float("nan"), 3.0, float("inf"), 4.0, 5.0]
        markup = html.line_plot([Series("a", range(7), y)], title="t", x_label="", y_label="")
        assert len(shapes(markup, "polyline", "stroke")) == 2
        assert len(shapes(markup, "path", "fill")) == 1  # a single point between two gaps is a dot

    def test_thinning_keeps_every_peak(self) -> None:
        y = np.random.default_rng(0).random(200_000)
        y[123_456] = 50.0
        markup = html.line_plot([Series("a", range(200_000), y.tolist())], title="t", x_label="", y_label="")
        (line,) = shapes(markup, "polyline", "stroke")
        points = [tuple(float(v) for v in pair.split(",")) for pair in (line["points"] or "").split()]
        assert len(points) <= 1500
        axes = Axes([], ticks(0, 50), 280, clip_x=(0, 1))
        assert min(p[1] for p in points) == pytest.approx(axes.y(50), abs=0.1)

    def test_a_threshold_is_in_the_picture_even_above_the_data(self) -> None:
        markup = html.line_plot(
            [Series("a", [0, 1], [1, 2])],
            title="t",
            x_label="",
            y_label="",
            thresholds=[Threshold(100, "limit")],
        )
        (line,) = shapes(markup, "line", "limit")
        assert 0 <= float(line["y1"] or "nan") <= 280
        assert "limit" in parsed(markup).text

    def test_several_series_have_a_legend(self) -> None:
        two = html.line_plot(
            [Series("first", [0], [1]), Series("second", [0], [2])], title="t", x_label="", y_label=""
        )
        assert len(shapes(two, "i", "key")) == 2
        one = html.line_plot([Series("first", [0], [1])], title="t", x_label="", y_label="")
        assert "legend" not in one

    def test_a_chart_says_what_it_is(self) -> None:
        markup = html.line_plot(
            [Series("a", [0, 1], [0, 1])], title="Age", x_label="time in s", y_label="age in ms"
        )
        svg = next(a for t, a in parsed(markup).elements if t == "svg")
        assert (svg["role"], svg["aria-label"]) == ("img", "Age")
        assert {"time in s", "age in ms"} <= set(parsed(markup).text)

    @pytest.mark.parametrize(
        "draw",
        [
            lambda: html.line_plot([], title="t", x_label="", y_label=""),
            lambda: html.line_plot([Series("a", [], [])], title="t", x_label="", y_label=""),
            lambda: html.line_plot([Series("a", [0.0], [float("nan")])], title="t", x_label="", y_label=""),
            lambda: html.timeline([], [], title="t", x_label=""),
        ],
    )
    def test_nothing_to_show_is_said(self, draw: Callable[[], Html]) -> None:
        assert "No samples." in parsed(draw()).text

    @settings(deadline=None, max_examples=100)
    @given(st.lists(st.tuples(st.floats(allow_nan=True), st.floats(allow_nan=True)), max_size=20))
    def test_any_numbers_can_be_plotted(self, points: list[tuple[float, float]]) -> None:
        x, y = [p[0] for p in points], [p[1] for p in points]
        markup = html.line_plot(
            [Series("a", x, y), Series("b", x, y, "dots")], title="t", x_label="", y_label=""
        )
        drawn = parsed(markup)
        for _, attributes in drawn.elements:
            for value in attributes.values():
                assert not re.search(r"\b(nan|inf)\b", value or "")

    def test_bars_are_as_long_as_their_values(self) -> None:
        markup = html.bars(
            [Bar("a", 1.0), Bar("b", 0.5, low=0.4, high=0.6), Bar("c", float("nan"))], title="t", maximum=1.0
        )
        widths = [float(a["width"] or "nan") for a in shapes(markup, "rect", "fill")]
        assert widths[1] == pytest.approx(widths[0] / 2)
        assert len(shapes(markup, "path", "whisker")) == 1
        assert "–" in parsed(markup).text

    def test_bars_without_anything_to_show(self) -> None:
        parsed(html.bars([], title="t"))
        parsed(html.bars([Bar("a", 0.0)], title="t"))

    def test_a_timeline_merges_runs_and_keeps_gaps(self) -> None:
        times = [0.0, 1.0, 2.0, 3.0, 10.0, 11.0]
        markup = html.timeline(times, ["a", "a", "b", "a", "a", "a"], title="t", x_label="s", bad=["b"])
        assert len(shapes(markup, "rect", "c0")) == 3
        (bad,) = shapes(markup, "rect", "bad")
        runs = shapes(markup, "rect", "c0")
        second = float(bad["width"] or "nan")
        # The frame at 3 s is followed by silence: it lasts three intervals, not seven.
        assert float(runs[1]["width"] or "nan") == pytest.approx(3 * second, rel=0.01)


class TestWriting:
    def test_a_page_is_written_whole_with_its_folders(self, tmp_path: Path) -> None:
        target = tmp_path / "new" / "report.html"
        html.write_page(target, html.page("Größe", []))
        assert "Größe" in target.read_text(encoding="utf-8")
        assert [p.name for p in target.parent.iterdir()] == ["report.html"]

    def test_the_file_is_as_readable_as_any_other(self, tmp_path: Path) -> None:
        html.write_page(tmp_path / "a.html", html.page("t", []))
        (tmp_path / "plain").touch()
        assert (tmp_path / "a.html").stat().st_mode == (tmp_path / "plain").stat().st_mode

    def test_a_failure_leaves_the_older_file_and_nothing_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target = tmp_path / "report.html"
        target.write_text("older")

        def full(fd: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            html.write_page(target, html.page("t", []))
        assert target.read_text() == "older"
        assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
