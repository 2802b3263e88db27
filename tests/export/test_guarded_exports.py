"""An autoencoder's bundle becomes the guard of another export: what is foreign is withheld on the device."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from bedside.devices.cli.main import main
from bedside.export import pipeline
from bedside.export.backend import keras
from bedside.export.data.recipe import SyntheticData
from bedside.export.data.types import DataSet
from bedside.export.pipeline import Plan, export_model, export_recipe
from bedside.export.recipe import GuardRecipe, QuantizationRecipe, Recipe, TrustRecipe
from bedside.runtime.bundle.decode import ReconstructionDecode
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.errors import RecipeError

L = keras.layers
SIDE = 16
INT8 = QuantizationRecipe(variants=("tflite-fp32", "tflite-int8"))
FLOAT = QuantizationRecipe(variants=("tflite-fp32",))
#: Of 64 held-out frames.
FALSE_ALARM = 0.05


def known(count: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Ramps to the right or downwards, of any slope and level."""
    rng = np.random.default_rng(seed)
    y = (np.arange(count) % 2).astype(np.int64)
    slope = np.linspace(-1, 1, SIDE)[None] * rng.uniform(30, 60, (count, 1))
    right = np.broadcast_to(slope[:, None, :], (count, SIDE, SIDE))
    x = np.where(y[:, None, None] == 1, right.transpose(0, 2, 1), right) + rng.uniform(
        110, 145, (count, 1, 1)
    )
    noisy = x[..., None] + rng.normal(0, 3, (count, SIDE, SIDE, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8), y


@pytest.fixture(scope="module")
def frames(make_data: Callable[..., DataSet]) -> DataSet:
    x, y = known(256, 1)
    return make_data(("right", "down"), x, y)


@pytest.fixture(scope="module")
def autoencoder(frames: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the task reconstruction, with its code."""
    keras.utils.set_random_seed(2)
    pixels = keras.Input((SIDE, SIDE, 3))
    code = L.Dense(8, name="code")(L.Flatten()(L.Rescaling(1 / 255)(pixels)))
    picture = L.Reshape((SIDE, SIDE, 3))(L.Dense(SIDE * SIDE * 3, activation="sigmoid")(code))
    model = keras.Model(pixels, [picture, code])
    x = np.stack([item.load()[0] for item in frames.train.items]).astype(np.float32)
    model.compile(keras.optimizers.Adam(5e-3), ["mse", None])
    model.fit(x, [x / 255, None], batch_size=8, epochs=25, verbose=0)
    out = tmp_path_factory.mktemp("autoencoder") / "ramps-autoencoder.bedside"
    plan = Plan(name="ramps-autoencoder", quantization=INT8, trust=TrustRecipe(false_alarm=FALSE_ALARM))
    export_model(model, frames, out, plan, task="reconstruction")
    return out


def classifier(frames: DataSet) -> Any:
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            L.Rescaling(1 / 127.5, offset=-1),
            L.Conv2D(8, 5, strides=4, activation="relu"),
            L.Flatten(),
            L.Dense(2, activation="softmax"),
        ]
    )
    x = np.stack([item.load()[0] for item in frames.train.items]).astype(np.float32)
    y = np.array([item.label for item in frames.train.items])
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=8, epochs=8, verbose=0)
    return model


@pytest.fixture(scope="module")
def guarded(autoencoder: Path, frames: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("guarded") / "ramps.bedside"
    guard = GuardRecipe(bundle=autoencoder.name, variant="tflite-int8", false_alarm=FALSE_ALARM)
    plan = Plan(name="ramps", quantization=FLOAT, guard=guard, folders=(autoencoder.parent,))
    return export_model(classifier(frames), frames, out, plan)


def outcomes(bundle: Path, pictures: npt.NDArray[np.uint8], folder: Path) -> list[tuple[str, str | None]]:
    """Outcome and reason of every picture, by `bedside run`."""
    (folder / "seen").mkdir()
    for i, picture in enumerate(pictures):
        cv2.imwrite(str(folder / "seen" / f"{i:03d}.png"), picture[..., ::-1])
    results = folder / "r.jsonl"
    words = ["run", str(bundle), "--source", str(folder / "seen"), "--policy", "all"]
    assert main([*words, "--sink", f"jsonl:{results}"]) == 0
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    return [(line["outcome"], line.get("reason")) for line in lines if "outcome" in line]


def test_new_frames_of_the_kind_are_answered(guarded: Any, tmp_path: Path) -> None:
    found = outcomes(guarded.path, known(60, 77)[0], tmp_path)
    assert len(found) == 60
    assert set(found) <= {("ok", None), ("withheld", "out-of-distribution")}
    assert found.count(("ok", None)) >= 50, (
        "5 % of false alarms are stated; binomial, more than 10 of 60 is 1e-4"
    )


@pytest.mark.parametrize("what", ["noise", "black", "checks"])
def test_foreign_frames_are_withheld(guarded: Any, tmp_path: Path, what: str) -> None:
    pictures = {
        "noise": np.random.default_rng(5).integers(0, 256, (10, SIDE, SIDE, 3), np.uint8),
        "black": np.zeros((10, SIDE, SIDE, 3), np.uint8),
        "checks": np.full((10, SIDE, SIDE, 3), 255, np.uint8)
        * (np.indices((SIDE, SIDE)).sum(axis=0) // 4 % 2).astype(np.uint8)[None, :, :, None],
    }[what]
    assert outcomes(guarded.path, pictures, tmp_path) == [("withheld", "out-of-distribution")] * 10


def test_the_bundle_says_whose_guard_it_is_and_what_it_costs(guarded: Any, autoencoder: Path) -> None:
    with open_bundle(guarded.path) as bundle, open_bundle(autoencoder) as source:
        bundle.verify_all()
        guard, own = bundle.manifest.models["guard"], source.manifest.main
        assert [v.id for v in guard.shipped] == ["tflite-int8"]
        assert isinstance(guard.decode, ReconstructionDecode)
        assert isinstance(own.decode, ReconstructionDecode)
        assert guard.decode.out is not None
        assert own.decode.out is not None
        assert guard.decode.out.samples == 64
        assert guard.decode.out.false_alarm <= FALSE_ALARM
        assert guard.decode.out.distance_scale == own.decode.out.distance_scale
    outcome = guarded.outcome
    assert outcome.guard_bundle == "ramps-autoencoder 1.0.0"
    assert len(outcome.guard_scores) == 64
    assert np.mean(np.array(outcome.guard_scores) > outcome.guard.out.threshold) <= FALSE_ALARM
    assert any(note.startswith("guard: ramps-autoencoder 1.0.0; withholds 5.00%") for note in outcome.notes)
    assert not any("trained on another split" in note for note in outcome.notes)


def refused(frames: DataSet, folder: Path, guard: GuardRecipe) -> str:
    plan = Plan(name="ramps", quantization=FLOAT, guard=guard, folders=(folder,))
    with pytest.raises(RecipeError) as caught:
        export_model(classifier(frames), frames, folder / "never.bedside", plan)
    assert not (folder / "never.bedside").exists()
    return str(caught.value)


def test_a_guard_that_is_not_there_costs_no_training(
    autoencoder: Path, frames: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "adopt", lambda *a, **k: pytest.fail("the model was looked at"))
    monkeypatch.setattr(pipeline, "load_data", lambda *a, **k: pytest.fail("data was read"))
    guard = GuardRecipe(bundle="none.bedside")
    plan = Plan(name="ramps", guard=guard, folders=(tmp_path, autoencoder.parent))
    with pytest.raises(RecipeError, match="no such bundle: none"):
        export_model(None, frames, tmp_path / "x.bedside", plan)
    recipe = Recipe(name="ramps", data=SyntheticData(), guard=guard)
    with pytest.raises(RecipeError, match="no such bundle: none"):
        export_recipe(recipe, tmp_path / "x.bedside")


def test_what_is_no_guard(guarded: Any, autoencoder: Path, frames: DataSet) -> None:
    said = refused(frames, guarded.path.parent, GuardRecipe(bundle="ramps.bedside", variant="tflite-fp32"))
    assert "is a classification bundle, a guard is an autoencoder" in said
    said = refused(frames, autoencoder.parent, GuardRecipe(bundle=autoencoder.name, variant="onnx-int8"))
    assert "onnx-int8 is not in the bundle" in said
