"""Training of a classifier: early stopping, best weights, and resumed where it was interrupted."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.augment import Augmenter
from bedside.export.backend import keras
from bedside.export.batches import TrainingBatches, class_weights, one_hot
from bedside.export.checkpoint import CheckpointFolder, State
from bedside.export.progress import EpochReport, Silent, TrainingProgress
from bedside.export.recipe import Recipe, TrainingRecipe
from bedside.runtime.errors import RecipeError

#: Frames and labels of one split: `(N, H, W, C) uint8` and `(N,) int64`.
Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


class TrainingResult(msgspec.Struct, frozen=True):
    """What a training gave.

    Attributes:
        model: The model that was passed, with the weights of its best epoch.
        history: Per metric (`loss`, `accuracy`, `val_loss`, `val_accuracy`) one number per epoch.
        best_epoch: From 1; the epoch with the lowest validation loss.
        resumed_from: Epochs that an earlier call had finished, None where this one began at the beginning.
        seconds: Spent in training, over all calls, interruptions left out.
        notes: For the report: class weights, early stop, epochs that ran out.
    """

    model: Any
    history: dict[str, tuple[float, ...]]
    best_epoch: int
    resumed_from: int | None
    seconds: float
    notes: tuple[str, ...] = ()


def train(
    model: Any,
    train_data: Arrays,
    validation_data: Arrays,
    recipe: Recipe,
    work_dir: Path,
    progress: TrainingProgress | None = None,
    *,
    labels: tuple[str, ...] | None = None,
    seconds_now: Callable[[], float] = time.monotonic,
) -> TrainingResult:
    """Train with Adam and categorical cross-entropy; the weights of the best epoch are left in `model`.

    The state is kept below `work_dir` in a folder named by a digest over recipe, initial weights and data. A
    call that was interrupted, even by SIGKILL, is continued by the next one at the epoch it was in; a
    finished one
    returns at once.

    Args:
        model: `(N, H, W, C) float32` pixels 0..255 to `(N, classes)` probabilities. Compiled here.
        train_data: Frames and labels; every class at least once.
        validation_data: Frames and labels that early stopping watches.
        recipe: `[training]` and `seed` count.
        work_dir: Where the state is kept.
        progress: Told of every batch and epoch.
        labels: Class names, for notes and `screen_labels`.
        seconds_now: Monotonic time in seconds.

    Raises:
        RecipeError: Data and model do not fit, the loss is not finite, or memory is short.
        SinkError: The state cannot be written or read.
    """
    classes = int(model.output_shape[-1])
    _check(model, classes, train_data, validation_data)
    shown = progress if progress is not None else Silent()
    settings = recipe.training
    keras.utils.set_random_seed(recipe.seed)
    model.compile(
        optimizer=keras.optimizers.Adam(_learning_rate(settings, len(train_data[0]))),
        loss=keras.losses.CategoricalCrossentropy(),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    weights = class_weights(train_data[1], classes) if settings.class_weights == "auto" else None
    notes = [] if weights is None else [_weights_note(weights, train_data[1], labels)]
    folder = CheckpointFolder(work_dir / training_key(model, train_data, validation_data, recipe)[:16])
    keeper = _Keeper(folder, shown, settings.epochs, settings.patience, seconds_now)
    resumed = keeper.resume(model)
    if not keeper.over:
        batches = TrainingBatches(
            *train_data,
            classes=classes,
            batch=settings.batch,
            augmenter=Augmenter(settings.augment),
            screen=_screen(settings.augment.screen_labels, labels),
            seed=recipe.seed,
        )
        shown.begin(settings.epochs, len(batches), resumed or 0)
        try:
            _fit(
                model,
                batches,
                validation_data,
                classes,
                weights,
                settings.batch,
                settings.epochs,
                keeper,
                resumed or 0,
            )
        finally:
            shown.end()
    state = keeper.finish(model)
    if state.epochs_done == settings.epochs and state.wait <= 1 and settings.epochs > 1:
        notes.append(f"validation loss was still falling after {settings.epochs} epochs: more may help")
    elif state.epochs_done < settings.epochs:
        notes.append(f"stopped after epoch {state.epochs_done}: no better in {settings.patience} epochs")
    return TrainingResult(model, state.history, state.best_epoch + 1, resumed, state.seconds, tuple(notes))


def training_key(model: Any, train_data: Arrays, validation_data: Arrays, recipe: Recipe) -> str:
    """Digest (hex) of all that a training depends on: settings, seed, initial weights, data."""
    digest = hashlib.sha256(msgspec.json.encode((recipe.model, recipe.training, recipe.seed)))
    for array in (*model.get_weights(), *train_data, *validation_data):
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _fit(
    model: Any,
    batches: TrainingBatches,
    validation: Arrays,
    classes: int,
    weights: dict[int, float] | None,
    batch: int,
    epochs: int,
    keeper: _Keeper,
    first_epoch: int,
) -> None:
    try:
        model.fit(
            batches,
            validation_data=(validation[0].astype(np.float32), one_hot(validation[1], classes)),
            validation_batch_size=max(batch, 32),
            class_weight=weights,
            epochs=epochs,
            initial_epoch=first_epoch,
            shuffle=False,
            verbose=0,
            callbacks=[_Callback(keeper, batches)],
        )
    except MemoryError as error:
        raise _memory(error) from None
    except Exception as error:
        # Each backend has a class of its own for this; none is importable without the backend.
        if type(error).__name__ in ("ResourceExhaustedError", "OutOfMemoryError", "XlaRuntimeError"):
            raise _memory(error) from None
        raise


def _screen(named: tuple[str, ...] | None, labels: tuple[str, ...] | None) -> list[bool] | None:
    """Per class whether it is named; None where nobody names any."""
    if named is None:
        return None
    if labels is None or not set(named) <= set(labels):
        have = "no class names are known" if labels is None else f"the classes are {', '.join(labels)}"
        raise RecipeError(f"augment.screen_labels names {', '.join(named)}; {have}", where="training")
    return [label in named for label in labels]


def _learning_rate(settings: TrainingRecipe, samples: int) -> Any:
    """The rate, or its schedule over all steps of all epochs."""
    if settings.schedule == "constant":
        return settings.learning_rate
    steps = -(-samples // settings.batch) * settings.epochs
    return keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps)


class _Keeper:
    """Early stopping and what is kept on disk. Epochs count from 0 here.

    Args:
        folder: Of the checkpoints.
        progress: Told of every batch and epoch.
        epochs: At most that many.
        patience: Epochs without a better validation loss; 0: never early.
        now: Monotonic time in seconds.
    """

    def __init__(
        self,
        folder: CheckpointFolder,
        progress: TrainingProgress,
        epochs: int,
        patience: int,
        now: Callable[[], float],
    ) -> None:
        self.state: State | None = None
        self.progress = progress
        self._folder, self._epochs, self._patience, self._now = folder, epochs, patience, now
        self._best: list[Any] = []
        self._began = now()

    @property
    def over(self) -> bool:
        """Whether there is nothing left to train."""
        state = self.state
        if state is None:
            return False
        out_of_patience = 0 < self._patience <= state.wait
        return state.stopped or out_of_patience or state.epochs_done >= self._epochs

    def resume(self, model: Any) -> int | None:
        """Load the newest checkpoint into the model; how many epochs it has, or None."""
        found = self._folder.latest()
        if found is None:
            return None
        self.state, path = found
        self._best = self._folder.restore(model, path)
        return self.state.epochs_done

    def epoch_end(self, model: Any, epoch: int, logs: dict[str, float]) -> bool:
        """Take a finished epoch down.

        Returns:
            Whether to stop.

        Raises:
            RecipeError: The loss is not finite.
        """
        values = {key: float(value) for key, value in logs.items()}
        loss = values["val_loss"]
        if not math.isfinite(loss) or not math.isfinite(values["loss"]):
            raise RecipeError(
                f"the loss is not finite in epoch {epoch + 1}",
                where="training",
                hint="a lower training.learning_rate helps most often",
            )
        before = self.state
        better = before is None or loss < before.best_loss
        if better or before is None:
            self._best = model.get_weights()
            best_epoch, best_loss, wait = epoch, loss, 0
        else:
            best_epoch, best_loss, wait = before.best_epoch, before.best_loss, before.wait + 1
        now = self._now()
        history = {k: (*(before.history.get(k, ()) if before else ()), v) for k, v in values.items()}
        self.state = State(
            epochs_done=epoch + 1,
            best_epoch=best_epoch,
            best_loss=best_loss,
            wait=wait,
            seconds=(before.seconds if before else 0.0) + now - self._began,
            history=history,
        )
        self._began = now
        self._folder.save(model, self.state, self._best)
        self.progress.epoch(
            EpochReport(
                epoch + 1,
                self._epochs,
                values["loss"],
                values["accuracy"],
                loss,
                values["val_accuracy"],
                better,
            )
        )
        return self.over

    def finish(self, model: Any) -> State:
        """Put the best weights into the model, and mark the training as finished."""
        state = self.state
        if state is None:
            raise RecipeError("no epoch was trained", where="training")
        model.set_weights(self._best)
        if not state.stopped:
            state = self.state = msgspec.structs.replace(state, stopped=True)
            self._folder.save(model, state, self._best)
        return state


class _Callback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no stubs
    """Ties Keras's loop to the keeper."""

    def __init__(self, keeper: _Keeper, batches: TrainingBatches) -> None:
        super().__init__()
        self._keeper, self._batches, self._epoch = keeper, batches, 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        # Before the epoch's iterator is made: batches depend on it.
        self._epoch = self._batches.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._keeper.progress.step(self._epoch, batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self._keeper.epoch_end(self.model, epoch, logs or {}):
            self.model.stop_training = True


def _check(model: Any, classes: int, train_data: Arrays, validation_data: Arrays) -> None:
    for name, (x, y) in (("train", train_data), ("validation", validation_data)):
        if len(x) == 0 or len(x) != len(y):
            raise RecipeError(f"{name}: {len(x)} frames, {len(y)} labels", where="training")
        if tuple(x.shape[1:]) != tuple(model.input_shape[1:]):
            raise RecipeError(
                f"{name} frames are {x.shape[1:]}, the model takes {tuple(model.input_shape[1:])}",
                where="training",
            )
        if y.min() < 0 or y.max() >= classes:
            raise RecipeError(
                f"{name} labels go from {y.min()} to {y.max()}, the model has {classes} outputs",
                where="training",
            )
    absent = sorted(set(range(classes)) - set(train_data[1].tolist()))
    if absent:
        raise RecipeError(f"no training frames for the classes {absent}", where="training")


def _weights_note(weights: dict[int, float], y: npt.NDArray[np.int64], labels: tuple[str, ...] | None) -> str:
    counts = np.bincount(y, minlength=len(weights))
    parts = [f"{labels[c] if labels else c}: {counts[c]} frames, weight {w:.2f}" for c, w in weights.items()]
    return f"classes are imbalanced and were weighted ({'; '.join(parts)})"


def _memory(error: BaseException) -> RecipeError:
    return RecipeError(
        f"out of memory while training: {' '.join(str(error).split())[:160]}",
        where="training",
        hint="a smaller training.batch, model.width and model.height, or model.width_multiplier",
    )
