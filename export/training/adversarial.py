"""Two networks trained against each other, by `train_on_batch` alone, so on every Keras backend."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bedside.export.backend import keras
from bedside.export.convert.quiet import quiet
from bedside.export.recipe import Recipe
from bedside.export.training.checkpoint import CheckpointFolder
from bedside.export.training.checks import memory_errors
from bedside.export.training.keeper import Keeper, averages
from bedside.export.training.logs import logged
from bedside.export.training.progress import TrainingProgress
from bedside.export.training.result import TrainingResult

#: Learning rate and first momentum of Adam (Radford et al., 2016, section 4; Isola et al., 2017, section 3.3).
RATE, BETA = 2e-4, 0.5

Arrays = npt.NDArray[Any]


class Adversaries:
    """A generator and a discriminator, with the two models that train them.

    Only one of the two learns at a time: `to_fool` is a `Fooling`, whose discriminator is fixed.

    Args:
        generator: A network.
        discriminator: A network.
        to_judge: Compiled: what the discriminator is trained as.
        to_fool: Compiled: a `Fooling`.
    """

    def __init__(self, generator: Any, discriminator: Any, to_judge: Any, to_fool: Any) -> None:
        self.generator, self.discriminator = generator, discriminator
        self._to_judge, self._to_fool = to_judge, to_fool
        self._traced: set[str] = set()

    def averaged(self) -> AbstractContextManager[None]:
        """While it lasts, the generator has the averages of its weights, where its optimizer keeps them."""
        return averages(self._to_fool)

    @property
    def models(self) -> dict[str, Any]:
        """For checkpoints."""
        return {"to_judge": self._to_judge, "to_fool": self._to_fool}

    def judge(self, x: Any, y: Any) -> float:
        """One step of the discriminator; its loss."""
        return self._step(self._to_judge, x, y)

    def fool(self, x: Any, y: Any) -> float:
        """One step of the generator; its loss."""
        return self._step(self._to_fool, x, y)

    def _step(self, model: Any, x: Any, y: Any) -> float:
        # TensorFlow's graph optimizer gives up on one of its own rewrites, says so on stderr, and goes on.
        with nullcontext() if model.name in self._traced else quiet():
            loss = model.train_on_batch(x, y)
        self._traced.add(model.name)
        return _first(loss)


class Fooling(keras.Model):  # type: ignore[misc]  # Keras has no stubs
    """The generator with the discriminator behind it, of which the generator alone learns.

    `discriminator.trainable = False`, the usual way, also makes its batch norms use their moving statistics, which
    early on have nothing to do with its batches: the generator would learn against another discriminator than
    the one that is trained (Isola et al., 2017, use batch statistics throughout).

    Args:
        inputs: Symbolic.
        outputs: Symbolic.
        generator: Whose weights learn.
    """

    def __init__(self, inputs: Any, outputs: Any, generator: Any) -> None:
        super().__init__(inputs, outputs, name="to_fool")
        self.generator = generator

    @property
    def trainable_weights(self) -> list[Any]:
        """The generator's."""
        return list(self.generator.trainable_weights)

    @property
    def trainable_variables(self) -> list[Any]:
        """The generator's."""
        return list(self.generator.trainable_variables)

    @property
    def non_trainable_variables(self) -> list[Any]:
        """All others, those of the discriminator included."""
        learning = {id(v) for v in self.generator.trainable_variables}
        return [v for v in self.variables if id(v) not in learning]


def compiled(model: Any, loss: Any, rate: float, *, average: float | None = None, **kwargs: Any) -> Any:
    """Compile one side with Adam as Radford et al., 2016, set it, and make the optimizer's variables.

    Args:
        model: Of the discriminator, or a `Fooling`.
        loss: Of its outputs.
        rate: Learning rate.
        average: Momentum of the average of the weights; None: none.
        **kwargs: For `compile`.
    """
    averaged = {} if average is None else {"use_ema": True, "ema_momentum": average}
    model.compile(keras.optimizers.Adam(rate, beta_1=BETA, **averaged), loss, jit_compile=False, **kwargs)
    model.optimizer.build(model.trainable_variables)
    return model


#: Steps of one epoch: yields `(loss of the generator, loss of the discriminator)` per batch.
Epoch = Callable[[int], Iterator[tuple[float, float]]]


def train_adversaries(
    pair: Adversaries,
    epoch_steps: Epoch,
    steps: int,
    validate: Callable[[], float],
    recipe: Recipe,
    folder: Path,
    shown: TrainingProgress,
    notes: tuple[str, ...],
    metric: str,
    seconds_now: Callable[[], float] = time.monotonic,
) -> TrainingResult:
    """Run the epochs; the generator's weights of the best epoch are kept.

    Args:
        pair: The two.
        epoch_steps: Trains one epoch.
        steps: Batches per epoch.
        validate: How far the generator's pictures are from what they should be; the lowest is best.
        recipe: `[training]` counts.
        folder: Of the state.
        shown: Told of every batch and epoch.
        notes: Handed on.
        metric: Name of what `validate` gives.
        seconds_now: Monotonic time in seconds.

    Raises:
        RecipeError: The loss is not finite, or memory is short.
        SinkError: The state cannot be written or read.
    """
    settings = recipe.training
    shown = logged(shown, folder, wanted=settings.tensorboard)
    keeper = Keeper(
        pair.models, pair.generator, CheckpointFolder(folder), shown, settings, seconds_now, metric
    )
    resumed = keeper.resume()
    shown.begin(settings.epochs, steps, resumed or 0)
    try:
        with memory_errors():
            for epoch in range(resumed or 0, settings.epochs):
                if keeper.over:
                    break
                losses = []
                for step, pair_of_losses in enumerate(epoch_steps(epoch)):
                    losses.append(pair_of_losses)
                    shown.step(epoch, step)
                loss, judged = (float(v) for v in np.mean(losses, axis=0))
                with pair.averaged():
                    distance, weights = validate(), pair.generator.get_weights()
                logs = {"loss": loss, "discriminator": judged, "val_loss": distance, "val_score": distance}
                keeper.epoch_end(epoch, logs, weights)
    finally:
        shown.end()
    state = keeper.finish()
    return TrainingResult(pair.generator, state.history, state.best_epoch + 1, resumed, state.seconds, notes)


def _first(loss: Any) -> float:
    return float(np.asarray(loss[0] if isinstance(loss, list | tuple) else loss))
