"""A network with an objective, in a form that `fit` of every Keras backend trains."""

from __future__ import annotations

from typing import Any

from bedside.export.backend import keras
from bedside.export.training.objectives import Objective


class Learner(keras.Model):  # type: ignore[misc]  # Keras has no stubs
    """Wraps a functional network; its weights are the network's.

    Args:
        network: Takes frames, gives a tensor or a list of them.
        objective: What it learns.
    """

    def __init__(self, network: Any, objective: Objective) -> None:
        super().__init__(name="learner")
        self.network = network
        self._objective = objective
        self._loss = keras.metrics.Mean(name="loss")
        self._score = keras.metrics.Mean(name="score")

    @property
    def metrics(self) -> list[Any]:
        """What `fit` resets at every epoch."""
        return [self._loss, self._score]

    def call(self, pixels: Any, training: bool = False) -> list[Any]:
        """Outputs of the network, always a list."""
        found = self.network(pixels, training=training)
        parts = found if isinstance(found, list | tuple) else [found]
        # Losses are computed in float32, whatever the network computes in.
        return [keras.ops.cast(part, "float32") for part in parts]

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The objective's loss, and what the network itself adds (regularization)."""
        loss = self.whole_loss(y, y_pred)
        self._loss.update_state(loss, sample_weight=keras.ops.shape(x)[0])
        return loss

    def whole_loss(self, y: Any, y_pred: Any) -> Any:
        """The objective's loss, and what the network itself adds, without taking it down."""
        loss = self._objective.loss(y, y_pred)
        for extra in self.network.losses:
            loss = loss + keras.ops.cast(extra, loss.dtype)
        return loss

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Loss and score, weighted by the size of batches."""
        ops = keras.ops
        score = self._objective.score(y, [ops.stop_gradient(o) for o in y_pred])
        self._score.update_state(score, sample_weight=ops.shape(x)[0])
        return dict(self.get_metrics_result())
