"""The recipe schema: strict, and it says what it wants."""

import hashlib
import math
from pathlib import Path
from typing import Any

import pytest

from bedside.export.data.recipe import CollectionData, SyntheticData
from bedside.export.models.recipe import Cnn
from bedside.export.recipe import VARIANTS, Recipe
from bedside.export.recipe_loading import (
    check_recipe,
    load_recipe,
    parse_recipe,
    recipe_root,
    shipped_recipes,
    with_epochs,
    with_variants,
)
from bedside.runtime.errors import RecipeError, UsageError

MINIMAL: dict[str, Any] = {"name": "x", "data": {"kind": "synthetic"}}


def collection(*items: dict[str, Any]) -> dict[str, Any]:
    return {"name": "x", "data": {"kind": "collection", "labels": ["a", "b"], "items": list(items)}}


def refusal(raw: dict[str, Any]) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(raw, where="mine.toml")
    error = caught.value
    assert error.exit_code == 2
    assert "\n" not in str(error)
    assert "mine.toml" in str(error)
    return error


def test_defaults_are_the_textbook_cnn():
    recipe = parse_recipe(MINIMAL)
    assert isinstance(recipe.data, SyntheticData)
    spec = recipe.input_spec()
    assert (spec.shape, spec.color, spec.dtype) == ((1, 224, 224, 3), "rgb", "uint8")
    assert recipe.training.optimizer == "adam"
    assert recipe.gate.relative == 0.99
    assert recipe.model == Cnn()
    assert recipe.quantization.variants == VARIANTS
    assert Recipe(name="x", data=SyntheticData()) == recipe


@pytest.mark.fault("P5")
@pytest.mark.parametrize(
    ("raw", "path", "hint"),
    [
        ({**MINIMAL, "trainig": {}}, "unknown key trainig", "did you mean training?"),
        ({**MINIMAL, "training": {"epohcs": 3}}, "unknown key training.epohcs", "did you mean epochs?"),
        (
            {**MINIMAL, "training": {"augment": {"rotat": 1}}},
            "unknown key training.augment.rotat",
            "did you mean rotate?",
        ),
        (
            {**MINIMAL, "data": {"kind": "medmnist", "samples": 3}},
            "unknown key data.samples",
            "[data] allows kind,",
        ),
        (collection({"label": "a", "glbo": "x"}), "unknown key data.items[0].glbo", "did you mean glob?"),
        (
            {**MINIMAL, "data": {"kind": "synthetic", "sources": [{"nam": "n"}]}},
            "unknown key data.sources[0].nam",
            "did you mean name?",
        ),
    ],
)
def test_unknown_keys_are_refused_with_path_and_spelling(raw, path, hint):
    error = refusal(raw)
    assert path in error.what
    assert hint in error.hint


@pytest.mark.fault("P5")
@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({}, "the key name is missing"),
        ({**MINIMAL, "training": {"epochs": "3"}}, "training.epochs: expected int, got text '3'"),
        ({**MINIMAL, "training": {"epochs": 0}}, "training.epochs: expected int >= 1, got 0"),
        ({**MINIMAL, "training": {"epochs": True}}, "training.epochs: expected int, got bool"),
        ({**MINIMAL, "training": 3}, "training: expected a table, got int 3"),
        ({**MINIMAL, "training": {"learning_rate": math.nan}}, "training.learning_rate"),
        ({**MINIMAL, "training": {"learning_rate": math.inf}}, "training.learning_rate"),
        ({**MINIMAL, "gate": {"relative": 1.5}}, "gate.relative: expected float <= 1.0"),
        ({**MINIMAL, "data": {"kind": "medmist"}}, "data.kind: 'medmist' is not allowed"),
        ({**MINIMAL, "data": {"kind": 5}}, "data.kind: expected text, got int 5"),
        ({**MINIMAL, "data": {}}, "the key data.kind is missing"),
        ({**MINIMAL, "data": [1]}, "data: expected a table"),
        ({**MINIMAL, "data": {"kind": "medmnist"}}, "the key data.path is missing"),
        (
            {**MINIMAL, "quantization": {"variants": ["tflite-int88"]}},
            "quantization.variants[0]: 'tflite-int88'",
        ),
        (
            {**MINIMAL, "quantization": {"variants": []}},
            "quantization.variants: expected a list of length >= 1",
        ),
        ({**MINIMAL, "model": {"architecture": "cnn", "channels": 2}}, "model.channels: 2 is not allowed"),
        ({**MINIMAL, "name": "A b"}, "name is lower-case letters, digits"),
        (collection(), "data.items: expected a list of length >= 1"),
    ],
)
def test_values_out_of_range_are_refused_with_path_and_value(raw, expected):
    assert expected in refusal(raw).what


@pytest.mark.fault("P5")
@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            {**MINIMAL, "model": {"architecture": "cnn", "channels": 1}, "input": {"color": "rgb"}},
            "input.color 'rgb' does not fit",
        ),
        ({**MINIMAL, "data": {"kind": "synthetic", "holdout": 0.5, "validation": 0.5}}, "leave nothing"),
        (
            {**MINIMAL, "data": {"kind": "synthetic", "validation": 0}},
            "data.validation is 0, but training.patience needs a validation split",
        ),
        (
            {
                **MINIMAL,
                "model": {"architecture": "autoencoder"},
                "data": {"kind": "synthetic", "content": "frames", "validation": 0},
                "training": {"patience": 0},
            },
            "but the task reconstruction needs a validation split",
        ),
        ({**MINIMAL, "quantization": {"variants": ["onnx-fp32", "onnx-fp32"]}}, "names a variant twice"),
        (
            {**MINIMAL, "quantization": {"variants": ["onnx-fp32"], "ship": ["onnx-int8"]}},
            "'onnx-int8', which is not",
        ),
        (
            {**MINIMAL, "quantization": {"ship": ["onnx-fp32"], "default": "onnx-int8"}},
            "not in quantization.ship",
        ),
        ({**MINIMAL, "data": {"kind": "medmnist", "path": "x", "labels": ["a", "a"]}}, "has a label twice"),
        ({**MINIMAL, "data": {"kind": "class-folders", "path": "x", "group": "("}}, "data.group '('"),
        ({**MINIMAL, "task": "detection"}, "task 'detection' does not fit model.architecture 'cnn'"),
        (
            {**MINIMAL, "model": {"architecture": "unet"}},
            "'unet' is for segmentation, such data of the kind 'synthetic' for classification, reconstruction",
        ),
        (collection({"label": "c", "glob": "x"}), "data.items[0].label 'c' is not in data.labels"),
        (collection({"label": "a"}), "needs either glob or synthetic"),
        (collection({"label": "a", "glob": "x", "synthetic": "patterns"}), "needs either glob or synthetic"),
        (collection({"label": "a", "synthetic": "patterns"}), "synthetic and count go together"),
        (collection({"label": "a", "glob": "../x"}), "leaves the data root"),
        (collection({"label": "a", "glob": "/x"}), "leaves the data root"),
        (collection({"label": "a", "glob": "x", "group": "("}), "data.items[0].group '('"),
    ],
)
def test_contradictions_name_both_sides(raw, expected):
    assert expected in refusal(raw).what


def test_integers_are_fine_where_a_number_is_wanted():
    assert parse_recipe({**MINIMAL, "training": {"learning_rate": 1}}).training.learning_rate == 1.0


def test_grey_input_follows_from_one_channel():
    assert (
        parse_recipe({**MINIMAL, "model": {"architecture": "cnn", "channels": 1}}).input_spec().color
        == "gray"
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"name = ", "not TOML"),
        (b'name = "\xff"', "not UTF-8"),
        (b"", "the key name is missing"),
        (b"a" + b"=[" * 5000, "nested too deeply|not TOML"),
    ],
)
def test_broken_files_are_refused_in_one_line(tmp_path: Path, content: bytes, expected: str):
    file = tmp_path / "r.toml"
    file.write_bytes(content)
    with pytest.raises(RecipeError, match=expected) as caught:
        load_recipe(file)
    assert "\n" not in str(caught.value)


def test_missing_recipe_names_the_shipped_ones(tmp_path: Path):
    with pytest.raises(RecipeError, match="modality-cnn"):
        load_recipe(tmp_path / "none.toml")
    with pytest.raises(RecipeError, match=r"did you mean modality-cnn\?"):
        load_recipe("modality-cn")
    with pytest.raises(RecipeError, match="is a folder"):
        load_recipe(tmp_path)
    with pytest.raises(RecipeError, match="cannot be read: embedded null byte"):
        load_recipe("nul\0byte")


def test_a_file_is_read_with_its_digest(tmp_path: Path):
    file = tmp_path / "r.toml"
    file.write_text('name = "mine"\n[data]\nkind = "synthetic"\n')
    recipe, digest = load_recipe(str(file))
    assert recipe.name == "mine"
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert recipe_root(file) == tmp_path
    assert recipe_root("modality-cnn") is None


def test_fewer_variants_and_epochs_can_be_asked_of_a_recipe():
    recipe, _ = load_recipe("polyp-segmentation")
    fewer = with_variants(with_epochs(recipe, 6), ("tflite-fp32", "tflite-int8"))
    assert fewer.quantization.variants == ("tflite-fp32", "tflite-int8")
    assert fewer.quantization.ship == ("tflite-int8", "tflite-fp32")
    assert (fewer.training.epochs, fewer.training.warm_up) == (6, 1)
    check_recipe(fewer)
    # Nothing of what it ships is left: then everything that passes may be shipped.
    assert with_variants(recipe, ("tflite-dynamic",)).quantization.ship is None
    with pytest.raises(UsageError, match="0 epochs"):
        with_epochs(recipe, 0)


def test_shipped_recipes_are_valid_and_found_by_name():
    assert {"modality-cnn", "demo-from-scratch"} <= set(shipped_recipes())
    for name in shipped_recipes():
        recipe, _ = load_recipe(name)
        assert recipe.name == name
        assert recipe.description
        assert recipe.intended_use
        assert recipe.licence


def test_modality_recipe_takes_its_data_from_several_places():
    recipe, _ = load_recipe("modality-cnn")
    assert isinstance(recipe.data, CollectionData)
    assert recipe.data.labels == ("ultrasound", "endoscopy", "neither")
    assert not any("clips" in (item.glob or "") for item in recipe.data.items)
    assert all(source.licence for source in recipe.data.sources)
