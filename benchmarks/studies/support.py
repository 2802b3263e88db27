"""What the studies share: where data is, progress, tables, and what they write."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from bedside.export.terminal import Bars
from bedside.runtime.bundle.writer import replacing
from bedside.runtime.errors import BedsideError


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with what every study takes.

    Args:
        description: The docstring of the study.
    """
    made = argparse.ArgumentParser(
        description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--data-root",
        type=Path,
        default=Path(os.environ["BEDSIDE_DATA"]) if os.environ.get("BEDSIDE_DATA") else None,
        metavar="DIR",
        help="real data (default: what BEDSIDE_DATA names; without either, frames are drawn)",
    )
    made.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    return made


@contextmanager
def watched() -> Iterator[Bars]:
    """Progress on standard error; see `bedside.export.steps.Steps`. Converters turn descriptor 2 away."""
    sys.stderr.flush()
    with os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace") as file:
        yield Bars(Console(file=file, highlight=False))


def run(study: Any) -> int:
    """Call a study's `main` and turn errors of ours into one line, as `bedside` does."""
    try:
        study()
    except BedsideError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{Path(sys.argv[0]).name}: interrupted", file=sys.stderr)
        return 130
    return 0


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output; all columns but the first are numbers."""
    table = Table(title=title, title_justify="left")
    for index, name in enumerate(header):
        table.add_column(name, justify="right" if index else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, width=None if sys.stdout.isatty() else 150).print(table)


def print_json(value: Any) -> None:
    """One JSON object on one line of standard output."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def save(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all."""
    with replacing(path) as file:
        file.write(msgspec.json.format(msgspec.json.encode(value), indent=1))


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table in Markdown (GitHub's flavour).

    Args:
        header: Names of the columns.
        rows: Cells; a bar or a line end in one is escaped.
        numbers: Columns that are aligned right.
    """
    rule = ["---:" if index in numbers else "---" for index in range(len(header))]
    lines = [_line(header), _line(rule), *(_line(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
