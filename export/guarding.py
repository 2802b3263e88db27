"""The guard of a bundle: an autoencoder made by another export, with a threshold of this model's own frames."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.data.reading import read_examples
from bedside.export.data.splitting import make_split
from bedside.export.data.types import DataSet, Progress, Split
from bedside.export.gates.goldens import golden_inputs, golden_samples
from bedside.export.recipe import GuardRecipe
from bedside.export.steps import Steps
from bedside.export.trust import quantile_threshold
from bedside.runtime import engines
from bedside.runtime.bundle.decode import ReconstructionDecode
from bedside.runtime.bundle.manifest import InputSpec, Manifest, Model, Variant
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.errors import RecipeError
from bedside.runtime.packing import ModelDraft, VariantDraft
from bedside.runtime.preprocess import Preprocessor
from bedside.runtime.tasks import ReconstructionDecoder


class Guard(msgspec.Struct, frozen=True):
    """A guard on its way into a bundle.

    Attributes:
        draft: The model in the role `guard`.
        sees: What it is given.
        notes: What a reader must know.
        bundle: Name and version of the bundle it was taken from.
        scores: Of the holdout's frames, for the report.
    """

    draft: ModelDraft
    sees: Literal["frame", "input"]
    notes: tuple[str, ...]
    bundle: str
    scores: tuple[float, ...] = ()


def find_guard(recipe: GuardRecipe, folders: tuple[Path, ...]) -> Path:
    """Where the bundle of the guard is: asked first, since a training may lie before `fit_guard`.

    Args:
        recipe: `[guard]`.
        folders: Where the bundle is looked for, in order.

    Raises:
        RecipeError: There is no such bundle.
    """
    path = next((f / recipe.bundle for f in folders if (f / recipe.bundle).is_file()), None)
    if path is None:
        raise RecipeError(
            f"no such bundle: {recipe.bundle}",
            where="guard.bundle",
            hint="make it first, and put it beside the output or below the data root",
        )
    return path


def fit_guard(
    recipe: GuardRecipe, main: InputSpec, data: DataSet, folders: tuple[Path, ...], steps: Steps
) -> Guard:
    """Take an autoencoder out of its bundle and set its threshold on the holdout of this export.

    Args:
        recipe: `[guard]`.
        main: Input of the main model.
        data: Of this export.
        folders: Where the bundle is looked for, in order.
        steps: Who watches.

    Raises:
        RecipeError: There is no such bundle, or its main model is no guard.
        BundleError: The bundle is damaged.
        EngineError: It does not run here.
    """
    path = find_guard(recipe, folders)
    with open_bundle(path) as bundle:
        manifest, model = bundle.manifest, bundle.manifest.main
        decode = model.decode
        if not isinstance(decode, ReconstructionDecode) or decode.out is None:
            raise RecipeError(
                f"{manifest.name} is a {manifest.task} bundle, a guard is an autoencoder with a threshold",
                where="guard.bundle",
            )
        variant = _variant(model, recipe)
        file = bundle.read(cast(str, variant.file))
    with steps.step("fit the guard") as progress:
        frames = _seen(data.holdout, main, model.input, recipe.sees, progress)
        scores = _scores(file, variant, decode, frames)
    threshold, alarm = quantile_threshold(scores, recipe.false_alarm)
    out = msgspec.structs.replace(decode.out, threshold=threshold, false_alarm=alarm, samples=len(scores))
    draft = ModelDraft(
        input=model.input,
        outputs=model.outputs,
        decode=msgspec.structs.replace(decode, out=out),
        variants=(
            VariantDraft(
                id=variant.id,
                format=variant.format,
                precision=variant.precision,
                data=file,
                evaluation=variant.evaluation,
            ),
        ),
        frames=golden_inputs(model.input),
        samples=golden_samples(model.input),
        default=variant.id,
    )
    return Guard(
        draft,
        recipe.sees,
        _notes(manifest, data, alarm, recipe),
        f"{manifest.name} {manifest.version}",
        tuple(float(s) for s in scores),
    )


def _variant(model: Model, recipe: GuardRecipe) -> Variant:
    variant = model.variant(recipe.variant)
    if variant is None or variant.file is None:
        shipped = ", ".join(v.id for v in model.shipped)
        raise RecipeError(f"{recipe.variant} is not in the bundle", where="guard.variant", hint=shipped)
    return variant


def _seen(
    split: Split, main: InputSpec, guard: InputSpec, sees: str, progress: Progress
) -> npt.NDArray[np.uint8]:
    """Frames as the guard will see them on the device."""
    if sees == "frame":
        return read_examples(split, Preprocessor(guard), guard, progress).x
    tensors = read_examples(split, Preprocessor(main), main, progress).x
    shrink = Preprocessor(guard)
    frames = np.empty((len(tensors), *guard.shape[1:]), np.uint8)
    for i, tensor in enumerate(tensors):
        shrink(tensor, main.color, frames[i : i + 1])
    return frames


def _scores(
    file: bytes, variant: Variant, decode: ReconstructionDecode, frames: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float64]:
    engine = engines.preference(variant.format)[0]
    session = engines.compile_model(engine, file, variant.format, SessionOptions(threads=1))
    decoder = ReconstructionDecoder(decode)
    scores = np.empty(len(frames), np.float64)
    try:
        for i in range(len(frames)):
            np.copyto(session.input(), frames[i : i + 1])
            scores[i] = decoder.score(session.invoke(), variant.outputs, frames[i : i + 1])[2]
    finally:
        session.close()
    return scores


def _notes(manifest: Manifest, data: DataSet, alarm: float, recipe: GuardRecipe) -> tuple[str, ...]:
    notes = [
        f"guard: {manifest.name} {manifest.version}; withholds {alarm:.2%} of frames like the holdout's, by its "
        "threshold"
    ]
    trained_on = next((s.sha256 for s in manifest.provenance.splits if s.name == "train"), None)
    # The guard learned from frames alone: its split has no targets in its digest.
    frames = [msgspec.structs.replace(item, target_sha256="") for item in data.train.items]
    if trained_on not in (data.train.sha256, make_split("train", frames).sha256):
        notes.append(
            "the guard was trained on another split: frames of this holdout may have been among its training "
            "frames, and its false alarms on new frames may be more than stated"
        )
    if alarm > recipe.false_alarm:
        notes.append(
            f"the holdout carries a false-alarm rate of {alarm:.2%} at best; {recipe.false_alarm:.2%} was asked for"
        )
    return tuple(notes)
