"""Classification: one class per frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bedside.export.data.reading import read_examples
from bedside.export.data.types import Progress, Split
from bedside.export.gates.marks import ClassMark, Marks
from bedside.export.metrics.confidence import expected_calibration_error, reliability
from bedside.export.metrics.intervals import wilson
from bedside.export.tasks.protocol import Reader, Row, Samples
from bedside.runtime.bundle.decode import ClassificationDecode, Decode
from bedside.runtime.bundle.manifest import InputSpec, TensorSpec
from bedside.runtime.engines.protocol import Array
from bedside.runtime.preprocess import Preprocessor
from bedside.runtime.tasks import ClassificationDecoder


class ClassificationKit:
    """Rows are `(K,) float32` probabilities, truths are class indices.

    Args:
        labels: Class names.
    """

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels

    def read(self, split: Split, spec: InputSpec, progress: Progress | None = None) -> Samples:
        """See `TaskKit.read`."""
        found = read_examples(split, Preprocessor(spec), spec, progress)
        return Samples.of(split, found.x, found.y.tolist())

    def reader(self, decode: Decode, spec: InputSpec) -> Reader:
        """See `TaskKit.reader`."""
        assert isinstance(decode, ClassificationDecode)
        decoder = ClassificationDecoder(decode)

        def read(outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...], pixels: Array) -> Row:
            return decoder.probabilities(outputs, specs)

        return read

    def mark(self, rows: Sequence[Row], samples: Samples) -> Marks:
        """Accuracy with its Wilson interval, recall per class, and the calibration error."""
        scores, truth = np.stack(rows), np.asarray(samples.truth, np.int64)
        decided = scores.argmax(axis=1)
        confusion = np.zeros((len(self.labels), len(self.labels)), np.int64)
        np.add.at(confusion, (truth, decided), 1)
        counts, right = confusion.sum(axis=1), int(confusion.trace())
        confidence, correct = scores.max(axis=1), decided == truth
        return Marks(
            metric="accuracy",
            value=right / len(truth),
            interval=wilson(right, len(truth)),
            method="Wilson score interval",
            samples=len(truth),
            classes=tuple(
                ClassMark(label, int(counts[k]), float(confusion[k, k] / counts[k]) if counts[k] else None)
                for k, label in enumerate(self.labels)
            ),
            others={"calibration error": expected_calibration_error(confidence, correct)},
            baseline=float(counts.max() / len(truth)),
            confusion=tuple(tuple(int(n) for n in row) for row in confusion),
            reliability=reliability(confidence, correct),
        )

    def agreement(self, rows: Sequence[Row], reference: Sequence[Row]) -> float:
        """Fraction of frames with the same decision."""
        return float((np.stack(rows).argmax(axis=1) == np.stack(reference).argmax(axis=1)).mean())
