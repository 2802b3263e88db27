"""Sections of the report on what a device can say of its own answers: confidence, sets, foreign frames."""

from __future__ import annotations

from collections.abc import Iterable

from bedside.export.metrics.confidence import coverage_interval
from bedside.export.reports import charts, wording
from bedside.export.reports.outcome import ExportOutcome
from bedside.runtime import html
from bedside.runtime.bundle.decode import ClassificationDecode, OutOfDistribution, ReconstructionDecode
from bedside.runtime.html import Content

_ERROR = "calibration error"


def has_confidence(o: ExportOutcome) -> bool:
    """Whether scores were held against frequencies."""
    return bool(o.reference.reliability)


def confidence(o: ExportOutcome) -> Iterable[Content]:
    """Reliability diagram, calibration error, temperature and prediction sets."""
    default = wording.default_marks(o)
    found = o.confidence
    after = f"Keras fp32, ECE {o.reference.others.get(_ERROR, 0.0):.3f}"
    diagrams: list[tuple[str, charts.Diagram]] = []
    if found is not None and found.raw:
        diagrams.append((f"Keras fp32 before calibration, ECE {found.before:.3f}", found.raw))
        after = f"Keras fp32 after calibration, ECE {found.after:.3f}"
    diagrams.append((after, o.reference.reliability))
    if default is not None and default.reliability:
        diagrams.append((f"{o.default}, ECE {default.others.get(_ERROR, 0.0):.3f}", default.reliability))
    boxes = o.task == "detection"
    yield html.paragraph(
        "Expected calibration error (ECE): mean distance between stated confidence and frequency, over 15 bins of "
        "equal width, weighted by their counts (Naeini et al., AAAI 2015)."
    )
    yield charts.reliability(
        diagrams,
        title="Reliability on the holdout: how often a box with this score is right (overlap of at least 0.5)"
        if boxes
        else "Reliability on the holdout: how often a decision with this confidence is right",
        x_label="score" if boxes else "confidence",
        y_label="fraction of boxes that are right" if boxes else "fraction that is right",
    )
    yield html.note(
        "On the diagonal, scores mean what they say; below it they are too high. Larger dots: more samples."
    )
    if found is None:
        if isinstance(o.decode, ClassificationDecode):
            yield html.note(
                "Confidence was not calibrated: a score of 0.9 need not be right nine times out of ten."
            )
        return
    calibration = next((s for s in o.splits if s.name == "calibration"), None)
    pairs: list[tuple[str, Content]] = [
        (
            "Temperature",
            f"{found.temperature:.3f}" + (" (scores were too high)" if found.temperature > 1 else ""),
        ),
        (
            "Fitted on",
            "-" if calibration is None else f"{calibration.samples} frames of the calibration split",
        ),
        ("ECE of Keras", f"{found.before:.3f} before, {found.after:.3f} after"),
    ]
    if found.coverage is not None and found.wanted is not None and found.set_size is not None:
        low, high = coverage_interval(found.samples, o.reference.samples, found.wanted)
        pairs += [
            (
                "Prediction sets",
                f"hold the truth in at least {wording.percent(found.wanted)} of frames like these",
            ),
            (
                "Coverage on the holdout",
                html.join(
                    [
                        html.badge(
                            wording.percent(found.coverage), "good" if found.coverage >= low else "bad"
                        ),
                        f" {wording.percent(low)} to {wording.percent(high)} would be chance (beta-binomial, 99 %)",
                    ]
                ),
            ),
            (
                "Mean set size",
                f"{found.set_size:.2f} of {len(o.labels)} classes; a set always holds the decision, so the "
                "coverage is at least the accuracy",
            ),
        ]
    yield html.key_values(pairs)


def foreign_of(o: ExportOutcome) -> tuple[OutOfDistribution, tuple[float, ...], str] | None:
    """Threshold and holdout scores of the guard, or of an autoencoder itself, and whose they are."""
    if isinstance(o.guard, ReconstructionDecode) and o.guard.out is not None:
        return o.guard.out, o.guard_scores, o.guard_bundle
    if isinstance(o.decode, ReconstructionDecode) and o.decode.out is not None:
        default = next((v.measured for v in o.variants if v.id == o.default), None)
        rows = () if default is None else default.rows
        return o.decode.out, tuple(float(row.score) for row in rows), o.default
    return None


def foreign(o: ExportOutcome) -> Iterable[Content]:
    """From which score on a frame is withheld as out of distribution, and how often wrongly."""
    found = foreign_of(o)
    if found is None:
        return
    out, scores, whose = found
    by = " over its scale"
    if out.distance_scale is not None:
        by += ", or distance of the code over its scale, whichever is larger"
    pairs: list[tuple[str, Content]] = [
        ("Guard" if o.guard is not None else "Variant", whose),
        ("Score", f"reconstruction error{by}"),
        ("Threshold", f"{out.threshold:.3f}"),
        (
            "False alarms",
            f"{wording.percent(out.false_alarm, 2)} of frames like these, by choice of the threshold",
        ),
        ("Chosen on", f"{out.samples} holdout frames"),
        ("Error scale", f"{out.error_scale:.2f} grey levels"),
    ]
    if out.distance_scale is not None:
        pairs.append(("Distance scale", f"{out.distance_scale:.2f}"))
    if scores:
        beyond = sum(s > out.threshold for s in scores)
        pairs.append(("Holdout frames beyond it", f"{beyond} of {len(scores)}"))
    yield html.key_values(pairs)
    if scores:
        yield charts.histogram(
            scores,
            title="Scores of the holdout's frames: these are of the kind that the model was made for",
            x_label="score",
            y_label="frames",
            limit=out.threshold,
            limit_label="withheld beyond",
        )
    yield html.note(
        "A frame beyond the threshold is withheld as out of distribution. The rate was chosen on frames like those "
        "of the data: another scanner or site may raise more alarms, and a foreign frame may still pass."
    )
