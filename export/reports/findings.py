"""Sections of the report on the model: result, classes, confusion, frames, training."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from bedside.export.gates.marks import ClassMark, Marks
from bedside.export.metrics.intervals import wilson
from bedside.export.reports import wording
from bedside.export.reports.cases import Shown
from bedside.export.reports.outcome import ExportOutcome
from bedside.export.reports.record import Bundled
from bedside.runtime import html
from bedside.runtime.html import Content, Html

#: Series of a training history have the prefix on the validation split.
_VALIDATION = "val_"
#: Pictures of several panels need room; on a narrow screen they take all of it.
_WIDE = "grid-template-columns:repeat(auto-fill,minmax(min(410px,100%),1fr))"
_NARROW = "grid-template-columns:repeat(auto-fill,minmax(min(180px,100%),1fr))"
#: Pictures that are not enlarged need no loss: they are small.
_SMALL = 96


def result(o: ExportOutcome, bundle: Bundled) -> Iterable[Content]:
    """What was made, and how good it is."""
    marks = o.reference
    pairs: list[tuple[str, Content]] = [
        ("Bundle", f"{bundle.file}, {wording.kilobytes(bundle.bytes)}"),
        ("Digest", html.tag("code", bundle.digest)),
        ("Task", o.task),
        (
            "Keras on the holdout",
            f"{wording.long_name(marks.metric)} {wording.tell(marks.metric, marks.value)} "
            f"on {marks.samples} frames",
        ),
        ("95 % interval", f"{wording.span(marks.metric, marks.interval)} ({marks.method})"),
    ]
    if marks.worst is not None and len(marks.classes) > 1:
        pairs.append(("Worst class", wording.worst(marks)))
    words = wording.baseline(o.task)
    if marks.baseline is not None and words:
        pairs.append(("For comparison", f"{wording.tell(marks.metric, marks.baseline)}: {words}"))
    pairs += [
        ("Shipped", ", ".join(v.id for v in o.shipped)),
        ("Runs by default", o.default),
    ]
    if o.guard is not None:
        pairs.append(("Guard", o.guard_bundle))
    yield html.key_values(pairs)
    for text in o.notes:
        yield html.note(wording.sentence(text))


def per_class(o: ExportOutcome) -> Iterable[Content]:
    """Every class, of Keras and of the default variant."""
    ref, default = o.reference, wording.default_marks(o)
    name = wording.class_metric(ref.metric)
    recalls = bool(ref.confusion)
    header: list[Content] = ["class", wording.counted(ref.metric), f"{name}, Keras"]
    header += ["95 % interval"] if recalls else []
    if default is not None:
        header += [f"{name}, {o.default}", *(["95 % interval"] if recalls else [])]
    found = {c.label: c for c in default.classes} if default is not None else {}
    rows: list[list[Content]] = []
    for index, mark in enumerate(ref.classes):
        cells: list[Content] = [mark.label, mark.samples, *_class_cells(ref, mark, index)]
        if default is not None:
            cells += _class_cells(default, found[mark.label], index)
        rows.append(cells)
    yield html.table(header, rows, numeric=[1, 2, 4] if recalls else [1, 2, 3])
    if recalls:
        yield html.note(
            "Wilson intervals take frames as independent; frames of one group are not, so they are too narrow."
        )
    elif ref.metric == "Dice":
        yield html.note("A class counts for the frames where it is, or where the model says that it is.")


def _class_cells(marks: Marks, mark: ClassMark, index: int) -> list[Content]:
    told = None if mark.value is None else wording.tell(wording.class_metric(marks.metric), mark.value)
    if not marks.confusion:
        return [told]
    if not mark.samples:
        return [None, None]
    interval = wilson(marks.confusion[index][index], mark.samples)
    return [told, wording.span("recall", interval)]


def confusions(o: ExportOutcome) -> Iterable[Content]:
    """Truth against decision, the default variant's unfolded."""
    yield html.confusion(o.labels, o.reference.confusion, title="Keras fp32 on the holdout")
    for v in sorted(o.variants, key=lambda v: v.id != o.default):
        if v.measured is None:
            continue
        matrix = html.confusion(o.labels, v.measured.marks.confusion, title=f"{v.id} on the holdout")
        yield matrix if v.id == o.default else html.details(v.id, matrix)


def frames(shown: Sequence[Shown]) -> Iterable[Content]:
    """Best and worst cases, group by group."""
    for group, found in itertools.groupby(shown, key=lambda s: s.group):
        cases = list(found)
        yield html.tag("h3", group, style="font-size:15px;margin:18px 0 4px")
        if cases[0].legend:
            yield html.tag("ul", *(_key(*entry) for entry in cases[0].legend), class_="legend")
        style = _WIDE if any(s.wide for s in cases) else _NARROW
        yield html.tag("div", *(_frame(s) for s in cases), class_="gallery", style=style)
    yield html.note(
        "As the model sees them, at most one frame per group where there are enough groups. These are frames of "
        "the data set: treat this report as you treat the data. The bundle holds none of them unless golden frames "
        "from the data were asked for."
    )


def _key(name: str, css: str) -> Html:
    return html.tag("li", html.tag("i", class_="key", style=f"background:{css}"), " ", name)


def _frame(s: Shown) -> Html:
    kind = "plain" if s.good is None else "good" if s.good else "bad"
    parts: list[Content] = [html.badge(s.verdict, kind)]  # type: ignore[arg-type]
    for line in (*s.lines, s.key):
        if line:
            parts += [html.tag("br"), line]
    said = f"{s.group}: {s.key} {s.verdict}".strip()
    lossless = max(s.picture.shape[:2]) <= _SMALL
    return html.image(s.picture, html.join(parts), color="bgr", lossless=lossless, alt=said)


def training(o: ExportOutcome) -> Iterable[Content]:
    """Every metric over the epochs, training and validation in one chart."""
    found = o.training
    assert found is not None
    history = found.history
    names = dict.fromkeys(name.removeprefix(_VALIDATION) for name in history)
    for name in names:
        keys = [
            (k, who) for k, who in ((name, "training"), (_VALIDATION + name, "validation")) if k in history
        ]
        series = [
            html.Series(name=who, x=[float(i + 1) for i in range(len(history[k]))], y=history[k])
            for k, who in keys
            if history[k]
        ]
        if not series:
            continue
        title = name.replace("_", " ")
        title = title[:1].upper() + title[1:]
        if len(keys) == 1:
            title += ", validation" if keys[0][0].startswith(_VALIDATION) else ""
        yield html.line_plot(series, title=title, x_label="epoch", y_label=name.replace("_", " "))
    resumed = "" if found.resumed_from is None else f", resumed after epoch {found.resumed_from}"
    epochs = max((len(v) for v in history.values()), default=0)
    kept = (
        f"the weights of epoch {found.best_epoch}, with the lowest validation loss, were kept"
        if "val_loss" in history
        else f"the weights of epoch {found.best_epoch} were kept"
    )
    compared = " Training curves are of augmented frames." if "val_loss" in history else ""
    yield html.note(f"{epochs} epochs in {found.seconds:.0f} s{resumed}; {kept}.{compared}")
