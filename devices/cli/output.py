"""What commands print: tables for people on standard output, one JSON object for scripts, progress on
stderr."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bedside.runtime.errors import SinkError, printable


@contextmanager
def _writing() -> Iterator[None]:
    """Errors of standard output as ours; a reader that left is none, and is `main`'s business."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}"
        raise SinkError(what, where="standard output") from None


class _Console(Console):
    def print(self, *objects: Any, **options: Any) -> None:
        """Print, with errors of ours."""
        with _writing():
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        """Left to `main`; rich would end the process with 1, which means that a check failed."""
        raise BrokenPipeError


def console() -> Console:
    """For tables. Wide enough to be read when it is no terminal."""
    return _Console(highlight=False, width=None if sys.stdout.isatty() else 140)


def progress_console() -> Console:
    """For progress bars: standard error, so that `--json` stays clean."""
    return _Console(stderr=True, highlight=False)


def print_line(text: str) -> None:
    """One line of plain text, as long as it is."""
    console().print(Text(printable(text)), soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON object on one line, whatever standard output's encoding is."""
    try:
        data = msgspec.json.encode(value)
    except UnicodeEncodeError:  # a path that is not UTF-8
        data = msgspec.json.encode(_encodable(msgspec.to_builtins(value)))
    text = data.decode()
    if not text.isascii() and codecs.lookup(sys.stdout.encoding or "ascii").name != "utf-8":
        text = json.dumps(json.loads(text))
    with _writing():
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(inner) for key, inner in value.items()}
    return [_encodable(inner) for inner in value] if isinstance(value, list | tuple) else value


def table(
    title: str, header: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[int] = ()
) -> Table:
    """A table of plain values; columns in `right` are aligned right. Text is neither markup nor terminal
    codes."""
    made = Table(title=Text(printable(title), style="bold"), title_justify="left", header_style="bold")
    for i, name in enumerate(header):
        made.add_column(name, justify="right" if i in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else _cell(cell) for cell in row))
    return made


def _cell(value: object) -> Text:
    lines = "" if value is None else str(value)
    return Text("\n".join(printable(line) for line in lines.split("\n")))


def size(count: int) -> str:
    """Bytes for people: `1.4 MB`, decimal units."""
    if count < 1000:
        return f"{count} B"
    if count < 1_000_000:
        return f"{count / 1e3:.1f} kB"
    return f"{count / 1e6:.2f} MB"
