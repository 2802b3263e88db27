"""The TOML of `bedside pack`: read strictly, one line for each mistake."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.runtime.bundle.decode import (
    ClassificationDecode,
    Decode,
    DetectionDecode,
    GenerationDecode,
    OutOfDistribution,
    RawDecode,
    ReconstructionDecode,
    SegmentationDecode,
    TranslationDecode,
)
from bedside.runtime.errors import RecipeError
from bedside.runtime.packfile import draft_from, read_packfile

ASSETS = Path(__file__).resolve().parents[1] / "assets"
MODEL = ASSETS / "tiny_uint8.tflite"

TOML = """
name = "tiny"
version = "1.0.0"
description = "Random weights."
intended_use = "Tests."
licence = "Apache-2.0"
task = "classification"

[input]
width = 16
height = 16

[model]
precision = "fp32"

[decode]
labels = ["a", "b", "c", "d", "e"]
"""


def written(folder: Path, text: str | bytes = TOML) -> Path:
    path = folder / "pack.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(folder: Path, text: str | bytes, model: Path = MODEL) -> str:
    with pytest.raises(RecipeError) as caught:
        draft_from(read_packfile(written(folder, text)), folder, model)
    assert caught.value.exit_code == 2
    line = str(caught.value)
    assert line.isprintable()
    return line


def test_it_says_what_the_model_is(tmp_path: Path) -> None:
    draft = draft_from(read_packfile(written(tmp_path)), tmp_path, MODEL)
    main = draft.models["main"]
    assert (draft.name, draft.version, draft.task) == ("tiny", "1.0.0", "classification")
    assert main.decode == ClassificationDecode(labels=("a", "b", "c", "d", "e"))
    assert [(v.id, v.format, v.data) for v in main.variants] == [
        ("tflite-fp32", "tflite", MODEL.read_bytes())
    ]
    assert len(main.frames) >= 3, "synthetic golden frames"
    assert "not evaluated" in draft.card
    assert "Research use only" in draft.card
    assert any("not evaluated" in note for note in draft.provenance.notes)


def test_without_a_task_outputs_are_handed_on(tmp_path: Path) -> None:
    text = TOML.replace('task = "classification"', "").partition("[decode]")[0]
    draft = draft_from(read_packfile(written(tmp_path, text)), tmp_path, MODEL)
    assert draft.models["main"].decode == RawDecode()
    assert draft.task == "raw"


DECODES: tuple[tuple[str, Decode], ...] = (
    ('task = "classification"\nlabels = ["a", "b"]', ClassificationDecode(labels=("a", "b"))),
    (
        'task = "segmentation"\nlabels = ["no", "yes"]\nthreshold = 0.4\nlayout = "nchw"',
        SegmentationDecode(labels=("no", "yes"), threshold=0.4, layout="nchw"),
    ),
    (
        'task = "detection"\nlabels = ["a"]\nboxes = [0, 2]\nscores = [1, 3]\ncoding = "ltrb"\nunits = "cells"',
        DetectionDecode(labels=("a",), boxes=(0, 2), scores=(1, 3), coding="ltrb", units="cells"),
    ),
    (
        'task = "reconstruction"\ncode = 1\nout = { error_scale = 2.0, threshold = 1.5, false_alarm = 0.05, '
        "samples = 100 }",
        ReconstructionDecode(
            code=1, out=OutOfDistribution(error_scale=2.0, threshold=1.5, false_alarm=0.05, samples=100)
        ),
    ),
    ('task = "translation"\ncolor = "gray"', TranslationDecode(color="gray")),
    ('task = "generation"', GenerationDecode()),
)


@pytest.mark.parametrize(("text", "expected"), DECODES)
@pytest.mark.parametrize("above", [False, True])
def test_every_task_has_its_keys(text: str, expected: Decode, above: bool, tmp_path: Path) -> None:
    task = text.partition("\n")[0]
    head = TOML.partition("[decode]")[0].replace('task = "classification"', task if above else "")
    packfile = read_packfile(
        written(tmp_path, f"{head}[decode]\n{text.replace(task, '') if above else text}\n")
    )
    assert packfile.decode == expected
    assert f'task = "{packfile.task}"' == task


def test_labels_out_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\n b \n\nc\r\nd\n\u00e9\n", encoding="utf-8")
    text = TOML.replace('labels = ["a", "b", "c", "d", "e"]', 'labels_file = "labels.txt"')
    decode = draft_from(read_packfile(written(tmp_path, text)), tmp_path, MODEL).models["main"].decode
    assert isinstance(decode, ClassificationDecode)
    assert decode.labels == ("a", "b", "c", "d", "\u00e9")


def test_golden_pictures_travel_first(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    text = TOML.replace('precision = "fp32"', 'precision = "fp32"\ngolden = ["a.png"]')
    frames = draft_from(read_packfile(written(tmp_path, text)), tmp_path, MODEL).models["main"].frames
    np.testing.assert_array_equal(frames[0].pixels, picture)
    assert frames[0].color == "bgr"
    assert len(frames) >= 4


MISTAKES = {
    "not TOML": ("name = ", "Invalid"),
    "not UTF-8": (b"name = '\xff'", "not UTF-8 text: byte 8"),
    "nothing": ("", "the key name is missing"),
    "a key at the top": ("colour = 'red'\n" + TOML, "colour"),
    "a key in [input]": (TOML.replace("width = 16", "widht = 16"), "input.widht (did you mean width?"),
    "a key in [model]": (
        TOML.replace('precision = "fp32"', 'precision = "fp32"\nprecison = 1'),
        "model.precison",
    ),
    "a key in [decode]": (TOML + "top_k = 3\n", "decode.top_k ([decode] allows task, labels,"),
    "a missing key": (TOML.replace('licence = "Apache-2.0"', ""), "the key licence is missing"),
    "a missing section": (TOML.replace("[model]", "[modle]"), "modle (did you mean model?"),
    "a wrong type": (TOML.replace("width = 16", 'width = "16"'), "input.width: expected int, got text '16'"),
    "out of range": (TOML.replace("width = 16", "width = 0"), "input.width: expected int >= 1, got 0"),
    "a huge number": (TOML.replace("width = 16", f"width = {'9' * 50}"), "input.width: an integer of more"),
    "an endless number": (TOML.replace("width = 16", f"width = {'9' * 5000}"), "too many digits"),
    "a precision nobody has": (
        TOML.replace('"fp32"', '"fp8"'),
        "model.precision: 'fp8' is not allowed (allowed: fp32,",
    ),
    "a task nobody has": (TOML.replace('"classification"', '"divination"'), "task: 'divination' is not"),
    "a date": (TOML.replace('"1.0.0"', "2020-01-01"), "version: expected text, got date"),
    "a name with a line end": (TOML.replace('"tiny"', '"tiny\\n"'), "name is lower-case letters"),
    "nested deeply": ("a = " + "[" * 50_000, "nested too deeply"),
    "no [decode]": (TOML.partition("[decode]")[0], "[decode]"),
    "[decode] without its task": (TOML.replace('task = "classification"', ""), "[decode]"),
    "[decode] for another task": (
        TOML + 'task = "segmentation"\n',
        "[decode] is for 'segmentation', but task is 'classification'",
    ),
    "a task that cannot be decoded": (
        TOML.replace('"classification"', '"embedding"'),
        "decode.task: 'embedding' is not allowed",
    ),
    "a key of another task": (TOML + "iou = 0.5\n", "unknown key decode.iou"),
    "labels_file of no text": (TOML.replace("labels = [", "labels_file = 3\n# ["), "expected text"),
    "labels twice": (TOML + 'labels_file = "labels.txt"\n', "both"),
    "labels that are not there": (TOML.replace("labels = [", 'labels_file = "none.txt"\n# ['), "none.txt"),
    "labels in no text": (TOML.replace("labels = [", 'labels_file = "model.tflite"\n# ['), "model.tflite"),
    "labels in a folder": (TOML.replace("labels = [", 'labels_file = "."\n# ['), "Is a directory"),
    "a NUL in a name": (TOML.replace("labels = [", 'labels_file = "a\\u0000b"\n# ['), "null"),
    "a golden that is not there": (TOML.replace("[decode]", 'golden = ["none.png"]\n[decode]'), "none.png"),
    "a golden that is no picture": (
        TOML.replace("[decode]", 'golden = ["model.tflite"]\n[decode]'),
        "no picture",
    ),
    "an empty golden": (TOML.replace("[decode]", 'golden = ["empty"]\n[decode]'), "no picture"),
    "a golden with a NUL": (TOML.replace("[decode]", 'golden = ["a\\u0000b"]\n[decode]'), "null"),
    "terminal codes": (TOML + '"evil\\u001b[2J" = 1\n', r"decode.'evil\x1b[2J' ("),
}


@pytest.mark.fault("P5")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_in_one_line(mistake: str, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(MODEL.read_bytes())
    (tmp_path / "empty").touch()
    text, named = MISTAKES[mistake]
    assert named in refused(tmp_path, text)


def test_the_model_has_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "empty.tflite").touch()
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "model.h5").write_bytes(b"x")
    (tmp_path / "model").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe.tflite")
    for name, said in (
        ("none.tflite", "No such file"),
        ("empty.tflite", "empty"),
        ("folder.onnx", "no regular file"),
        ("pipe.tflite", "no regular file"),
        ("model.h5", "pack takes .tflite and .onnx"),
        ("model", "pack takes .tflite and .onnx"),
    ):
        assert said in refused(tmp_path, TOML, tmp_path / name)


def test_a_model_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate((512 << 20) + 1)
    assert "larger than" in refused(tmp_path, TOML, path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(RecipeError, match="cannot be read"):
            read_packfile(path)


@given(st.text(max_size=200))
def test_any_text_is_a_pack_file_or_a_recipe_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(RecipeError):
        read_packfile(path)
