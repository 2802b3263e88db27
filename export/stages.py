"""The stages between weights and verdicts: reference, conversion, evaluation, gate."""

from __future__ import annotations

import msgspec
import numpy as np

from bedside.export.adopt.graph import PixelModel
from bedside.export.convert.artifact import KINDS, Artifact, ConversionError
from bedside.export.convert.calibration import Calibration
from bedside.export.convert.describe import describe
from bedside.export.convert.onnx import convert_onnx
from bedside.export.convert.tflite import convert_tflite
from bedside.export.data.types import Split, to_arrays
from bedside.export.gates import gate as gates
from bedside.export.gates.evaluate import Holdout, Marks, Measured, measure
from bedside.export.plan import Plan
from bedside.export.reports.outcome import VariantResult
from bedside.export.steps import Steps
from bedside.runtime.bundle.manifest import ClassificationDecode, InputSpec
from bedside.runtime.clock import Clock
from bedside.runtime.errors import BedsideError, GateError
from bedside.runtime.preprocess import Preprocessor

#: Frames per call of the Keras model.
_BATCH = 32
#: What runs where a device has measured nothing: smallest and usually fastest first, LiteRT's before ONNX,
#: since every device has LiteRT.
_DEFAULT_ORDER = ("tflite-int8", "tflite-fp32", "tflite-fp16", "tflite-dynamic", "onnx-int8", "onnx-fp32")
#: Longest reason that the manifest takes, with room to spare.
_LONGEST_REASON = 2000


class Converted(msgspec.Struct, frozen=True):
    """What came out of the converters.

    Attributes:
        artifacts: Files by variant.
        failed: Reasons by variant, of those that could not be made.
    """

    artifacts: dict[str, Artifact]
    failed: dict[str, str]


class Judged(msgspec.Struct, frozen=True):
    """Variants after the gate.

    Attributes:
        results: In the order they were asked for.
        artifacts: Files by variant, of those that exist.
        default: Runs where a device has measured nothing.
        notes: What a reader must know.
    """

    results: tuple[VariantResult, ...]
    artifacts: dict[str, Artifact]
    default: str
    notes: tuple[str, ...]


def read_holdout(split: Split, model: PixelModel, spec: InputSpec, steps: Steps) -> Holdout:
    """The holdout through the device's preprocessing, and what Keras says of these very tensors.

    Raises:
        RecipeError: Items cannot be read.
        GateError: Keras gives NaN or Inf.
    """
    with steps.step("read holdout") as progress:
        pixels, truth = to_arrays(split, Preprocessor(spec), spec, progress)
    rows = []
    with steps.step("evaluate Keras") as progress:
        for start in range(0, len(pixels), _BATCH):
            rows.append(model.predict(pixels[start : start + _BATCH]))
            progress(min(start + _BATCH, len(pixels)), len(pixels))
    scores = np.concatenate(rows)
    if not np.isfinite(scores).all():
        raise GateError(
            "the Keras model gives NaN or Inf on the holdout", where="gate", hint="check its weights"
        )
    return Holdout(pixels, truth, scores)


def convert_all(
    model: PixelModel,
    spec: InputSpec,
    variants: tuple[str, ...],
    calibration: Calibration | None,
    steps: Steps,
) -> Converted:
    """Convert every variant; one that fails is noted and does not stop the others."""
    made: dict[str, Artifact] = {}
    failed: dict[str, str] = {}
    frames = calibration.frames if calibration is not None else None
    for variant in variants:
        form, precision = KINDS[variant]
        convert = convert_tflite if form == "tflite" else convert_onnx
        with steps.step(f"convert {variant}"):
            try:
                made[variant] = describe(variant, convert(model, precision, frames), spec)
            except ConversionError as error:
                failed[variant] = f"could not be converted: {error.what}"
    return Converted(made, failed)


def measure_all(
    converted: Converted, decode: ClassificationDecode, holdout: Holdout, steps: Steps, clock: Clock
) -> dict[str, Measured | str]:
    """Numbers by variant, or the reason why there are none."""
    measured: dict[str, Measured | str] = dict(converted.failed)
    for variant, artifact in converted.artifacts.items():
        with steps.step(f"evaluate {variant}") as progress:
            try:
                measured[variant] = measure(artifact, decode, holdout, progress, clock)
            except BedsideError as error:
                measured[variant] = f"does not run on the holdout: {error}"
    return measured


def judge(converted: Converted, measured: dict[str, Measured | str], reference: Marks, plan: Plan) -> Judged:
    """Hold every variant against the gate.

    Raises:
        GateError: A float conversion does not compute what Keras computes, or nothing may be shipped.
    """
    wanted = plan.quantization
    results = []
    for variant in wanted.variants:
        form, precision = KINDS[variant]
        found = measured[variant]
        if isinstance(found, Measured):
            if precision == "fp32":
                gates.check_float(variant, found)
            refused = gates.verdict(found, reference, plan.gate)
        else:
            refused = found
        artifact = converted.artifacts.get(variant)
        results.append(
            VariantResult(
                id=variant,
                format=form,
                precision=precision,
                bytes=None if artifact is None else len(artifact.data),
                measured=found if isinstance(found, Measured) else None,
                refused=None if refused is None else refused[:_LONGEST_REASON],
                shipped=refused is None and (wanted.ship is None or variant in wanted.ship),
            )
        )
    shipped = [r.id for r in results if r.shipped]
    if not shipped:
        reasons = "; ".join(
            f"{r.id}: {r.refused or 'passed, but quantization.ship leaves it out'}" for r in results
        )
        raise GateError(f"no variant may be shipped: {reasons}", where="gate")
    default = next(v for v in (wanted.default, *_DEFAULT_ORDER) if v in shipped)
    notes: tuple[str, ...] = ()
    if wanted.default not in (None, default):
        notes = (f"{wanted.default} was to be the default and was refused; {default} takes its place",)
    return Judged(tuple(results), converted.artifacts, default, notes)
