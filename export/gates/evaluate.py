"""How good a variant is, measured on the holdout by the code that runs on the device."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.convert.artifact import Artifact
from bedside.export.data.types import Progress
from bedside.runtime import engines
from bedside.runtime.bundle.manifest import ClassificationDecode, ClassMetric, Evaluation
from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.tasks import make_task

Scores = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

#: Two-sided 95 % of the standard normal distribution.
_Z95 = 1.959963984540054


class Holdout(msgspec.Struct, frozen=True):
    """The holdout as every model saw it.

    Attributes:
        pixels: `(N, H, W, C) uint8`, from the device's own preprocessing.
        truth: `(N,) int64` labels.
        reference: `(N, K) float32` probabilities of the Keras model.
    """

    pixels: npt.NDArray[np.uint8]
    truth: Labels
    reference: Scores


class Marks(msgspec.Struct, frozen=True):
    """Decisions against the truth.

    Attributes:
        labels: Class names.
        confusion: Counts, rows are the truth, columns the decision.
    """

    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]

    @property
    def samples(self) -> int:
        """How many were judged."""
        return sum(map(sum, self.confusion))

    @property
    def correct(self) -> int:
        """How many were right."""
        return sum(row[i] for i, row in enumerate(self.confusion))

    @property
    def accuracy(self) -> float:
        """Fraction that was right."""
        return self.correct / self.samples

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy, see `wilson`."""
        return wilson(self.correct, self.samples)

    @property
    def counts(self) -> tuple[int, ...]:
        """Samples per class."""
        return tuple(sum(row) for row in self.confusion)

    @property
    def recalls(self) -> tuple[float | None, ...]:
        """Fraction of every class that was right; None where the holdout has none of it."""
        return tuple(row[i] / sum(row) if sum(row) else None for i, row in enumerate(self.confusion))

    @property
    def worst(self) -> tuple[str, float]:
        """The class with the lowest recall, and that recall."""
        known = [(recall, i) for i, recall in enumerate(self.recalls) if recall is not None]
        recall, index = min(known)
        return self.labels[index], recall

    @property
    def majority(self) -> float:
        """Accuracy of always saying the most frequent class."""
        return max(self.counts) / self.samples


class Measured(msgspec.Struct, frozen=True):
    """One variant on the holdout, on one engine of this host.

    Attributes:
        marks: Against the truth.
        agreement: Fraction of samples with the same decision as Keras.
        difference: Largest absolute difference of a probability from Keras'.
        engine: Engine and version, for example `litert 2.3.0`.
        invoke_ms: Median time of an invocation, one thread, in ms.
    """

    marks: Marks
    agreement: float
    difference: float
    engine: str
    invoke_ms: float


def mark(scores: Scores, truth: Labels, labels: tuple[str, ...]) -> Marks:
    """Count decisions.

    Args:
        scores: `(N, K)`; the decision is the highest, the first of equals, as `task.decode` has it.
        truth: `(N,)`.
        labels: K names.
    """
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (truth, scores.argmax(axis=1)), 1)
    return Marks(labels=labels, confusion=tuple(tuple(int(n) for n in row) for row in confusion))


def wilson(correct: int, samples: int) -> tuple[float, float]:
    """95 % score interval of a proportion (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    p, n, z2 = correct / samples, samples, _Z95 * _Z95
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def run(
    artifact: Artifact,
    decode: ClassificationDecode,
    pixels: npt.NDArray[np.uint8],
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> tuple[Scores, float, str]:
    """Scores of a variant for preprocessed frames, through the engine of its format and `task.dense`.

    Args:
        artifact: The variant.
        decode: How its output is read.
        pixels: `(N, H, W, C) uint8`, from the device's own preprocessing.
        progress: Called after every frame.
        clock: For the timing.

    Returns:
        `(N, K) float32` probabilities, the median time of an invocation in ms, and the engine with its
        version.

    Raises:
        EngineError: The engine fails, or gives NaN or Inf.
    """
    clock = clock or MonotonicClock()
    engine = engines.preference(artifact.format)[0]
    session = engines.compile_model(engine, artifact.data, artifact.format, SessionOptions(threads=1))
    task = make_task(decode)
    rows = np.empty((len(pixels), len(decode.labels)), np.float32)
    spent = np.empty(len(pixels), np.int64)
    try:
        for i, frame in enumerate(pixels):
            session.input()[0] = frame
            before = clock.now_ns()
            outputs = session.invoke()
            spent[i] = clock.now_ns() - before
            rows[i] = task.dense(outputs, session.outputs)
            if progress is not None:
                progress(i + 1, len(pixels))
    finally:
        session.close()
    return rows, float(np.median(spent)) / 1e6, f"{engine} {engine_version(engine)}"


def engine_version(engine: str) -> str:
    """Version of an engine on this host."""
    return next((s.version or "" for s in engines.statuses() if s.id == engine), "")


def measure(
    artifact: Artifact,
    decode: ClassificationDecode,
    holdout: Holdout,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Measured:
    """Run a variant over the holdout and compare it with the truth and with Keras.

    Args:
        artifact: The variant.
        decode: How its output is read.
        holdout: Keras saw the very same tensors.
        progress: Called after every frame.
        clock: For the timing.

    Raises:
        EngineError: The engine fails, or gives NaN or Inf.
    """
    scores, invoke_ms, engine = run(artifact, decode, holdout.pixels, progress, clock)
    return Measured(
        marks=mark(scores, holdout.truth, decode.labels),
        agreement=float((scores.argmax(axis=1) == holdout.reference.argmax(axis=1)).mean()),
        difference=float(np.abs(scores - holdout.reference).max()),
        engine=engine,
        invoke_ms=invoke_ms,
    )


def evaluation(measured: Measured, reference: Marks) -> Evaluation:
    """What the manifest keeps of it."""
    marks = measured.marks
    classes = tuple(
        ClassMetric(label=label, samples=count, value=value, reference=wanted)
        for label, count, value, wanted in zip(
            marks.labels, marks.counts, marks.recalls, reference.recalls, strict=True
        )
        if value is not None
    )
    return Evaluation(
        metric="accuracy",
        value=marks.accuracy,
        reference=reference.accuracy,
        drop=reference.accuracy - marks.accuracy,
        samples=marks.samples,
        interval=marks.interval,
        worst_class=marks.worst[0],
        agreement=measured.agreement,
        engine=measured.engine,
        classes=classes,
    )
