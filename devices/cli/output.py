"""What commands print: tables for people on standard output, one JSON object for scripts, progress on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text


def console() -> Console:
    """For tables. Wide enough to be read when it is no terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 140)


def progress_console() -> Console:
    """For progress bars: standard error, so that `--json` stays clean."""
    return Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """One JSON object on one line."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> Table:
    """A table of plain values; columns in `right` are aligned right. Text is never read as markup."""
    made = Table(title=Text(title, style="bold"), title_justify="left", header_style="bold")
    for i, name in enumerate(header):
        made.add_column(name, justify="right" if i in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text("" if cell is None else str(cell)) for cell in row))
    return made


def size(count: int) -> str:
    """Bytes for people: `1.4 MB`, decimal units."""
    if count < 1000:
        return f"{count} B"
    if count < 1_000_000:
        return f"{count / 1e3:.1f} kB"
    return f"{count / 1e6:.2f} MB"
