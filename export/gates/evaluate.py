"""How good a variant is, measured on the holdout by the code that runs on the device."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.adopt.pixel_model import BATCH, PixelModel
from bedside.export.convert.artifact import Artifact
from bedside.export.data.types import Progress
from bedside.export.gates.marks import Marks, Measured
from bedside.export.tasks.protocol import Row, Samples, TaskKit, read_all
from bedside.runtime import engines
from bedside.runtime.bundle.decode import Decode
from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.errors import GateError
from bedside.runtime.golden import relative_error
from bedside.runtime.tasks import dequantize

#: Frames whose raw outputs are kept, to be compared number by number. Decisions are compared on all.
_PROBES = 32


class Holdout(msgspec.Struct, frozen=True):
    """The holdout as every model saw it.

    Attributes:
        kit: Of the task.
        decode: How outputs are read.
        spec: Of the input.
        samples: Frames and truth.
        rows: What Keras says of every frame.
        marks: Keras against the truth.
        probes: Raw outputs of Keras for the first few frames.
    """

    kit: TaskKit
    decode: Decode
    spec: InputSpec
    samples: Samples
    rows: tuple[Row, ...]
    marks: Marks
    probes: tuple[npt.NDArray[np.float32], ...]


def keras_rows(
    model: PixelModel,
    kit: TaskKit,
    decode: Decode,
    spec: InputSpec,
    samples: Samples,
    progress: Progress | None = None,
) -> tuple[list[Row], tuple[npt.NDArray[np.float32], ...]]:
    """What the Keras model says of every frame, read by the device's decoder.

    Returns:
        The rows, and the raw outputs of the first few frames.

    Raises:
        GateError: It gives NaN or Inf.
    """
    reader = kit.reader(decode, spec)
    rows: list[Row] = []
    probes: list[tuple[npt.NDArray[np.float32], ...]] = []
    total = len(samples.inputs)
    for start in range(0, total, BATCH):
        batch = samples.inputs[start : start + BATCH]
        outputs = model.predict(batch)
        if not all(np.isfinite(o).all() for o in outputs):
            raise GateError("the Keras model gives NaN or Inf", where="gate", hint="check its weights")
        rows += read_all(reader, model.outputs, outputs, batch)
        if start < _PROBES:
            probes.append(outputs)
        if progress is not None:
            progress(min(start + BATCH, total), total)
    kept = tuple(np.concatenate(column)[:_PROBES] for column in zip(*probes, strict=True))
    return rows, kept


def evaluate_keras(
    model: PixelModel,
    kit: TaskKit,
    decode: Decode,
    spec: InputSpec,
    samples: Samples,
    progress: Progress | None = None,
) -> Holdout:
    """The reference: Keras fp32 on the very tensors that the device makes.

    Raises:
        GateError: Keras gives NaN or Inf.
    """
    rows, probes = keras_rows(model, kit, decode, spec, samples, progress)
    return Holdout(kit, decode, spec, samples, tuple(rows), kit.mark(rows, samples), probes)


def run(
    artifact: Artifact,
    holdout: Holdout,
    samples: Samples,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> tuple[list[Row], tuple[npt.NDArray[np.float32], ...], float, str]:
    """A variant over frames, through the engine of its format and the device's decoder.

    Args:
        artifact: The variant.
        holdout: Says how outputs are read.
        samples: Frames.
        progress: Called after every frame.
        clock: For the timing.

    Returns:
        The rows, the raw outputs of the first few frames, the median time of an invocation in ms, and the
        engine with its version.

    Raises:
        EngineError: The engine fails, or gives NaN or Inf.
    """
    clock = clock or MonotonicClock()
    engine = engines.preference(artifact.format)[0]
    session = engines.compile_model(engine, artifact.data, artifact.format, SessionOptions(threads=1))
    reader = holdout.kit.reader(holdout.decode, holdout.spec)
    rows: list[Row] = []
    probes: list[tuple[npt.NDArray[np.float32], ...]] = []
    spent = np.empty(len(samples.inputs), np.int64)
    try:
        for i in range(len(samples.inputs)):
            frame = samples.inputs[i : i + 1]
            np.copyto(session.input(), frame)
            before = clock.now_ns()
            outputs = session.invoke()
            spent[i] = clock.now_ns() - before
            rows.append(reader(outputs, artifact.outputs, frame))
            if i < _PROBES:
                probes.append(tuple(dequantize(o, s) for o, s in zip(outputs, artifact.outputs, strict=True)))
            if progress is not None:
                progress(i + 1, len(samples.inputs))
    finally:
        session.close()
    kept = tuple(np.concatenate(column) for column in zip(*probes, strict=True))
    return rows, kept, float(np.median(spent)) / 1e6, f"{engine} {engine_version(engine)}"


def engine_version(engine: str) -> str:
    """Version of an engine on this host."""
    return next((s.version or "" for s in engines.statuses() if s.id == engine), "")


def measure(
    artifact: Artifact, holdout: Holdout, progress: Progress | None = None, clock: Clock | None = None
) -> Measured:
    """Run a variant over the holdout and compare it with the truth and with Keras.

    Args:
        artifact: The variant.
        holdout: Keras saw the very same tensors.
        progress: Called after every frame.
        clock: For the timing.

    Raises:
        EngineError: The engine fails, or gives NaN or Inf.
    """
    rows, probes, invoke_ms, engine = run(artifact, holdout, holdout.samples, progress, clock)
    return Measured(
        marks=holdout.kit.mark(rows, holdout.samples),
        agreement=holdout.kit.agreement(rows, holdout.rows),
        difference=max(relative_error(p, k) for p, k in zip(probes, holdout.probes, strict=True)),
        engine=engine,
        invoke_ms=invoke_ms,
        rows=tuple(rows),
    )
