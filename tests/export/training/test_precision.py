"""Mixed precision in training, float32 in what leaves it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bedside.export.backend import keras
from bedside.export.data.types import DataSet
from bedside.export.steps import Silent
from bedside.export.training import run
from bedside.export.training.precision import computing_in, policy_of


def test_a_network_trained_in_bfloat16_leaves_in_float32(
    tmp_path: Path, make_recipe: Any, shades: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = run.fit

    def spied(network: Any, *rest: Any) -> Any:
        seen.append(network)
        return real(network, *rest)

    monkeypatch.setattr(run, "policy_of", lambda settings: "mixed_bfloat16")
    monkeypatch.setattr(run, "fit", spied)
    result = run.train(make_recipe(), shades, tmp_path, Silent())
    (trained,) = seen
    assert {layer.compute_dtype for layer in trained.layers if layer.weights} >= {"bfloat16"}
    assert {layer.compute_dtype for layer in result.model.layers} == {"float32"}
    for mixed, plain in zip(trained.get_weights(), result.model.get_weights(), strict=True):
        assert plain.dtype == np.float32
        assert np.array_equal(mixed, plain)
    assert result.history["val_accuracy"][-1] == 1.0
    assert any("mixed bfloat16; what is exported is float32" in note for note in result.notes)
    assert keras.config.dtype_policy().name == "float32", "and nothing of it is left behind"


def test_only_accelerators_get_it(make_recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def devices(kind: str) -> list[str]:
        return ["gpu:0"] if kind == "gpu" else []

    monkeypatch.setattr(keras.distribution, "list_devices", lambda kind: [])
    assert policy_of(make_recipe().training) == "float32"
    monkeypatch.setattr(keras.distribution, "list_devices", devices)
    assert policy_of(make_recipe().training) == "mixed_bfloat16"
    assert policy_of(make_recipe(mixed_precision="off").training) == "float32"


def test_the_policy_is_put_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), computing_in("mixed_bfloat16"):
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        raise ZeroDivisionError
    assert keras.config.dtype_policy().name == "float32"
