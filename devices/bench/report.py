"""The report of a benchmark: one HTML file with everything that was measured, and on what."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bedside.devices.bench.budget import Row, kept
from bedside.devices.bench.paced import PacedResult
from bedside.runtime import html
from bedside.runtime.errors import SinkError
from bedside.runtime.html import Content, Html

_FOOTER = "Research use only, not a medical device."
_COLUMNS = ("p50", "p90", "p95", "p99", "p99.9", "max")

#: Intervals that the age plot is drawn over.
_INTERVALS = 300


def write_report(
    path: str | Path,
    plain: Mapping[str, Any],
    host: Mapping[str, Any],
    paced: PacedResult | None = None,
    budget: Sequence[Row] = (),
) -> None:
    """Write it; its name only ever stands for a whole file.

    Args:
        path: Of the file.
        plain: What `--json` prints, without `host`.
        host: A `HostReport` as plain data.
        paced: With its samples, where that is the scenario.
        budget: Rows, where budgets were checked.

    Raises:
        SinkError: It cannot be written.
    """
    try:
        html.write_page(path, render(plain, host, paced, budget))
    except OSError as error:
        raise SinkError(f"cannot write the report: {error.strerror or error}", where=str(path)) from None


def render(
    plain: Mapping[str, Any],
    host: Mapping[str, Any],
    paced: PacedResult | None = None,
    budget: Sequence[Row] = (),
) -> Html:
    """The report as a document; see `write_report`."""
    sections = [_verdict(plain, paced, tuple(budget)), _budget(budget), _what(plain, host)]
    if paced is not None:
        sections += [_age(paced), _minutes(paced), _lost(paced)]
    sections.append(_latency(plain))
    if paced is not None:
        sections += [_host_curves(paced)]
    name = plain.get("name", "")
    return html.page(f"{plain['scenario']}: {name}", sections, subtitle=_subtitle(plain), footer=_FOOTER)


def _subtitle(plain: Mapping[str, Any]) -> str:
    return f"{plain['seconds']:.1f} s of {plain['variant']} on {plain['engine']}, {_threads(plain)}"


def _threads(plain: Mapping[str, Any]) -> str:
    return f"{plain['threads']} thread" + ("" if plain["threads"] == 1 else "s")


def _verdict(plain: Mapping[str, Any], paced: PacedResult | None, budget: tuple[Row, ...]) -> Html:
    badges: list[Content] = []
    if budget:
        missed = sum(row.verdict != "pass" for row in budget)
        if kept(budget):
            badges.append(html.badge("within every budget", "good"))
        else:
            badges.append(html.badge(f"{missed} of {len(budget)} budgets not met", "bad"))
    if paced is None:
        metric = plain["metric"]
        value = html.MISSING if metric["value"] is None else html.number(metric["value"])
        badges += [html.badge(f"{metric['name']}: {value} {metric['unit']}")]
        note = "A run that MLPerf would count." if not plain["lacks"] else ""
        note = note or "MLPerf would not count this run: " + "; ".join(plain["lacks"]) + "."
        return html.join([html.paragraph(*badges), html.note(note)])
    lost = paced.summary["ledger"]["captured"] - paced.summary["ledger"]["processed"]
    badges += [" ", html.badge(f"{lost} frames without a result", "bad" if lost else "good")]
    if paced.deadline_ms is not None:
        text = f"{paced.misses} results older than {paced.deadline_ms:.4g} ms"
        badges += [" ", html.badge(text, "bad" if paced.misses else "good")]
    return html.paragraph(*badges)


def _budget(rows: Sequence[Row]) -> Html:
    if not rows:
        return Html("")
    shown = [
        (
            row.key,
            row.what,
            f"{row.budget:g} {row.unit}",
            html.MISSING if row.measured is None else f"{html.number(row.measured)} {row.unit}",
            html.badge(row.verdict, "good" if row.verdict == "pass" else "bad"),
        )
        for row in rows
    ]
    why = [html.note(f"{row.key}: {row.why}.") for row in rows if row.why]
    header = ("key", "", "budget", "measured", "verdict")
    return html.section("Budget", html.table(header, shown, numeric=(2, 3)), *why)


def _what(plain: Mapping[str, Any], host: Mapping[str, Any]) -> Html:
    cpu, memory = host.get("cpu", {}), host.get("memory", {})
    source = plain.get("source") or plain.get("frames") or {}
    size = f", {source['width']} x {source['height']} pixels" if source.get("width") else ""
    rate = f", {source['fps']:.4g} frames/s" if source.get("fps") else ""
    machine = f"{cpu.get('model', '')}, {cpu.get('physical_cores')} cores"
    machine += f", {memory['total_bytes'] / 2**30:.0f} GiB" if memory.get("total_bytes") else ""
    pairs: list[tuple[str, Content]] = [
        ("bundle", " ".join(str(plain[key]) for key in ("name", "version") if plain.get(key))),
        ("digest", html.tag("code", str(plain["bundle"]))),
        ("variant", plain["variant"]),
        ("engine", f"{plain['engine']}, {_threads(plain)}"),
        ("precision hint", plain.get("hint")),
        ("frames", f"{source.get('name') or source.get('source', '')}{size}{rate}"),
        ("host", machine),
        ("system", host.get("system")),
        ("fingerprint", html.tag("code", str(host.get("fingerprint", ""))[:16])),
    ]
    return html.section("What ran on what", html.key_values((k, v) for k, v in pairs if v))


def _age(paced: PacedResult) -> Html:
    """Median and maximum of short intervals: a point per result would be a cloud."""
    times, ages = paced.times_s, paced.ages_ms
    if not times.size:
        return html.section("Age over time", html.note("No results."))
    edges = np.linspace(0.0, max(float(times[-1]), 1e-3), min(_INTERVALS, max(2, times.size // 4)) + 1)
    at = np.searchsorted(times, edges)
    pairs = [(i, ages[a:b]) for i, (a, b) in enumerate(itertools.pairwise(at)) if b > a]
    x = [float(edges[i] + edges[i + 1]) / 2 for i, _ in pairs]
    limit = paced.deadline_ms
    high = float(ages.max())
    plot = html.line_plot(
        [
            html.Series("median", x, [float(np.median(part)) for _, part in pairs]),
            html.Series("highest", x, [float(part.max()) for _, part in pairs]),
        ],
        title="Age of results when they were published",
        x_label="time in s",
        y_label="age in ms",
        thresholds=[html.Threshold(limit, f"{limit:.4g} ms")] if limit and high > limit / 5 else (),
    )
    return html.section("Age over time", plot)


def _minutes(paced: PacedResult) -> Html:
    rows: list[tuple[Content, ...]] = [
        (
            f"{w.begin_s:.0f} s",
            w.results,
            w.misses,
            w.lost,
            *(w.age_ms.get(name) for name in ("p50", "p95", "p99", "max")),
            w.celsius,
            w.mhz,
            w.cpu_percent,
            w.rss_mb,
        )
        for w in paced.windows
    ]
    header = ("from", "results", "misses", "lost", "p50", "p95", "p99", "max", "°C", "MHz", "CPU %", "MB")
    drift = "; ".join(f"{name} {ratio:.2f} times" for name, ratio in paced.drift.items())
    said = (
        f"Age in the last minute over the first: {drift}."
        if drift
        else "Too short to say how the age drifts."
    )
    table = html.table(header, rows, caption="Ages in ms", numeric=range(1, len(header)))
    note = f"{html.MISSING}: too few samples, or this host does not tell. CPU: of one core, this process."
    return html.section("Minute by minute", table, html.paragraph(said), html.note(note))


def _lost(paced: PacedResult) -> Html:
    ledger = paced.summary["ledger"]
    captured = max(1, ledger["captured"])
    rows = [
        (f"{column} ({reason})", count, f"{100 * count / captured:.2f} %")
        for column in ("dropped", "withheld", "failed")
        for reason, count in ledger[column].items()
    ]
    rows.insert(0, ("processed", ledger["processed"], f"{100 * ledger['processed'] / captured:.2f} %"))
    table = html.table(("outcome", "frames", "share"), rows, numeric=(1, 2))
    return html.section("What became of every frame", table)


def _latency(plain: Mapping[str, Any]) -> Html:
    stages = plain.get("latency_ms") or {}
    if not stages:
        return Html("")
    rows = [
        (stage, *(values.get(c) for c in _COLUMNS), values.get("samples", 0))
        for stage, values in stages.items()
    ]
    bars = [html.Bar(stage, values["p50"]) for stage, values in stages.items() if "p50" in values]
    return html.section(
        "Latency in ms",
        html.table(("stage", *_COLUMNS, "samples"), rows, numeric=range(1, len(_COLUMNS) + 2)),
        html.bars(bars, title="Medians", unit="ms"),
        html.note(
            "From p90 on these are upper bounds at 0.99 confidence (MLPerf's early-stopping rule), each given only "
            f"where the samples carry it; {html.MISSING} means: too few to say."
        ),
    )


def _host_curves(paced: PacedResult) -> Html:
    # The last one is of a stream that has let go of everything.
    readings = paced.readings[:-1]
    if len(readings) < 2:
        return Html("")
    begin = readings[0].at_ns
    x = [(r.at_ns - begin) / 1e9 for r in readings]
    plots: list[Content] = []
    for title, label, values in (
        ("Temperature of the processor", "°C", [r.celsius for r in readings]),
        ("Clock frequency", "MHz", [r.mhz for r in readings]),
        ("Resident memory of this process", "MB", [r.rss_mb for r in readings]),
    ):
        if any(value is not None for value in values):
            y = [float("nan") if value is None else value for value in values]
            plots.append(
                html.line_plot(
                    [html.Series(title, x, y)],
                    title=title,
                    x_label="time in s",
                    y_label=label,
                    y_from_zero=False,
                    height=180,
                )
            )
        else:
            plots.append(html.note(f"{title}: this host does not tell."))
    return html.section("The host meanwhile", *plots)
