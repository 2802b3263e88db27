"""The table of `architectures.py`: from reports to Markdown and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from support import markdown

from bedside.export.reports import wording

_ENGINES = {
    "litert": "LiteRT",
    "tflite": "tflite-runtime",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}
_NONE = "-"


class Failure(msgspec.Struct, frozen=True):
    """An export that its gate refused.

    Attributes:
        key: Of the recipe.
        why: What the gate said.
    """

    key: str
    why: str


class Numbers(msgspec.Struct, frozen=True):
    """The Keras model on the holdout, of a report's JSON."""

    metric: str
    value: float
    interval_95: tuple[float, float]
    samples: int
    higher_is_better: bool


class Variant(msgspec.Struct, frozen=True):
    """A variant of a report's JSON; what was not measured is None."""

    id: str
    bytes: int | None
    refused: str | None
    kept_float: tuple[str, ...] = ()
    value: float | None = None
    interval_95: tuple[float, float] | None = None
    drop: float | None = None
    agreement: float | None = None
    engine: str | None = None
    invoke_p50_ms: float | None = None


class Check(msgspec.Struct, frozen=True):
    """A shipped variant on an engine, of a report's JSON."""

    variant: str
    engine: str
    threads: int
    invoke_ms: float | None
    passed: bool
    failed: str | None = None


class Split(msgspec.Struct, frozen=True):
    """A split of a report's JSON."""

    name: str
    samples: int


class Input(msgspec.Struct, frozen=True):
    """The input of a report's JSON."""

    width: int
    height: int
    channels: int = 3


class Source(msgspec.Struct, frozen=True):
    """Where data is from, of a report's JSON."""

    name: str


class History(msgspec.Struct, frozen=True):
    """The training of a report's JSON."""

    history: dict[str, tuple[float, ...]]
    seconds: float


class Report(msgspec.Struct, frozen=True):
    """What the table needs of a report's JSON."""

    name: str
    task: str
    input: Input
    parameters: int
    reference: Numbers
    variants: tuple[Variant, ...]
    engines: tuple[Check, ...]
    splits: tuple[Split, ...]
    sources: tuple[Source, ...]
    tools: dict[str, str]
    created_utc: str
    training: History | None = None


class Record(msgspec.Struct, frozen=True):
    """One architecture.

    Attributes:
        architecture: As recipes call it.
        recipe: That it was exported by.
        report: Of the export; None where the gate refused it as a whole.
        ran: Summary of `bedside run`.
        failed: What the gate said.
    """

    architecture: str
    recipe: str
    report: Report | None = None
    ran: dict[str, Any] | None = None
    failed: str | None = None


def page(records: Sequence[Record]) -> str:
    """The whole page, in Markdown."""
    lines = [
        "# Architectures",
        "",
        "Made by `benchmarks/studies/architectures.py`, which exports each architecture by its recipe with a short "
        "training on two processor cores, and runs each bundle with `bedside run`. The trainings are as short as a "
        "demonstration allows: compare variants with their own Keras model, not architectures with each other. "
        "Metrics are those of the holdout, through the device's own code; intervals are 95 %. Latencies are "
        "medians of an invocation on one thread of the host that made the table, whose other core was not always "
        "idle.",
        "",
        overview(records),
    ]
    tools = {name: version for r in records if r.report for name, version in r.report.tools.items()}
    if tools:
        lines += ["Made with " + ", ".join(f"{name} {version}" for name, version in tools.items()) + ".", ""]
    for record in records:
        lines += [section(record)]
    return "\n".join(lines).rstrip() + "\n"


def overview(records: Sequence[Record]) -> str:
    """One row per architecture: Keras, and what int8 costs."""
    header = ("architecture", "recipe", "task", "input", "weights", "frames", "metric")
    header += ("Keras fp32", "TFLite int8", "refused variants", "frames run")
    rows = []
    for r in records:
        if (o := r.report) is None:
            rows.append((r.architecture, f"`{r.recipe}`", *[_NONE] * 8, f"refused: {r.failed}"))
            continue
        int8 = next((v for v in o.variants if v.id == "tflite-int8"), None)
        refused = ", ".join(v.id for v in o.variants if v.refused) or "none"
        frames = sum(s.samples for s in o.splits)
        rows.append(
            (
                r.architecture,
                f"`{r.recipe}`",
                o.task,
                f"{o.input.width}x{o.input.height}x{o.input.channels}",
                f"{o.parameters:,}",
                str(frames),
                o.reference.metric,
                _value(o, o.reference.value),
                _NONE if int8 is None else _value(o, int8.value),
                refused,
                _ran(r),
            )
        )
    return markdown(header, rows, numbers=(4, 5, 7, 8))


def section(record: Record) -> str:
    """Every variant of one architecture, and why some were refused."""
    title = f"## {record.architecture}\n"
    if (o := record.report) is None:
        return f"{title}\n`{record.recipe}` was refused as a whole: {record.failed}\n"
    better = "higher is better" if o.reference.higher_is_better else "lower is better"
    holdout = next((s.samples for s in o.splits if s.name == "holdout"), o.reference.samples)
    trained = ""
    if o.training is not None:
        epochs = max((len(h) for h in o.training.history.values()), default=0)
        trained = f", {epochs} epochs in {o.training.seconds / 60:.1f} minutes"
    metric = wording.long_name(o.reference.metric)
    unit = wording.unit(o.reference.metric)
    lead = (
        f"`{record.recipe}`{trained}; {metric}{f' in {unit}' if unit not in ('', '%') else ''}, {better}; "
        f"{holdout} holdout frames"
    )
    engines = list(dict.fromkeys(c.engine.split()[0] for c in o.engines)) or ["litert", "onnxruntime"]
    header = ("variant", "verdict", metric, "95 %", "worse by", "size")
    header += tuple(f"{_ENGINES.get(e, e)}, ms" for e in engines)
    keras = _value(o, o.reference.value), wording.span(o.reference.metric, o.reference.interval_95)
    rows = [("Keras fp32", "", *keras, "", "", *[""] * len(engines))]
    rows += [_row(o, v, engines) for v in o.variants]
    text = f"{title}\n{lead}.\n\n{markdown(header, rows, numbers=range(2, len(header)))}"
    reasons = [f"- `{v.id}` refused: {' '.join(v.refused.split())}" for v in o.variants if v.refused]
    reasons += [
        f"- `{v.id}` passed with {len(v.kept_float)} layers in float: {', '.join(v.kept_float)}"
        for v in o.variants
        if v.kept_float and not v.refused
    ]
    reasons += [
        f"- `{c.variant}` on {c.engine} does not run: {' '.join(c.failed.split())}"
        for c in o.engines
        if c.failed and c.threads == 1
    ]
    return text + ("\n" + "\n".join(reasons) + "\n" if reasons else "")


def summary(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The same for programs."""
    found = []
    for r in records:
        entry: dict[str, Any] = {"architecture": r.architecture, "recipe": r.recipe, "failed": r.failed}
        if (o := r.report) is not None:
            entry |= {
                "task": o.task,
                "input": o.input,
                "parameters": o.parameters,
                "keras": o.reference,
                "variants": o.variants,
                "one_thread_ms": [
                    {"variant": c.variant, "engine": c.engine, "ms": c.invoke_ms, "goldens": c.passed}
                    for c in o.engines
                    if c.threads == 1
                ],
                "ledger": None if r.ran is None else r.ran.get("ledger"),
            }
        found.append(entry)
    return found


def _row(o: Report, v: Variant, engines: Sequence[str]) -> tuple[str, ...]:
    metric = o.reference.metric
    verdict = "refused" if v.refused else "passed"
    span = _NONE if v.interval_95 is None else wording.span(metric, v.interval_95)
    cost = _NONE if v.drop is None else wording.tell_loss(metric, v.drop)
    times = [_time(o, v, engine) for engine in engines]
    return (v.id, verdict, _value(o, v.value), span, cost, wording.kilobytes(v.bytes), *times)


def _time(o: Report, v: Variant, engine: str) -> str:
    for check in o.engines:
        if (check.variant, check.engine.split()[0], check.threads) == (v.id, engine, 1):
            if check.invoke_ms is None:
                return "does not run"
            return f"{check.invoke_ms:.3f}" + ("" if check.passed else " (goldens fail)")
    # Only what is shipped has goldens; the others were timed on the holdout.
    if v.invoke_p50_ms is not None and v.engine is not None and v.engine.split()[0] == engine:
        return f"{v.invoke_p50_ms:.3f}"
    return _NONE


def _value(o: Report, value: float | None) -> str:
    return wording.tell(o.reference.metric, value, with_unit=False)


def _ran(record: Record) -> str:
    if record.ran is None:
        return _NONE
    ledger = record.ran["ledger"]
    return f"{ledger['processed']} of {ledger['captured']}"
