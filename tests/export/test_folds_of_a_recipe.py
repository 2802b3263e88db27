"""A recipe exported once per fold, for real: every frame held out once, and going on after Ctrl-C."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bedside.devices.cli.main import main
from bedside.export.cross_validation import FoldsResult, cross_validate
from bedside.export.recipe_loading import load_recipe
from bedside.export.steps import Silent

pytestmark = pytest.mark.slow

FRAMES = 36
RECIPE = f"""
name = "rebuilt"

[model]
architecture = "dense-autoencoder"
width = 16
height = 16
channels = 1
code = 8

[data]
kind = "synthetic"
content = "frames"
samples = {FRAMES}
width = 32
height = 32

[training]
epochs = 30
batch = 4
learning_rate = 4e-3

[quantization]
variants = ["tflite-fp32", "tflite-dynamic"]

[gate]
relative = 0.5
min_agreement = 0.0
"""


class Watch(Silent):
    """Remembers which folds began; Ctrl-C at one of them."""

    def __init__(self, stop: str = "") -> None:
        super().__init__()
        self.stop = stop
        self.folds: list[str] = []

    def say(self, text: str) -> None:
        if text.startswith("fold "):
            self.folds.append(text)
        if text == self.stop:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The JSON file after Ctrl-C at the second fold, what the second call began, and its result."""
    folder = tmp_path_factory.mktemp("folds")
    (folder / "r.toml").write_text(RECIPE)
    recipe, _ = load_recipe(folder / "r.toml")
    out = folder / "x.json"
    with pytest.raises(KeyboardInterrupt):
        cross_validate(recipe, 2, out, steps=Watch("fold 2 of 2"))
    between, watch = msgspec.json.decode(out.read_bytes(), type=FoldsResult), Watch()
    return folder, between, watch.folds, cross_validate(recipe, 2, out, steps=watch)


def test_it_goes_on_from_the_folds_that_are_done(resumed: Any) -> None:
    folder, between, began, result = resumed
    assert [f.index for f in between.folds] == [0]
    assert began == ["fold 2 of 2"]
    assert result.folds[0] == between.folds[0]
    assert {p.name for p in folder.iterdir()} == {"r.toml", "x.json"}


def test_every_frame_is_held_out_once(resumed: Any) -> None:
    result = resumed[3]
    assert sum(f.samples for f in result.folds) == FRAMES
    assert len({f.sha256 for f in result.folds}) == 2
    assert all(f.seconds > 0 for f in result.folds)
    assert result.parameters > 0


def test_an_error_that_rises_is_a_drop(resumed: Any) -> None:
    keras, fp32, dynamic = resumed[3].means
    assert [keras.name, fp32.name, dynamic.name] == ["Keras fp32", "tflite-fp32", "tflite-dynamic"]
    assert fp32.drop == pytest.approx(0, abs=1e-3)
    assert dynamic.drop == pytest.approx(dynamic.mean - keras.mean, abs=1e-9)
    assert fp32.passed == 2


def test_from_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.toml").write_text(RECIPE)
    words = ["export", str(tmp_path / "r.toml"), "--folds", "2", "-o", str(tmp_path / "x.json")]
    assert main([*words, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert [f["index"] for f in found["folds"]] == [0, 1]
    assert main([*words, "--data-root", str(tmp_path)]) == 0
    shown = capfd.readouterr().out
    assert "Keras fp32" in shown
    assert "tflite-dynamic" in shown
