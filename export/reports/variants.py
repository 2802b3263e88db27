"""Sections of the report on variants: verdicts, refusals, layers, speed, engines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from bedside.export.gates.marks import Marks
from bedside.export.reports import wording
from bedside.export.reports.outcome import EngineCheck, ExportOutcome, VariantResult
from bedside.runtime import html
from bedside.runtime.html import Content, Html

#: Layers in a sensitivity chart; all of them are in the table below it.
_LAYERS_SHOWN = 16


def one_line(text: str) -> Html:
    """Text that is not broken."""
    return html.tag("span", text, style="white-space:nowrap")


def variants(o: ExportOutcome) -> Iterable[Content]:
    """The table of variants, and what the gate asked for."""
    ref = o.reference
    with_classes = len(ref.classes) > 1
    header: list[Content] = ["variant", "verdict", "size", ref.metric, "worse by"]
    header += ["worst class"] if with_classes else []
    header += [wording.agreement(o.task), "max |Δ|", "p50, ms"]
    keras: list[Content] = [one_line("Keras fp32"), html.badge("reference"), None, _value(ref), None]
    keras += [*((_worst(ref),) if with_classes else ()), None, None, None]
    last = len(header)
    unit = f", in {wording.unit(ref.metric)}" if wording.unit(ref.metric) not in ("", "%") else ""
    yield html.table(
        header,
        [keras, *(_row(v, o, with_classes) for v in o.variants)],
        caption=f"{_first(ref)}{unit}, on {ref.samples} holdout frames through bedside.runtime, with its 95 % "
        "interval; p50: median of an invocation, one thread.",
        numeric=[2, 3, 4, last - 3, last - 2, last - 1],
    )
    yield html.note(f"Interval: {ref.method}. Worse by: positive is worse than Keras. {_extremes(o)}")
    bars = [_bar("Keras fp32", ref)]
    bars += [_bar(v.id, v.measured.marks) for v in o.variants if v.measured is not None]
    percent = wording.unit(ref.metric) == "%"
    top = 100.0 if percent else 1.0 if ref.metric in ("Dice", "AP50", "SSIM") else None
    title = f"{_first(ref)} on the holdout, with 95 % interval"
    if not ref.higher_is_better:
        title += " (lower is better)"
    yield html.bars(bars, title=title, unit=wording.unit(ref.metric), maximum=top)
    names = sorted(
        {name for v in o.variants if v.measured for name in v.measured.marks.others} | set(ref.others)
    )
    if names:
        rows: list[list[Content]] = [["Keras fp32", *(_other(ref, n) for n in names)]]
        rows += [
            [one_line(v.id), *(_other(v.measured.marks, n) for n in names)]
            for v in o.variants
            if v.measured is not None
        ]
        yield html.table(
            ["variant", *names], rows, caption="Further metrics.", numeric=range(1, len(names) + 1)
        )
    yield html.note(_gate(o))


def _first(marks: Marks) -> str:
    name = wording.long_name(marks.metric)
    return name[:1].upper() + name[1:]


def _extremes(o: ExportOutcome) -> str:
    return (
        f"{wording.agreement(o.task).capitalize()}: {_AGREEMENT[o.task]}. " if o.task in _AGREEMENT else ""
    ) + "Max |Δ|: largest difference of an output from Keras', relative to the output's largest value."


_AGREEMENT = {
    "classification": "frames with Keras' decision",
    "segmentation": "pixels with Keras' class",
    "detection": "F1 of the shown boxes, Keras' taken for the truth",
    "reconstruction": "Spearman's rank correlation of the scores with Keras'",
}


def _other(marks: Marks, name: str) -> str:
    return wording.tell(name, marks.others.get(name))


def _bar(label: str, marks: Marks) -> html.Bar:
    scale = 100 if wording.unit(marks.metric) == "%" else 1
    low, high = marks.interval
    return html.Bar(label=label, value=scale * marks.value, low=scale * low, high=scale * high)


def _row(v: VariantResult, o: ExportOutcome, with_classes: bool) -> list[Content]:
    said = wording.verdict(v)
    kind: Literal["good", "bad", "plain"] = "bad" if v.refused else "good" if v.shipped else "plain"
    badge = html.badge(said, kind)
    if said == "passed":
        badge = _over(badge, "not shipped")
    if v.kept_float:
        badge = _over(badge, f"{len(v.kept_float)} of {len(v.layers)} float")
    cells: list[Content] = [one_line(v.id), badge, one_line(wording.kilobytes(v.bytes))]
    if (m := v.measured) is None:
        return [*cells, *([None] * (5 + with_classes))]
    cells += [_value(m.marks), wording.tell_cost(o.reference, m.marks)]
    cells += [_worst(m.marks)] if with_classes else []
    return [*cells, wording.tell_agreement(o.task, m.agreement), f"{m.difference:.2g}", f"{m.invoke_ms:.3f}"]


def _value(marks: Marks) -> Html:
    told = wording.tell(marks.metric, marks.value, with_unit=False)
    return _over(told, wording.span(marks.metric, marks.interval))


def _worst(marks: Marks) -> Content:
    found = marks.worst
    if found is None:
        return None
    return _over(wording.tell(wording.class_metric(marks.metric), found[1]), found[0])


def _over(above: Content, below: str) -> Html:
    """Two lines, the lower one in small print."""
    return html.join(
        [above, html.tag("br"), html.tag("span", below, class_="note", style="white-space:nowrap")]
    )


def _gate(o: ExportOutcome) -> str:
    gate, metric = o.gate, o.reference.metric
    parts = [
        f"{wording.percent(gate.relative)} of Keras' {metric}"
        if o.reference.higher_is_better
        else f"an {metric} of at most {wording.percent(1 / max(gate.relative, 1e-9))} of Keras'"
        if metric == "error"
        else f"a {metric} of at most {wording.percent(1 / max(gate.relative, 1e-9))} of Keras'"
    ]
    if o.reference.classes:
        parts.append(
            f"{wording.percent(gate.worst_class)} of its {wording.class_metric(metric)} in every class"
        )
    parts.append(f"an agreement ({wording.agreement(o.task)}) of {_share(o.task, gate.min_agreement)}")
    if gate.minimum and o.reference.higher_is_better:
        parts.append(f"{wording.tell(metric, gate.minimum)} {metric} in any case")
    return f"The gate asks for {', '.join(parts[:-1])} and {parts[-1]}."


def _share(task: str, value: float) -> str:
    decisions = ("classification", "segmentation", "detection")
    return wording.percent(value) if task in decisions else f"{value:g}"


def refused(o: ExportOutcome) -> Iterable[Content]:
    """Variants that stay out, and why."""
    yield html.table(["variant", "why"], [[one_line(v.id), v.refused or ""] for v in o.refused])
    yield html.note(
        "A refused variant's file is not in the bundle; its record is, where it could be converted."
    )


def sensitivity(o: ExportOutcome) -> Iterable[Content]:
    """What each layer loses when it alone is int8, and what was kept in float."""
    for v in o.variants:
        if not v.layers:
            continue
        known = [layer for layer in v.layers if layer.error is not None]
        worst = sorted(known, key=lambda layer: -(layer.error or 0.0))[:_LAYERS_SHOWN]
        kept = set(v.kept_float)
        yield html.bars(
            [
                html.Bar(
                    f"{layer.name} (float)" if layer.name in kept else layer.name, 100 * (layer.error or 0.0)
                )
                for layer in worst
            ],
            title=f"{v.id}: error of the worst output with only this layer int8, in % of the output's standard "
            "deviation, on the calibration set",
            unit="%",
        )
        if v.kept_float:
            yield html.paragraph(
                f"Kept in float: {len(v.kept_float)} of {len(v.layers)} layers: {', '.join(v.kept_float)}."
            )
        elif v.refused is not None:
            yield html.paragraph("No mixture with layers in float passed the gate.")
        rows = [
            [
                layer.name,
                layer.op,
                None if layer.error is None else layer.error,
                "float" if layer.name in kept else "int8",
            ]
            for layer in v.layers
        ]
        yield html.details(
            f"All {len(v.layers)} layers, in the order of the graph",
            html.table(["layer", "operators", "error", "is"], rows, numeric=[2]),
        )


def speed(o: ExportOutcome) -> Iterable[Content]:
    """Whether quantized variants are faster here; a claim about this host alone."""
    rows: list[list[Content]] = []
    hosts = []
    for v in o.variants:
        if (found := v.speed) is None:
            continue
        verdict = {
            True: html.badge("faster here", "good"),
            False: html.badge("slower here", "bad"),
            None: html.badge("cannot be told"),
        }[found.faster]
        ratio = found.invoke_ms / found.reference_ms if found.reference_ms > 0 else None
        rows.append([
            one_line(v.id), verdict, f"{found.invoke_ms:.3f}", f"{found.reference_ms:.3f}",
            None if ratio is None else f"{ratio:.2f}", found.threads,
        ])  # fmt: skip
        hosts.append(found.host)
    yield html.table(
        ["variant", "than fp32", "ms", "fp32, ms", "ratio", "threads"],
        rows,
        caption="Measured in turns with the fp32 file of the same format; a verdict where the 95 % interval of the "
        "ratio is on one side of 1.",
        numeric=[2, 3, 4, 5],
    )
    yield html.note(
        f"On this host alone ({'; '.join(dict.fromkeys(hosts))}). It says nothing about another: measure on the "
        "device with bedside bench."
    )


def engines(checks: Sequence[EngineCheck]) -> Iterable[Content]:
    """Golden answers and times on every engine of this workstation."""
    pairs: dict[tuple[str, str], list[EngineCheck]] = {}
    for check in checks:
        pairs.setdefault((check.variant, check.engine), []).append(check)
    threads = sorted({c.threads for c in checks})
    rows: list[list[Content]] = []
    for (variant, engine), found in pairs.items():
        passed = all(c.passed for c in found)
        badge = html.badge("agrees", "good") if passed else html.badge("would be refused", "bad")
        errors = [c.error for c in found if c.error is not None]
        failed = next((c.failed for c in found if c.failed is not None), None)
        told = failed or one_line(
            f"{max(errors):.2g} of {found[0].tolerance:.2g}" if errors else wording.NOTHING
        )
        times = {c.threads: c.invoke_ms for c in found}
        rows.append([one_line(variant), one_line(engine), badge, told, *(_ms(times.get(n)) for n in threads)])
    yield html.table(
        ["variant", "engine", "golden answers", "largest error", *(_threads(n) for n in threads)],
        rows,
        caption="Golden samples: error relative to the largest value of the output; median ms of an invocation by "
        "threads.",
        numeric=[4 + i for i in range(len(threads))],
    )
    count = min((c.samples for c in checks if c.samples), default=0)
    yield html.note(
        f"Medians of {count} invocations, nothing else running on purpose: a hint, not a benchmark. Measure "
        "on the device with bedside bench."
    )


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _ms(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"
