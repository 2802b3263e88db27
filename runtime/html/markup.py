"""HTML text that is escaped by construction: what every report is made of."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable

#: What may stand in a report for a number that does not exist.
MISSING = "–"

# Control characters (tab and newlines aside) and lone surrogates are not allowed in HTML at all.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*")
_VOID = frozenset({"img", "meta", "br", "hr", "line", "rect", "circle", "path", "polyline"})


class Html(str):
    """Markup. Any other string is text, and is escaped before it becomes part of markup."""

    __slots__ = ()


#: Anything that can be shown: markup as it is, everything else as escaped text.
Content = Html | str | int | float | None


def escape(value: Content) -> Html:
    """Markup for any value: `Html` as it is, numbers by `number`, the rest as escaped text."""
    if isinstance(value, Html):
        return value
    text = number(value) if value is None or isinstance(value, int | float) else str(value)
    return Html(html.escape(_FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text), quote=True))


def join(parts: Iterable[Content]) -> Html:
    """Markup of all parts, one after the other."""
    return Html("".join(escape(part) for part in parts))


def tag(name: str, /, *children: Content, **attributes: Content) -> Html:
    """One element.

    Args:
        name: For example `p`.
        children: Its content; text is escaped.
        attributes: Values are escaped. A trailing underscore is dropped (`class_`), other underscores become
            hyphens (`stroke_width`), and an attribute whose value is None is left out.

    Raises:
        ValueError: The element's or an attribute's name is not a name.
    """
    written = [name]
    for key, value in attributes.items():
        if value is not None:
            attribute = key.rstrip("_").replace("_", "-")
            if not _NAME.fullmatch(attribute):
                raise ValueError(f"not an attribute name: {attribute!r}")
            text = f"{value:g}" if isinstance(value, float) else escape(str(value))
            written.append(f'{attribute}="{text}"')
    if not _NAME.fullmatch(name):
        raise ValueError(f"not an element name: {name!r}")
    if name in _VOID and not children:
        return Html(
            f"<{' '.join(written)}>" if name in ("img", "meta", "br", "hr") else f"<{' '.join(written)}/>"
        )
    return Html(f"<{' '.join(written)}>{join(children)}</{name}>")


def number(value: float | None) -> str:
    """A number for people.

    Whole numbers are grouped by thousands; others keep about four significant digits, and no exponent between
    0.001 and a million. None, NaN and infinities are `MISSING`.
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if isinstance(value, int):
        return (
            str(value) if isinstance(value, bool) else f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
        )
    size = abs(value)
    if size == 0:
        return "0"
    if size < 0.001 or size >= 1e6:
        return f"{value:.3g}"
    decimals = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3
    return f"{value:,.{decimals}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
