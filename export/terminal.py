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

from bedside.export.reports import wording
from bedside.export.training.progress import BarProgress, TrainingProgress

if TYPE_CHECKING:
    from bedside.export.bundling import ExportResult
    from bedside.export.cross_validation import FoldsResult, FoldVariant
    from bedside.export.gates.marks import Marks


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
    ref = o.reference
    console = _console()
    classes = ref.worst is not None
    table = Table(title=f"{o.name} {o.version}, {o.task}, {ref.samples} holdout frames", title_justify="left")
    table.add_column("variant")
    table.add_column("verdict")
    for name in (_headed(ref.metric), "95 %", "worse by"):
        table.add_column(name, justify="right")
    if classes:
        table.add_column("worst class")
    for name in (wording.agreement(o.task), "size", "p50"):
        table.add_column(name, justify="right")
    worst = (wording.worst(ref),) if classes else ()
    value, span = _value(ref)
    table.add_row("Keras fp32", "", value, span, "", *worst, "", "", "")
    for v in o.variants:
        verdict = Text(wording.verdict(v), "red" if v.refused else "green")
        size = "" if v.bytes is None else wording.kilobytes(v.bytes)
        if (m := v.measured) is None:
            table.add_row(v.id, verdict, "", "", "", *(("",) if classes else ()), "", size, "")
            continue
        worst = (wording.worst(m.marks),) if classes else ()
        cells = (*_value(m.marks), wording.tell_cost(ref, m.marks), *worst)
        agreed = wording.tell_agreement(o.task, m.agreement)
        table.add_row(v.id, verdict, *cells, agreed, size, f"{m.invoke_ms:.3f} ms")
    console.print(table)
    for v in o.refused:
        console.print(Text(f"{v.id} refused: {v.refused}"))
    for v in o.variants:
        if v.kept_float and v.refused is None:
            console.print(Text(f"{v.id} keeps {len(v.kept_float)} layers in float"))
    console.print(Text(f"bundle  {result.path}\ndigest  {result.digest}\nreport  {result.report}"))


def print_folds(result: FoldsResult) -> None:
    """Every fold, and the means with their intervals."""
    console = _console()
    variants = [mean.name for mean in result.means[1:]]
    title = f"{result.recipe}, {len(result.folds)} folds, {result.parameters:,} parameters"
    table = Table(title=title, title_justify="left")
    for name in ("fold", "holdout", "groups", f"Keras {_headed(result.metric)}", *variants):
        table.add_column(name, justify="right")
    for fold in result.folds:
        found = {v.id: v for v in fold.variants}
        cells = [_fold_cell(result.metric, found.get(name)) for name in variants]
        keras = wording.tell(result.metric, fold.value, with_unit=False)
        table.add_row(str(fold.index + 1), str(fold.samples), str(fold.groups), keras, *cells)
    console.print(table)
    means = Table(title=f"mean {_headed(result.metric)} over folds", title_justify="left")
    means.add_column("variant")
    for name in ("mean", "95 % (Student's t)", "worse by", "passed"):
        means.add_column(name, justify="right")
    for mean in result.means:
        passed = "" if mean.passed is None else f"{mean.passed} of {len(result.folds)}"
        worse = "" if mean.drop is None else wording.tell_loss(result.metric, mean.drop)
        span = "" if mean.interval is None else wording.span(result.metric, mean.interval)
        means.add_row(mean.name, wording.tell(result.metric, mean.mean, with_unit=False), span, worse, passed)
    console.print(means)


def _fold_cell(metric: str, v: FoldVariant | None) -> Text:
    if v is None:
        return Text("not run", "dim")
    told = wording.tell(metric, v.value, with_unit=False)
    return Text(told) if v.refused is None else Text(f"{told} refused", "red")


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else 140)


def _value(marks: Marks) -> tuple[str, str]:
    return wording.tell(marks.metric, marks.value, with_unit=False), wording.span(
        marks.metric, marks.interval
    )


def _headed(metric: str) -> str:
    """A metric with its unit, for the head of a column; % stands with the numbers."""
    unit = wording.unit(metric)
    return f"{metric}, {unit}" if unit not in ("", "%") else metric
