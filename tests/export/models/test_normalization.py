"""The fused batch norm is Keras' own, only faster."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bedside.export.backend import keras
from bedside.export.models.normalization import BatchNormalization

X = np.random.default_rng(1).normal(3.0, 2.0, (4, 6, 5, 3)).astype(np.float32)


def network(layer: Any, shape: tuple[int, ...]) -> Any:
    inputs = keras.Input(shape[1:])
    model = keras.Sequential([inputs, layer, keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=False)
    return model


@pytest.mark.parametrize("shape", [(4, 6, 5, 3), (4, 90)])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.5, "epsilon": 0.1}, {"scale": False}])
def test_training_moves_every_weight_as_keras_does(
    shape: tuple[int, ...], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fused = []
    asked = BatchNormalization._is_fused
    monkeypatch.setattr(
        BatchNormalization, "_is_fused", lambda self, *a: fused.append(asked(self, *a)) or fused[-1]
    )
    ours, keras_own = (
        network(c(**options), shape) for c in (BatchNormalization, keras.layers.BatchNormalization)
    )
    x = X.reshape(shape)
    y = np.random.default_rng(2).normal(size=(*shape[:-1], 1)).astype(np.float32)
    for _ in range(3):
        losses = [float(np.ravel(m.train_on_batch(x, y))[0]) for m in (ours, keras_own)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for a, b in zip(ours.get_weights(), keras_own.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(
        ours.predict(x, verbose=0), keras_own.predict(x, verbose=0), rtol=1e-3, atol=1e-4
    )
    assert any(fused) == (len(shape) == 4 and options != {"scale": False}), (
        "the kernel is used where it can be"
    )


def test_a_frozen_layer_and_inference_use_the_moving_statistics() -> None:
    layer = BatchNormalization()
    layer.trainable = False
    still = np.asarray(layer(X, training=True))
    np.testing.assert_allclose(still, X / np.sqrt(1.001), rtol=1e-5)


def test_it_can_be_saved_and_loaded(tmp_path: Any) -> None:
    model = network(BatchNormalization(momentum=0.7, name="norm"), X.shape)
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    assert type(again.get_layer("norm")) is BatchNormalization
    assert again.get_layer("norm").momentum == 0.7
