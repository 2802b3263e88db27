"""Best and worst cases of the holdout, as pictures: what the default variant makes of frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from bedside.export.metrics.overlap import dice
from bedside.export.metrics.precision import Found, iou, match
from bedside.export.reports import drawing
from bedside.export.reports.cases import Cases, Shown, pick
from bedside.export.reports.picture_samples import generated, rebuilt, translated
from bedside.runtime.bundle.decode import (
    ClassificationDecode,
    DetectionDecode,
    GenerationDecode,
    ReconstructionDecode,
    SegmentationDecode,
    TranslationDecode,
)

if TYPE_CHECKING:
    from bedside.export.finished import Finished

__all__ = ["Shown", "samples_to_show"]

#: Cases per group of cases.
_WORST, _BEST, _PER_CLASS = 8, 4, 8


def samples_to_show(done: Finished) -> tuple[Shown, ...]:
    """What the report shows of the holdout, at most one frame per group (video, subject) in each row of pictures
    where there are enough of them.

    Args:
        done: The export after the gate.

    Raises:
        EngineError: The default variant does not run.
    """
    cases = Cases.of(done)
    match done.outcome.decode:
        case ClassificationDecode() as decode:
            return classified(cases, decode)
        case SegmentationDecode() as decode:
            return segmented(cases, decode)
        case DetectionDecode() as decode:
            return detected(cases, decode)
        case ReconstructionDecode() as decode:
            return rebuilt(cases, decode)
        case TranslationDecode() as decode:
            return translated(cases, decode)
        case GenerationDecode() as decode:
            return generated(cases, decode)
        case _:
            return ()


def classified(cases: Cases, decode: ClassificationDecode) -> tuple[Shown, ...]:
    """Surest mistakes, other decisions than Keras', and right answers that are least and most sure."""
    said, keras = np.stack(cases.rows), np.stack(cases.keras)
    truth = np.asarray(cases.samples.truth, np.int64)
    sure, decided = keras.max(axis=1), keras.argmax(axis=1)
    right = decided == truth
    chosen = [("Surest mistakes of Keras", i) for i in pick(np.where(right, np.inf, -sure), cases, _WORST)]
    differs = said.argmax(axis=1) != decided
    chosen += [
        (f"Decided otherwise by {cases.variant}", i)
        for i in pick(np.where(differs, -np.abs(said - keras).max(axis=1), np.inf), cases, _BEST)
    ]
    chosen += [("Right, and least sure", i) for i in pick(np.where(right, sure, np.inf), cases, _BEST)]
    for k in range(min(len(decode.labels), _PER_CLASS)):
        own = np.where(right & (decided == k), -sure, np.inf)
        chosen += [("Right, and surest of each class", i) for i in pick(own, cases, 1)]
    maps = None
    if decode.map is not None and chosen:
        maps = cases.outputs([i for _, i in chosen])[decode.map]

    shown = []
    for place, (group, i) in enumerate(chosen):
        index = int(said[i].argmax())
        canvas = cases.picture(i)
        if maps is not None:
            canvas = drawing.beside([canvas, drawing.heated(canvas, maps[place][:, :, index])])
        best = int(decided[i])
        lines = [f"Keras: {decode.labels[best]} {keras[i, best]:.2f}"]
        if index != truth[i]:
            lines.insert(0, f"is {decode.labels[int(truth[i])]}")
        if decode.conformal is not None:
            inside = (said[i] >= np.float32(decode.conformal.threshold)) | (np.arange(len(said[i])) == index)
            lines.append("set: " + ", ".join(decode.labels[int(k)] for k in np.flatnonzero(inside)))
        shown.append(
            Shown(
                group=group,
                key=cases.samples.keys[i],
                picture=canvas,
                verdict=f"{decode.labels[index]} {said[i, index]:.2f}",
                good=index == int(truth[i]),
                lines=tuple(lines),
                wide=maps is not None,
            )
        )
    return tuple(shown)


def segmented(cases: Cases, decode: SegmentationDecode) -> tuple[Shown, ...]:
    """Lowest and highest Dice: outlines of truth and answer, or both side by side where there are classes."""
    count = len(decode.labels)
    said, keras = (_dice_per_picture(rows, cases.samples.truth, count) for rows in (cases.rows, cases.keras))
    # A frame where there is nothing to find is no good example.
    full = np.array([bool(((t > 0) & (t != 255)).any()) for t in cases.samples.truth])
    chosen = [(f"Lowest Dice of {cases.variant}", i) for i in pick(said, cases, _WORST)]
    taken = {i for _, i in chosen}
    best = np.where(full, -said, np.inf)
    best[list(taken)] = np.inf
    chosen += [(f"Highest Dice of {cases.variant}", i) for i in pick(best, cases, _BEST)]
    legend = (
        (("truth", drawing.TRUE), ("answer", drawing.SAID))
        if count == 2
        else tuple((label, drawing.class_color(k)) for k, label in enumerate(decode.labels) if k)
    )
    shown = []
    for group, i in chosen:
        truth, answer, canvas = cases.samples.truth[i], cases.rows[i], cases.picture(i)
        if count == 2:
            drawing.outline(canvas, truth == 1, drawing.TRUE)
            drawing.outline(canvas, answer == 1, drawing.SAID)
        else:
            other = canvas.copy()
            drawing.regions(canvas, truth, count)
            drawing.regions(other, answer, count)
            canvas = drawing.beside([canvas, other])
        shown.append(
            Shown(
                group=group,
                key=cases.samples.keys[i],
                picture=canvas,
                verdict=f"Dice {said[i]:.3f}",
                good=None,
                lines=(
                    *(("left: truth, right: answer",) if count > 2 else ()),
                    f"Keras: {keras[i]:.3f}",
                    *(() if full[i] else ("nothing to be found",)),
                ),
                wide=count > 2,
                legend=legend,
            )
        )
    return tuple(shown)


def _dice_per_picture(rows: Any, truths: Any, count: int) -> Any:
    """`(N,)`: as the metric has it, see `SegmentationKit.mark`."""
    values = []
    for row, truth in zip(rows, truths, strict=True):
        own = dice(row, truth, count)[1:]
        own = own[np.isfinite(own)]
        values.append(float(own.mean()) if own.size else 1.0)
    return np.array(values)


class _Judged(msgspec.Struct, frozen=True):
    """Boxes of one frame: which are shown, which of them are true, how well they fit, and how many are missed."""

    found: Found
    hits: Any
    overlap: float
    missed: int

    @property
    def errors(self) -> int:
        return self.missed + int((~self.hits).sum())


def detected(cases: Cases, decode: DetectionDecode) -> tuple[Shown, ...]:
    """Most mistakes, and the best fit of frames without one; boxes as the device shows them."""
    count = len(decode.labels)
    said = [
        _judged(row, truth, decode.threshold, count)
        for row, truth in zip(cases.rows, cases.samples.truth, strict=True)
    ]
    keras = [
        _judged(row, truth, decode.threshold, count)
        for row, truth in zip(cases.keras, cases.samples.truth, strict=True)
    ]
    errors = np.array([j.errors for j in said], np.float64)
    overlap = np.array([j.overlap for j in said])
    # Among frames with as many mistakes, the surest false box first.
    false = np.array([float(j.found.scores[~j.hits].max(initial=0.0)) for j in said])
    worst = np.where(errors > 0, -errors - false / 2, np.inf)
    chosen = [(f"Most mistakes of {cases.variant}", i) for i in pick(worst, cases, _WORST)]
    fine = np.array([len(t.boxes) > 0 for t in cases.samples.truth]) & (errors == 0)
    chosen += [
        ("Everything found, best fit", i) for i in pick(np.where(fine, -overlap, np.inf), cases, _BEST)
    ]
    legend = (("truth", drawing.TRUE), ("found", drawing.SAID), ("found, but not there", drawing.WRONG))
    shown = []
    for group, i in chosen:
        own, truth, canvas = said[i], cast(Found, cases.samples.truth[i]), cases.picture(i)
        scale = canvas.shape[1] / cases.spec.width
        for corners in truth.boxes:
            drawing.box(canvas, corners, scale, drawing.TRUE)
        for corners, score, label, hit in zip(
            own.found.boxes, own.found.scores, own.found.labels, own.hits, strict=True
        ):
            text = f"{score:.2f}" if count == 1 else f"{_ascii(decode.labels[int(label)])} {score:.2f}"
            drawing.box(canvas, corners, scale, drawing.SAID if hit else drawing.WRONG, text)
        shown.append(
            Shown(
                group=group,
                key=cases.samples.keys[i],
                picture=canvas,
                verdict=_told(own, len(truth.boxes)),
                good=own.errors == 0,
                lines=(f"Keras: {_told(keras[i], len(truth.boxes))}",),
                legend=legend,
            )
        )
    return tuple(shown)


def _judged(row: Found, truth: Found, threshold: float, count: int) -> _Judged:
    keep = row.scores >= threshold
    found = Found(row.boxes[keep], row.scores[keep], row.labels[keep])
    hits = np.zeros(len(found.boxes), bool)
    overlaps: list[float] = []
    for k in range(count):
        own = np.flatnonzero(found.labels == k)
        order = own[np.argsort(-found.scores[own], kind="stable")]
        hits[order] = match(found, truth, k).hits[:, 0]
        wanted = truth.boxes[truth.labels == k]
        if own.size and len(wanted):
            overlaps += [float(v) for v in iou(wanted, found.boxes[own]).max(axis=1)]
    return _Judged(
        found, hits, float(np.mean(overlaps)) if overlaps else 0.0, len(truth.boxes) - int(hits.sum())
    )


def _told(judged: _Judged, truths: int) -> str:
    false = int((~judged.hits).sum())
    told = f"{truths - judged.missed} of {truths} found" if truths else "nothing to be found"
    return told + (f", {false} false" if false else "")


def _ascii(text: str) -> str:
    """OpenCV draws ASCII alone."""
    return text.encode("ascii", "replace").decode("ascii")
