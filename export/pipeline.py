"""The export: data, train, convert, evaluate, gate, pack, report; the Python API of the workstation."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export import gate as gates
from bedside.export.backend import keras
from bedside.export.calibration import Calibration, calibrate
from bedside.export.card import card
from bedside.export.convert.artifact import KINDS, OUTPUT, Artifact, ConversionError
from bedside.export.convert.describe import describe
from bedside.export.convert.onnx import convert_onnx
from bedside.export.convert.onnx import versions as onnx_versions
from bedside.export.convert.tflite import convert_tflite
from bedside.export.crosscheck import cross_check, disagreements
from bedside.export.data.loading import load_data
from bedside.export.data.types import ClassificationData, to_arrays
from bedside.export.evaluate import Marks, Measured, evaluation, mark, measure, run
from bedside.export.foreign import load_keras
from bedside.export.goldens import golden_inputs, golden_samples
from bedside.export.graph import PixelModel, Scores, adopt
from bedside.export.models.building import build_classifier
from bedside.export.outcome import EngineCheck, ExportOutcome, SplitSummary, Training, VariantResult
from bedside.export.preprocessing import Preprocessing
from bedside.export.recipe import VARIANTS, GateRecipe, InputRecipe, QuantizationRecipe, Recipe
from bedside.export.report import Bundled, Shown, report_html, report_json
from bedside.export.steps import Silent, Steps
from bedside.export.training import train
from bedside.runtime import __version__
from bedside.runtime.bundle.manifest import (
    ClassificationDecode,
    InputSpec,
    Manifest,
    Provenance,
    Split,
    encode,
)
from bedside.runtime.bundle.writer import replacing, write_bundle
from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.errors import BedsideError, GateError, RecipeError, SinkError, UsageError
from bedside.runtime.packing import BundleDraft, ModelDraft, VariantDraft, build
from bedside.runtime.preprocess import Preprocessor

#: Frames per call of the Keras model.
_BATCH = 32
#: Holdout frames shown in the report: mistakes first, then one of each class.
_SHOWN = 12
#: What runs where a device has measured nothing: smallest and usually fastest first, LiteRT's before ONNX, since
#: every device has LiteRT.
_DEFAULT_ORDER = ("tflite-int8", "tflite-fp32", "tflite-fp16", "tflite-dynamic", "onnx-int8", "onnx-fp32")


class ExportResult(msgspec.Struct, frozen=True):
    """What an export wrote.

    Attributes:
        path: Of the bundle.
        digest: Of the bundle, hex.
        report: Of the HTML report.
        report_json: Of the JSON report.
        outcome: Everything that was found out.
        engines: Shipped variants on the engines of this host.
    """

    path: Path
    digest: str
    report: Path
    report_json: Path
    outcome: ExportOutcome
    engines: tuple[EngineCheck, ...]


class _Trained(msgspec.Struct, frozen=True):
    """A model, and how it came to be."""

    model: PixelModel
    spec: InputSpec
    origin: str
    training: Training | None = None
    notes: tuple[str, ...] = ()


def export_recipe(
    recipe: Recipe,
    out: str | Path,
    *,
    weights: str | Path | None = None,
    work_dir: str | Path | None = None,
    data_root: str | Path | None = None,
    recipe_sha256: str | None = None,
    steps: Steps | None = None,
    clock: Clock | None = None,
) -> ExportResult:
    """Train what a recipe says, or take its weights, and make a bundle of it.

    Args:
        recipe: See `bedside.export.recipe.load_recipe`.
        out: Where the bundle goes; the report goes beside it, `X.report.html` and `X.report.json`.
        weights: `.weights.h5` or `.keras` of the recipe's architecture; then nothing is trained.
        work_dir: Where an interrupted training is continued from; None: `X.work` beside the bundle, removed at the
            end.
        data_root: Where the recipe's relative paths start.
        recipe_sha256: Of the recipe's bytes.
        steps: Who watches.
        clock: For timings and the date.

    Raises:
        RecipeError: The recipe or its data do not hold together.
        UsageError: The weights do not fit.
        GateError: The model learned nothing, a float conversion is wrong, or no variant passed.
        SinkError: The bundle or the report cannot be written; nothing is left half-written.
    """
    out, steps = Path(out), steps or Silent()
    check_writable(out)
    with steps.step("read data"):
        data = load_data(recipe.data, seed=recipe.seed, root=None if data_root is None else Path(data_root))
    own_work = work_dir is None
    work = out.with_name(f"{out.stem}.work") if work_dir is None else Path(work_dir)
    trained = _from_recipe(recipe, data, weights, work, steps)
    plan = Plan(
        name=recipe.name,
        version=recipe.version,
        description=recipe.description,
        intended_use=recipe.intended_use,
        authors=recipe.authors,
        copyright=recipe.copyright,
        licence=recipe.licence,
        seed=recipe.seed,
        quantization=recipe.quantization,
        gate=recipe.gate,
        recipe_sha256=recipe_sha256,
    )
    result = _export(trained, data, plan, out, steps, clock or MonotonicClock())
    if own_work and weights is None:
        shutil.rmtree(work, ignore_errors=True)
    return result


def export_model(
    model: Any,
    data: ClassificationData,
    out: str | Path,
    plan: Plan,
    *,
    preprocessing: Preprocessing | None = None,
    size: tuple[int, int] | None = None,
    scores: Scores | None = None,
    input: InputRecipe | None = None,
    origin: str = "a Keras model made elsewhere",
    steps: Steps | None = None,
    clock: Clock | None = None,
) -> ExportResult:
    """Make a bundle of a Keras model that was trained elsewhere.

    Args:
        model: Sequential, functional or subclassed; see `bedside.export.graph.adopt`.
        data: Labels in the order of the model's outputs. Its holdout should be data that the model never saw:
            only its author can know.
        out: Where the bundle goes; the report goes beside it.
        plan: What is wanted.
        preprocessing: What the model expects of its input; None: it must begin with Rescaling or Normalization.
        size: `(width, height)`, for models that take any size and for subclassed ones.
        scores: What the outputs are, where it cannot be read from the model.
        input: From captured frame to input.
        origin: For the card.
        steps: Who watches.
        clock: For timings and the date.

    Raises:
        UsageError: The model is no image classifier, or does not fit the labels; nothing is guessed.
        GateError: It is no better than guessing on the data, or no variant passed.
        SinkError: The bundle or the report cannot be written; nothing is left half-written.
    """
    out, steps, wanted = Path(out), steps or Silent(), input or InputRecipe()
    check_writable(out)
    channels = None if wanted.color is None else 1 if wanted.color == "gray" else 3
    adopted = adopt(model, preprocessing=preprocessing, size=size, channels=channels, scores=scores)
    if adopted.classes != len(data.labels):
        raise UsageError(
            f"the model gives {adopted.classes} scores, the data has {len(data.labels)} classes: "
            f"{', '.join(data.labels[:12])}{', ...' if len(data.labels) > 12 else ''}",
            where="labels",
            hint="classes are the sorted folder names; --labels names them in the order of the outputs",
        )
    if wanted.color is not None and adopted.color not in (None, wanted.color):
        raise UsageError(f"the preprocessing goes with {adopted.color}, not with {wanted.color}", where="color")
    height, width, depth = adopted.shape
    spec = InputSpec(
        width=width,
        height=height,
        channels=1 if depth == 1 else 3,
        color=wanted.color or adopted.color or ("gray" if depth == 1 else "rgb"),
        resize=wanted.resize,
        interpolation=wanted.interpolation,
        pad=wanted.pad,
    )
    note = (
        "the model was trained elsewhere: if frames of the holdout were among its training data, the accuracy here "
        "says how well it was converted, not how good it is"
    )
    trained = _Trained(adopted, spec, origin, None, (note,))
    return _export(trained, data, plan, out, steps, clock or MonotonicClock())


def _from_recipe(
    recipe: Recipe, data: ClassificationData, weights: str | Path | None, work: Path, steps: Steps
) -> _Trained:
    spec = recipe.input_spec()
    model = build_classifier(recipe, len(data.labels))
    if weights is not None:
        _load_weights(model, Path(weights))
        digest = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
        origin = f"architecture of the recipe, weights from {Path(weights).name} (sha256 {digest[:16]})"
        return _Trained(adopt(model, where="recipe"), spec, origin)
    preprocessor = Preprocessor(spec)
    arrays = []
    for split in (data.train, data.validation):
        with steps.step(f"read {split.name}") as progress:
            arrays.append(to_arrays(split, preprocessor, spec, progress))
    result = train(model, arrays[0], arrays[1], recipe, work, steps.training, labels=data.labels)
    training = Training(result.history, result.best_epoch, result.seconds, result.resumed_from)
    return _Trained(adopt(result.model, where="recipe"), spec, "trained by this recipe", training, result.notes)


def _load_weights(model: Any, path: Path) -> None:
    if path.suffix == ".keras":
        source = load_keras(path)
        try:
            model.set_weights(source.get_weights())
        except ValueError as error:
            raise UsageError(f"does not fit the recipe's model: {_line(error)}", where=str(path)) from None
        return
    if not path.name.endswith(".weights.h5"):
        raise UsageError("is neither .weights.h5 nor .keras", where=str(path), hint="model.save_weights('x.weights.h5')")
    try:
        model.load_weights(path)
    except FileNotFoundError:
        raise UsageError("no such file", where=str(path)) from None
    except (ValueError, OSError, KeyError) as error:
        hint = "width, height, channels, width_multiplier, dense and the classes must be those it was trained with"
        raise UsageError(f"does not fit the recipe's model: {_line(error)}", where=str(path), hint=hint) from None


def _export(
    trained: _Trained, data: ClassificationData, plan: Plan, out: Path, steps: Steps, clock: Clock
) -> ExportResult:
    """Everything after the weights."""
    model, spec = trained.model, trained.spec
    _check_data(data)
    decode = ClassificationDecode(labels=data.labels, scores=model.scores)
    with steps.step("read holdout") as progress:
        pixels, truth = to_arrays(data.holdout, Preprocessor(spec), spec, progress)
    with steps.step("evaluate Keras") as progress:
        keras_scores = stages.predict(model, pixels, progress)
    reference = mark(keras_scores, truth, data.labels)
    gates.check_reference(reference, plan.gate)

    calibration = None
    if any(KINDS[v][1] == "int8" for v in plan.quantization.variants):
        with steps.step("read calibration set") as progress:
            wanted = plan.quantization.calibration_samples
            calibration = calibrate(data.train, spec, wanted, plan.seed, progress)
    artifacts, unmade = stages.convert(model, spec, plan.quantization.variants, calibration, steps)
    measured = stages.measure(artifacts, decode, pixels, truth, keras_scores, steps, clock, unmade)
    judged = stages.judge(artifacts, unmade, measured, reference, plan)

    outcome = ExportOutcome(
        name=plan.name,
        version=plan.version,
        description=plan.description,
        intended_use=plan.intended_use,
        authors=plan.authors,
        licence=plan.licence,
        origin=trained.origin,
        labels=data.labels,
        input=spec,
        normalization=model.normalization,
        parameters=int(model.reference.count_params()),
        scores=model.scores,
        sources=data.sources,
        splits=_splits(data),
        calibration_samples=calibration.samples if calibration else None,
        seed=plan.seed,
        tools=tool_versions(),
        created_utc=_created(clock),
        gate=plan.gate,
        reference=reference,
        variants=judged.results,
        default=judged.default,
        training=trained.training,
        notes=(*trained.notes, *data.notes, *_calibration_notes(calibration), *judged.notes),
    )
    for note in outcome.notes:
        steps.say(note)
    return _pack(outcome, judged, data, decode, plan, (pixels, truth, keras_scores), out, steps, clock)


def _check_data(data: ClassificationData) -> None:
    for split in (data.train, data.holdout):
        if not split.items:
            raise RecipeError(f"the {split.name} split is empty", where="data", hint="more data, or another split")


def _pack(
    outcome: ExportOutcome,
    judged: Judged,
    data: ClassificationData,
    decode: ClassificationDecode,
    plan: Plan,
    holdout: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.float32]],
    out: Path,
    steps: Steps,
    clock: Clock,
) -> ExportResult:
    with steps.step("record golden answers"):
        manifest, members = build(_draft(outcome, judged, data, decode, plan))
    with steps.step("check every engine") as progress:
        checks = cross_check(manifest.main, members, progress, clock)
    odd = disagreements(checks)
    for note in odd:
        steps.say(note)
    # What depends on the engines of this host belongs into the report, not into the bundle.
    told = msgspec.structs.replace(outcome, notes=(*outcome.notes, *odd))
    with steps.step("write bundle and report"):
        return _write(told, checks, _shown(told, judged, data, decode, holdout), manifest, members, out)


def _splits(data: ClassificationData) -> tuple[SplitSummary, ...]:
    return tuple(
        SplitSummary(
            name=split.name,
            samples=len(split.items),
            groups=split.groups,
            sha256=split.sha256,
            counts=tuple(int(n) for n in split.counts(len(data.labels))),
        )
        for split in data.splits
    )


def _created(clock: Clock) -> str:
    """Now, or what SOURCE_DATE_EPOCH says (reproducible-builds.org), so that the same input gives the same bytes."""
    seconds = clock.unix_ns() / 1e9
    with contextlib.suppress(KeyError, ValueError):
        seconds = float(int(os.environ["SOURCE_DATE_EPOCH"]))
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


__all__ = ["VARIANTS", "ExportResult", "Plan", "check_writable", "export_model", "export_recipe", "report_paths"]
