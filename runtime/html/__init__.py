"""Reports as one HTML file: no network, no script, light and dark, printable, everything escaped.

Text goes in as plain `str` and is escaped; what these functions return is `Html` and is not escaped again.
"""

from bedside.runtime.html.document import (
    badge,
    confusion,
    details,
    gallery,
    image,
    key_values,
    note,
    page,
    paragraph,
    section,
    table,
    write_page,
)
from bedside.runtime.html.markup import MISSING, Content, Html, escape, join, number, tag
from bedside.runtime.html.plots import Bar, Series, Threshold, bars, line_plot, timeline

__all__ = [
    "MISSING",
    "Bar",
    "Content",
    "Html",
    "Series",
    "Threshold",
    "badge",
    "bars",
    "confusion",
    "details",
    "escape",
    "gallery",
    "image",
    "join",
    "key_values",
    "line_plot",
    "note",
    "number",
    "page",
    "paragraph",
    "section",
    "table",
    "tag",
    "timeline",
    "write_page",
]
