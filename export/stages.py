"""The stages between weights and verdicts: reference, conversion, evaluation, rescue, gate."""

from __future__ import annotations

import msgspec

from bedside.export.adopt.pixel_model import PixelModel
from bedside.export.convert.artifact import KINDS, Artifact, ConversionError
from bedside.export.convert.calibration import Calibration
from bedside.export.convert.describe import describe
from bedside.export.convert.onnx import convert_onnx
from bedside.export.convert.rescue import Rescued, rescue
from bedside.export.convert.speed import host_speed
from bedside.export.convert.tflite import convert_tflite
from bedside.export.gates import gate as gates
from bedside.export.gates.evaluate import Holdout, measure
from bedside.export.gates.marks import Measured
from bedside.export.plan import Plan
from bedside.export.reports.outcome import VariantResult
from bedside.export.steps import Steps
from bedside.runtime.bundle.manifest import HostSpeed, InputSpec
from bedside.runtime.clock import Clock
from bedside.runtime.errors import BedsideError, GateError

#: What runs where a device has measured nothing: smallest and usually fastest first, LiteRT's before ONNX,
#: since every device has LiteRT.
_DEFAULT_ORDER = (
    "tflite-int8",
    "tflite-fp32",
    "tflite-fp16",
    "tflite-dynamic",
    "tflite-int16x8",
    "onnx-int8",
    "onnx-fp32",
)
#: Variants that a rescue can help.
_RESCUABLE = ("tflite-int8", "onnx-int8")
#: Longest reason that the manifest takes, with room to spare.
_LONGEST_REASON = 2000


class Converted(msgspec.Struct, frozen=True):
    """What came out of the converters, and what it is worth.

    Attributes:
        artifacts: Files by variant.
        measured: Numbers by variant, or the reason why there are none.
        rescued: What a rescue did, by variant, or why there could be none.
        speeds: How fast quantized variants are here, beside fp32 of the same format.
    """

    artifacts: dict[str, Artifact]
    measured: dict[str, Measured | str]
    rescued: dict[str, Rescued | str] = {}
    speeds: dict[str, HostSpeed] = {}


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


def convert_all(
    model: PixelModel,
    spec: InputSpec,
    variants: tuple[str, ...],
    calibration: Calibration | None,
    steps: Steps,
) -> Converted:
    """Convert every variant; one that fails is noted and does not stop the others."""
    made: dict[str, Artifact] = {}
    failed: dict[str, Measured | str] = {}
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


def measure_all(converted: Converted, holdout: Holdout, steps: Steps, clock: Clock) -> Converted:
    """Run every file over the holdout."""
    measured = dict(converted.measured)
    for variant, artifact in converted.artifacts.items():
        with steps.step(f"evaluate {variant}") as progress:
            try:
                measured[variant] = measure(artifact, holdout, progress, clock)
            except BedsideError as error:
                measured[variant] = f"does not run on the holdout: {error}"
    return msgspec.structs.replace(converted, measured=measured)


def rescue_all(
    converted: Converted,
    model: PixelModel,
    calibration: Calibration | None,
    holdout: Holdout,
    plan: Plan,
    steps: Steps,
    clock: Clock,
) -> Converted:
    """Try to save quantized variants that failed, with as few layers in float as will do.

    Which layers hurt is read off the calibration set; the holdout is only asked whether a candidate passes.
    """
    if calibration is None or not plan.gate.rescue:
        return converted
    artifacts, measured = dict(converted.artifacts), dict(converted.measured)
    rescued: dict[str, Rescued | str] = {}
    for variant in _RESCUABLE:
        before = measured.get(variant)
        if not isinstance(before, Measured):
            continue
        reason = gates.verdict(before, holdout.marks, plan.gate)
        if reason is None:
            continue
        tried: dict[bytes, tuple[Artifact, Measured]] = {}

        def passes(data: bytes, variant: str = variant, tried: dict = tried) -> bool:  # type: ignore[type-arg]
            try:
                artifact = describe(variant, data, holdout.spec)
                found = measure(artifact, holdout, None, clock)
            except BedsideError:
                return False
            tried[data] = (artifact, found)
            return gates.verdict(found, holdout.marks, plan.gate) is None

        with steps.step(f"rescue {variant}") as progress:
            try:
                found = rescue(
                    model,
                    variant,
                    calibration.frames,
                    passes,
                    max_float=plan.gate.max_float,
                    progress=progress,
                )
            except ConversionError as error:
                rescued[variant] = error.what
                continue
        rescued[variant] = found
        if found.data is not None:
            artifacts[variant], measured[variant] = tried[found.data]
    return msgspec.structs.replace(converted, artifacts=artifacts, measured=measured, rescued=rescued)


def time_all(converted: Converted, steps: Steps) -> Converted:
    """How fast quantized variants are on this host, in turns with fp32 of the same format."""
    speeds: dict[str, HostSpeed] = {}
    with steps.step("compare speeds on this host") as progress:
        pairs = [
            (variant, artifact, converted.artifacts.get(f"{artifact.format}-fp32"))
            for variant, artifact in converted.artifacts.items()
            if artifact.precision != "fp32" and isinstance(converted.measured[variant], Measured)
        ]
        for done, (variant, artifact, reference) in enumerate(pairs):
            if reference is not None:
                speeds[variant] = host_speed(artifact, reference)
            progress(done + 1, len(pairs))
    return msgspec.structs.replace(converted, speeds=speeds)


def judge(converted: Converted, holdout: Holdout, plan: Plan) -> Judged:
    """Hold every variant against the gate.

    Raises:
        GateError: A float conversion does not compute what Keras computes, or nothing may be shipped.
    """
    wanted = plan.quantization
    results = []
    for variant in wanted.variants:
        form, precision = KINDS[variant]
        found = converted.measured[variant]
        attempt = converted.rescued.get(variant)
        rescued = attempt if isinstance(attempt, Rescued) else None
        if isinstance(found, Measured):
            if precision == "fp32":
                gates.check_float(variant, found)
            refused = gates.verdict(found, holdout.marks, plan.gate)
            if refused is not None and rescued is not None:
                refused += f"; {rescued.tried} mixtures with float layers did not pass either"
            elif refused is not None and attempt is not None:
                refused += f"; it cannot be rescued: {attempt}"
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
                kept_float=() if rescued is None or rescued.data is None else rescued.kept,
                layers=() if rescued is None else rescued.layers,
                speed=converted.speeds.get(variant),
            )
        )
    shipped = [r.id for r in results if r.shipped]
    if not shipped:
        reasons = "; ".join(
            f"{r.id}: {r.refused or 'passed, but quantization.ship leaves it out'}" for r in results
        )
        raise GateError(f"no variant may be shipped: {reasons}", where="gate")
    default = next(v for v in (wanted.default, *_DEFAULT_ORDER) if v in shipped)
    notes = tuple(
        f"{r.id} passed with {len(r.kept_float)} layers in float: {', '.join(r.kept_float[:6])}"
        for r in results
        if r.kept_float and r.refused is None
    )
    if wanted.default not in (None, default):
        notes = (*notes, f"{wanted.default} was to be the default and was refused; {default} takes its place")
    return Judged(tuple(results), converted.artifacts, default, notes)
