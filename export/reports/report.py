"""The export report for people: one HTML file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.gates.marks import Marks
from bedside.export.metrics.intervals import wilson
from bedside.export.reports.samples import Shown
from bedside.export.reports.outcome import (
    RESEARCH_ONLY,
    EngineCheck,
    ExportOutcome,
    VariantResult,
    grouping,
    kilobytes,
    sentence,
)
from bedside.export.reports.record import Bundled
from bedside.runtime import html
from bedside.runtime.frame import Color
from bedside.runtime.html import Content, Html

#: Frames of the holdout that are shown are at least this wide, in pixels, enlarged without smoothing.
_SHOWN_WIDTH = 200


def report_html(
    outcome: ExportOutcome, checks: Sequence[EngineCheck], bundle: Bundled, shown: Sequence[Shown] = ()
) -> Html:
    """The report as one page without network, script or links."""
    o = outcome
    sections = [
        html.section("Result", *_result(o, bundle)),
        html.section("Variants", *_variants(o)),
        *([html.section("Refused", *_refused(o))] if o.refused else []),
        html.section("Engines of this workstation", *_engines(checks)),
        html.section("Per class", *_per_class(o)),
        html.section("Confusion", *_confusions(o)),
        *([html.section("Frames of the holdout", *_frames(o, shown))] if shown else []),
        *([html.section("Training", *_training(o))] if o.training is not None else []),
        html.section("Data", *_data(o)),
        html.section("Input", *_input(o)),
        html.section("Provenance", *_provenance(o)),
    ]
    subtitle = f"Export of {o.name} {o.version}, {o.created_utc}"
    return html.page(f"{o.name} {o.version}", sections, subtitle=subtitle, footer=RESEARCH_ONLY)


def _result(o: ExportOutcome, bundle: Bundled) -> Iterable[Content]:
    marks = o.reference
    low, high = marks.interval
    yield html.key_values(
        [
            ("Bundle", f"{bundle.file}, {kilobytes(bundle.bytes)}"),
            ("Digest", html.tag("code", bundle.digest)),
            ("Keras on the holdout", f"{marks.correct} of {marks.samples} right, {_percent(marks.accuracy)}"),
            ("95 % interval", f"{_percent(low)} to {_percent(high)} (Wilson)"),
            ("Worst class", f"{marks.worst[0]}, {_percent(marks.worst[1])}"),
            ("Always the majority", _percent(marks.majority)),
            ("Shipped", ", ".join(v.id for v in o.shipped)),
            ("Runs by default", o.default),
        ]
    )
    for text in o.notes:
        yield html.note(sentence(text))


def _variants(o: ExportOutcome) -> Iterable[Content]:
    header = [
        "variant", "verdict", "size", "accuracy", "drop", "worst class", "agrees",
        "max |Δp|", "p50, ms",
    ]  # fmt: skip
    yield html.table(
        header,
        [_variant_row(v, o) for v in o.variants],
        caption="On the holdout, through bedside.runtime. Drop: percentage points; p50: median, one thread.",
        numeric=[2, 3, 4, 6, 7, 8],
    )
    measured = [(v.id, v.measured.marks) for v in o.variants if v.measured is not None]
    shown = [
        _accuracy_bar("Keras fp32", o.reference),
        *(_accuracy_bar(name, marks) for name, marks in measured),
    ]
    yield html.bars(shown, title="Accuracy on the holdout, with 95 % interval", unit="%", maximum=100.0)
    gate = o.gate
    yield html.note(
        f"The gate asks for {_percent(gate.relative)} of Keras' accuracy, {_percent(gate.worst_class)} of "
        "its recall in "
        f"every class, and the same decision on {_percent(gate.min_agreement)} of the frames"
        + (f", and {_percent(gate.min_accuracy)} accuracy." if gate.min_accuracy else ".")
    )


def _accuracy_bar(name: str, marks: Marks) -> html.Bar:
    low, high = marks.interval
    return html.Bar(label=name, value=100 * marks.accuracy, low=100 * low, high=100 * high)


def _variant_row(v: VariantResult, o: ExportOutcome) -> list[Content]:
    kind: Literal["good", "bad", "plain"] = "bad" if v.refused else "good" if v.shipped else "plain"
    verdict = html.badge("refused" if v.refused else "shipped" if v.shipped else "passed, not shipped", kind)
    m = v.measured
    if m is None:
        return [_id(v.id), verdict, kilobytes(v.bytes), *([None] * 6)]
    return [
        _id(v.id),
        verdict,
        kilobytes(v.bytes),
        _percent(m.marks.accuracy),
        f"{100 * (o.reference.accuracy - m.marks.accuracy):.2f}",
        f"{m.marks.worst[0]} {_percent(m.marks.worst[1])}",
        _percent(m.agreement),
        f"{m.difference:.2g}",
        _ms(m.invoke_ms),
    ]


def _refused(o: ExportOutcome) -> Iterable[Content]:
    yield html.table(["variant", "why"], [[_id(v.id), v.refused or ""] for v in o.refused])
    yield html.note(
        "A refused variant's file is not in the bundle; its record is, where it could be converted."
    )


def _engines(checks: Sequence[EngineCheck]) -> Iterable[Content]:
    pairs: dict[tuple[str, str], list[EngineCheck]] = {}
    for check in checks:
        pairs.setdefault((check.variant, check.engine), []).append(check)
    threads = sorted({c.threads for c in checks})
    rows: list[list[Content]] = []
    for (variant, engine), found in pairs.items():
        passed = all(c.passed for c in found)
        verdict = html.badge("agrees", "good") if passed else html.badge("would be refused", "bad")
        errors = [c.error for c in found if c.error is not None]
        failed = next((c.failed for c in found if c.failed is not None), None)
        times = {c.threads: c.invoke_ms for c in found}
        shown = failed or f"{max(errors):.2g} of {found[0].tolerance:.2g}"
        rows.append(
            [
                _id(variant),
                _id(engine),
                verdict,
                shown if failed else _id(shown),
                *(_ms(times.get(n)) for n in threads),
            ]
        )
    yield html.table(
        ["variant", "engine", "golden answers", "largest error", *(_threads(n) for n in threads)],
        rows,
        caption="Golden samples: error relative to the largest score; median ms of an invocation by threads.",
        numeric=[4 + i for i in range(len(threads))],
    )
    count = min((c.samples for c in checks if c.samples), default=0)
    yield html.note(
        f"Medians of {count} invocations, nothing else running on purpose: a hint, not a benchmark. Measure "
        "on the device with bedside bench."
    )


def _per_class(o: ExportOutcome) -> Iterable[Content]:
    default = next((v.measured.marks for v in o.variants if v.id == o.default and v.measured), None)
    header: list[Content] = ["class", "holdout frames", "recall, Keras", "95 % interval"]
    header += [f"recall, {o.default}", "95 % interval"] if default else []
    rows: list[list[Content]] = []
    for i, label in enumerate(o.labels):
        cells = [*_recall(o.reference, i), *(_recall(default, i) if default else ())]
        rows.append([label, o.reference.counts[i], *cells])
    yield html.table(header, rows, numeric=[1, 2, 4])
    yield html.note(
        "Wilson intervals take frames as independent; frames of one group are not, so they are too narrow."
    )


def _recall(marks: Marks, index: int) -> tuple[Content, Content]:
    count, right = marks.counts[index], marks.confusion[index][index]
    if not count:
        return None, None
    low, high = wilson(right, count)
    return _percent(right / count), f"{_percent(low)} to {_percent(high)}"


def _confusions(o: ExportOutcome) -> Iterable[Content]:
    yield html.confusion(o.labels, o.reference.confusion, title="Keras fp32 on the holdout")
    for v in sorted(o.variants, key=lambda v: v.id != o.default):
        if v.measured is None:
            continue
        matrix = html.confusion(o.labels, v.measured.marks.confusion, title=f"{v.id} on the holdout")
        yield matrix if v.id == o.default else html.details(v.id, matrix)


def _frames(o: ExportOutcome, shown: Sequence[Shown]) -> Iterable[Content]:
    yield html.gallery(_frame(s, o) for s in shown)
    yield html.note(
        "As the model sees them. These are frames of the data set: treat this report as you treat the "
        "data. The "
        "bundle holds none of them unless golden frames from the data were asked for."
    )


def _frame(s: Shown, o: ExportOutcome) -> Html:
    factor = max(1, -(-_SHOWN_WIDTH // s.pixels.shape[1]))
    large = cv2.resize(s.pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST).astype(
        np.uint8, copy=False
    )
    decided = int(np.argmax(s.variant))
    right = decided == s.truth
    caption = html.join(
        [
            html.badge(f"{o.labels[decided]} {s.variant[decided]:.2f}", "good" if right else "bad"),
            "" if right else f" is {o.labels[s.truth]}",
            html.tag("br"),
            f"Keras: {o.labels[int(np.argmax(s.keras))]} {max(s.keras):.2f}",
            html.tag("br"),
            s.key,
        ]
    )
    color: Color = o.input.color
    return html.image(large, caption, color=color, lossless=True, alt=f"holdout frame {s.key}")


def _training(o: ExportOutcome) -> Iterable[Content]:
    training = o.training
    assert training is not None
    for title, keys in (("Loss", ("loss", "val_loss")), ("Accuracy", ("accuracy", "val_accuracy"))):
        series = [
            html.Series(
                name=name, x=[i + 1.0 for i in range(len(training.history[key]))], y=training.history[key]
            )
            for name, key in zip(("training", "validation"), keys, strict=True)
            if key in training.history
        ]
        if series:
            yield html.line_plot(series, title=title, x_label="epoch", y_label=title.lower())
    resumed = "" if training.resumed_from is None else f", resumed after epoch {training.resumed_from}"
    epochs = max((len(v) for v in training.history.values()), default=0)
    yield html.note(
        f"{epochs} epochs in {training.seconds:.0f} s{resumed}; the weights of epoch {training.best_epoch}, "
        "with the "
        "lowest validation loss, were kept. Training curves are of augmented frames."
    )


def _data(o: ExportOutcome) -> Iterable[Content]:
    yield html.table(
        ["split", "frames", "groups", *o.labels, "sha256"],
        [[s.name, s.samples, s.groups, *s.counts, html.tag("code", s.sha256[:16])] for s in o.splits],
        caption=grouping(o.splits),
    )
    if o.sources:
        rows = [[s.name, s.licence, s.citation, s.note] for s in o.sources]
        yield html.table(["source", "licence", "citation", "note"], rows)
    else:
        yield html.note("Sources and licences of the data were not stated.")


def _input(o: ExportOutcome) -> Iterable[Content]:
    spec = o.input
    yield html.key_values(
        [
            ("Size", f"{spec.width}x{spec.height}, {spec.channels} channel(s), {spec.color}, {spec.dtype}"),
            ("Fit", f"{spec.resize}, {spec.interpolation} interpolation"),
            ("Normalization", o.normalization),
            ("Outputs", f"{len(o.labels)} {o.scores}: {', '.join(o.labels)}"),
        ]
    )


def _provenance(o: ExportOutcome) -> Iterable[Content]:
    calibration = (
        "none" if o.calibration_samples is None else f"{o.calibration_samples} training frames, black, white"
    )
    yield html.key_values(
        [
            ("Weights", o.origin),
            ("Parameters", f"{o.parameters:,}"),
            ("Calibration", calibration),
            ("Seed", str(o.seed)),
            *((name, version) for name, version in o.tools.items()),
        ]
    )


def _percent(value: float) -> str:
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def _id(text: str) -> Html:
    """Text that stays on one line."""
    return html.tag("span", text, style="white-space:nowrap")


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _ms(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"
