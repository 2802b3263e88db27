"""The export: data, train, convert, evaluate, gate, pack, report; the Python API of the workstation."""

from __future__ import annotations

import contextlib
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bedside.export import stages
from bedside.export.adopt.graph import adopt
from bedside.export.adopt.options import AdoptOptions
from bedside.export.adopt.pixel_model import PixelModel
from bedside.export.adopt.preprocessing import Preprocessing
from bedside.export.backend import keras
from bedside.export.bundling import ExportResult, draft, write
from bedside.export.convert.artifact import KINDS
from bedside.export.convert.calibration import Calibration, calibrate, calibration_latents
from bedside.export.convert.onnx import versions as onnx_versions
from bedside.export.data.folds import Fold
from bedside.export.data.loading import load_data
from bedside.export.data.types import DataSet
from bedside.export.finished import Finished
from bedside.export.gates.crosscheck import cross_check, disagreements
from bedside.export.gates.evaluate import evaluate_keras
from bedside.export.gates.gate import check_reference
from bedside.export.guarding import Guard, find_guard, fit_guard
from bedside.export.plan import Plan
from bedside.export.recipe import InputRecipe, Recipe
from bedside.export.reports.outcome import ExportOutcome, SplitSummary
from bedside.export.reports.samples import samples_to_show
from bedside.export.steps import Silent, Steps
from bedside.export.tasks.kits import kit_for
from bedside.export.training.distributed import worker_folder, worker_rank
from bedside.export.trust import measured_confidence, trust
from bedside.export.weights import Trained, train_recipe, with_weights
from bedside.export.writable import check_writable
from bedside.runtime import __version__
from bedside.runtime.bundle.manifest import InputSpec, Task
from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.errors import RecipeError, UsageError
from bedside.runtime.packing import build

__all__ = ["ExportResult", "Plan", "export_model", "export_recipe"]

#: What the items of a task have to come with, beside their label.
_TAUGHT: dict[Task, str] = {
    "segmentation": "masks",
    "detection": "boxes",
    "translation": "pictures that are wanted",
}


def export_recipe(
    recipe: Recipe,
    out: str | Path,
    weights: str | Path | None = None,
    work_dir: str | Path | None = None,
    *,
    data_root: str | Path | None = None,
    recipe_sha256: str | None = None,
    golden_from_data: int = 0,
    fold: Fold | None = None,
    steps: Steps | None = None,
    clock: Clock | None = None,
) -> ExportResult | None:
    """Train what a recipe says, or take its weights, and make a bundle of it.

    Args:
        recipe: See `bedside.export.recipe_loading.load_recipe`.
        out: Where the bundle goes; the report goes beside it, `X.report.html` and `X.report.json`.
        weights: `.weights.h5` or `.keras` of the recipe's architecture; then nothing is trained.
        work_dir: Where the state of the training is kept; None: `X.work` beside the bundle, removed at the
            end. The same call after an interruption goes on where it was.
        data_root: Where the recipe's relative paths start.
        recipe_sha256: Of the recipe's bytes.
        golden_from_data: Real holdout frames that go into the bundle as goldens.
        fold: The holdout is this fold of the data, instead of what the recipe says.
        steps: Who watches.
        clock: For timings and the date.

    Returns:
        None on a worker that is not the chief (`training.strategy = "workers"`).

    Raises:
        RecipeError: The recipe or its data do not hold together.
        UsageError: The weights do not fit.
        GateError: The model learned nothing, a float conversion is wrong, or no variant passed.
        SinkError: The bundle or the report cannot be written; nothing is left half-written.
    """
    out, steps = Path(out), steps or Silent()
    check_writable(out)
    root = None if data_root is None else Path(data_root)
    folders = tuple(p for p in (out.parent, root, Path.cwd()) if p is not None)
    if recipe.guard is not None:
        find_guard(recipe.guard, folders)
    with steps.step("read data") as progress:
        data = load_data(recipe.data, seed=recipe.seed, root=root, progress=progress, fold=fold)
    if weights is not None:
        trained = with_weights(recipe, data, Path(weights))
    else:
        work = out.with_name(f"{out.stem}.work") if work_dir is None else Path(work_dir)
        trained = train_recipe(recipe, data, work, root, steps)
        if recipe.training.strategy == "workers" and worker_rank() > 0:
            steps.say("this worker is done; the chief writes the bundle")
            if work_dir is None:
                shutil.rmtree(worker_folder(work, "workers"), ignore_errors=True)
                with contextlib.suppress(OSError):  # the chief's state may lie there as well
                    work.rmdir()
            return None
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
        trust=recipe.trust,
        threshold=recipe.detection.threshold,
        guard=recipe.guard,
        folders=folders,
        golden_from_data=golden_from_data,
        recipe_sha256=recipe_sha256,
    )
    result = _export(trained, data, plan, out, steps, clock or MonotonicClock())
    if weights is None and work_dir is None:
        shutil.rmtree(work, ignore_errors=True)
    return result


def export_model(
    model: Any,
    data: DataSet,
    out: str | Path,
    plan: Plan,
    *,
    task: Task = "classification",
    preprocessing: Preprocessing | None = None,
    size: tuple[int, int] | None = None,
    options: AdoptOptions | None = None,
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
        task: What the model does; see `bedside.export.adopt.contracts.requirements`.
        preprocessing: What the model expects of its input; None: it must begin with Rescaling or
            Normalization.
        size: `(width, height)`, for models that take any size and for subclassed ones.
        options: What cannot be read from the model.
        input: From captured frame to input.
        origin: For the card.
        steps: Who watches.
        clock: For timings and the date.

    Raises:
        UsageError: The model does not keep the task's contract, or does not fit the labels; nothing is guessed.
        GateError: It is no better than guessing on the data, or no variant passed.
        SinkError: The bundle or the report cannot be written; nothing is left half-written.
    """
    out, steps, wanted = Path(out), steps or Silent(), input or InputRecipe()
    check_writable(out)
    if plan.guard is not None:
        find_guard(plan.guard, plan.folders)
    channels = None if wanted.color is None else 1 if wanted.color == "gray" else 3
    options = msgspec.structs.replace(options or AdoptOptions(), maps=plan.trust.maps)
    if task in ("translation", "generation") and options.color is None:
        options = msgspec.structs.replace(options, color=wanted.color)
    adopted = adopt(
        model, task, data.labels, preprocessing=preprocessing, size=size, channels=channels, options=options
    )
    found = adopted.model
    if wanted.color is not None and found.color not in (None, wanted.color):
        raise UsageError(f"the preprocessing goes with {found.color}, not with {wanted.color}", where="color")
    spec = _foreign_input(found, wanted)
    note = (
        "the model was trained elsewhere: if holdout frames were among its training data, the numbers here say "
        "how well it was converted, not how good it is"
    )
    trained = Trained(task, found, adopted.decode, spec, origin, None, (note, *adopted.notes))
    return _export(trained, data, plan, out, steps, clock or MonotonicClock())


def _foreign_input(model: PixelModel, wanted: InputRecipe) -> InputSpec:
    if model.latent:
        height, width, depth = (int(n) for n in model.reference.outputs[0].shape[1:])
    else:
        height, width, depth = model.shape
    return InputSpec(
        width=width,
        height=height,
        channels=1 if depth == 1 else 3,
        color=wanted.color or model.color or ("gray" if depth == 1 else "rgb"),
        resize=wanted.resize,
        interpolation=wanted.interpolation,
        pad=wanted.pad,
        dtype="float32" if model.latent else "uint8",
        latent=model.shape[0] if model.latent else None,
    )


def _export(
    trained: Trained, data: DataSet, plan: Plan, out: Path, steps: Steps, clock: Clock
) -> ExportResult:
    """Everything after the weights."""
    spec, kit = trained.spec, kit_for(trained.task, data.labels)
    for split in (data.train, data.holdout):
        if not split.items:
            raise RecipeError(
                f"the {split.name} split is empty", where="data", hint="more data, or another split"
            )
        if trained.task in _TAUGHT and split.items[0].target is None:
            raise RecipeError(f"the data has no {_TAUGHT[trained.task]}", where="data")
    trusted = trust(trained.model, kit, trained.decode, spec, data, plan.trust, plan.threshold, steps)
    model = trusted.model
    with steps.step("read holdout") as progress:
        samples = kit.read(data.holdout, spec, progress)
    with steps.step("evaluate Keras") as progress:
        holdout = evaluate_keras(model, kit, trusted.decode, spec, samples, progress)
    check_reference(holdout.marks, plan.gate)

    calibration = _calibration(spec, data, plan, steps)
    converted = stages.convert_all(model, spec, plan.quantization.variants, calibration, steps)
    converted = stages.measure_all(converted, holdout, steps, clock)
    converted = stages.rescue_all(converted, model, calibration, holdout, plan, steps, clock)
    converted = stages.time_all(converted, steps)
    judged = stages.judge(converted, holdout, plan)
    guard = None if plan.guard is None else fit_guard(plan.guard, spec, data, plan.folders, steps)

    confidence = None
    if trained.task == "classification":
        confidence = measured_confidence(trusted.decode, np.stack(holdout.rows), np.asarray(samples.truth))
    outcome = ExportOutcome(
        name=plan.name,
        version=plan.version,
        task=trained.task,
        description=plan.description,
        intended_use=plan.intended_use,
        authors=plan.authors,
        licence=plan.licence,
        origin=trained.origin,
        labels=kit.labels,
        input=spec,
        normalization=model.normalization,
        parameters=int(model.reference.count_params()),
        decode=trusted.decode,
        sources=data.sources,
        splits=_splits(data),
        calibration_samples=None if calibration is None else calibration.samples,
        seed=plan.seed,
        tools=_tools(),
        created_utc=_created(clock),
        gate=plan.gate,
        reference=holdout.marks,
        variants=judged.results,
        default=judged.default,
        training=trained.training,
        confidence=confidence,
        guard=None if guard is None else guard.draft.decode,
        guard_bundle="" if guard is None else guard.bundle,
        guard_scores=() if guard is None else guard.scores,
        notes=_notes(trained.notes, data, trusted.notes, calibration, judged, guard),
    )
    return _pack(Finished(outcome, judged, model, holdout, data, guard, plan), out, steps, clock)


def _calibration(spec: InputSpec, data: DataSet, plan: Plan, steps: Steps) -> Calibration | None:
    if not any(KINDS[v][1] in ("int8", "int16x8") for v in plan.quantization.variants):
        return None
    samples = plan.quantization.calibration_samples
    if spec.latent is not None:
        return calibration_latents(spec.latent, samples, plan.seed)
    with steps.step("read calibration set") as progress:
        return calibrate(data.train, spec, samples, plan.seed, progress)


def _notes(
    of_training: tuple[str, ...],
    data: DataSet,
    of_trust: tuple[str, ...],
    calibration: Calibration | None,
    judged: stages.Judged,
    guard: Guard | None,
) -> tuple[str, ...]:
    of_calibration = (calibration.note,) if calibration is not None and calibration.note else ()
    of_guard = () if guard is None else guard.notes
    return (*of_training, *data.notes, *of_trust, *of_calibration, *judged.notes, *of_guard)


def _pack(done: Finished, out: Path, steps: Steps, clock: Clock) -> ExportResult:
    with steps.step("record golden answers"):
        manifest, members = build(draft(done))
    with steps.step("check every engine") as progress:
        checks = cross_check(manifest.main, members, progress, clock)
    # What depends on the engines of this host belongs into the report, not into the bundle.
    outcome = done.outcome
    told = msgspec.structs.replace(outcome, notes=(*outcome.notes, *disagreements(checks)))
    with steps.step("write bundle and report"):
        result = write(told, checks, samples_to_show(done), manifest, members, out)
    for note in told.notes:
        steps.say(note)
    return result


def _splits(data: DataSet) -> tuple[SplitSummary, ...]:
    return tuple(
        SplitSummary(
            name=split.name,
            samples=len(split.items),
            groups=split.groups,
            sha256=split.sha256,
            counts=tuple(int(n) for n in split.counts(max(1, len(data.labels)))),
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
