import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bedside.export import cli
from bedside.export.data.types import DataSet
from bedside.runtime.errors import SinkError, UsageError

BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"tensorflow", "keras", "tf2onnx"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
from bedside.devices.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    cli.add_arguments(parser)
    return parser.parse_args(words)


def refused(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        cli.run(parse(*words))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folders(tmp_path: Path, data: DataSet) -> Path:
    """Class folders of PNG files: all of the three-class problem."""
    for split in data.splits:
        for item in split.items:
            pixels, _ = item.load()
            file = tmp_path / "data" / data.labels[item.label] / f"{item.key.replace('/', '-')}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), pixels[..., ::-1])
    return tmp_path / "data"


@pytest.fixture
def keras_file(tmp_path: Path, learned: Any) -> Path:
    learned.save(tmp_path / "mine.keras")
    return tmp_path / "mine.keras"


def test_the_module_needs_no_tensorflow() -> None:
    code = (
        "import sys, argparse, bedside.export.cli as c; c.add_arguments(argparse.ArgumentParser());"
        "print({m.split('.')[0] for m in sys.modules} & {'tensorflow', 'keras', 'tf2onnx', 'onnx', 'h5py'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("words", [["demo-from-scratch"], ["--model", "mine.keras", "--data", "data"]])
def test_without_tensorflow_it_says_what_to_install(
    words: list[str], keras_file: Path, folders: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, "export", *words, "-o", "x.bedside"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=keras_file.parent,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "bedside[export]" in done.stderr
    assert done.stdout == ""


def test_a_model_becomes_a_bundle_and_one_json_object(
    keras_file: Path, folders: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = keras_file.parent / "My Ramps.bedside"
    words = ["--model", str(keras_file), "--data", str(folders), "-o", str(out), "--json"]
    code = cli.run(parse(*words, "--variants", "tflite-fp32,onnx-fp32", "--gate", "95", "--seed", "4"))
    assert code == 0
    printed, shown = capfd.readouterr()
    assert printed.count("\n") == 1
    record = json.loads(printed)
    assert record["name"] == "my-ramps"
    assert record["bundle"] == str(out)
    assert record["bytes"] == out.stat().st_size
    assert [v["id"] for v in record["variants"]] == ["tflite-fp32", "onnx-fp32"]
    assert record["gate"]["relative"] == record["gate"]["worst_class"] == 0.95
    assert record["seed"] == 4
    assert record["calibration_samples"] is None
    for step in (
        "load TensorFlow",
        "read holdout",
        "convert onnx-fp32",
        "evaluate onnx-fp32",
        "write bundle and report",
    ):
        assert step in shown


def test_a_table_for_people(keras_file: Path, folders: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = keras_file.parent / "x.bedside"
    words = ["--model", str(keras_file), "--data", str(folders), "-o", str(out), "--variants", "tflite-fp32"]
    assert cli.run(parse(*words)) == 0
    printed, _ = capfd.readouterr()
    assert "tflite-fp32" in printed
    assert "shipped" in printed
    assert str(out.with_name("x.report.html")) in printed.replace("\n", "")


def test_data_may_be_an_npz_and_labels_name_its_classes(
    keras_file: Path, data: DataSet, capfd: pytest.CaptureFixture[str]
) -> None:
    arrays = {}
    for name, split in (("train", data.train), ("val", data.validation), ("test", data.holdout)):
        arrays[f"{name}_images"] = np.stack([item.load()[0] for item in split.items])
        arrays[f"{name}_labels"] = np.array([[item.label] for item in split.items], np.uint8)
    file = keras_file.parent / "ramps.npz"
    np.savez(file, **arrays)
    words = [
        "--model",
        str(keras_file),
        "--data",
        str(file),
        "-o",
        str(keras_file.parent / "x.bedside"),
        "--json",
    ]
    assert cli.run(parse(*words, "--variants", "tflite-fp32", "--labels", "flat,down,right")) == 0
    record = json.loads(capfd.readouterr().out)
    assert record["labels"] == ["flat", "down", "right"]
    assert record["reference"]["samples"] == 90


def test_one_class_folder_too_many(keras_file: Path, folders: Path) -> None:
    out = str(keras_file.parent / "x.bedside")
    (folders / "fourth").mkdir()
    for i in range(8):
        cv2.imwrite(str(folders / "fourth" / f"{i}.png"), np.full((16, 16, 3), i, np.uint8))
    assert "gives 3 scores, the data has 4 classes" in refused(
        "--model", str(keras_file), "--data", str(folders), "-o", out
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "x"], "a recipe, or --model"),
        (["r.toml", "--model", "m.keras", "-o", "x"], "not both"),
        (["r.toml", "--task", "detection", "-o", "x"], "--task goes with --model"),
        (["r.toml", "--import", "m", "-o", "x"], "--import goes with --model"),
        (["r.toml", "-o", "x"], "No such file or directory (recipes that come with bedside: "),
        (["--model", "m.keras", "-o", "x"], "--data"),
        (["--model", "m.keras", "--data", ".", "--weights", "w", "-o", "x"], "--weights goes with a recipe"),
        (["--model", "m.keras", "--data", ".", "--mean", "1", "-o", "x"], "--mean and --std go together"),
        (["--model", "m.keras", "--data", ".", "--offset", "1", "-o", "x"], "--offset needs --scale"),
        (
            ["--model", "m.keras", "--data", ".", "--scale", "1", "--preprocessing", "unit", "-o", "x"],
            "--preprocessing and --scale/--offset contradict",
        ),
        (["--model", "m.keras", "--data", ".", "--variants", "tflite-int4", "-o", "x"], "tflite-int4"),
        (["--model", "m.keras", "--data", "absent", "-o", "x"], "no such file or folder"),
        (["--model", "m.keras", "--data", ".", "-o", "x"], "no such file"),
        (["--model", "m.keras", "--data", ".", "--name", "A B", "-o", "x"], "no bundle name"),
        (["--model", "m.keras", "--data", ".", "-o", "..."], "no bundle name"),
    ],
)
def test_usage(words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused(*words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["--size", "24"],
        ["--size", "0x5"],
        ["--mean", "a,b"],
        ["--gate", "101"],
        ["--labels", "a,,b"],
        ["--gate", "x"],
    ],
)
def test_malformed_values(words: list[str]) -> None:
    with pytest.raises(argparse.ArgumentError, match="expected"):
        parse("-o", "x", *words)


def test_the_output_is_looked_at_before_tensorflow_is_loaded(
    tmp_path: Path, keras_file: Path, folders: Path
) -> None:
    (tmp_path / "file").touch()
    target = str(tmp_path / "file" / "x.bedside")
    for words in (["demo-from-scratch"], ["--model", str(keras_file), "--data", str(folders)]):
        with pytest.raises(SinkError, match="cannot be written"):
            cli.run(parse(*words, "-o", target))
