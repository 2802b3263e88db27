"""The stages between weights and verdicts: reference scores, conversion, evaluation, gate."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export import gate as gates
from bedside.export.calibration import Calibration
from bedside.export.convert.artifact import KINDS, Artifact, ConversionError
from bedside.export.convert.describe import describe
from bedside.export.convert.onnx import convert_onnx
from bedside.export.convert.tflite import convert_tflite
from bedside.export.evaluate import Marks, Measured, measure as measure_one
from bedside.export.graph import PixelModel
from bedside.export.outcome import VariantResult
from bedside.export.plan import Plan
from bedside.export.steps import Steps
from bedside.runtime.bundle.manifest import ClassificationDecode, InputSpec
from bedside.runtime.clock import Clock
from bedside.runtime.errors import BedsideError, GateError

#: Frames per call of the Keras model.
_BATCH = 32
#: What runs where a device has measured nothing: smallest and usually fastest first, LiteRT's before ONNX, since
#: every device has LiteRT.
_DEFAULT_ORDER = ("tflite-int8", "tflite-fp32", "tflite-fp16", "tflite-dynamic", "onnx-int8", "onnx-fp32")


class Judged(msgspec.Struct, frozen=True):
    """Variants after the gate, and the files of those that exist."""

    results: tuple[VariantResult, ...]
    artifacts: dict[str, Artifact]
    default: str
    notes: tuple[str, ...]


def predict(
    model: PixelModel, pixels: npt.NDArray[np.uint8], progress: Callable[[int, int], None]
) -> npt.NDArray[np.float32]:
    rows = []
    for start in range(0, len(pixels), _BATCH):
        rows.append(model.predict(pixels[start : start + _BATCH]))
        progress(min(start + _BATCH, len(pixels)), len(pixels))
    scores = np.concatenate(rows)
    if not np.isfinite(scores).all():
        raise GateError("the Keras model gives NaN or Inf on the holdout", where="gate", hint="check its weights")
    return scores


def convert(
    model: PixelModel,
    spec: InputSpec,
    variants: tuple[str, ...],
    calibration: Calibration | None,
    steps: Steps,
) -> tuple[dict[str, Artifact], dict[str, str]]:
    """Files by variant, and reasons by variant for those that could not be made."""
    made: dict[str, Artifact] = {}
    unmade: dict[str, str] = {}
    frames = calibration.frames if calibration is not None else None
    for variant in variants:
        form, precision = KINDS[variant]
        convert = convert_tflite if form == "tflite" else convert_onnx
        with steps.step(f"convert {variant}"):
            try:
                made[variant] = describe(variant, convert(model, precision, frames), spec)
            except ConversionError as error:
                unmade[variant] = f"could not be converted: {error.what}"
    return made, unmade


def measure(
    artifacts: dict[str, Artifact],
    decode: ClassificationDecode,
    pixels: npt.NDArray[np.uint8],
    truth: npt.NDArray[np.int64],
    reference: npt.NDArray[np.float32],
    steps: Steps,
    clock: Clock,
    failed: dict[str, str],
) -> dict[str, Measured]:
    """Variants on the holdout; the reasons of those that do not run go into `failed`."""
    measured = {}
    for variant, artifact in artifacts.items():
        with steps.step(f"evaluate {variant}") as progress:
            try:
                measured[variant] = measure(artifact, decode, pixels, truth, reference, progress, clock)
            except BedsideError as error:
                failed[variant] = f"does not run on the holdout: {error}"
    return measured


def judge(
    artifacts: dict[str, Artifact],
    failed: dict[str, str],
    measured: dict[str, Measured],
    reference: Marks,
    plan: Plan,
) -> Judged:
    wanted = plan.quantization
    results = []
    for variant in wanted.variants:
        form, precision = KINDS[variant]
        numbers = measured.get(variant)
        refused = failed.get(variant)
        if numbers is not None:
            if precision == "fp32":
                gates.check_float(variant, numbers)
            refused = gates.verdict(numbers, reference, plan.gate)
        artifact = artifacts.get(variant)
        results.append(
            VariantResult(
                id=variant,
                format=form,
                precision=precision,
                bytes=None if artifact is None else len(artifact.data),
                measured=numbers,
                refused=refused,
                shipped=refused is None and (wanted.ship is None or variant in wanted.ship),
            )
        )
    shipped = [r.id for r in results if r.shipped]
    if not shipped:
        reasons = "; ".join(f"{r.id}: {r.refused or 'passed, but quantization.ship leaves it out'}" for r in results)
        raise GateError(f"no variant may be shipped: {reasons}", where="gate")
    default = wanted.default or next(v for v in _DEFAULT_ORDER if v in shipped)
    notes = []
    if default not in shipped:
        default = next(v for v in _DEFAULT_ORDER if v in shipped)
        notes.append(f"{wanted.default} was to be the default and was refused; {default} takes its place")
    return Judged(tuple(results), artifacts, default, tuple(notes))
