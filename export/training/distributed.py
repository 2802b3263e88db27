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
from bedside.export.training.batches import TrainingBatches, training_batches
from bedside.export.training.checkpoint import CheckpointFolder
from bedside.export.training.checks import check_examples, memory_errors, training_key
from bedside.export.training.keeper import Keeper, put_averages, put_back
from bedside.export.training.learner import Learner
from bedside.export.training.logs import logged
from bedside.export.training.objectives import Objective
from bedside.export.training.optimizing import optimizer
from bedside.export.training.progress import TrainingProgress
from bedside.export.training.result import TrainingResult
from bedside.runtime.errors import SinkError, UsageError


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


def worker_folder(work_dir: Path, kind: str) -> Path:
    """Where a worker keeps its state: workers may share a file system, and be given the same folder.

    Args:
        work_dir: Of the export.
        kind: `[training] strategy`.
    """
    rank = worker_rank() if kind == "workers" else 0
    return work_dir / f"worker-{rank}" if rank else work_dir


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
    labels: tuple[str, ...] = (),
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
        work_dir: Below it, this worker keeps its state; see `worker_folder`.
        shown: Told of every batch and epoch.
        notes: Handed on.
        labels: From the data.
        seconds_now: Monotonic time in seconds.

    Returns:
        The network's variables are the strategy's.

    Raises:
        RecipeError: The loss is not finite, or memory is short.
        SinkError: The state cannot be written or read, or workers would go on from different epochs.
    """
    settings, replicas = recipe.training, int(strategy.num_replicas_in_sync)
    batches = training_batches(recipe, train_set, objective, labels)
    with strategy.scope():
        network = build()
        check_examples(network, train_set, validation)
        learner = Learner(network, objective)
        learner.compile(optimizer=optimizer(settings, len(batches)), jit_compile=False)
        learner.build((None, *network.input_shape[1:]))
        learner.optimizer.build(learner.trainable_variables)
    loop = _Loop(strategy, learner, objective)
    checks = TrainingBatches(validation, objective, batch=settings.batch, augmenter=None)
    work_dir = worker_folder(work_dir, settings.strategy)
    folder = CheckpointFolder(work_dir / training_key(network, train_set, validation, recipe)[:16])
    shown = logged(shown, folder.folder, wanted=settings.tensorboard)
    keeper = Keeper({"learner": learner}, network, folder, shown, settings, seconds_now, objective.metric)
    resumed = keeper.resume()
    loop.check_together(resumed or 0, folder.folder)
    shown.begin(settings.epochs, len(batches), resumed or 0)
    try:
        with memory_errors():
            for epoch in range(resumed or 0, settings.epochs):
                if keeper.over:
                    break
                batches.epoch = epoch
                logs = loop.epoch(batches, lambda step, epoch=epoch: shown.step(epoch, step))  # type: ignore[misc]
                aside = put_averages(learner)
                logs |= loop.validate(checks)
                weights = network.get_weights()
                put_back(learner, aside)
                keeper.epoch_end(epoch, logs, weights)
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
    """One epoch under a strategy, and validation.

    Args:
        strategy: Of `tf.distribute`.
        learner: Compiled in its scope.
        objective: What is learned.
    """

    def __init__(self, strategy: Any, learner: Learner, objective: Objective) -> None:
        import tensorflow as tf

        self._strategy, self._replicas = strategy, int(strategy.num_replicas_in_sync)
        clip, optimizer = learner.optimizer.global_clipnorm, learner.optimizer

        def replica(x: Any, y: Any, share: Any) -> tuple[Any, Any]:
            with tf.GradientTape() as tape:
                outputs = learner(x, training=True)
                loss = learner.whole_loss(y, outputs) * share
            variables = learner.trainable_variables
            gradients = tape.gradient(loss, variables)
            if clip is not None:
                # Keras clips what each replica has, and then sums. The step of one worker with the whole batch
                # clips the sum: it is made here, and halved for two replicas, so that Keras' sum gives it again.
                context = tf.distribute.get_replica_context()
                summed = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
                gradients = [g / self._replicas for g in tf.clip_by_global_norm(summed, clip)[0]]
            optimizer.apply(gradients, variables)
            return loss, objective.score(y, outputs) * share

        def step(x: Any, y: Any, share: Any) -> Any:
            found = strategy.run(replica, args=(x, y, share))
            return [strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None) for value in found]

        def check(x: Any, y: Any) -> Any:
            outputs = learner(x, training=False)
            return learner.whole_loss(y, outputs), objective.score(y, outputs)

        self._step = tf.function(step, reduce_retracing=True)
        self._check = tf.function(check, reduce_retracing=True)

    def epoch(self, batches: TrainingBatches, done: Callable[[int], None]) -> dict[str, float]:
        """Learn from every global batch.

        Returns:
            `loss` and `score`, weighted by the size of batches.
        """
        found, sizes = [], []
        for index in range(len(batches)):
            x, y = batches[index]
            share = self._weights(len(x))
            loss, score = self._step(self._share(x), {k: self._share(v) for k, v in y.items()}, share)
            found.append((float(loss), float(score)))
            sizes.append(len(x))
            done(index)
        loss, score = np.average(np.array(found), axis=0, weights=sizes)
        return {"loss": float(loss), "score": float(score)}

    def validate(self, batches: TrainingBatches) -> dict[str, float]:
        """Loss and score over all of a split. Every worker computes them, and takes the mean of all: processors
        round differently, and workers have to stop in the same epoch."""
        import tensorflow as tf

        found, sizes = [], []
        for index in range(len(batches)):
            x, y = batches[index]
            loss, score = self._check(tf.constant(x), {k: tf.constant(v) for k, v in y.items()})
            found.append((float(loss), float(score)))
            sizes.append(len(x))
        loss, score = np.average(np.array(found), axis=0, weights=sizes)
        return {"val_loss": self._mean(loss), "val_score": self._mean(score)}

    def check_together(self, epochs: int, folder: Path) -> None:
        """Whether all workers have finished as many epochs.

        Raises:
            SinkError: They have not: one was killed between two checkpoints.
        """
        mean = self._mean(epochs)
        if mean != epochs:
            raise SinkError(
                f"this worker has finished {epochs} epochs, all of them {mean:g} on average",
                where=str(folder),
                hint="remove the work folders of all workers; the training starts over",
            )

    def _mean(self, value: float) -> float:
        import tensorflow as tf

        values = self._values(lambda rank: np.float64(value))
        return float(self._strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)) / self._replicas

    def _share(self, array: Any) -> Any:
        return self._values(lambda rank: array[_part(len(array), self._replicas, rank)[0]])

    def _weights(self, frames: int) -> Any:
        return self._values(lambda rank: np.float32(_part(frames, self._replicas, rank)[1]))

    def _values(self, make: Callable[[int], Any]) -> Any:
        """What `make` gives for each replica of this worker; it takes the replica's number among all."""
        import tensorflow as tf

        return self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(make(context.replica_id_in_sync_group))
        )


def _part(frames: int, replicas: int, rank: int) -> tuple[slice, float]:
    """Which frames of a batch are a replica's, and which fraction of it they are.

    Where there are fewer frames than replicas, those that would have none compute the first one for nothing.
    """
    low, high = frames * rank // replicas, frames * (rank + 1) // replicas
    return (slice(low, high), (high - low) / frames) if high > low else (slice(0, 1), 0.0)
