"""Every architecture, from its recipe to answers on frames: trained for a moment, at the smallest sizes."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bedside.devices.cli.main import main
from bedside.export import pipeline
from bedside.export.models.recipe import ModelRecipe
from bedside.export.pipeline import export_recipe
from bedside.export.recipe import Recipe
from bedside.export.recipe_loading import parse_recipe
from bedside.runtime.bundle.reader import open_bundle

#: They learn next to nothing in a moment: here it counts that every part fits the next one.
LOOSE = {"relative": 0.0, "worst_class": 0.0, "min_agreement": 0.0, "rescue": False}
VARIANTS = ["tflite-fp32", "tflite-int8"]
CLASSES = {"kind": "medmnist", "path": "ramps.npz", "labels": ["flat", "down", "right"]}
MASKS = {
    "kind": "synthetic",
    "content": "masks",
    "scene": "endoscopy",
    "samples": 32,
    "width": 64,
    "height": 64,
}
BOXES = {**MASKS, "content": "boxes"}
FRAMES = {**MASKS, "content": "frames", "scene": "ultrasound"}
PAIRS = {key: value for key, value in MASKS.items() if key != "scene"} | {"content": "despeckle"}


def model(architecture: str, side: int, channels: int = 1, **settings: Any) -> dict[str, Any]:
    shape = {"width": side, "height": side, "channels": channels}
    return {"architecture": architecture, **shape, **settings}


#: Model, data, training; the last are quick enough for every run of the tests.
RECIPES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "cnn": (model("cnn", 32, width_multiplier=0.125, dense=16), CLASSES, {"epochs": 12}),
    "alexnet": (model("alexnet", 67, width_multiplier=0.125, dropout=0.0), CLASSES, {"epochs": 12}),
    "vgg": (model("vgg", 32, width_multiplier=0.125, dropout=0.0), CLASSES, {"epochs": 12}),
    "mobilenet": (
        model("mobilenet", 32, width_multiplier=0.25, output_stride=8), CLASSES, {"epochs": 12, "average": 0.5},
    ),
    "vit": (model("vit", 32, patch=8, dim=16, depth=1, heads=2, mlp=16), CLASSES, {"epochs": 12}),
    "autoencoder": (model("autoencoder", 32, code=8, base=4, bottleneck=4), FRAMES, {"epochs": 20}),
    "dense-autoencoder": (model("dense-autoencoder", 16, code=16), FRAMES, {"epochs": 20}),
    "dcgan": (model("dcgan", 28, latent=16, base=4), FRAMES, {"epochs": 2, "learning_rate": 2e-3}),
    "pix2pix": (model("pix2pix", 32, base=4, depth=2), PAIRS, {"epochs": 6}),
    "unet": (model("unet", 32, 3, base=4, depth=2), MASKS, {"epochs": 3}),
    "deeplab": (model("deeplab", 64, 3, width_multiplier=0.35, filters=8), MASKS, {"epochs": 3}),
    "light-segmenter": (model("light-segmenter", 64, 3, width_multiplier=0.25), MASKS, {"epochs": 3}),
    "anchor-free": (
        model("anchor-free", 64, 3, width_multiplier=0.25, filters=8, towers=1, strides=[8]),
        BOXES,
        {"epochs": 3},
    ),
    "detr": (
        model(
            "detr", 64, 3, queries=4, stride=16, width_multiplier=0.25, dimension=16, heads=2,
            encoder_layers=1, decoder_layers=1, hidden=16,
        ),
        BOXES,
        {"epochs": 3},
    ),
}  # fmt: skip
QUICK = ("cnn", "dense-autoencoder")
#: A moment on a few drawn frames is too little for these to beat an answer that ignores the frame, and the gate
#: would refuse them, as `gates/test_gate.py` shows. Here that one check is left out.
UNLEARNED = ("dcgan", "pix2pix", "unet", "deeplab", "light-segmenter", "anchor-free", "detr")


def recipe_of(name: str) -> Recipe:
    network, data, training = RECIPES[name]
    return parse_recipe(
        {
            "name": name,
            "model": network,
            "data": data,
            "training": {"batch": 8, "learning_rate": 4e-3, **training},
            "quantization": {"variants": VARIANTS, "calibration_samples": 8},
            "gate": LOOSE,
        }
    )


def write_ramps(file: Path) -> None:
    """Three classes that are learned in a moment: noise, and noise on a ramp downwards or to the right."""
    rng, arrays = np.random.default_rng(1), {}
    for split, count in (("train", 96), ("val", 24), ("test", 48)):
        y = np.arange(count) % 3
        ramp = np.linspace(0, 150, 16)
        x = rng.integers(0, 60, (count, 16, 16, 1)) + ramp[:, None, None] * (y == 1)[:, None, None, None]
        x = x + ramp[None, None, :, None] * (y == 2)[:, None, None, None]
        arrays |= {
            f"{split}_images": x.astype(np.uint8)[..., 0],
            f"{split}_labels": y[:, None].astype(np.uint8),
        }
    np.savez(file, **arrays)


def test_every_architecture_is_here() -> None:
    tags = {kind.__struct_config__.tag for kind in ModelRecipe.__args__}  # type: ignore[attr-defined]
    assert set(RECIPES) == tags
    assert set(QUICK) < tags


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in RECIPES]
)
def test_recipe_to_bundle_to_answers(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in UNLEARNED:
        monkeypatch.setattr(pipeline, "check_reference", lambda marks, gate: None)
    recipe = recipe_of(name)
    write_ramps(tmp_path / "ramps.npz")
    result = export_recipe(recipe, tmp_path / f"{name}.bedside", data_root=tmp_path)
    assert result is not None
    assert {v.id for v in result.outcome.variants if v.measured is not None} == set(VARIANTS)
    with open_bundle(result.path) as bundle:
        bundle.verify_all()
        manifest = bundle.manifest
    assert manifest.main.input == recipe.input_spec()
    shipped = [v.id for v in manifest.main.shipped]
    # Scores that lost their meaning are refused by the loosest gate, and next to nothing was learned.
    assert shipped in (VARIANTS, VARIANTS[:1])
    # OpenVINO rounds int8 differently; where that is beyond the golden tolerance, a device refuses it there.
    exact = [c for c in result.engines if c.variant == VARIANTS[0] or not c.engine.startswith("openvino")]
    assert exact and all(c.passed for c in exact)
    capfd.readouterr()
    if manifest.task == "generation":
        assert main(["generate", str(result.path), "--count", "3", "-o", str(tmp_path / "drawn")]) == 0
        assert len(list((tmp_path / "drawn").glob("*.png"))) == 3
        return
    for variant in shipped:
        results = tmp_path / f"{variant}.jsonl"
        words = ["run", str(result.path), "--variant", variant, "--policy", "all"]
        source = (
            f"synthetic:{'ultrasound' if recipe.model.channels == 1 else 'endoscopy'}?size=96x64&frames=4"
        )
        assert main([*words, "--source", source, "--sink", f"jsonl:{results}", "--json"]) == 0
        summary = json.loads(capfd.readouterr().out)
        assert summary["ledger"]["processed"] == 4
        assert summary["variant"] == variant
        answers = [json.loads(line) for line in results.read_text().splitlines()]
        answered = [a for a in answers if a.get("outcome") == "ok"]
        assert len(answered) == 4
        assert {a["task"] for a in answered} == {manifest.task}
        assert all(a["result"] is not None for a in answered)


def test_a_recipe_says_the_same_after_it_was_written_down() -> None:
    for name in RECIPES:
        recipe = recipe_of(name)
        assert msgspec.convert(msgspec.to_builtins(recipe), Recipe) == recipe
