"""How weights come to be: trained by the recipe, or taken from a file."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import msgspec

from bedside.export.adopt.foreign import load_keras
from bedside.export.adopt.graph import adopt
from bedside.export.adopt.options import AdoptOptions
from bedside.export.adopt.pixel_model import PixelModel
from bedside.export.data.types import DataSet
from bedside.export.models.building import build_network
from bedside.export.models.recipe import Detr, task_of
from bedside.export.recipe import Recipe
from bedside.export.reports.outcome import Training
from bedside.export.steps import Steps
from bedside.export.training.run import train
from bedside.runtime.bundle.decode import Decode
from bedside.runtime.bundle.manifest import InputSpec, Task
from bedside.runtime.errors import UsageError


class Trained(msgspec.Struct, frozen=True):
    """A model, its input, and how it came to be.

    Attributes:
        task: What it does.
        model: Takes raw pixels.
        decode: How its outputs are read.
        spec: From captured frame to input.
        origin: For the card.
        training: None where the weights came from elsewhere.
        notes: What a reader must know.
    """

    task: Task
    model: PixelModel
    decode: Decode
    spec: InputSpec
    origin: str
    training: Training | None = None
    notes: tuple[str, ...] = ()


def train_recipe(recipe: Recipe, data: DataSet, work: Path, root: Path | None, steps: Steps) -> Trained:
    """Train the network of a recipe; see `bedside.export.training.run.train`."""
    result = train(recipe, data, work, steps, root=root)
    training = Training(result.history, result.best_epoch, result.seconds, result.resumed_from)
    return _adopted(recipe, data, result.model, "trained by its recipe", training, result.notes)


def with_weights(recipe: Recipe, data: DataSet, path: Path) -> Trained:
    """The network of a recipe with weights from a file.

    Raises:
        UsageError: The file is missing, or does not fit.
    """
    model = build_network(recipe, data.labels)
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
        hint = "architecture, size, channels and classes must be those it was trained with"
        raise UsageError(what, where=str(path), hint=hint) from None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    origin = f"the recipe's architecture with {path.name}, sha256 {digest[:16]}"
    return _adopted(recipe, data, model, origin)


def _adopted(
    recipe: Recipe,
    data: DataSet,
    model: Any,
    origin: str,
    training: Training | None = None,
    notes: tuple[str, ...] = (),
) -> Trained:
    """A network of ours goes the way of everybody's."""
    task = task_of(recipe.model)
    options = AdoptOptions(maps=recipe.trust.maps, iou=recipe.detection.iou)
    if isinstance(recipe.model, Detr):
        options = AdoptOptions(coding="cxcywh", iou=None)
    elif task in ("translation", "generation"):
        options = AdoptOptions(color=recipe.input_spec().color)
    adopted = adopt(model, task, data.labels, options=options, where="recipe")
    return Trained(
        task, adopted.model, adopted.decode, recipe.input_spec(), origin, training, (*notes, *adopted.notes)
    )
