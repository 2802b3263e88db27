"""The comparison as a table: in Markdown for the docs, on a terminal for whoever ran it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from records import AGAIN, BEDSIDE, METRICS, SCENARIOS, Comparison, Estimate, Row
from rich.console import Console
from rich.table import Table

#: What stands for a number that there is none of.
NONE = "–"

Cell = Callable[[Row], str]


def significant(value: float) -> str:
    """About three digits, without an exponent."""
    size = abs(value)
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2
    return f"{value:.{decimals}f}"


def with_interval(found: Estimate | None) -> str:
    """A median and its interval where there is one."""
    if found is None:
        return NONE
    text = significant(found.median)
    if found.low is None or found.high is None:
        return text
    return f"{text} ({significant(found.low)}–{significant(found.high)})"


def _metric(name: str) -> Cell:
    return lambda row: with_interval(row.metrics.get(name))


def _age(scenario: str) -> Cell:
    def cell(row: Row) -> str:
        ages = row.ages_ms.get(scenario, {})
        shown = [significant(ages[key]) if key in ages else NONE for key in ("p50", "p99")]
        return " / ".join(shown) if ages else NONE

    return cell


def _agreement(row: Row) -> str:
    return NONE if row.agreement is None else f"{100 * row.agreement:.1f} %"


COLUMNS: tuple[tuple[str, Cell], ...] = (
    ("frames/s from file", _metric("saturated_fps")),
    ("CPU a frame, ms", _metric("saturated_cpu_ms")),
    ("age at 60 fps, p50 / p99, ms", _age("paced")),
    ("frames answered", _metric("paced_share")),
    ("age under overload, p50 / p99, ms", _age("overload")),
    ("of the last, ms", _metric("overload_last_ms")),
    ("cold start, s", _metric("cold_s")),
    ("peak memory, MB", _metric("peak_mb")),
    ("CPU at 30 fps, %", _metric("idle_cpu")),
    ("same answers", _agreement),
)


def table(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the numbers."""
    header = ["", *(title for title, _ in COLUMNS)]
    return header, [[row.title, *(cell(row) for _, cell in COLUMNS)] for row in found.rows]


def ratio_table(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and rows of every candidate over bedside, the noise first."""
    ordered = sorted((row for row in found.rows if row.ratios), key=lambda row: row.name != AGAIN)
    names = [name for name in METRICS if name not in ("paced_share", "overload_last_ms")]
    header = ["", *(METRICS[name].title for name in names)]
    rows = [[row.title, *(with_interval(row.ratios.get(name)) for name in names)] for row in ordered]
    return header, rows


def missing(found: Comparison) -> list[str]:
    """One line for each candidate and scenario without a number."""
    return [
        f"{row.title}, {'every scenario' if where == 'all' else where}: {why}"
        for row in found.rows
        for where, why in row.failures.items()
    ]


def page(found: Comparison) -> str:
    """The whole page in Markdown (GitHub's flavour); the plot lies beside it as `peers.svg`."""
    lines = ["# bedside beside what people use today", ""]
    if found.quick:
        lines += ["**A quick run: it shows that everything works. Its numbers mean nothing.**", ""]
    lines += [_setting(found), "", "![bedside and its peers](peers.svg)", ""]
    lines += [_markdown(*table(found)), ""]
    lines += [
        "Age: from the moment a frame was due by the pacing clock to its result in hand, decoding included. "
        "Percentiles are of the rounds together, without the first half second; p99 is an upper bound at 0.99 "
        "confidence. Elsewhere the median over rounds, and in brackets its 95 % interval by order statistics. "
        "Same answers: frames of the file on which the best class is the plain loop's.",
        "",
    ]
    lines += [f"- {name}: {text}." for name, text in SCENARIOS.items()]
    header, rows = ratio_table(found)
    if rows:
        lines += ["", "## Over bedside, in the same round", ""]
        lines += [_markdown(header, rows), ""]
        lines += [
            "Above 1 is more than bedside. `bedside, again` is identical code: what differs there is noise."
        ]
    lines += ["", "## Candidates", ""]
    for row in found.rows:
        versions = ", ".join(f"{name} {version}" for name, version in row.versions.items())
        lines.append(f"- **{row.title}** ({row.licence}). {row.note}" + (f" {versions}." if versions else ""))
    without = missing(found)
    if without:
        lines += ["", "## Without a number", "", *(f"- {line}" for line in without)]
    return "\n".join(lines) + "\n"


def show(found: Comparison) -> None:
    """The numbers on standard output."""
    header, rows = table(found)
    made = Table(title=_setting(found), title_justify="left")
    for index, name in enumerate(header):
        made.add_column(name, justify="right" if index else "left", overflow="fold")
    for cells in rows:
        made.add_row(*cells)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 180)
    console.print(made)
    for line in missing(found):
        console.print(line, markup=False)


def _setting(found: Comparison) -> str:
    clip, models = found.clip, found.models
    parts = [
        f"{clip['codec']} {clip['width']}x{clip['height']}, {found.frames} frames ({clip['origin']})",
        f"{models['fast']['name']} int8 at {models['fast']['input']}, "
        f"invoke {models['fast']['invoke_ms']:.2f} ms alone on LiteRT",
    ]
    if "slow" in models:
        parts.append(f"under overload a model of {models['slow']['invoke_ms']:.0f} ms")
    threads = f"{found.threads} thread" + ("s" if found.threads > 1 else "")
    parts += [threads, f"{found.rounds} alternating rounds", f"load average before: {found.busy:.1f}"]
    return "; ".join(parts) + "."


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in header[1:])]
    bold = [[f"**{row[0]}**" if row[0] == BEDSIDE else row[0], *row[1:]] for row in rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in (header, rule, *bold))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
