from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bedside.export import bundling, pipeline
from bedside.export.adopt.preprocessing import named
from bedside.export.backend import keras
from bedside.export.data.types import DataSet
from bedside.export.gates.crosscheck import disagreements
from bedside.export.models.building import build_network
from bedside.export.pipeline import Plan, export_model, export_recipe
from bedside.export.recipe import GateRecipe, InputRecipe, QuantizationRecipe, Recipe
from bedside.export.recipe_loading import parse_recipe
from bedside.export.reports.outcome import EngineCheck
from bedside.export.steps import Silent
from bedside.runtime import engines
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.clock import ManualClock
from bedside.runtime.errors import GateError, RecipeError, SinkError, UsageError

FLOAT_ONLY = QuantizationRecipe(variants=("tflite-fp32",))


def plan(**changes: Any) -> Plan:
    return msgspec.structs.replace(Plan(name="ramps", quantization=FLOAT_ONLY), **changes)


def test_the_bundle_holds_what_was_found_out(exported: Any) -> None:
    with open_bundle(exported.path) as bundle:
        bundle.verify_all()
        manifest = bundle.manifest
        assert bundle.digest == exported.digest
        card = bundle.read(manifest.card.file).decode()
    assert (manifest.name, manifest.task, manifest.licence) == ("ramps", "classification", "Apache-2.0")
    assert [v.id for v in manifest.main.shipped] == [v.id for v in exported.outcome.variants]
    assert manifest.main.default == "tflite-int8"
    assert manifest.main.decode.labels == exported.outcome.labels
    assert manifest.provenance.calibration_samples == 180
    assert [(s.name, s.samples) for s in manifest.provenance.splits] == [
        ("train", 180),
        ("validation", 30),
        ("calibration", 60),
        ("holdout", 90),
    ]
    assert {v.inputs[0].dtype for v in manifest.main.variants} == {"uint8"}
    assert all(v.evaluation is not None and v.evaluation.samples == 90 for v in manifest.main.variants)
    assert "Research use only" in card


def test_every_engine_of_this_host_agrees(exported: Any) -> None:
    checked = {(c.variant, c.engine.split()[0], c.threads) for c in exported.engines}
    available = [s for s in engines.statuses() if s.available]
    assert checked == {
        (v.id, s.id, threads)
        for v in exported.outcome.variants
        for s in available
        if v.format in s.formats
        for threads in (1, 2)
    }
    assert [c for c in exported.engines if not c.passed] == []


def test_disagreements_are_told() -> None:
    checks = (
        EngineCheck("a", "one 1", 1, 0.01, 0.05, 0.1, 40),
        EngineCheck("b", "one 1", 2, 0.06, 0.05, 0.1, 40),
        EngineCheck("c", "two 1", 1, None, 0.05, None, 0, "no kernel"),
    )
    notes = disagreements(checks)
    assert len(notes) == 2
    assert notes[0].startswith("b on one 1 with 2 thread(s) differs from its golden answers by 0.06")
    assert "no kernel" in notes[1]


def test_the_same_export_gives_the_same_bundle(
    learned: Any, data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = plan(quantization=QuantizationRecipe(variants=("tflite-fp32", "onnx-fp32")))
    results = []
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    for name in ("a.bedside", "b.bedside"):
        results.append(
            export_model(learned, data, tmp_path / name, wanted, clock=ManualClock(len(results) + 1))
        )
    assert results[0].digest == results[1].digest
    assert results[0].path.read_bytes() == results[1].path.read_bytes()
    assert results[0].outcome.created_utc == "2023-11-14T22:13:20Z"


@pytest.fixture(scope="module")
def fragile(learned: Any) -> Any:
    """`learned`, with one huge unit in its hidden layer that the output ignores.

    In float it changes nothing. Quantized per tensor, its range leaves no codes for the units that matter.
    """
    layers = keras.layers
    pixels = keras.Input((16, 16, 3))
    body = keras.Model(learned.inputs, learned.layers[-2].output)
    hidden = body(pixels)
    huge = layers.GlobalAveragePooling2D()(
        layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones")(pixels)
    )
    together = layers.Concatenate()([hidden, huge * 20.0])
    last = layers.Dense(3, activation="softmax")
    model = keras.Model(pixels, last(together))
    kernel, bias = learned.layers[-1].get_weights()
    last.set_weights([np.concatenate([kernel, np.zeros((1, 3), np.float32)]), bias])
    return model


def test_variants_that_collapse_are_refused_and_left_out(fragile: Any, data: DataSet, tmp_path: Path) -> None:
    wanted = plan(
        quantization=QuantizationRecipe(
            variants=("tflite-fp32", "tflite-int8", "onnx-int8"), default="tflite-int8"
        ),
        gate=GateRecipe(rescue=False),
    )
    result = export_model(fragile, data, tmp_path / "x.bedside", wanted, preprocessing=named("none"))
    verdicts = {v.id: v for v in result.outcome.variants}
    assert verdicts["tflite-fp32"].refused is None
    for variant in ("tflite-int8", "onnx-int8"):
        assert "accuracy" in (verdicts[variant].refused or "")
        assert verdicts[variant].measured is not None
        assert verdicts[variant].measured.marks.value < 0.7
    with open_bundle(result.path) as bundle:
        main = bundle.manifest.main
    assert [v.id for v in main.shipped] == ["tflite-fp32"]
    assert main.default == "tflite-fp32"
    for variant in ("tflite-int8", "onnx-int8"):
        record = main.variant(variant)
        assert record is not None
        assert record.file is None
        assert record.refused == verdicts[variant].refused
    assert any("tflite-int8 was to be the default" in note for note in result.outcome.notes)


def test_nothing_passes_and_nothing_is_written(fragile: Any, data: DataSet, tmp_path: Path) -> None:
    wanted = plan(quantization=QuantizationRecipe(variants=("tflite-int8",)), gate=GateRecipe(rescue=False))
    with pytest.raises(GateError, match="no variant may be shipped: tflite-int8: accuracy"):
        export_model(fragile, data, tmp_path / "x.bedside", wanted, preprocessing=named("none"))
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_learned_nothing_is_not_converted(data: DataSet, tmp_path: Path) -> None:
    layers = keras.layers
    blank = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Flatten(),
            layers.Dense(3, activation="softmax", kernel_initializer="zeros"),
        ]
    )
    with pytest.raises(GateError, match=r"33\.33% on 90 holdout frames.*ignores the frame reaches 33\.33%"):
        export_model(blank, data, tmp_path / "x.bedside", plan(), preprocessing=named("unit"))
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_preprocessing_shows_before_anything_is_converted(
    learned: Any, data: DataSet, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="normalize twice"):
        export_model(learned, data, tmp_path / "x.bedside", plan(), preprocessing=named("symmetric"))


def test_labels_have_to_fit(learned: Any, data: DataSet, tmp_path: Path) -> None:
    two = msgspec.structs.replace(data, labels=("flat", "ramp"))
    with pytest.raises(UsageError, match="gives 3 scores, the data has 2 classes: flat, ramp"):
        export_model(learned, two, tmp_path / "x.bedside", plan())


@pytest.mark.parametrize(("task", "what"), [("segmentation", "masks"), ("translation", "pictures")])
def test_data_has_to_teach_the_task(data: DataSet, tmp_path: Path, task: Any, what: str) -> None:
    pixels = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(3, 1, activation="softmax" if task == "segmentation" else "sigmoid")(pixels)
    with pytest.raises(RecipeError, match=f"the data has no {what}"):
        export_model(
            keras.Model(pixels, x),
            data,
            tmp_path / "x.bedside",
            plan(),
            task=task,
            preprocessing=named("unit"),
        )


def test_colour_has_to_fit(learned: Any, data: DataSet, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="3 channels, 1 were asked for"):
        export_model(learned, data, tmp_path / "x.bedside", plan(), input=InputRecipe(color="gray"))


class Interrupted(Silent):
    """Ctrl-C when a step begins, or when it ends."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[int, int], None]]:
        if name == self.name:
            raise KeyboardInterrupt
        yield lambda done, total: None


@pytest.mark.parametrize(
    "step", ["read holdout", "convert tflite-fp32", "check every engine", "write bundle and report"]
)
def test_ctrl_c_leaves_nothing(learned: Any, data: DataSet, tmp_path: Path, step: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        export_model(learned, data, tmp_path / "x.bedside", plan(), steps=Interrupted(step))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SinkError("disk full")])
def test_no_report_without_its_bundle_and_the_old_ones_stay(
    learned: Any,
    data: DataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    old = {name: f"old {name}".encode() for name in ("x.bedside", "x.report.html", "x.report.json")}
    for name, content in old.items():
        (tmp_path / name).write_bytes(content)

    def fail(*args: Any) -> str:
        raise error

    monkeypatch.setattr(bundling, "write_bundle", fail)
    with pytest.raises(type(error)):
        export_model(learned, data, tmp_path / "x.bedside", plan())
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == old


def test_an_output_that_cannot_be_written_costs_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "load_data", lambda *a, **k: pytest.fail("data was read"))
    (tmp_path / "x.report.html").mkdir()
    with pytest.raises(SinkError, match="no regular file"):
        export_recipe(recipe(tmp_path), tmp_path / "x.bedside")


def recipe(folder: Path, **training: Any) -> Recipe:
    return parse_recipe(
        {
            "name": "ramps-cnn",
            "model": {
                "architecture": "cnn",
                "width": 24,
                "height": 24,
                "width_multiplier": 0.125,
                "dense": 16,
            },
            "training": {"epochs": 14, "batch": 16, "learning_rate": 4e-3, **training},
            "quantization": {"variants": ["tflite-fp32", "tflite-int8"], "calibration_samples": 40},
            "data": {"kind": "medmnist", "path": "ramps.npz", "labels": ["flat", "down", "right"]},
        }
    )


@pytest.fixture
def ramps(tmp_path: Path, data: DataSet) -> Path:
    """The three-class problem in MedMNIST's layout."""
    arrays = {}
    for name, split in (("train", data.train), ("val", data.validation), ("test", data.holdout)):
        arrays[f"{name}_images"] = np.stack([item.load()[0] for item in split.items])
        arrays[f"{name}_labels"] = np.array([[item.label] for item in split.items], np.uint8)
    np.savez(tmp_path / "ramps.npz", **arrays)
    return tmp_path


def test_a_recipe_becomes_a_bundle(ramps: Path) -> None:
    result = export_recipe(
        recipe(ramps), ramps / "out" / "x.bedside", data_root=ramps, recipe_sha256="ab" * 32
    )
    assert {p.name for p in (ramps / "out").iterdir()} == {"x.bedside", "x.report.html", "x.report.json"}
    assert result is not None
    assert result.outcome.training is not None
    assert len(result.outcome.training.history["val_loss"]) <= 14
    assert result.outcome.origin == "trained by its recipe"
    assert any("40 training frames" in note for note in result.outcome.notes)
    with open_bundle(result.path) as bundle:
        manifest = bundle.manifest
        card = bundle.read(manifest.card.file).decode()
    assert manifest.provenance.recipe_sha256 == "ab" * 32
    assert manifest.main.input == recipe(ramps).input_spec()
    assert "which nothing of these saw before" in card
    assert "Loss" in result.report.read_text()


def test_an_interrupted_export_keeps_its_training(ramps: Path) -> None:
    quick = recipe(ramps, epochs=2)
    loose = msgspec.structs.replace(quick, gate=GateRecipe(relative=0, worst_class=0, min_agreement=0))
    with pytest.raises(KeyboardInterrupt):
        export_recipe(loose, ramps / "x.bedside", data_root=ramps, steps=Interrupted("read holdout"))
    assert {p.name for p in ramps.iterdir()} == {"ramps.npz", "x.work"}
    assert any((ramps / "x.work").rglob("*"))


def test_weights_replace_the_training(ramps: Path) -> None:
    wanted = recipe(ramps)
    untrained = build_network(wanted, ("flat", "down", "right"))
    for name in ("w.weights.h5", "w.keras"):
        (untrained.save_weights if name.endswith("h5") else untrained.save)(ramps / name)
        with pytest.raises(GateError, match="on 90 holdout frames"):
            # Random weights are no better than guessing; a training would have been.
            export_recipe(wanted, ramps / "x.bedside", ramps / name, data_root=ramps)


def test_weights_that_do_not_fit(ramps: Path, learned: Any) -> None:
    learned.save_weights(ramps / "other.weights.h5")
    learned.save(ramps / "other.keras")
    for name, words in (
        ("other.weights.h5", "does not fit"),
        ("other.keras", "does not fit"),
        ("absent.weights.h5", "no such file"),
        ("w.h5", "neither .weights.h5 nor .keras"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            export_recipe(recipe(ramps), ramps / "x.bedside", ramps / name, data_root=ramps)
        assert "\n" not in str(caught.value)
    assert not (ramps / "x.bedside").exists()


def test_golden_frames_from_the_data_are_asked_for(learned: Any, data: DataSet, tmp_path: Path) -> None:
    result = export_model(learned, data, tmp_path / "x.bedside", plan(golden_from_data=2))
    own = {item.load()[0].tobytes() for item in data.holdout.items}
    with open_bundle(result.path) as bundle:
        frames = [bundle.array(f.frame) for f in bundle.manifest.main.golden.frames]
    assert sum(frame.tobytes() in own for frame in frames) == 2
