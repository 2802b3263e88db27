"""The model card: `README.md` of the bundle (Mitchell et al., Model Cards for Model Reporting, 2019)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bedside.export.gates.marks import Marks
from bedside.export.metrics.intervals import wilson
from bedside.export.reports.outcome import RESEARCH_ONLY, ExportOutcome, grouping, kilobytes, sentence


def card(outcome: ExportOutcome) -> str:
    """Markdown that says what the model is for, what it was made from, how good it is, and where it fails.

    Nothing in it depends on the speed of this host: the same export gives the same card.
    """
    o = outcome
    parts = [
        f"# {_plain(o.name)} {o.version}",
        RESEARCH_ONLY,
        _plain(o.description),
        "## Intended use",
        _plain(o.intended_use) or "Not stated by the author.",
        "## What it does",
        _input(o),
        f"It sorts a frame into one of {len(o.labels)} classes: "
        f"{', '.join(_plain(label) for label in o.labels)}. "
        f"A frame that belongs to none of them still gets one of these labels.",
        f"Weights: {_plain(o.origin)}; {o.parameters:,} parameters.",
        "## Data",
        *_sources(o),
        _splits(o),
        _seen(o),
        "## How good it is",
        _accuracy(o),
        *_classes(o),
        "## Variants",
        _variants(o),
        f"On a device that has measured nothing, `{o.default}` runs. A device replays golden frames on every "
        "session that it compiles and refuses one whose answers differ.",
        *_refused(o),
        "## Known limits",
        *_limits(o),
    ]
    if o.licence or o.authors:
        parts += ["## Licence and authors", " ".join(filter(None, [_plain(o.licence), _plain(o.authors)]))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _input(o: ExportOutcome) -> str:
    spec = o.input
    how = {
        "stretch": "stretched to that size",
        "letterbox": f"scaled to fit, padded with {spec.pad}",
        "crop": "scaled to fill, the longer side cut at both ends",
    }[spec.resize]
    return (
        f"Input: one frame, {spec.width}x{spec.height} pixels, {spec.color}, uint8; {how} "
        f"({spec.interpolation} interpolation). Normalization is inside the model; {_plain(o.normalization)}."
    )


def _sources(o: ExportOutcome) -> list[str]:
    if not o.sources:
        return ["Sources and licences of the data were not stated by the author."]
    lines = []
    for source in o.sources:
        line = f"- **{_plain(source.name)}**, licence: {_plain(source.licence)}."
        for text in (source.citation, source.note):
            line += f" {_plain(text).rstrip('.')}." if text else ""
        lines.append(line)
    return ["\n".join(lines)]


def _splits(o: ExportOutcome) -> str:
    rows = [[s.name, s.samples, s.groups, *s.counts, f"`{s.sha256[:12]}`"] for s in o.splits]
    return _table(["split", "frames", "groups", *o.labels, "sha256"], rows)


def _seen(o: ExportOutcome) -> str:
    text = grouping(o.splits) + " "
    if o.training is None:
        return text + (
            "Calibration saw frames of the training split only. The weights were not trained here: which of "
            "these "
            "frames they have seen is known to their author alone."
        )
    return text + (
        "Weights and calibration saw the training split, early stopping the validation split; the numbers "
        "below are "
        "of the holdout, which nothing saw before."
    )


def _accuracy(o: ExportOutcome) -> str:
    marks = o.reference
    low, high = marks.interval
    label, recall = marks.worst
    return (
        f"The Keras model is right on {marks.correct} of {marks.samples} holdout frames: accuracy "
        f"{marks.accuracy:.1%} (95 % interval {low:.1%} to {high:.1%}, Wilson). Its worst class is "
        f"{_plain(label)} "
        f"with {recall:.1%}. Always saying the most frequent class would reach {marks.majority:.1%}."
    )


def _classes(o: ExportOutcome) -> list[str]:
    """Per class, of Keras and of the default variant, with intervals."""
    default = next((v.measured.marks for v in o.variants if v.id == o.default and v.measured), None)
    header = ["class", "holdout frames", "recall, Keras", "95 % interval"]
    header += [f"recall, {o.default}", "95 % interval"] if default else []
    rows = []
    for i, label in enumerate(o.labels):
        row = [label, o.reference.counts[i], *_recall(o.reference, i)]
        rows.append([*row, *(_recall(default, i) if default else ())])
    holdout = next((s for s in o.splits if s.name == "holdout"), None)
    related = holdout is not None and holdout.groups < holdout.samples
    return [
        _table(header, rows),
        "Frames of one group resemble each other, so the true uncertainty is larger." if related else "",
    ]


def _recall(marks: Marks, index: int) -> tuple[str, str]:
    count, right = marks.counts[index], marks.confusion[index][index]
    if not count:
        return "-", "-"
    low, high = wilson(right, count)
    return f"{right / count:.1%}", f"{low:.1%} to {high:.1%}"


def _variants(o: ExportOutcome) -> str:
    rows = []
    for v in o.shipped:
        m = v.measured
        if m is None:
            continue
        label, recall = m.marks.worst
        drop = 100 * (o.reference.accuracy - m.marks.accuracy)
        low, high = m.marks.interval
        rows.append(
            [
                f"`{v.id}`",
                kilobytes(v.bytes),
                f"{m.marks.accuracy:.1%} ({low:.1%} to {high:.1%})",
                f"{drop:+.2f} points" if drop else "0",
                f"{label} {recall:.1%}",
                f"{m.agreement:.1%}",
            ]
        )
    return _table(["variant", "size", "accuracy (95 %)", "drop", "worst class", "agrees with Keras"], rows)


def _refused(o: ExportOutcome) -> list[str]:
    lines = [f"- `{v.id}`: {_plain(v.refused or '')}" for v in o.refused]
    return ["Refused by the gate, and not in the bundle:", "\n".join(lines)] if lines else []


def _limits(o: ExportOutcome) -> list[str]:
    lines = [f"- {_plain(sentence(note))}" for note in o.notes]
    if o.calibration_samples is not None:
        lines.append(f"- int8 variants were calibrated with {o.calibration_samples} training frames.")
    confused = _confusions(o)
    if confused:
        lines.append(f"- Most frequent mistakes on the holdout: {confused}.")
    lines.append("- Scores are not calibrated probabilities: 0.9 does not mean right nine times out of ten.")
    lines.append(
        "- Other scanners, settings, sites and patients than those in the data may give other results."
    )
    return ["\n".join(lines)]


def _confusions(o: ExportOutcome) -> str:
    found = [
        (count, truth, said)
        for truth, row in enumerate(o.reference.confusion)
        for said, count in enumerate(row)
        if truth != said and count
    ]
    top = sorted(found, key=lambda f: (-f[0], f[1], f[2]))[:3]
    return ", ".join(
        f"{_plain(o.labels[truth])} taken for {_plain(o.labels[said])} ({count})"
        for count, truth, said in top
    )


def _table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_plain(str(cell)) for cell in line) + " |" for line in lines)


def _plain(text: str) -> str:
    """Text that stays in its line and its table cell."""
    return " ".join(text.split()).replace("|", "\\|")
