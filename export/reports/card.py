"""The model card: `README.md` of the bundle (Mitchell et al., Model Cards for Model Reporting, 2019)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bedside.export.gates.marks import Marks
from bedside.export.metrics.intervals import wilson
from bedside.export.reports import wording
from bedside.export.reports.card_words import does, failures, guarded
from bedside.export.reports.outcome import RESEARCH_ONLY, ExportOutcome
from bedside.export.reports.wording import grouping, kilobytes, sentence


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
        *does(o, tuple(_plain(label) for label in o.labels)),
        _plain(guarded(o.guard, o.guard_bundle)),
        _input(o),
        "## How it was made",
        *_made(o),
        "## Data",
        *_sources(o),
        _splits(o),
        _seen(o),
        "## How good it is",
        _metric(o),
        *_classes(o),
        "## Variants",
        _variants(o),
        *_kept(o),
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
    if spec.latent is not None:
        return (
            f"Input: {spec.latent} standard normal numbers, no frame. Output: a picture of "
            f"{spec.width}x{spec.height} pixels, {spec.color}."
        )
    how = {
        "stretch": "stretched to that size",
        "letterbox": f"scaled to fit, padded with {spec.pad}",
        "crop": "scaled to fill, the longer side cut at both ends",
    }[spec.resize]
    return (
        f"Input: one frame, {spec.width}x{spec.height} pixels, {spec.color}, uint8; {how} "
        f"({spec.interpolation} interpolation). Normalization is inside the model; {_plain(o.normalization)}."
    )


def _made(o: ExportOutcome) -> list[str]:
    text = f"Weights: {_plain(o.origin)}; {o.parameters:,} parameters."
    if o.training is not None:
        epochs = max((len(v) for v in o.training.history.values()), default=0)
        text += f" {epochs} epochs, of which the weights of epoch {o.training.best_epoch} were kept; seed {o.seed}."
    tools = ", ".join(f"{name} {version}" for name, version in o.tools.items())
    return [text, f"Made with {_plain(tools)}."]


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
    # Frames without a class are all counted as class 0: that says nothing.
    labels = o.labels if o.task == "classification" else ()
    rows = [[s.name, s.samples, s.groups, *s.counts[: len(labels)], f"`{s.sha256[:12]}`"] for s in o.splits]
    return _table(["split", "frames", "groups", *labels, "sha256"], rows)


def _seen(o: ExportOutcome) -> str:
    text = grouping(o.splits) + " "
    if o.training is None:
        return text + (
            "Calibration of int8 saw frames of the training split only. The weights were not trained here: which "
            "of these frames they have seen is known to their author alone."
        )
    text += "Weights and int8 calibration saw the training split, early stopping the validation split"
    if any(s.name == "calibration" for s in o.splits):
        text += ", temperature and prediction sets the calibration split"
    text += "; the numbers below are of the holdout, which nothing of these saw before."
    if o.task == "reconstruction" or o.guard is not None:
        text += " The out-of-distribution threshold was chosen on the holdout, for its false-alarm rate."
    return text


def _metric(o: ExportOutcome) -> str:
    marks = o.reference
    name = wording.long_name(marks.metric)
    text = (
        f"The Keras model on {marks.samples} holdout frames: {name} {wording.tell(marks.metric, marks.value)} "
        f"(95 % interval {wording.span(marks.metric, marks.interval)}, {_plain(marks.method)})."
    )
    if marks.worst is not None and len(marks.classes) > 1:
        text += f" Its worst class is {_plain(wording.worst(marks))}."
    others = ", ".join(
        f"{wording.long_name(name)} {wording.tell(name, value)}" for name, value in marks.others.items()
    )
    text += f" Further: {others}." if others else ""
    words = wording.baseline(o.task)
    if marks.baseline is not None and words:
        text += f" For comparison: {wording.tell(marks.metric, marks.baseline)} is reached by {words}."
    return text


def _classes(o: ExportOutcome) -> list[str]:
    """Per class, of Keras and of the default variant; with intervals where a class is a count of frames."""
    ref, default = o.reference, wording.default_marks(o)
    if not ref.classes:
        return []
    name = wording.class_metric(ref.metric)
    extra = ["95 % interval"] if ref.confusion else []
    header = ["class", wording.counted(ref.metric), f"{name}, Keras", *extra]
    header += [f"{name}, {o.default}", *extra] if default is not None else []
    rows = []
    for i, mark in enumerate(ref.classes):
        row: list[object] = [mark.label, mark.samples, *_class(ref, i)]
        rows.append([*row, *(_class(default, i) if default is not None else ())])
    holdout = next((s for s in o.splits if s.name == "holdout"), None)
    related = holdout is not None and holdout.groups < holdout.samples and bool(ref.confusion)
    return [
        _table(header, rows),
        "Frames of one group resemble each other, so the true uncertainty is larger." if related else "",
    ]


def _class(marks: Marks, index: int) -> tuple[str, ...]:
    mark = marks.classes[index]
    told = wording.tell(wording.class_metric(marks.metric), mark.value)
    if not marks.confusion:
        return (told,)
    if not mark.samples:
        return wording.NOTHING, wording.NOTHING
    return told, wording.span("recall", wilson(marks.confusion[index][index], mark.samples))


def _variants(o: ExportOutcome) -> str:
    rows = []
    with_classes = bool(o.reference.classes)
    for v in o.shipped:
        if (m := v.measured) is None:
            continue
        marks = m.marks
        rows.append(
            [
                f"`{v.id}`",
                kilobytes(v.bytes),
                f"{wording.tell(marks.metric, marks.value, with_unit=False)} "
                f"({wording.span(marks.metric, marks.interval)})",
                wording.tell_cost(o.reference, marks),
                *((wording.worst(marks),) if with_classes else ()),
                wording.tell_agreement(o.task, m.agreement),
            ]
        )
    header = ["variant", "size", f"{o.reference.metric} (95 %)", "worse by"]
    return _table([*header, *(("worst class",) if with_classes else ()), wording.agreement(o.task)], rows)


def _kept(o: ExportOutcome) -> list[str]:
    return [
        f"`{v.id}` keeps {len(v.kept_float)} layers in float, because int8 cost too much there: "
        f"{_plain(', '.join(v.kept_float))}."
        for v in o.shipped
        if v.kept_float
    ]


def _refused(o: ExportOutcome) -> list[str]:
    lines = [f"- `{v.id}`: {_plain(v.refused or '')}" for v in o.refused]
    return ["Refused by the gate, and not in the bundle:", "\n".join(lines)] if lines else []


def _limits(o: ExportOutcome) -> list[str]:
    lines = [f"- {_plain(sentence(note))}" for note in o.notes]
    if o.calibration_samples is not None:
        what = "latents" if o.input.latent is not None else "training frames"
        lines.append(f"- int8 variants were calibrated with {o.calibration_samples} {what}.")
    confused = _confusions(o)
    if confused:
        lines.append(f"- Most frequent mistakes on the holdout: {confused}.")
    lines += [f"- {line}" for line in failures(o)]
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
