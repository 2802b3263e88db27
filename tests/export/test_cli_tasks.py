"""`bedside export --model` for every task, on folders as their authors have them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bedside.devices.cli.main import main
from bedside.export import cli
from bedside.export.backend import keras
from bedside.export.cli_model import TASKS
from bedside.runtime.bundle.reader import open_bundle

L = keras.layers
SIDE = 16
COUNT = 40


def drawn(number: int, channels: int = 3) -> tuple[Any, Any, tuple[int, int, int, int]]:
    """A noisy ramp with a bright square: the picture (BGR), its mask, and its box."""
    rng = np.random.default_rng(number)
    picture = np.linspace(20, 90, SIDE)[None, :, None] + rng.integers(0, 40, (SIDE, SIDE, channels))
    left, top = (int(n) for n in rng.integers(0, SIDE - 8, 2))
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[top : top + 8, left : left + 8] = 255
    picture[mask > 0] += 110
    return np.clip(picture, 0, 255).astype(np.uint8), mask, (left, top, left + 8, top + 8)


def write(folder: Path, kind: str) -> Path:
    """The data of a task, as `--data` takes it."""
    boxes = {}
    for i in range(COUNT):
        picture, mask, box = drawn(i)
        places = {"images": picture}
        if kind == "segmentation":
            places["masks"] = mask
        elif kind == "translation":
            places = {"inputs": picture, "targets": cv2.GaussianBlur(255 - picture, (3, 3), 0)}
        elif kind == "classification":
            shown = picture if i % 2 else np.ascontiguousarray(picture[::-1] // 3)
            places = {("dark", "bright")[i % 2]: shown}
        for name, pixels in places.items():
            file = folder / name / f"{i:03d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(file), pixels)
        boxes[f"{i:03d}.png"] = [list(box)]
    if kind == "detection":
        (folder / "boxes.json").write_text(json.dumps(boxes))
        return folder / "boxes.json"
    return folder / "images" if kind in ("reconstruction", "generation") else folder


def network(kind: str) -> Any:
    pixels = keras.Input((SIDE, SIDE, 3))
    x = L.Rescaling(1 / 255)(pixels)
    match kind:
        case "classification":
            return keras.Model(pixels, L.Dense(2, activation="softmax")(L.Flatten()(x)))
        case "segmentation":
            x = L.Conv2D(8, 5, padding="same", activation="swish")(x)
            return keras.Model(pixels, L.Conv2D(1, 1, activation="sigmoid")(x))
        case "detection":
            x = L.Conv2D(16, 4, strides=4, activation="relu")(x)
            x = L.Conv2D(16, 3, padding="same", activation="relu")(x)
            distances = L.Conv2D(4, 1, activation="softplus", bias_initializer="ones", name="distances")(x)
            return keras.Model(pixels, [distances, L.Conv2D(1, 1, activation="sigmoid", name="scores")(x)])
        case "reconstruction":
            code = L.Dense(16, name="code")(L.Flatten()(x))
            picture = L.Dense(SIDE * SIDE * 3, activation="sigmoid")(code)
            return keras.Model(pixels, [L.Reshape((SIDE, SIDE, 3))(picture), code])
        case "translation":
            return keras.Model(pixels, L.Conv2D(3, 3, padding="same", activation="sigmoid")(x))
        case _:
            latent = keras.Input((8,))
            x = L.Dense(SIDE * SIDE * 3, activation="tanh")(latent)
            return keras.Model(latent, L.Reshape((SIDE, SIDE, 3))(x))


def teach(kind: str, model: Any) -> None:
    """As a tutorial does, in a second."""
    found = [drawn(i) for i in range(COUNT)]
    x = np.stack([p for p, _, _ in found])[..., ::-1].astype(np.float32)
    adam = keras.optimizers.Adam(1e-2)
    match kind:
        case "classification":
            dark = np.arange(COUNT) % 2 == 0
            x[dark] = x[dark, ::-1] // 3
            # Class folders are sorted: bright, dark.
            model.compile(adam, "sparse_categorical_crossentropy")
            model.fit(x, dark.astype(np.int64), epochs=10, verbose=0)
        case "segmentation":
            truth = np.stack([m for _, m, _ in found])[..., None] / 255
            model.compile(adam, "binary_crossentropy")
            model.fit(x, truth, batch_size=4, epochs=20, verbose=0)
        case "detection":
            distances, scores = np.ones((COUNT, 4, 4, 4)), np.zeros((COUNT, 4, 4, 1))
            for i, (_, _, (x0, y0, x1, y1)) in enumerate(found):
                for row in range(4):
                    for column in range(4):
                        cx, cy = (column + 0.5) * 4, (row + 0.5) * 4
                        if x0 < cx < x1 and y0 < cy < y1:
                            scores[i, row, column] = 1
                            distances[i, row, column] = np.array([cx - x0, cy - y0, x1 - cx, y1 - cy]) / 4
            model.compile(adam, ["mse", "binary_crossentropy"])
            model.fit(x, [distances, scores], batch_size=4, epochs=40, verbose=0)
        case "reconstruction":
            model.compile(adam, ["mse", None])
            model.fit(x, [x / 255, None], batch_size=4, epochs=20, verbose=0)
        case "translation":
            truth = np.stack([cv2.GaussianBlur(255 - p, (3, 3), 0) for p, _, _ in found])[..., ::-1] / 255
            model.compile(adam, "mse")
            model.fit(x, truth, batch_size=4, epochs=20, verbose=0)
        case _:
            rng = np.random.default_rng(0)
            model.compile(adam, "mse")
            model.fit(rng.standard_normal((COUNT, 8)), x / 127.5 - 1, batch_size=4, epochs=20, verbose=0)


#: What has to be said of the networks above.
SAID = {"detection": ["--coding", "ltrb", "--units", "cells"]}


@pytest.mark.parametrize("kind", TASKS)
def test_every_task_from_its_folder(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    keras.utils.set_random_seed(1)
    model = network(kind)
    teach(kind, model)
    model.save(tmp_path / "mine.keras")
    data, out = write(tmp_path / "data", kind), tmp_path / "mine.bedside"
    words = ["export", "--model", str(tmp_path / "mine.keras"), "--task", kind, "--data", str(data)]
    words += ["-o", str(out), "--variants", "tflite-fp32", *SAID.get(kind, ())]
    assert main([*words, "--json"]) == 0, capfd.readouterr().err
    record = json.loads(capfd.readouterr().out)
    assert record["task"] == kind
    with open_bundle(out) as bundle:
        assert bundle.manifest.task == kind
    if kind == "generation":
        assert main(["generate", str(out), "-n", "2", "-o", str(tmp_path / "drawn")]) == 0
        return
    source = data.parent / "images" if kind == "detection" else data
    folder = {"translation": "inputs", "segmentation": "images", "classification": "bright"}.get(kind)
    results = tmp_path / "r.jsonl"
    frames = str(source if folder is None else source / folder)
    assert main(["run", str(out), "--source", frames, "--max-frames", "3", "--sink", f"jsonl:{results}"]) == 0
    answers = [json.loads(line) for line in results.read_text().splitlines()]
    assert [a["task"] for a in answers if a.get("outcome") == "ok"] == [kind] * 3


def test_a_toml_says_what_a_folder_cannot(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    keras.utils.set_random_seed(1)
    model = network("segmentation")
    teach("segmentation", model)
    model.save(tmp_path / "mine.keras")
    write(tmp_path / "set", "segmentation")
    (tmp_path / "set" / "images").rename(tmp_path / "set" / "seen")
    toml = tmp_path / "data.toml"
    toml.write_text(
        f'[data]\nkind = "mask-folders"\npath = "{tmp_path / "set"}"\nimages = "seen"\nmasks = "masks"\n'
        'labels = ["tissue", "polyp"]\nholdout = 0.3\n'
    )
    words = ["export", "--model", str(tmp_path / "mine.keras"), "--task", "segmentation", "--data", str(toml)]
    assert main([*words, "-o", str(tmp_path / "x.bedside"), "--variants", "tflite-fp32", "--json"]) == 0
    record = json.loads(capfd.readouterr().out)
    assert record["reference"]["samples"] == 12
    assert [c["label"] for c in record["reference"]["classes"]] == ["polyp"]


@pytest.mark.parametrize("kind", TASKS)
def test_what_outputs_must_look_like(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--help-outputs", kind]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Input:")
    assert "(N," in said
    assert "utput" in said


BROKEN: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "a folder has no boxes": (lambda d: ["--task", "detection", "--data", str(d)], "boxes come in a file"),
    "an empty folder": (lambda d: ["--task", "segmentation", "--data", str(d)], "images"),
    "no pairs": (lambda d: ["--task", "translation", "--data", str(d)], "inputs"),
    "no json": (lambda d: ["--task", "detection", "--data", str(d / "torn.json")], "cannot be read"),
    "no data file": (lambda d: ["--task", "detection", "--data", str(d / "mine.keras")], "expected a folder"),
    "a recipe is no data": (lambda d: ["--data", str(d / "recipe.toml")], "unknown key"),
    "two tasks": (
        lambda d: ["--task", "segmentation", "--data", str(d / "classes.toml")],
        "not for segmentation",
    ),
    "a guard that is not there": (
        lambda d: ["--data", str(d / "classes.toml"), "--guard", "none.bedside"],
        "no such bundle: none.bedside",
    ),
}


@pytest.mark.parametrize("why", BROKEN)
def test_refusals_are_one_line(why: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words, said = BROKEN[why]
    network("classification").save(tmp_path / "mine.keras")
    (tmp_path / "torn.json").write_text("{")
    (tmp_path / "recipe.toml").write_text('name = "x"\n[data]\nkind = "synthetic"\n')
    (tmp_path / "classes.toml").write_text(
        '[data]\nkind = "synthetic"\ncontent = "classes-hard"\nsamples = 4\n'
    )
    (tmp_path / "empty").mkdir()
    before = {p.name for p in tmp_path.iterdir()}
    folder = (
        tmp_path / "empty" if why in ("a folder has no boxes", "an empty folder", "no pairs") else tmp_path
    )
    code = main(
        ["export", "--model", str(tmp_path / "mine.keras"), *words(folder), "-o", str(tmp_path / "x.bedside")]
    )
    shown = capfd.readouterr().err
    assert code == 2, shown
    assert said in shown
    assert "Traceback" not in shown
    assert {p.name for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("option", ["--folds", "--epochs"])
def test_what_a_recipe_is_trained_with_needs_a_recipe(tmp_path: Path, option: str) -> None:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    args = parser.parse_args(["--model", "m.keras", "--data", ".", option, "3", "-o", "x.json"])
    with pytest.raises(Exception, match=f"{option} goes with a recipe"):
        cli.run(args)
