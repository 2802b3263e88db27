"""Early stopping, best weights and checkpoints of a training, whatever its loop is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy.typing as npt

from bedside.export.backend import keras
from bedside.export.recipe import TrainingRecipe
from bedside.export.training.batches import TrainingBatches
from bedside.export.training.checkpoint import CheckpointFolder, Models, State
from bedside.export.training.progress import EpochReport, TrainingProgress
from bedside.runtime.errors import RecipeError


class Keeper:
    """Early stopping and what is kept on disk. Epochs count from 0 here.

    Args:
        models: Compiled, by name; what a resumed training goes on with.
        network: Gets the best weights at the end.
        folder: Of the checkpoints.
        progress: Told of every batch and epoch.
        settings: `[training]`: epochs and patience count.
        now: Monotonic time in seconds.
        metric: Name of the score; empty where there is none.
    """

    def __init__(
        self,
        models: Models,
        network: Any,
        folder: CheckpointFolder,
        progress: TrainingProgress,
        settings: TrainingRecipe,
        now: Callable[[], float],
        metric: str = "",
    ) -> None:
        self._models, self._network, self._metric = models, network, metric
        self.state: State | None = None
        self.progress = progress
        self._folder, self._now = folder, now
        self._epochs, self._patience = settings.epochs, settings.patience
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

    def resume(self) -> int | None:
        """Load the newest checkpoint into the models; how many epochs it has, or None."""
        found = self._folder.latest()
        if found is None:
            return None
        self.state, path = found
        self._best = self._folder.restore(self._models, path)
        return self.state.epochs_done

    def epoch_end(self, epoch: int, logs: dict[str, float], weights: list[Any]) -> bool:
        """Take a finished epoch down.

        Args:
            epoch: From 0.
            logs: `loss`, and the score as `score`; with a validation split `val_loss` and `val_score`, without
                one every epoch is taken for the best so far.
            weights: What was validated: of the network, averaged where the recipe says so.

        Returns:
            Whether to stop.

        Raises:
            RecipeError: The loss is not finite.
        """
        values = {key: float(value) for key, value in logs.items()}
        judged = "val_loss" in values
        loss = values["val_loss" if judged else "loss"]
        if not math.isfinite(loss) or not math.isfinite(values["loss"]):
            raise RecipeError(
                f"the loss is not finite in epoch {epoch + 1}",
                where="training",
                hint="a lower training.learning_rate helps most often",
            )
        before = self.state
        better = before is None or not judged or loss < before.best_loss
        if better or before is None:
            self._best = weights
            best_epoch, best_loss, wait = epoch, loss, 0
        else:
            best_epoch, best_loss, wait = before.best_epoch, before.best_loss, before.wait + 1
        now = self._now()
        named = {k: v for k, v in values.items() if self._metric or "score" not in k}
        history = {k.replace("score", self._metric): v for k, v in named.items()}
        past = before.history if before else {}
        self.state = State(
            epochs_done=epoch + 1,
            best_epoch=best_epoch,
            best_loss=best_loss,
            wait=wait,
            seconds=(before.seconds if before else 0.0) + now - self._began,
            history={k: (*past.get(k, ()), v) for k, v in history.items()},
        )
        self._began = now
        self._folder.save(self._models, self.state, self._best)
        self.progress.epoch(
            EpochReport(
                epoch=epoch + 1,
                epochs=self._epochs,
                loss=values["loss"],
                val_loss=values.get("val_loss"),
                metric=self._metric,
                score=values.get("score"),
                val_score=values.get("val_score"),
                best=better,
            )
        )
        return self.over

    def finish(self) -> State:
        """Put the best weights into the network, and mark the training as finished."""
        state = self.state
        if state is None:
            raise RecipeError("no epoch was trained", where="training")
        self._network.set_weights(self._best)
        if not state.stopped:
            state = self.state = msgspec.structs.replace(state, stopped=True)
            self._folder.save(self._models, state, self._best)
        return state


def put_averages(model: Any) -> list[npt.NDArray[Any]]:
    """Where the optimizer averages weights, put the averages into the model.

    `keras.callbacks.SwapEMAWeights` does the same, and swaps back before they could be kept.

    Args:
        model: Compiled, its optimizer built.

    Returns:
        What `put_back` takes; empty where nothing is averaged.
    """
    if not model.optimizer.use_ema:
        return []
    variables = model.trainable_variables
    aside = [keras.ops.convert_to_numpy(v) for v in variables]
    model.optimizer.finalize_variable_values(variables)
    return aside


def put_back(model: Any, aside: list[npt.NDArray[Any]]) -> None:
    """Undo `put_averages`."""
    if aside:
        for variable, value in zip(model.trainable_variables, aside, strict=True):
            variable.assign(value)


@contextmanager
def averages(model: Any) -> Iterator[None]:
    """While it lasts, the model has the averages of its weights, where its optimizer keeps them."""
    aside = put_averages(model)
    try:
        yield
    finally:
        put_back(model, aside)


class KeeperCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no stubs
    """Ties Keras's loop to the keeper. Where the optimizer averages weights, validation sees the averages.

    Args:
        keeper: Of this training.
        batches: Told which epoch it is.
    """

    def __init__(self, keeper: Keeper, batches: TrainingBatches) -> None:
        super().__init__()
        self._keeper, self._batches, self._epoch = keeper, batches, 0
        self._aside: list[npt.NDArray[Any]] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Before the epoch's iterator is made: batches depend on it."""
        self._epoch = self._batches.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """For the progress bar."""
        self._keeper.progress.step(self._epoch, batch)

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Validate what will be kept."""
        self._aside = put_averages(self.model)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keep, then go on from where the optimizer was."""
        if not self._aside:  # nothing was validated
            self._aside = put_averages(self.model)
        weights = self.model.network.get_weights()
        put_back(self.model, self._aside)
        self._aside = []
        if self._keeper.epoch_end(epoch, logs or {}, weights):
            self.model.stop_training = True
