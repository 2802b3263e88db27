"""A loop as small as a training loop can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from bedside.export.backend import keras


@pytest.fixture
def overfit() -> Callable[..., list[float]]:
    """Train on one batch: the losses of all steps. `match` stands between forward pass and loss."""

    def train(
        model: Any,
        pixels: npt.NDArray[np.float32],
        targets: dict[str, Any],
        loss: Callable[[Any, Any], Any],
        *,
        match: Callable[[Any, Any], Any] = lambda targets, outputs: targets,
        steps: int = 30,
        rate: float = 5e-3,
    ) -> list[float]:
        optimizer = keras.optimizers.Adam(rate)
        optimizer.build(model.trainable_variables)

        @tf.function(autograph=False)
        def step(x: Any, y: Any) -> Any:
            with tf.GradientTape() as tape:
                outputs = model(x, training=True)
                outputs = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
                value = loss(match(y, outputs), outputs)
            gradients = tape.gradient(value, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)
            return value

        y = {name: tf.convert_to_tensor(value) for name, value in targets.items()}
        return [float(step(tf.convert_to_tensor(pixels), y)) for _ in range(steps)]

    return train
