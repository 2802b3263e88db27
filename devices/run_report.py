"""The report of a run: what ran on what, what became of every frame, how old results were. One HTML file."""

from __future__ import annotations

import datetime
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bedside.devices import findings
from bedside.devices.ladder_report import ladder_section
from bedside.devices.run_samples import RunReport, Thumbnail, from_results
from bedside.runtime import html
from bedside.runtime.errors import SinkError
from bedside.runtime.html import Content, Html
from bedside.runtime.latency import least_samples

__all__ = ["FOOTER", "RunReport", "Thumbnail", "from_results", "render", "write_report"]

FOOTER = "Research use only, not a medical device."

_PERCENTILES = {"p50": None, "p90": 0.90, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
_STAGES = {
    "preprocess": "crop, resize, colour order, into the engine's input",
    "invoke": "the engine",
    "decode": "from the engine's outputs to a result",
    "age": "from the capture stamp to the publication: all of it, with decoding and waiting",
}


def write_report(path: str | Path, report: RunReport) -> None:
    """Write the report; its name only ever stands for a whole file.

    Raises:
        SinkError: It cannot be written.
    """
    try:
        html.write_page(path, render(report))
    except OSError as error:
        raise SinkError(f"cannot write the report: {error.strerror or error}", where=str(path)) from None


def render(report: RunReport) -> Html:
    """The report as a document.

    Raises:
        ValueError: Samples are not one per result.
    """
    samples = {len(report.captured_s), len(report.ages_ms), len(report.labels), len(report.outcomes)}
    if len(samples) != 1:
        raise ValueError(
            f"samples of {sorted(samples)} results: each needs a time, an age, a label and an outcome"
        )
    sections = [_verdict(report), _what_ran(report), _frames(report), _latency(report), _age(report)]
    sections += [
        _labels(report),
        _found(report),
        _guard(report),
        ladder_section(report.summary.get("ladder")),
        _pictures(report),
        _outputs(report),
        _host(report),
    ]
    return html.page(report.title, sections, subtitle=_subtitle(report), footer=FOOTER)


def _subtitle(report: RunReport) -> str:
    taken = report.host.get("taken_unix_ns")
    if not isinstance(taken, int):
        return ""
    moment = datetime.datetime.fromtimestamp(taken / 1e9, tz=datetime.UTC)
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _verdict(report: RunReport) -> Html:
    """The few words that a hurried reader takes away."""
    badges: list[Content] = []
    ledger = report.summary.get("ledger", {})
    if _settled(ledger) == ledger.get("captured"):
        badges.append(html.badge("every frame accounted for", "good"))
    else:
        badges.append(html.badge("frames are missing from the ledger", "bad"))
    lost = _settled(ledger) - ledger.get("processed", 0)
    badges += [" ", html.badge(f"{lost} frames without a result", "bad") if lost else ""]
    parts = [html.paragraph(*badges)]
    if report.summary.get("error"):
        parts.append(html.paragraph(html.badge("ended early", "bad"), " ", str(report.summary["error"])))
    return html.join([*parts, *(html.note(text) for text in report.notes)])


def _what_ran(report: RunReport) -> Html:
    s = report.summary
    source = s.get("source") or {}
    where = f"{source.get('name', '')} ({source.get('width')} x {source.get('height')} pixels"
    where += f", {source['fps']:.4g} frames/s)" if source.get("fps") else ")"
    engine = " ".join(str(s[key]) for key in ("engine", "engine_version") if s.get(key))
    threads = s.get("threads")
    pairs: list[tuple[str, Content]] = [
        ("bundle", " ".join(str(s[key]) for key in ("name", "version") if s.get(key)) or None),
        ("digest", html.tag("code", str(s["bundle"])) if s.get("bundle") else None),
        ("variant", f"{s.get('variant', '')}, {s['precision']}" if s.get("precision") else s.get("variant")),
        ("engine", engine + (f", {threads} thread{'s' if threads != 1 else ''}" if threads else "")),
        ("precision hint", s.get("hint")),
        ("source", where if source else None),
        ("processed", f"{html.number(s['fps'])} frames/s" if s.get("fps") else None),
        ("host", _one_line_host(report.host)),
    ]
    return html.section("What ran on what", html.key_values((k, v) for k, v in pairs if v))


def _one_line_host(host: Mapping[str, Any]) -> str:
    cpu, memory = host.get("cpu", {}), host.get("memory", {})
    parts = [str(cpu["model"])] if cpu.get("model") else []
    parts += [f"{cpu['physical_cores']} cores"] if cpu.get("physical_cores") else []
    parts += [f"{memory['total_bytes'] / 2**30:.0f} GiB"] if memory.get("total_bytes") else []
    return ", ".join([*parts, *(str(host[key]) for key in ("system",) if host.get(key))])


def _settled(ledger: Mapping[str, Any]) -> int:
    columns = (ledger.get(name, {}) for name in ("dropped", "withheld", "failed"))
    return int(
        ledger.get("processed", 0) + ledger.get("in_flight", 0) + sum(sum(c.values()) for c in columns)
    )


def _frames(report: RunReport) -> Html:
    ledger = report.summary.get("ledger", {})
    captured = ledger.get("captured", 0)
    rows: list[tuple[Content, ...]] = [("processed", "", ledger.get("processed", 0))]
    for column, meaning in (
        ("dropped", "never worked on"),
        ("withheld", "computed, but not shown"),
        ("failed", "could not be worked on"),
    ):
        reasons = ledger.get(column, {})
        rows += [(f"{column} ({reason})", meaning, count) for reason, count in reasons.items()]
    if ledger.get("in_flight"):
        rows.append(("in flight", "", ledger["in_flight"]))
    shares = [f"{100 * int(str(row[-1])) / captured:.1f} %" if captured else html.MISSING for row in rows]
    table = html.table(
        ("outcome", "", "frames", "share"),
        [(*row, share) for row, share in zip(rows, shares, strict=True)],
        numeric=(2, 3),
    )
    total = _settled(ledger)
    sign = "=" if total == captured else "≠"
    terms = " + ".join(f"{row[-1]} {row[0]}" for row in rows)
    equation = html.tag(
        "code", f"{captured} captured {sign} {terms}" + ("" if sign == "=" else f" = {total}")
    )
    return html.section("What became of every frame", table, html.paragraph(equation))


def _latency(report: RunReport) -> Html:
    stages = report.summary.get("latency_ms", {})
    columns = (*_PERCENTILES, "max")
    rows = [
        (
            stage,
            *(f"{values[c]:.3f}" if values.get(c) is not None else html.MISSING for c in columns),
            values.get("samples", 0),
        )
        for stage, values in stages.items()
    ]
    needs = ", ".join(f"{name} {least_samples(p)}" for name, p in _PERCENTILES.items() if p is not None)
    explained = html.key_values((stage, _STAGES[stage]) for stage in stages if stage in _STAGES)
    return html.section(
        "Latency in ms",
        html.table(("stage", *columns, "samples"), rows, numeric=range(1, len(columns) + 2)),
        html.note(
            "From p90 on these are upper bounds at 0.99 confidence (MLPerf's early-stopping rule), each"
            f" given only where the samples carry it ({needs}); {html.MISSING} means: too few to say."
        ),
        html.details("What the stages are", explained),
    )


def _age(report: RunReport) -> Html:
    limit = report.limits.get("max_age_ms")
    lines = [html.Threshold(limit, f"limit: {limit:g} ms")] if limit else []
    shown = [outcome == "ok" for outcome in report.outcomes]
    series = [
        html.Series("shown", report.captured_s, _where(report.ages_ms, shown)),
        html.Series("not shown", report.captured_s, _where(report.ages_ms, [not s for s in shown]), "dots"),
    ]
    plot = html.line_plot(
        series if not all(shown) else series[:1],
        title="Age of every result when it was published",
        x_label="captured at, in s",
        y_label="age in ms",
        # A limit far above every age would press the curve flat.
        thresholds=lines if limit and max(report.ages_ms, default=0.0) > limit / 5 else (),
    )
    about = html.note(f"Results older than {limit:g} ms are withheld.") if limit else ""
    return html.section("Age over time", plot, about)


def _labels(report: RunReport) -> Html:
    states = [
        label or "no label" if outcome == "ok" else outcome
        for label, outcome in zip(report.labels, report.outcomes, strict=True)
    ]
    if not states:
        return Html("")
    bad = sorted({outcome for outcome in report.outcomes if outcome != "ok"})
    counts = Counter(states)
    # A model of a thousand classes would fill pages: the most frequent ones, and the rest together.
    kept = [state for state, _ in counts.most_common(10)]
    folded = [state if state in kept else "other" for state in states]
    order = list(dict.fromkeys([*kept, *folded]))
    total = Counter(folded)
    changes = sum(a != b for a, b in itertools.pairwise(states))
    return html.section(
        "What was shown",
        html.timeline(
            report.captured_s,
            folded,
            title="Label of every frame over time",
            x_label="captured at, in s",
            bad=bad,
        ),
        html.bars([html.Bar(state, total[state]) for state in order], title="Frames by label", unit="frames"),
        html.note(f"{changes} changes from one result to the next."),
    )


def _found(report: RunReport) -> Html:
    said = findings.lines(report.summary.get("findings") or {})
    return html.section("What was found", html.key_values(said)) if said else Html("")


def _guard(report: RunReport) -> Html:
    """How unlike the training set every frame was."""
    if not report.guards:
        return Html("")
    guard = (report.summary.get("findings") or {}).get("guard", {})
    limit = guard.get("threshold")
    plot = html.line_plot(
        [html.Series("score", report.captured_s, report.guards)],
        title="Out-of-distribution score of every frame",
        x_label="captured at, in s",
        y_label="score",
        thresholds=[html.Threshold(limit, f"limit: {limit:.3g}")] if limit else (),
    )
    return html.section("Guard", plot, html.note("Results of frames beyond the limit are withheld."))


def _pictures(report: RunReport) -> Html:
    if not report.thumbnails:
        return Html("")
    shown = [html.image(t.pixels, t.caption, color=t.color) for t in report.thumbnails]
    return html.section("A few frames", html.gallery(shown))


def _outputs(report: RunReport) -> Html:
    sinks = report.summary.get("sinks") or []
    if not sinks:
        return Html("")
    rows = [(s["sink"], s["written"], s["dropped"], s.get("error") or "") for s in sinks]
    return html.section(
        "What was written", html.table(("sink", "results", "dropped", "error"), rows, numeric=(1, 2))
    )


def _host(report: RunReport) -> Html:
    host = report.host
    if not host:
        return Html("")
    cpu, video = host.get("cpu", {}), host.get("opencv", {})
    pairs: list[tuple[str, Content]] = [
        ("processor", cpu.get("model")),
        ("features", " ".join(cpu.get("features") or ())),
        ("system", host.get("system")),
        ("software", ", ".join(f"{k} {host[k]}" for k in ("bedside", "python") if host.get(k))),
        ("OpenCV", video.get("version")),
        ("fingerprint", html.tag("code", str(host["fingerprint"])) if host.get("fingerprint") else None),
    ]
    engines = [
        (e["id"], e.get("version") or html.MISSING, e.get("reason") or "") for e in host.get("engines", ())
    ]
    listed = html.table(("engine", "version", "why it is absent"), engines, numeric=()) if engines else ""
    return html.section(
        "Host",
        html.details("Processor, software, engines", html.key_values(p for p in pairs if p[1]), listed),
    )


def _where(values: Sequence[float], kept: Sequence[bool]) -> list[float]:
    return [value if keep else float("nan") for value, keep in zip(values, kept, strict=True)]
