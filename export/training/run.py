"""From recipe and data to a trained network: early stopping, best weights, resumed where it was interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from bedside.export.backend import keras
from bedside.export.data.reading import Examples, read_examples
from bedside.export.data.types import DataSet
from bedside.export.models.building import build_network
from bedside.export.models.detr import without_auxiliary
from bedside.export.models.pretrained import initialize
from bedside.export.models.recipe import Dcgan, Detr, Pix2Pix, task_of
from bedside.export.recipe import Recipe
from bedside.export.steps import Steps
from bedside.export.training import hints
from bedside.export.training.batches import TrainingBatches, class_weights, training_batches
from bedside.export.training.checkpoint import CheckpointFolder
from bedside.export.training.checks import check_classes, check_examples, memory_errors, training_key
from bedside.export.training.distributed import open_strategy, train_distributed
from bedside.export.training.gan import train_gan
from bedside.export.training.keeper import Keeper, KeeperCallback
from bedside.export.training.learner import Learner
from bedside.export.training.logs import logged
from bedside.export.training.objectives import Objective, objective_of
from bedside.export.training.optimizing import optimizer
from bedside.export.training.pix2pix import train_pix2pix
from bedside.export.training.precision import computing_in, policy_of
from bedside.export.training.result import TrainingResult
from bedside.runtime.preprocess import Preprocessor

#: Training frames that measure the statistics of borrowed weights.
_FRAMES_FOR_STATISTICS = 256


def train(
    recipe: Recipe,
    data: DataSet,
    work_dir: Path,
    steps: Steps,
    *,
    root: Path | None = None,
    seconds_now: Callable[[], float] = time.monotonic,
) -> TrainingResult:
    """Train the network of a recipe.

    The state is kept below `work_dir` in a folder named by a digest over recipe, initial weights and data. A
    call that was interrupted, even by SIGKILL, is continued by the next one at the epoch it was in; a
    finished one returns at once.

    Args:
        recipe: `[model]`, `[training]` and `seed` count.
        data: Train and validation are read.
        work_dir: Where the state is kept.
        steps: Who watches.
        root: Where relative paths of the recipe start.
        seconds_now: Monotonic time in seconds.

    Raises:
        RecipeError: Data and model do not fit, the loss is not finite, or memory is short.
        SinkError: The state cannot be written or read.
    """
    strategy = open_strategy(recipe.training.strategy)
    keras.utils.set_random_seed(recipe.seed)
    spec = recipe.input_spec()
    if spec.latent is not None:
        spec = msgspec.structs.replace(spec, latent=None, dtype="uint8")
    preprocessor = Preprocessor(spec)
    with steps.step("read train") as progress:
        train_set = read_examples(data.train, preprocessor, spec, progress)
    with steps.step("read validation") as progress:
        validation = read_examples(data.validation, preprocessor, spec, progress)
    notes = hints.before(recipe, data)
    if isinstance(recipe.model, Dcgan):
        return train_gan(recipe, train_set, validation, work_dir, steps.training, notes, seconds_now)
    if isinstance(recipe.model, Pix2Pix) and recipe.model.adversarial > 0:
        return train_pix2pix(recipe, train_set, validation, work_dir, steps.training, notes, seconds_now)

    def build() -> Any:
        network = build_network(recipe, data.labels)
        if borrowed is not None:
            initialize(network, borrowed, train_set.x[:_FRAMES_FOR_STATISTICS])
        return network

    borrowed = _borrowed(recipe, root)
    if borrowed is not None:
        notes += (f"the training began with the weights of {borrowed.name}",)
    weights = None
    if task_of(recipe.model) == "classification":
        check_classes(train_set, data.labels)
    if task_of(recipe.model) == "classification" and recipe.training.class_weights == "auto":
        weights = class_weights(train_set.y, len(data.labels))
        if weights is not None:
            notes += (hints.weighted(weights, train_set.y, data.labels),)
    objective = objective_of(recipe, data.labels, weights)
    policy = policy_of(recipe.training)
    if policy != "float32":
        notes += (f"trained in {policy.replace('_', ' ')}; what is exported is float32",)
    if strategy is not None:
        result = train_distributed(
            recipe,
            lambda: _computing(build, policy),
            strategy,
            objective,
            train_set,
            validation,
            work_dir,
            steps.training,
            notes,
            data.labels,
            seconds_now,
        )
    else:
        result = fit(
            _computing(build, policy),
            objective,
            train_set,
            validation,
            recipe,
            work_dir,
            steps,
            notes,
            data.labels,
            seconds_now,
        )
    if strategy is not None or policy != "float32":
        # Without the variables of a strategy, and without casts: what the converters know.
        plain = build()
        plain.set_weights(result.model.get_weights())
        result = msgspec.structs.replace(result, model=plain)
    if isinstance(recipe.model, Detr) and recipe.model.auxiliary:
        return msgspec.structs.replace(result, model=without_auxiliary(result.model))
    return result


def _computing(build: Callable[[], Any], policy: str) -> Any:
    with computing_in(policy):
        return build()


def _borrowed(recipe: Recipe, root: Path | None) -> Path | None:
    """The file whose weights a training begins with."""
    name = getattr(recipe.model, "initialize", None)
    if name is None:
        return None
    return Path(name) if root is None else root / name


def fit(
    network: Any,
    objective: Objective,
    train_set: Examples,
    validation: Examples,
    recipe: Recipe,
    work_dir: Path,
    steps: Steps,
    notes: tuple[str, ...] = (),
    labels: tuple[str, ...] = (),
    seconds_now: Callable[[], float] = time.monotonic,
) -> TrainingResult:
    """Train a network by Keras' own loop; see `train`."""
    settings = recipe.training
    check_examples(network, train_set, validation)
    learner = Learner(network, objective)
    batches = training_batches(recipe, train_set, objective, labels)
    learner.compile(optimizer=optimizer(settings, len(batches)), jit_compile=False)
    folder = CheckpointFolder(work_dir / training_key(network, train_set, validation, recipe)[:16])
    learner.build((None, *network.input_shape[1:]))
    shown = logged(steps.training, folder.folder, wanted=settings.tensorboard)
    keeper = Keeper({"learner": learner}, network, folder, shown, settings, seconds_now, objective.metric)
    resumed = keeper.resume()
    if not keeper.over:
        shown.begin(settings.epochs, len(batches), resumed or 0)
        try:
            with memory_errors():
                learner.fit(
                    batches,
                    validation_data=TrainingBatches(
                        validation, objective, batch=settings.batch, augmenter=None
                    )
                    if len(validation.y)
                    else None,
                    epochs=settings.epochs,
                    initial_epoch=resumed or 0,
                    shuffle=False,
                    verbose=0,
                    callbacks=[KeeperCallback(keeper, batches)],
                )
        finally:
            shown.end()
    state = keeper.finish()
    notes += hints.after(state, settings)
    return TrainingResult(network, state.history, state.best_epoch + 1, resumed, state.seconds, notes)
