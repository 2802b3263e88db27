"""What a person should know of a training before and after it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bedside.export.data.types import DataSet
from bedside.export.models.recipe import task_of
from bedside.export.recipe import Recipe, TrainingRecipe
from bedside.export.training.augment_recipe import AugmentRecipe
from bedside.export.training.checkpoint import State

#: Fewer training frames than this are few for a network with random weights.
_FEW = {"classification": 200, "segmentation": 300, "detection": 500, "generation": 1000}
#: Fewer groups than this in the validation or holdout split make its numbers an anecdote.
_FEW_GROUPS = 10


def before(recipe: Recipe, data: DataSet) -> tuple[str, ...]:
    """Hints that the data alone gives."""
    notes = []
    least = _FEW.get(task_of(recipe.model), 200)
    frames = len(data.train.items)
    if frames < least:
        hint = f"{frames} training frames are few ({least} or more are usual): expect a model that depends on them"
        if recipe.training.augment == AugmentRecipe():
            hint += "; [training.augment] varies nothing, and would help"
        if getattr(recipe.model, "initialize", "no such key") is None:
            hint += "; model.initialize takes weights that were trained on more"
        notes.append(hint)
    notes += [
        f"the {split.name} split has {split.groups} group{'s' * (split.groups > 1)}: its numbers say little "
        "about others"
        for split in (data.validation, data.holdout)
        if 0 < split.groups < _FEW_GROUPS
    ]
    return tuple(notes)


def after(state: State, settings: TrainingRecipe) -> tuple[str, ...]:
    """Hints that the course of the training gives."""
    if state.epochs_done < settings.epochs:
        return (f"stopped after epoch {state.epochs_done}: no better in {settings.patience} epochs",)
    if state.wait <= 1 and settings.epochs > 1 and settings.schedule == "constant":
        return (f"validation loss was still falling after {settings.epochs} epochs: more may help",)
    return ()


def weighted(weights: npt.NDArray[np.float32], y: npt.NDArray[np.int64], labels: tuple[str, ...]) -> str:
    """That classes are imbalanced, and what was done about it."""
    counts = np.bincount(y, minlength=len(weights))
    parts = [f"{label}: {counts[c]} frames, weight {weights[c]:.2f}" for c, label in enumerate(labels)]
    return f"classes are imbalanced and were weighted ({'; '.join(parts)})"
