"""Training on several machines or accelerators by TensorFlow's own `tf.distribute`.

Keras' `fit` fails under `MultiWorkerMirroredStrategy` (keras-team/keras#20585), so the loop around
`strategy.run` is written out. Every worker runs the same command with its own `TF_CONFIG`; each makes the same
global batch from the same seed, and learns from its share of it. Gradients are summed, each share weighted by
its size, so the step is that of one worker with the whole batch.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bedside.export.backend import keras
from bedside.export.data.reading import Examples
from bedside.export.recipe import Recipe
from bedside.export.training import hints
from bedside.export.training.augment import Augmenter
from bedside.export.training.batches import TrainingBatches
from bedside.export.training.checkpoint import CheckpointFolder
from bedside.export.training.checks import check_examples, memory_errors, training_key
from bedside.export.training.keeper import Keeper
from bedside.export.training.learner import Learner
from bedside.export.training.objectives import Objective
from bedside.export.training.optimizing import optimizer
from bedside.export.training.progress import TrainingProgress
from bedside.export.training.result import TrainingResult
from bedside.runtime.errors import RecipeError, UsageError


def open_strategy(kind: str) -> Any:
    """The strategy of a recipe; None for one machine with one device.

    Has to come before anything else that TensorFlow does in this process.

    Args:
        kind: `[training] strategy`.

    Raises:
        UsageError: The backend is not TensorFlow, or `TF_CONFIG` says nothing that can be used.
    """
    if kind == "none":
        return None
    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"training.strategy {kind!r} needs the TensorFlow backend, this is {keras.backend.backend()}"
        )
    import tensorflow as tf

    if kind == "mirrored":
        return tf.distribute.MirroredStrategy()
    worker_rank()
    return tf.distribute.MultiWorkerMirroredStrategy()


def worker_rank() -> int:
    """Which worker this is, from `TF_CONFIG`; 0 is the chief and writes the bundle.

    Raises:
        UsageError: `TF_CONFIG` is missing or malformed.
    """
    try:
        config = json.loads(os.environ["TF_CONFIG"])
        cluster, task = config["cluster"], config["task"]
        rank = int(task["index"]) + (len(cluster.get("chief", ())) if task["type"] == "worker" else 0)
        if rank >= sum(len(hosts) for hosts in cluster.values()):
            raise ValueError(f"task {rank} of a smaller cluster")
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            f"training.strategy 'workers' needs TF_CONFIG, which says nothing usable: {error}",
            hint='{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}',
        ) from None
    return rank


def train_distributed(
    recipe: Recipe,
    build: Callable[[], Any],
    strategy: Any,
    objective: Objective,
    train_set: Examples,
    validation: Examples,
    work_dir: Path,
    shown: TrainingProgress,
    notes: tuple[str, ...] = (),
    seconds_now: Callable[[], float] = time.monotonic,
) -> TrainingResult:
    """Train under a strategy; see `bedside.export.training.run.train`.

    Args:
        recipe: `[training]` and `seed` count; `batch` is that of all replicas together.
        build: Makes the network, with its initial weights.
        strategy: From `open_strategy`.
        objective: What is learned.
        train_set: The same on every worker.
        validation: The same on every worker.
        work_dir: Where this worker keeps its state.
        shown: Told of every batch and epoch.
        notes: Handed on.
        seconds_now: Monotonic time in seconds.

    Raises:
        RecipeError: The batch cannot be shared out, the loss is not finite, or memory is short.
        SinkError: The state cannot be written or read.
    """
    settings, replicas = recipe.training, int(strategy.num_replicas_in_sync)
    if settings.batch % replicas:
        raise RecipeError(
            f"a batch of {settings.batch} cannot be shared by {replicas} replicas",
            where="training.batch",
            hint=f"a multiple of {replicas}",
        )
    with strategy.scope():
        network = build()
        check_examples(network, train_set, validation)
        batches = TrainingBatches(
            train_set,
            objective,
            batch=settings.batch,
            augmenter=Augmenter(settings.augment),
            seed=recipe.seed,
        )
        learner = Learner(network, objective)
        learner.compile(optimizer=optimizer(settings, len(batches)), jit_compile=False)
        learner.build((None, *network.input_shape[1:]))
        learner.optimizer.build(learner.trainable_variables)
    loop = _Loop(strategy, learner, objective)
    checks = TrainingBatches(validation, objective, batch=settings.batch, augmenter=None)
    folder = CheckpointFolder(work_dir / training_key(network, train_set, validation, recipe)[:16])
    keeper = Keeper(
        {"learner": learner},
        network,
        folder,
        shown,
        settings.epochs,
        settings.patience,
        seconds_now,
        objective.metric,
    )
    resumed = keeper.resume()
    shown.begin(settings.epochs, len(batches), resumed or 0)
    try:
        with memory_errors():
            for epoch in range(resumed or 0, settings.epochs):
                if keeper.over:
                    break
                batches.epoch = epoch
                losses = []
                for step in range(len(batches)):
                    loss = loop.step(*batches[step], replicas)
                    if loss is not None:
                        losses.append(loss)
                    shown.step(epoch, step)
                val_loss, val_score = loop.validate(checks)
                logs = {"loss": float(np.mean(losses)), "val_loss": val_loss, "val_score": val_score}
                keeper.epoch_end(epoch, logs, network.get_weights())
    finally:
        shown.end()
    state = keeper.finish()
    with_workers = (*notes, f"trained by {replicas} replicas, {settings.batch} frames a step in all")
    return TrainingResult(
        network,
        state.history,
        state.best_epoch + 1,
        resumed,
        state.seconds,
        with_workers + hints.after(state, settings),
    )


class _Loop:
    """One step under a strategy, and validation on this worker.

    Args:
        strategy: Of `tf.distribute`.
        learner: Compiled in its scope.
        objective: What is learned.
    """

    def __init__(self, strategy: Any, learner: Any, objective: Objective) -> None:
        import tensorflow as tf

        self._strategy, self._learner, self._objective = strategy, learner, objective

        def replica(x: Any, y: Any, share: Any) -> Any:
            with tf.GradientTape() as tape:
                outputs = learner(x, training=True)
                loss = objective.loss(y, outputs) * share
            variables = learner.trainable_variables
            # Keras sums the gradients of all replicas before it applies them.
            learner.optimizer.apply(tape.gradient(loss, variables), variables)
            return loss

        @tf.function
        def step(x: Any, y: Any, share: Any) -> Any:
            losses = strategy.run(replica, args=(x, y, share))
            return strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

        @tf.function
        def check(x: Any, y: Any) -> Any:
            outputs = learner(x, training=False)
            return objective.loss(y, outputs), objective.score(y, outputs)

        self._step, self._check = step, check

    def step(self, x: Any, y: dict[str, Any], replicas: int) -> float | None:
        """Learn from one global batch; its loss, or None where it has fewer frames than there are replicas."""
        import tensorflow as tf

        each = len(x) // replicas
        if each == 0:
            return None

        def shared(array: Any) -> Any:
            return self._strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(array[context.replica_id_in_sync_group * each :][:each])
            )

        share = self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(1.0 / replicas)
        )
        return float(self._step(shared(x), {key: shared(value) for key, value in y.items()}, share))

    def validate(self, batches: TrainingBatches) -> tuple[float, float]:
        """Loss and score over all of a split, on this worker."""
        import tensorflow as tf

        found, sizes = [], []
        for index in range(len(batches)):
            x, y = batches[index]
            loss, score = self._check(tf.constant(x), {k: tf.constant(v) for k, v in y.items()})
            found.append((float(loss), float(score)))
            sizes.append(len(x))
        loss, score = np.average(np.array(found), axis=0, weights=sizes)
        return float(loss), float(score)
