"""Segmentation: one class per pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from bedside.export.data.reading import read_examples
from bedside.export.data.types import MaskTarget, Progress, Split
from bedside.export.gates.marks import ClassMark, Marks
from bedside.export.metrics.intervals import bootstrap, how
from bedside.export.metrics.overlap import boundary_f1, dice
from bedside.export.tasks.protocol import Reader, Row, Samples
from bedside.runtime.bundle.decode import Decode, SegmentationDecode
from bedside.runtime.bundle.manifest import InputSpec, TensorSpec
from bedside.runtime.engines.protocol import Array
from bedside.runtime.preprocess import Preprocessor
from bedside.runtime.tasks.segmentation import SegmentationDecoder


class SegmentationKit:
    """Rows are `(H, W) uint8` classes at the size of the model's input, truths the same with 255 for "not
    judged".

    Args:
        labels: Class names, the background first.
    """

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels

    def read(self, split: Split, spec: InputSpec, progress: Progress | None = None) -> Samples:
        """See `TaskKit.read`."""
        found = read_examples(split, Preprocessor(spec), spec, progress)
        truth = [cast(MaskTarget, target).classes for target in found.targets]
        return Samples.of(split, found.x, truth)

    def reader(self, decode: Decode, spec: InputSpec) -> Reader:
        """See `TaskKit.reader`."""
        assert isinstance(decode, SegmentationDecode)
        decoder = SegmentationDecoder(decode)
        size = (spec.height, spec.width)

        def read(outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...], pixels: Array) -> Row:
            return decoder.classes(outputs, specs, size).copy()

        return read

    def mark(self, rows: Sequence[Row], samples: Samples) -> Marks:
        """Dice per picture, averaged over the foreground classes it has and then over pictures.

        A picture without any foreground, neither found nor true, counts as right.
        """
        count = len(self.labels)
        table = np.stack([dice(row, truth, count) for row, truth in zip(rows, samples.truth, strict=True)])
        outlines = [boundary_f1(row, truth, count) for row, truth in zip(rows, samples.truth, strict=True)]
        present = np.isfinite(table[:, 1:])
        per_picture = np.where(
            present.any(axis=1), np.nansum(table[:, 1:], axis=1) / np.maximum(1, present.sum(axis=1)), 1.0
        )
        return Marks(
            metric="Dice",
            value=float(per_picture.mean()),
            interval=bootstrap(lambda chosen: float(per_picture[chosen].mean()), samples.groups),
            method=how(samples.groups),
            samples=len(rows),
            classes=tuple(
                ClassMark(
                    label,
                    int(np.isfinite(table[:, k]).sum()),
                    float(np.nanmean(table[:, k])) if np.isfinite(table[:, k]).any() else None,
                )
                for k, label in enumerate(self.labels)
                if k > 0
            ),
            others={"boundary F1": float(np.nanmean(outlines)) if np.isfinite(outlines).any() else 1.0},
            baseline=_constant(samples.truth, count),
        )

    def agreement(self, rows: Sequence[Row], reference: Sequence[Row]) -> float:
        """Fraction of pixels with the same class."""
        return float(np.mean([(a == b).mean() for a, b in zip(rows, reference, strict=True)]))


def _constant(truths: Sequence[npt.NDArray[np.uint8]], classes: int) -> float:
    """Dice of the best answer that ignores the frame: every pixel's most frequent class."""
    votes = np.stack([np.sum([truth == k for truth in truths], axis=0) for k in range(classes)])
    answer = votes.argmax(axis=0).astype(np.uint8)
    table = np.stack([dice(answer, truth, classes)[1:] for truth in truths])
    present = np.isfinite(table)
    return float(
        np.where(
            present.any(axis=1), np.nansum(table, axis=1) / np.maximum(1, present.sum(axis=1)), 1.0
        ).mean()
    )
