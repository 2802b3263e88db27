"""The export: data, train, convert, evaluate, gate, pack, report; the Python API of the workstation."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bedside.export import stages
from bedside.export.adopt.foreign import load_keras
from bedside.export.adopt.graph import PixelModel, Scores, adopt
from bedside.export.adopt.preprocessing import Preprocessing
from bedside.export.backend import keras
from bedside.export.bundling import ExportResult, draft, frames_to_show, write
from bedside.export.convert.artifact import KINDS
from bedside.export.convert.calibration import calibrate
from bedside.export.convert.onnx import versions as onnx_versions
from bedside.export.data.loading import load_data
from bedside.export.data.types import ClassificationData, to_arrays
from bedside.export.gates.crosscheck import cross_check, disagreements
from bedside.export.gates.evaluate import Holdout, mark
from bedside.export.gates.gate import check_reference
from bedside.export.models.building import build_classifier
from bedside.export.plan import Plan
from bedside.export.recipe import InputRecipe, Recipe
from bedside.export.reports.outcome import ExportOutcome, SplitSummary, Training
from bedside.export.steps import Silent, Steps
from bedside.export.training import train
from bedside.export.writable import check_writable
from bedside.runtime import __version__
from bedside.runtime.bundle.manifest import ClassificationDecode, InputSpec
from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.errors import RecipeError, UsageError
from bedside.runtime.packing import build
from bedside.runtime.preprocess import Preprocessor

__all__ = ["ExportResult", "Plan", "export_model", "export_recipe"]


class _Trained(msgspec.Struct, frozen=True):
    """A model, its input, and how it came to be."""

    model: PixelModel
    spec: InputSpec
    origin: str
    training: Training | None = None
    notes: tuple[str, ...] = ()


def export_recipe(
    recipe: Recipe,
    out: str | Path,
    weights: str | Path | None = None,
    work_dir: str | Path | None = None,
    *,
    data_root: str | Path | None = None,
    recipe_sha256: str | None = None,
    golden_from_data: int = 0,
    steps: Steps | None = None,
    clock: Clock | None = None,
) -> ExportResult:
    """Train what a recipe says, or take its weights, and make a bundle of it.

    Args:
        recipe: See `bedside.export.recipe.load_recipe`.
        out: Where the bundle goes; the report goes beside it, `X.report.html` and `X.report.json`.
        weights: `.weights.h5` or `.keras` of the recipe's architecture; then nothing is trained.
        work_dir: Where the state of the training is kept; None: `X.work` beside the bundle, removed at the
            end. The same call after an interruption goes on where it was.
        data_root: Where the recipe's relative paths start.
        recipe_sha256: Of the recipe's bytes.
        golden_from_data: Real holdout frames that go into the bundle as goldens.
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
    root = None if data_root is None else Path(data_root)
    with steps.step("read data") as progress:
        data = load_data(recipe.data, seed=recipe.seed, root=root, progress=progress)
    if weights is not None:
        trained = _with_weights(recipe, data, Path(weights))
    else:
        work = out.with_name(f"{out.stem}.work") if work_dir is None else Path(work_dir)
        trained = _train(recipe, data, work, steps)
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
        golden_from_data=golden_from_data,
        recipe_sha256=recipe_sha256,
    )
    result = _export(trained, data, plan, out, steps, clock or MonotonicClock())
    if weights is None and work_dir is None:
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
        model: Sequential, functional or subclassed; see `bedside.export.adopt.graph.adopt`.
        data: Labels in the order of the model's outputs. Its holdout should be data that the model never saw:
            only its author can know.
        out: Where the bundle goes; the report goes beside it.
        plan: What is wanted.
        preprocessing: What the model expects of its input; None: it must begin with Rescaling or
            Normalization.
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
        told = ", ".join(data.labels[:12]) + (", ..." if len(data.labels) > 12 else "")
        raise UsageError(
            f"the model gives {adopted.classes} scores, the data has {len(data.labels)} classes: {told}",
            where="labels",
            hint="one class folder per output, in the order of their sorted names or of --labels",
        )
    if wanted.color is not None and adopted.color not in (None, wanted.color):
        raise UsageError(
            f"the preprocessing goes with {adopted.color}, not with {wanted.color}", where="color"
        )
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
        "the model was trained elsewhere: if holdout frames were among its training data, the accuracy here "
        "says "
        "how well it was converted, not how good it is"
    )
    trained = _Trained(adopted, spec, origin, None, (note,))
    return _export(trained, data, plan, out, steps, clock or MonotonicClock())


def _train(recipe: Recipe, data: ClassificationData, work: Path, steps: Steps) -> _Trained:
    spec = recipe.input_spec()
    model = build_classifier(recipe, len(data.labels))
    preprocessor = Preprocessor(spec)
    arrays = []
    for split in (data.train, data.validation):
        with steps.step(f"read {split.name}") as progress:
            arrays.append(to_arrays(split, preprocessor, spec, progress))
    result = train(model, arrays[0], arrays[1], recipe, work, steps.training, labels=data.labels)
    training = Training(result.history, result.best_epoch, result.seconds, result.resumed_from)
    return _Trained(
        adopt(result.model, where="recipe"), spec, "trained by its recipe", training, result.notes
    )


def _with_weights(recipe: Recipe, data: ClassificationData, path: Path) -> _Trained:
    model = build_classifier(recipe, len(data.labels))
    if path.suffix != ".keras" and not path.name.endswith(".weights.h5"):
        hint = "model.save_weights('x.weights.h5') writes one"
        raise UsageError("is neither .weights.h5 nor .keras", where=str(path), hint=hint)
    if not path.is_file():
        raise UsageError("no such file", where=str(path))
    try:
        if path.suffix == ".keras":
            model.set_weights(load_keras(path).get_weights())
        else:
            with warnings.catch_warnings():
                # Keras only warns when the file lacks layers of the model, and leaves those untrained.
                warnings.simplefilter("error")
                model.load_weights(path)
    except (ValueError, OSError, KeyError, UserWarning) as error:
        what = f"does not fit the recipe's model: {' '.join(str(error).split())[:200]}"
        hint = "size, channels, width_multiplier, dense and the classes must be those it was trained with"
        raise UsageError(what, where=str(path), hint=hint) from None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    origin = f"the recipe's architecture with {path.name}, sha256 {digest[:16]}"
    return _Trained(adopt(model, where="recipe"), recipe.input_spec(), origin)


def _export(
    trained: _Trained, data: ClassificationData, plan: Plan, out: Path, steps: Steps, clock: Clock
) -> ExportResult:
    """Everything after the weights."""
    model, spec = trained.model, trained.spec
    for split in (data.train, data.holdout):
        if not split.items:
            raise RecipeError(
                f"the {split.name} split is empty", where="data", hint="more data, or another split"
            )
    decode = ClassificationDecode(labels=data.labels, scores=model.scores)
    holdout = stages.read_holdout(data.holdout, model, spec, steps)
    reference = mark(holdout.reference, holdout.truth, data.labels)
    check_reference(reference, plan.gate)

    calibration = None
    if any(KINDS[v][1] == "int8" for v in plan.quantization.variants):
        with steps.step("read calibration set") as progress:
            samples = plan.quantization.calibration_samples
            calibration = calibrate(data.train, spec, samples, plan.seed, progress)
    converted = stages.convert_all(model, spec, plan.quantization.variants, calibration, steps)
    measured = stages.measure_all(converted, decode, holdout, steps, clock)
    judged = stages.judge(converted, measured, reference, plan)

    calibration_note = (calibration.note,) if calibration is not None and calibration.note else ()
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
        calibration_samples=None if calibration is None else calibration.samples,
        seed=plan.seed,
        tools=_tools(),
        created_utc=_created(clock),
        gate=plan.gate,
        reference=reference,
        variants=judged.results,
        default=judged.default,
        training=trained.training,
        notes=(*trained.notes, *data.notes, *calibration_note, *judged.notes),
    )
    return _pack(outcome, judged, data, decode, holdout, plan, out, steps, clock)


def _pack(
    outcome: ExportOutcome,
    judged: stages.Judged,
    data: ClassificationData,
    decode: ClassificationDecode,
    holdout: Holdout,
    plan: Plan,
    out: Path,
    steps: Steps,
    clock: Clock,
) -> ExportResult:
    with steps.step("record golden answers"):
        manifest, members = build(draft(outcome, judged, data, decode, plan))
    with steps.step("check every engine") as progress:
        checks = cross_check(manifest.main, members, progress, clock)
    # What depends on the engines of this host belongs into the report, not into the bundle.
    told = msgspec.structs.replace(outcome, notes=(*outcome.notes, *disagreements(checks)))
    with steps.step("write bundle and report"):
        shown = frames_to_show(judged, data, decode, holdout)
        result = write(told, checks, shown, manifest, members, out)
    for note in told.notes:
        steps.say(note)
    return result


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


def _tools() -> dict[str, str]:
    """Versions of everything that shapes a bundle."""
    tools = {"bedside": __version__, "keras": keras.__version__, **onnx_versions(), "numpy": np.__version__}
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tools["tensorflow"] = tf.__version__
    return dict(sorted(tools.items()))


def _created(clock: Clock) -> str:
    """Now, or what SOURCE_DATE_EPOCH says (reproducible-builds.org), so that the same input gives the same
    bytes."""
    seconds = clock.unix_ns() / 1e9
    with contextlib.suppress(KeyError, ValueError):
        seconds = float(int(os.environ["SOURCE_DATE_EPOCH"]))
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
