"""The export report for people: one HTML file, made of the sections that apply."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bedside.export.reports import findings, trusted, variants
from bedside.export.reports.cases import Shown
from bedside.export.reports.outcome import RESEARCH_ONLY, EngineCheck, ExportOutcome
from bedside.export.reports.record import Bundled
from bedside.export.reports.wording import grouping
from bedside.runtime import html
from bedside.runtime.bundle.decode import ClassificationDecode, DetectionDecode, SegmentationDecode
from bedside.runtime.html import Content, Html


def report_html(
    outcome: ExportOutcome, checks: Sequence[EngineCheck], bundle: Bundled, shown: Sequence[Shown] = ()
) -> Html:
    """The report as one page without network, script or links."""
    o = outcome
    sections: list[tuple[str, bool, Iterable[Content]]] = [
        ("Result", True, findings.result(o, bundle)),
        ("Variants", True, variants.variants(o)),
        ("Refused", bool(o.refused), variants.refused(o)),
        ("Layers that int8 hurts", any(v.layers for v in o.variants), variants.sensitivity(o)),
        ("Faster than fp32?", any(v.speed for v in o.variants), variants.speed(o)),
        ("Engines of this workstation", bool(checks), variants.engines(checks)),
        ("Per class", bool(o.reference.classes), findings.per_class(o)),
        ("Confusion", bool(o.reference.confusion), findings.confusions(o)),
        ("Confidence", trusted.has_confidence(o), trusted.confidence(o)),
        ("Out of distribution", trusted.foreign_of(o) is not None, trusted.foreign(o)),
        ("Frames of the holdout", bool(shown), findings.frames(shown)),
        ("Training", o.training is not None, findings.training(o)),
        ("Data", True, _data(o)),
        ("Input and outputs", True, _input(o)),
        ("Provenance", True, _provenance(o)),
    ]
    subtitle = f"Export of {o.name} {o.version}, {o.task}, {o.created_utc}"
    return html.page(
        f"{o.name} {o.version}",
        [html.section(title, *parts) for title, applies, parts in sections if applies],
        subtitle=subtitle,
        footer=RESEARCH_ONLY,
    )


def _data(o: ExportOutcome) -> Iterable[Content]:
    # Frames without a class are all counted as class 0: that says nothing.
    labels = o.labels if o.task == "classification" else ()
    yield html.table(
        ["split", "frames", "groups", *labels, "sha256"],
        [
            [s.name, s.samples, s.groups, *s.counts[: len(labels)], html.tag("code", s.sha256[:16])]
            for s in o.splits
        ],
        caption=grouping(o.splits),
    )
    if o.sources:
        rows = [[s.name, s.licence, s.citation, s.note] for s in o.sources]
        yield html.table(["source", "licence", "citation", "note"], rows)
    else:
        yield html.note("Sources and licences of the data were not stated.")


def _input(o: ExportOutcome) -> Iterable[Content]:
    spec = o.input
    if spec.latent is not None:
        pairs: list[tuple[str, Content]] = [
            ("Input", f"{spec.latent} standard normal numbers, drawn anew for every picture"),
            ("Picture", f"{spec.width}x{spec.height}, {spec.channels} channel(s), {spec.color}"),
        ]
    else:
        pairs = [
            ("Size", f"{spec.width}x{spec.height}, {spec.channels} channel(s), {spec.color}, {spec.dtype}"),
            ("Fit", f"{spec.resize}, {spec.interpolation} interpolation"),
            ("Normalization", o.normalization),
        ]
    yield html.key_values([*pairs, ("Output", _output(o))])


def _output(o: ExportOutcome) -> str:
    match o.decode:
        case ClassificationDecode() as decode:
            maps = "; class activation maps" if decode.map is not None else ""
            return f"{len(o.labels)} {decode.scores}: {', '.join(o.labels)}{maps}"
        case SegmentationDecode():
            return f"a class per pixel: {', '.join(o.labels)}"
        case DetectionDecode() as decode:
            overlap = (
                "no suppression" if decode.iou is None else f"suppression above an overlap of {decode.iou:g}"
            )
            return f"boxes of {', '.join(o.labels)}, shown from a score of {decode.threshold:g} on, {overlap}"
        case _:
            return {
                "reconstruction": "the frame again, and how far it is off",
                "translation": "a picture",
                "generation": "a drawn picture",
            }.get(o.task, o.task)


def _provenance(o: ExportOutcome) -> Iterable[Content]:
    calibration = "none"
    if o.calibration_samples is not None:
        calibration = f"{o.calibration_samples} " + (
            "latents" if o.input.latent is not None else "training frames, black, white"
        )
    yield html.key_values(
        [
            ("Weights", o.origin),
            ("Parameters", f"{o.parameters:,}"),
            ("Calibration of int8", calibration),
            ("Seed", str(o.seed)),
            *((name, version) for name, version in o.tools.items()),
        ]
    )
