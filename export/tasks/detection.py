"""Detection: boxes with a class and a score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from bedside.export.data.reading import read_examples
from bedside.export.data.types import BoxesTarget, Progress, Split
from bedside.export.gates.marks import ClassMark, Marks
from bedside.export.metrics.confidence import expected_calibration_error, reliability
from bedside.export.metrics.intervals import bootstrap, how
from bedside.export.metrics.precision import Found, Matches, average_precision, match
from bedside.export.tasks.protocol import Reader, Row, Samples
from bedside.runtime.bundle.decode import Decode, DetectionDecode
from bedside.runtime.bundle.manifest import InputSpec, TensorSpec
from bedside.runtime.engines.protocol import Array
from bedside.runtime.errors import RecipeError
from bedside.runtime.preprocess import Preprocessor
from bedside.runtime.tasks.detection import DetectionDecoder

#: Boxes below the device's threshold count for average precision, down to this score.
_LOWEST = 0.02
_RESAMPLES = 300


class DetectionKit:
    """Rows and truths are `Found`, in pixels of the model's input.

    Args:
        labels: Class names, without a background.
    """

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self._threshold = 0.5

    def read(self, split: Split, spec: InputSpec, progress: Progress | None = None) -> Samples:
        """See `TaskKit.read`."""
        found = read_examples(split, Preprocessor(spec), spec, progress)
        truth = []
        for target in found.targets:
            boxes = cast(BoxesTarget, target)
            truth.append(Found(boxes.boxes, np.ones(len(boxes.boxes), np.float32), boxes.labels))
        return Samples.of(split, found.x, truth)

    def reader(self, decode: Decode, spec: InputSpec) -> Reader:
        """See `TaskKit.reader`. Boxes below the device's threshold are read as well."""
        assert isinstance(decode, DetectionDecode)
        decoder = DetectionDecoder(decode)
        self._threshold = decode.threshold
        size = (spec.height, spec.width)

        def read(outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...], pixels: Array) -> Row:
            boxes, scores, labels = decoder.detections(outputs, specs, size, threshold=_LOWEST)
            return Found(boxes.copy(), scores.copy(), labels.copy())

        return read

    def mark(self, rows: Sequence[Row], samples: Samples) -> Marks:
        """AP50 over the classes, AP50:95, and whether a score is the frequency with which a box is right.

        Raises:
            RecipeError: No frame has a box.
        """
        matches = [
            [match(row, truth, k) for row, truth in zip(rows, samples.truth, strict=True)]
            for k in range(len(self.labels))
        ]
        per_class = np.stack([average_precision(own) for own in matches])

        def ap50(chosen: npt.NDArray[np.int64]) -> float:
            values = [average_precision([own[i] for i in chosen])[0] for own in matches]
            return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

        every = [m for own in matches for m in own]
        scores = np.concatenate([m.scores for m in every])
        hits = np.concatenate([m.hits[:, 0] for m in every])
        shown = scores >= self._threshold
        truths = sum(m.truths for m in every)
        if not truths:
            raise RecipeError("no frame of this split has a box: nothing can be measured", where="data")
        return Marks(
            metric="AP50",
            value=float(np.nanmean(per_class[:, 0])),
            interval=bootstrap(ap50, samples.groups, resamples=_RESAMPLES),
            method=how(samples.groups, _RESAMPLES),
            samples=len(rows),
            classes=tuple(
                ClassMark(
                    label,
                    sum(m.truths for m in own),
                    float(per_class[k, 0]) if np.isfinite(per_class[k, 0]) else None,
                )
                for k, (label, own) in enumerate(zip(self.labels, matches, strict=True))
            ),
            others={
                "AP50:95": float(np.nanmean(per_class)),
                "calibration error": expected_calibration_error(scores, hits) if scores.size else 0.0,
                "precision": float(hits[shown].mean()) if shown.any() else 0.0,
                "recall": float(hits[shown].sum() / truths),
            },
            baseline=self._constant(samples),
            reliability=reliability(scores, hits) if scores.size else (),
        )

    def _constant(self, samples: Samples) -> float:
        """AP50 of an answer that ignores the frame: per class the box with the median sides."""
        every = np.concatenate([t.boxes for t in samples.truth])
        kinds = np.concatenate([t.labels for t in samples.truth])
        there = [k for k in range(len(self.labels)) if (kinds == k).any()]
        answer = Found(
            np.stack([np.median(every[kinds == k], axis=0) for k in there]).astype(np.float32),
            np.ones(len(there), np.float32),
            np.array(there, np.int64),
        )
        values = [average_precision([match(answer, truth, k) for truth in samples.truth])[0] for k in there]
        return float(np.mean(values))

    def agreement(self, rows: Sequence[Row], reference: Sequence[Row]) -> float:
        """F1 of the boxes that are shown, the Keras model's taken for the truth."""
        both = found = wanted = 0
        for row, other in zip(rows, reference, strict=True):
            own, theirs = _shown(row, self._threshold), _shown(other, self._threshold)
            found, wanted = found + len(own.boxes), wanted + len(theirs.boxes)
            both += sum(_hits(match(own, theirs, k)) for k in range(len(self.labels)))
        return 2 * both / (found + wanted) if found + wanted else 1.0


def best_threshold(rows: Sequence[Row], samples: Samples, classes: int) -> float:
    """The score from which on showing boxes gives the best F1 at an overlap of 0.5, rounded to 0.01."""
    every = [
        match(row, truth, k) for k in range(classes) for row, truth in zip(rows, samples.truth, strict=True)
    ]
    scores = np.concatenate([m.scores for m in every])
    hits = np.concatenate([m.hits[:, 0] for m in every])
    truths = sum(m.truths for m in every)
    grid = np.arange(0.05, 0.96, 0.01)
    f1 = [2 * hits[scores >= t].sum() / max(1, (scores >= t).sum() + truths) for t in grid]
    return round(float(grid[int(np.argmax(f1))]), 2)


def _shown(found: Found, threshold: float) -> Found:
    keep = found.scores >= threshold
    return Found(found.boxes[keep], found.scores[keep], found.labels[keep])


def _hits(matches: Matches) -> int:
    return int(matches.hits[:, 0].sum())
