import json
import pickle
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bedside.export.adopt.foreign import load_keras
from bedside.export.backend import keras
from bedside.runtime.errors import UsageError

L = keras.layers


def small(*layers: Any) -> Any:
    return keras.Sequential([keras.Input((6, 6, 3)), *layers, L.Flatten(), L.Dense(2, activation="softmax")])


def saved(model: Any, path: Path) -> Path:
    model.save(path)
    return path


def message(path: Path, modules: tuple[str, ...] = ()) -> str:
    with pytest.raises(UsageError) as caught:
        load_keras(path, modules)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith((str(path), "--import"))
    return text


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    model = small(L.Rescaling(1 / 255))
    again = load_keras(saved(model, tmp_path / "m.keras"))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3)).astype(np.float32)
    assert np.array_equal(
        keras.ops.convert_to_numpy(again(pixels)), keras.ops.convert_to_numpy(model(pixels))
    )


def test_mixed_precision_is_loaded_as_float32(tmp_path: Path) -> None:
    path = saved(small(L.Conv2D(2, 3, dtype="mixed_float16")), tmp_path / "m.keras")
    assert {layer.compute_dtype for layer in load_keras(path).layers} == {"float32"}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_quantized_by_keras(tmp_path: Path) -> None:
    model = small()
    model.quantize("int8")
    assert "quantized by Keras" in message(saved(model, tmp_path / "m.keras"))


def test_hdf5_under_any_name(tmp_path: Path) -> None:
    for name in ("m.h5", "m.keras"):
        h5py.File(tmp_path / name, "w").close()
        assert "HDF5" in message(tmp_path / name)


def test_pickles_and_checkpoints_are_not_opened(tmp_path: Path) -> None:
    for name in ("m.pkl", "m.keras", "m.pt"):
        (tmp_path / name).write_bytes(pickle.dumps({"weights": 1}))
        assert "can run code" in message(tmp_path / name)


def test_folders(tmp_path: Path) -> None:
    assert "is a folder" in message(tmp_path)
    small().export(tmp_path / "saved", verbose=False)
    assert "SavedModel" in message(tmp_path / "saved")


def test_other_files(tmp_path: Path) -> None:
    assert "no such file" in message(tmp_path / "absent.keras")
    converted = tmp_path / "m.tflite"
    converted.write_bytes(b"\x1c\x00\x00\x00TFL3")
    assert "bedside pack" in message(converted)
    text = tmp_path / "m.keras"
    text.write_text("weights")
    assert "no .keras archive" in message(text)
    plain = tmp_path / "plain.keras"
    with zipfile.ZipFile(plain, "w") as archive:
        archive.writestr("notes.txt", "no config here")
    assert "no .keras archive" in message(plain)


def test_truncated(tmp_path: Path) -> None:
    path = saved(small(), tmp_path / "m.keras")
    data = path.read_bytes()
    for keep in (len(data) // 2, len(data) - 1, 30, 0):
        path.write_bytes(data[:keep])
        message(path)


def test_lambda_is_refused_before_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(small(L.Lambda(lambda x: x / 255, name="scale")), tmp_path / "m.keras")
    monkeypatch.setattr(keras.saving, "load_model", lambda *a, **k: pytest.fail("Keras saw the file"))
    assert "Lambda layer 'scale'" in message(path)


def test_a_nested_lambda_is_refused(tmp_path: Path) -> None:
    inner = keras.Sequential([L.Lambda(lambda x: x / 255)])
    assert "Lambda" in message(saved(small(inner), tmp_path / "m.keras"))


@pytest.mark.parametrize(
    "entry",
    [
        {"module": "os", "class_name": "system", "config": "true", "registered_name": "system"},
        {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "function"},
        {
            "module": "keras.layers",
            "class_name": "TFSMLayer",
            "config": {"filepath": "/x"},
            "registered_name": None,
        },
        {"module": "keras_evil", "class_name": "Dense", "config": {}, "registered_name": None},
    ],
)
def test_foreign_classes_are_refused_before_they_are_looked_up(
    tmp_path: Path, entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(small(), tmp_path / "m.keras")
    evil = tmp_path / "evil.keras"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(evil, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "config.json":
                config = json.loads(data)
                config["config"]["layers"].insert(1, entry)
                data = json.dumps(config).encode()
            target.writestr(name, data)
    monkeypatch.setattr(keras.saving, "load_model", lambda *a, **k: pytest.fail("Keras saw the file"))
    message(evil)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module beside the model that registers its class, as people have them."""
    (tmp_path / "stranger_module.py").write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable(package='stranger')\n"
        "class Halve(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return x / 2\n"
        "@keras.saving.register_keras_serializable(package='stranger')\n"
        "def twice(x):\n"
        "    return 2 * keras.ops.relu(x)\n"
    )
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield "stranger_module"
    sys.path[:] = path
    sys.modules.pop("stranger_module", None)
    for name in ("stranger>Halve", "stranger>twice"):
        keras.saving.get_custom_objects().pop(name, None)


def test_a_custom_class_needs_its_module(tmp_path: Path, module: str) -> None:
    sys.path.insert(0, str(tmp_path))
    import stranger_module  # type: ignore[import-not-found]

    for name, layers in (
        ("stranger>Halve", (stranger_module.Halve(),)),
        ("stranger>twice", (L.Conv2D(2, 3, activation=stranger_module.twice),)),
    ):
        path = saved(small(*layers), tmp_path / "m.keras")
        kept = keras.saving.get_custom_objects().pop(name)
        refused = message(path)
        assert name in refused
        assert "--import" in refused
        keras.saving.get_custom_objects()[name] = kept
        assert load_keras(path, [module]).layers
    keras.saving.get_custom_objects().pop("stranger>Halve")
    path = saved(small(stranger_module.Halve()), tmp_path / "m.keras")


TASKS = ("classification", "segmentation", "detection", "reconstruction", "translation", "generation")


def outputs_of(task: str, front: Any = None) -> Any:
    """A small model of every task, with something put in front of it."""
    pixels = keras.Input((7,) if task == "generation" else (8, 8, 3))
    x = pixels if front is None else front(pixels)
    if task == "generation":
        x = L.Reshape((8, 8, 3))(L.Dense(192)(x))
    if task == "classification":
        return keras.Model(pixels, L.Dense(2, activation="softmax")(L.Flatten()(x)))
    if task == "detection":
        heads = {"boxes": L.Conv2D(4, 4, 4, activation="relu")(x), "scores": L.Conv2D(2, 4, 4)(x)}
        return keras.Model(pixels, heads)
    return keras.Model(pixels, L.Conv2D(3, 3, padding="same", activation="tanh")(x))


@keras.saving.register_keras_serializable(package="bedside_tests")
class Twice(L.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return 2 * x


@pytest.mark.parametrize("task", TASKS)
def test_the_same_is_refused_for_every_task(task: str, tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    assert load_keras(saved(outputs_of(task), path)).outputs
    assert "Lambda layer 'halve'" in message(
        saved(outputs_of(task, L.Lambda(lambda x: x / 2, name="halve")), path)
    )
    saved(outputs_of(task, Twice()), path)
    kept = keras.saving.get_custom_objects().pop("bedside_tests>Twice")
    refused = message(path)
    keras.saving.get_custom_objects()["bedside_tests>Twice"] = kept
    assert "the custom class bedside_tests>Twice" in refused.replace("'", "")
    assert "--import" in refused
    old = tmp_path / "m.h5"
    outputs_of(task).save(old)
    assert "HDF5" in message(old)


def test_a_module_that_cannot_be_imported(tmp_path: Path) -> None:
    path = saved(small(), tmp_path / "m.keras")
    assert "no_such_module" in message(path, ("no_such_module",))
