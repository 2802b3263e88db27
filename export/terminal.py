"""What an export shows on a terminal: progress bars, and the table at the end. Needs no TensorFlow."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from bedside.export.training.progress import BarProgress, TrainingProgress

if TYPE_CHECKING:
    from bedside.export.bundling import ExportResult


class Bars:
    """Progress on the terminal; see `bedside.export.steps.Steps`.

    Args:
        console: Writes to a duplicate of standard error: converters are silenced by turning descriptor 2
            away.
    """

    def __init__(self, console: Console) -> None:
        self.training: TrainingProgress = BarProgress(console)
        self._console = console

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """See `Steps.step`."""
        columns = (
            TextColumn("{task.description:<26}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console, redirect_stdout=False, redirect_stderr=False) as bar:
            task = bar.add_task(name, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
            known = bar.tasks[0].total
            bar.update(task, completed=known or 1, total=known or 1)

    def say(self, line: str) -> None:
        """See `Steps.say`."""
        self._console.print(Text(f"note: {line}", style="dim"))


@contextmanager
def progress_bars() -> Iterator[Bars]:
    """Progress on standard error, for as long as the block lasts."""
    sys.stderr.flush()
    with os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace") as file:
        yield Bars(Console(file=file, highlight=False))


def print_result(result: ExportResult) -> None:
    """The table of variants, what was refused and why, and where everything is."""
    o = result.outcome
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    table = Table(title=f"{o.name} {o.version}", title_justify="left")
    for name in ("variant", "verdict", "accuracy", "drop", "worst class", "agreement", "size", "p50"):
        table.add_column(name, justify="left" if name in ("variant", "verdict", "worst class") else "right")
    marks = o.reference
    table.add_row(
        "Keras fp32", "", f"{marks.accuracy:.2%}", "", f"{marks.worst[0]} {marks.worst[1]:.2%}", "", "", ""
    )
    for v in o.variants:
        verdict = Text("refused", "red") if v.refused else Text("shipped" if v.shipped else "passed", "green")
        size = "" if v.bytes is None else f"{v.bytes / 1000:.1f} kB"
        if (m := v.measured) is None:
            table.add_row(v.id, verdict, "", "", "", "", size, "")
            continue
        drop = f"{100 * (marks.accuracy - m.marks.accuracy):+.2f}"
        worst = f"{m.marks.worst[0]} {m.marks.worst[1]:.2%}"
        cells = (f"{m.marks.accuracy:.2%}", drop, worst, f"{m.agreement:.2%}", size, f"{m.invoke_ms:.3f} ms")
        table.add_row(v.id, verdict, *cells)
    console.print(table)
    for v in o.refused:
        console.print(Text(f"{v.id} refused: {v.refused}"))
    console.print(Text(f"bundle  {result.path}\ndigest  {result.digest}\nreport  {result.report}"))
