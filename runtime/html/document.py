"""The parts of a report: page, sections, tables, pictures."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import cv2

from bedside.runtime.frame import Color, Pixels
from bedside.runtime.html.markup import MISSING, Content, Html, join, tag
from bedside.runtime.html.style import STYLE

# Nothing can be fetched and nothing can run, even if a bug let markup through.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(title: str, sections: Iterable[Content], *, subtitle: str = "", footer: str = "") -> Html:
    """A whole document.

    Args:
        title: Of the document, and its heading.
        sections: Mostly what `section` returns.
        subtitle: One line under the heading.
        footer: One line at the end, for example who made this and what it must not be used for.
    """
    head = join(
        [
            Html('<meta charset="utf-8">'),
            tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("title", title),
            tag("style", Html(STYLE)),
        ]
    )
    top = tag("header", tag("h1", title), tag("p", subtitle) if subtitle else "")
    body = join([top, tag("main", *sections), tag("footer", footer) if footer else ""])
    return Html(f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n')


def section(title: str, *parts: Content) -> Html:
    """A part of the document with its heading."""
    return join([tag("section", tag("h2", title), *parts), "\n"])


def paragraph(*parts: Content) -> Html:
    """A paragraph."""
    return tag("p", *parts)


def note(*parts: Content) -> Html:
    """A paragraph in small print."""
    return tag("p", *parts, class_="note")


def badge(text: str, kind: Literal["good", "bad", "plain"] = "plain") -> Html:
    """A word in a frame: a verdict."""
    return tag("span", text, class_=f"badge {kind}")


def details(summary: str, *parts: Content) -> Html:
    """Parts that are folded away until asked for."""
    return tag("details", tag("summary", summary), *parts)


def key_values(pairs: Iterable[tuple[str, Content]]) -> Html:
    """A list of names and values."""
    return tag("dl", *(part for key, value in pairs for part in (tag("dt", key), tag("dd", value))))


def table(
    header: Sequence[Content],
    rows: Iterable[Sequence[Content]],
    *,
    caption: str = "",
    numeric: Sequence[int] | None = None,
) -> Html:
    """A table. The first cell of a row is its heading.

    Args:
        header: One per column.
        rows: As many cells in each.
        caption: Above the table.
        numeric: Columns set flush right; by default those that hold nothing but numbers and None.

    Raises:
        ValueError: A row has more or fewer cells than the header.
    """
    rows = [tuple(row) for row in rows]
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row of {len(row)} cells under {len(header)} columns")
    if numeric is None:
        numeric = [i for i in range(len(header)) if rows and all(_is_number(row[i]) for row in rows)]
    kinds = ["num" if i in numeric else None for i in range(len(header))]
    top = tag("tr", *(tag("th", c, scope="col", class_=k) for c, k in zip(header, kinds, strict=True)))
    body = [
        tag(
            "tr",
            *(
                tag("td" if i else "th", c, scope=None if i else "row", class_=kinds[i])
                for i, c in enumerate(row)
            ),
        )
        for row in rows
    ]
    inner = [tag("caption", caption) if caption else "", tag("thead", top), tag("tbody", *body)]
    return tag("div", tag("table", *inner), class_="scroll")


def confusion(labels: Sequence[str], matrix: Sequence[Sequence[int]], *, title: str) -> Html:
    """A confusion matrix: rows are the truth, columns the decision; the shade is the share of the row.

    Args:
        labels: One per class.
        matrix: Square counts, as many rows and columns as labels.
        title: Says which model on which data.

    Raises:
        ValueError: The matrix does not fit the labels.
    """
    if len(matrix) != len(labels) or any(len(row) != len(labels) for row in matrix):
        raise ValueError(
            f"a matrix of {[len(row) for row in matrix]} columns by row for {len(labels)} labels"
        )
    head = [tag("th", "truth \\ decision", scope="col")]
    head += [tag("th", label, scope="col", class_="num") for label in labels]
    body = []
    for i, (label, row) in enumerate(zip(labels, matrix, strict=True)):
        total = sum(row)
        cells = [tag("th", label, scope="row")]
        for j, count in enumerate(row):
            share = count / total if total else 0.0
            # At most 65 %, so that the text keeps its contrast on every shade.
            style = f"--share:{65 * share:.0f}%" if count else None
            cells.append(tag("td", int(count), class_="hit" if i == j else "miss", style=style))
        recall = row[i] / total if total else None
        cells.append(tag("td", MISSING if recall is None else f"{100 * recall:.1f} %", class_="num"))
        body.append(tag("tr", *cells))
    head.append(tag("th", "recall", scope="col", class_="num"))
    inner = [tag("caption", title), tag("thead", tag("tr", *head)), tag("tbody", *body)]
    return tag("div", tag("table", *inner, class_="heat"), class_="scroll")


def image(
    pixels: Pixels, caption: Content = "", *, color: Color = "bgr", lossless: bool = False, alt: str = ""
) -> Html:
    """A picture, embedded.

    Args:
        pixels: `(H, W, 1 or 3) uint8`.
        caption: Under it.
        color: Channel order of `pixels`.
        lossless: PNG instead of JPEG (quality 85).
        alt: For screen readers; by default the caption's text.

    Raises:
        ValueError: OpenCV cannot encode these pixels.
    """
    if color == "rgb":
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR).astype("uint8", copy=False)
    try:
        done, data = (
            cv2.imencode(".png", pixels)
            if lossless
            else cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 85])
        )
    except cv2.error as error:
        raise ValueError(f"cannot encode a picture of shape {pixels.shape}: {error.err}") from None
    if not done:
        raise ValueError(f"cannot encode a picture of shape {pixels.shape}")
    kind, body = "png" if lossless else "jpeg", base64.b64encode(data.tobytes()).decode("ascii")
    height, width = pixels.shape[:2]
    said = alt or ("" if isinstance(caption, Html) else str(caption or ""))
    shown = tag("img", src=Html(f"data:image/{kind};base64,{body}"), alt=said, width=width, height=height)
    return tag("figure", shown, tag("figcaption", caption) if caption else "")


def gallery(images: Iterable[Content]) -> Html:
    """Pictures side by side."""
    return tag("div", *images, class_="gallery")


def write_page(path: str | Path, document: Html) -> None:
    """Write a document so that its name only ever stands for a whole file.

    Raises:
        OSError: It cannot be written; an older file of that name is untouched.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.partial")
    try:
        with partial.open("xb") as file:
            file.write(document.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def _is_number(cell: Content) -> bool:
    return cell is None or cell == MISSING or (isinstance(cell, int | float) and not isinstance(cell, bool))
