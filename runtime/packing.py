"""From model files to a bundle: goldens recorded, tolerances measured, everything named by digest.

Used by `bedside export` on the workstation and by `bedside pack` anywhere; needs no training framework.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.runtime import engines
from bedside.runtime.bundle.container import CARD
from bedside.runtime.bundle.decode import Decode
from bedside.runtime.bundle.manifest import (
    MAX_TOLERANCE,
    DataSource,
    EngineGolden,
    Evaluation,
    FileRef,
    Format,
    FrameGolden,
    Golden,
    InputSpec,
    Manifest,
    Model,
    Precision,
    Provenance,
    Task,
    TensorSpec,
    Variant,
    VariantGolden,
)
from bedside.runtime.bundle.reader import dump_npy
from bedside.runtime.bundle.rules import FIRST_RUNTIME, check, check_input, oldest_runtime
from bedside.runtime.bundle.writer import file_ref
from bedside.runtime.engines.protocol import Array, Session, SessionOptions
from bedside.runtime.errors import BedsideError, BundleError, EngineError
from bedside.runtime.frame import Color, Pixels
from bedside.runtime.golden import label_outputs, output_error, output_scale, stored
from bedside.runtime.latent import GOLDENS, LatentDrawer
from bedside.runtime.preprocess import Preprocessor
from bedside.runtime.synthetic import golden_frames
from bedside.runtime.tasks import dequantize

#: Smallest tolerance stated per precision: engines order their sums differently, and an int8 engine may round
#: a tie either way. Measured across LiteRT, ONNX Runtime and OpenVINO; the measured error of this host is
#: doubled where it is larger.
FLOOR: Mapping[str, float] = {
    "fp32": 1e-3,
    "bf16": 2e-2,
    "fp16": 5e-3,
    "dynamic": 2e-2,
    "int16x8": 5e-3,
    "int8": 5e-2,
    "uint8": 5e-2,
}


class GoldenInput(msgspec.Struct, frozen=True):
    """One captured frame, `(H, W, C) uint8`, to be recorded as golden."""

    pixels: Pixels
    color: Color = "bgr"


class VariantDraft(msgspec.Struct, frozen=True):
    """One model file on its way into a bundle.

    Attributes:
        id: For example `tflite-int8`.
        format: Of the file.
        precision: Of its arithmetic.
        data: The file.
        evaluation: On the holdout, where there was one.
        refused: Why the gate refused it; its file stays out, its record goes in.
        ship: False keeps the file out although it passed.
        tolerance: Golden tolerance; None to measure it over the engines of this host.
    """

    id: str
    format: Format
    precision: Precision
    data: bytes
    evaluation: Evaluation | None = None
    refused: str | None = None
    ship: bool = True
    tolerance: float | None = None


class ModelDraft(msgspec.Struct, frozen=True):
    """One model in one role on its way into a bundle.

    Attributes:
        input: From captured frame to tensor.
        outputs: Names of the outputs, in the order of the files' outputs.
        decode: From tensors to a result.
        variants: Those that passed and those that were refused.
        frames: Captured frames to record as golden.
        samples: Further golden samples at the engine's input, `(N, *tensor shape without batch)`, or None. A
            model that takes a latent has no frames; without samples, latents are drawn for it.
        default: Id of the variant that runs where nothing was measured; None for the first shipped.
    """

    input: InputSpec
    outputs: tuple[str, ...]
    decode: Decode
    variants: tuple[VariantDraft, ...]
    frames: tuple[GoldenInput, ...] = ()
    samples: npt.NDArray[Any] | None = None
    default: str | None = None


class BundleDraft(msgspec.Struct, frozen=True):
    """A bundle before its goldens are recorded; the fields are those of `Manifest`. `card` is Markdown."""

    name: str
    version: str
    task: Task | Literal["raw"]
    description: str
    intended_use: str
    models: dict[Literal["main", "guard"], ModelDraft]
    card: str
    provenance: Provenance
    data_source: tuple[DataSource, ...] = ()
    eval_metrics: dict[str, float] = {}
    authors: str = ""
    copyright: str = ""
    licence: str = ""
    changelog: dict[str, str] = {}
    guard_sees: Literal["frame", "input"] = "frame"


@functools.cache
def _drawn(size: tuple[int, int]) -> tuple[GoldenInput, ...]:
    return tuple(GoldenInput(pixels, color) for pixels, color in golden_frames(size=size))


def drawn_goldens(spec: InputSpec) -> tuple[GoldenInput, ...]:
    """Golden frames without a patient in them, drawn; smaller ones for small inputs, since they travel.

    None for a latent input, which no frame fits. Drawing takes a second, so they are drawn once per process.
    """
    if spec.latent is not None:
        return ()
    return _drawn((160, 120) if max(spec.width, spec.height) <= 128 else (320, 240))


def build(draft: BundleDraft) -> tuple[Manifest, dict[str, bytes]]:
    """Record the goldens of every variant on this host and put the manifest together.

    Returns:
        The manifest and its members, ready for `write_bundle`.

    Raises:
        EngineError: A model file cannot be run here, or gives different tensors than its draft says.
        BundleError: The draft contradicts itself.
    """
    members: dict[str, bytes] = {CARD: draft.card.encode()}
    models = {role: _build_model(role, model, members) for role, model in draft.models.items()}
    manifest = Manifest(
        format_version=1,
        min_runtime=FIRST_RUNTIME,
        name=draft.name,
        version=draft.version,
        task=draft.task,
        description=draft.description,
        intended_use=draft.intended_use,
        data_source=draft.data_source,
        eval_metrics=draft.eval_metrics,
        authors=draft.authors,
        copyright=draft.copyright,
        licence=draft.licence,
        changelog=draft.changelog,
        card=file_ref(CARD, members[CARD]),
        models=models,
        guard_sees=draft.guard_sees,
        provenance=draft.provenance,
    )
    manifest = msgspec.structs.replace(manifest, min_runtime=oldest_runtime(manifest))
    try:
        check(manifest)
    except ValueError as error:
        raise BundleError(str(error), where=draft.name) from None
    return manifest, members


def _build_model(role: str, draft: ModelDraft, members: dict[str, bytes]) -> Model:
    def put(name: str, data: bytes) -> FileRef:
        members[name] = data
        return file_ref(name, data)

    try:
        check_input(f"models.{role}.input", draft.input)
    except ValueError as error:
        raise BundleError(str(error)) from None
    samples, frames = _samples(role, draft, put)
    if not samples:
        raise BundleError("no golden sample: give at least one frame or engine input", where=f"models.{role}")
    for sample in samples:
        if sample.shape != draft.input.shape[1:] or sample.dtype != draft.input.dtype:
            raise BundleError(
                f"a golden sample is {list(sample.shape)} {sample.dtype}, the input "
                f"{list(draft.input.shape[1:])} {draft.input.dtype}",
                where=f"models.{role}",
            )
    stacked = np.stack(samples)
    engine_golden = EngineGolden(input=put(f"golden/{role}-input.npy", dump_npy(stacked)))

    variants: list[Variant] = []
    answers: list[VariantGolden] = []
    for v in draft.variants:
        expected, session_in, session_out = _record(v, stacked)
        shipped = v.ship and v.refused is None
        name = f"models/{role}-{v.id}.{v.format}"
        if shipped:
            put(name, v.data)
            outputs = tuple(
                put(f"golden/{role}-{v.id}-{i}.npy", dump_npy(stored(array, spec)))
                for i, (array, spec) in enumerate(zip(expected, session_out, strict=True))
            )
            tolerance = (
                v.tolerance
                if v.tolerance is not None
                else measure_tolerance(v, stacked, expected, session_out, draft.decode)
            )
            answers.append(VariantGolden(variant=v.id, outputs=outputs, tolerance=tolerance))
        variants.append(
            Variant(
                id=v.id,
                format=v.format,
                precision=v.precision,
                file=name if shipped else None,
                sha256=hashlib.sha256(v.data).hexdigest(),
                bytes=len(v.data),
                inputs=session_in,
                outputs=session_out,
                evaluation=v.evaluation,
                refused=v.refused,
            )
        )
    if not answers:
        raise BundleError("no variant is left to ship", where=f"models.{role}")
    return Model(
        input=draft.input,
        outputs=draft.outputs,
        decode=draft.decode,
        variants=tuple(variants),
        golden=Golden(engine=engine_golden, frames=tuple(frames), variants=tuple(answers)),
        default=draft.default or answers[0].variant,
    )


def _samples(
    role: str, draft: ModelDraft, put: Callable[[str, bytes], FileRef]
) -> tuple[list[Array], list[FrameGolden]]:
    """Golden samples at the engine's input, and the frames that the first ones were made of."""
    samples: list[Array] = []
    frames: list[FrameGolden] = []
    if draft.input.latent is None:
        preprocess = Preprocessor(draft.input)
        for i, golden in enumerate(draft.frames):
            tensor = np.empty(draft.input.shape, draft.input.dtype)
            preprocess(golden.pixels, golden.color, tensor)
            frame = put(f"golden/{role}-frame-{i}.npy", dump_npy(golden.pixels))
            frames.append(FrameGolden(frame=frame, color=golden.color, sample=len(samples)))
            samples.append(tensor[0])
    elif draft.frames:
        raise BundleError("golden frames for a model that takes a latent", where=f"models.{role}")
    elif draft.samples is None:
        samples += list(LatentDrawer(draft.input).draw(GOLDENS))
    if draft.samples is not None:
        samples += list(draft.samples)
    return samples, frames


def run_samples(
    session: Session, samples: Array, specs: tuple[TensorSpec, ...] | None = None
) -> tuple[npt.NDArray[np.float32], ...]:
    """Outputs of a session for stacked inputs.

    Args:
        session: Open; stays open.
        samples: `(N, *tensor shape without batch)`.
        specs: Of the outputs, with their quantization; None for what the session itself reports, which only
            the format's native engine knows in full.

    Returns:
        One `(N, *output shape without batch) float32` array per output, dequantized.
    """
    rows: list[tuple[Array, ...]] = []
    for sample in samples:
        session.input()[0] = sample
        outputs = session.invoke()
        rows.append(
            tuple(dequantize(o, s)[0] for o, s in zip(outputs, specs or session.outputs, strict=True))
        )
    return tuple(np.stack(column) for column in zip(*rows, strict=True))


def _record(v: VariantDraft, samples: Array) -> tuple[tuple[npt.NDArray[np.float32], ...], Any, Any]:
    # OpenVINO reads .tflite files, but drops the quantization of their outputs, which the manifest has to state.
    natives = [e for e in engines.preference(v.format) if v.format == "onnx" or e != "openvino"]
    # Where none is here, the first says what to install.
    native = next((e for e in natives if engines.status(e).available), natives[0])
    session = engines.compile_model(native, v.data, v.format, SessionOptions())
    try:
        tensor = session.inputs[0]
        if tensor.shape[1:] != samples.shape[1:] or tensor.dtype != samples.dtype.name:
            raise EngineError(
                f"takes {list(tensor.shape)} {tensor.dtype}, the manifest's input gives "
                f"{[1, *samples.shape[1:]]} {samples.dtype.name}",
                where=f"variant {v.id}",
                hint="correct width, height, channels, layout and dtype in [input]",
            )
        expected = run_samples(session, samples)
        if not all(np.isfinite(e).all() for e in expected):
            raise EngineError("gives NaN or Inf on golden samples", where=f"variant {v.id}")
        return expected, session.inputs, session.outputs
    finally:
        session.close()


def measure_tolerance(
    v: VariantDraft,
    samples: Array,
    expected: tuple[npt.NDArray[np.float32], ...],
    specs: tuple[TensorSpec, ...],
    decode: Decode,
) -> float:
    """Twice the largest error of any engine on this host, at least the precision's floor.

    Args:
        v: The file.
        samples: At the engine's input, `(N, *tensor shape without batch)`.
        expected: Answers of the format's native engine, per output.
        specs: Of the outputs, as that engine reports them.
        decode: How they are read.

    An engine that cannot run the file is left to `bedside verify`, which names it. One that disagrees beyond
    the schema's cap does not widen the tolerance: it will be refused on the device, and rightly so.
    """
    labels = label_outputs(decode, specs)
    scales = [output_scale(e, s) for e, s in zip(expected, specs, strict=True)]
    worst = 0.0
    for status in engines.statuses():
        if not status.available or v.format not in status.formats:
            continue
        for threads in (1, 2):
            try:
                session = engines.compile_model(status.id, v.data, v.format, SessionOptions(threads=threads))
            except BedsideError:
                break
            try:
                outputs = run_samples(session, samples, specs)
            except BedsideError:
                continue
            finally:
                session.close()
            rows = zip(outputs, expected, labels, scales, strict=True)
            error = max(output_error(o, e, labels=is_label, scale=scale) for o, e, is_label, scale in rows)
            if error <= MAX_TOLERANCE:
                worst = max(worst, error)
    return min(MAX_TOLERANCE, max(FLOOR[v.precision], 2 * worst))
