"""Bad input gets one clear line and a right exit code: no traceback, no half-written file."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from bedside.devices.cli.main import COMMANDS
from bedside.runtime import engines
from bedside.runtime.bundle.container import dump
from bedside.runtime.bundle.reader import dump_npy, open_bundle
from bedside.runtime.bundle.writer import file_ref, write_bundle

ASSETS = Path(__file__).resolve().parents[1] / "assets"
SOURCE = "synthetic:ultrasound?frames=5&size=64x64"
replace = msgspec.structs.replace


@pytest.fixture
def one_line(cli: Callable[..., Any], tmp_path: Path) -> Callable[..., str]:
    """Runs a command that has to fail with `code`, one line, and nothing new in `tmp_path`."""

    def run(code: int, *words: object) -> str:
        before = sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*") if not p.is_symlink())
        done = cli(*words)
        line: str = done.line
        assert done.code == code, line
        assert line.startswith(f"bedside {words[0]}: ")
        assert done.out == ""
        assert sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*") if not p.is_symlink()) == before
        return line

    return run


# Bundles.


def _zip(path: Path, name: str, data: bytes = b"x", compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("bundle.json", "{}")
        file.writestr(name, data)


def bad_bundles(good: Path, folder: Path) -> dict[str, Path]:
    """Every bundle that the issue wants refused, by what is wrong with it."""
    data = good.read_bytes()
    made = {name: folder / f"{name.replace(' ', '-')}.bedside" for name in (
        *("missing", "empty", "truncated", "flipped", "no zip", "extra member", "dots in a name", "bomb"),
        *("compressed", "too new", "unknown key", "a folder", "a pipe"),
    )}  # fmt: skip
    made["empty"].touch()
    made["truncated"].write_bytes(data[: len(data) // 2])
    flipped = bytearray(data)
    flipped[200] ^= 4
    made["flipped"].write_bytes(flipped)
    made["no zip"].write_bytes(random.Random(1).randbytes(5000))
    with open_bundle(good) as bundle:
        members = {n: bundle.read(n) for n in bundle.manifest.files()}
    with zipfile.ZipFile(good) as file:
        manifest = file.read("bundle.json")
    with made["extra member"].open("wb") as out:
        dump({"bundle.json": manifest, **members, "models/extra.onnx": b"x"}, out)
    for name, changed in (
        ("too new", manifest.replace(b'"format_version": 1', b'"format_version": 9')),
        ("unknown key", manifest.replace(b'"format_version": 1', b'"surprise": 1, "format_version": 1')),
    ):
        assert changed != manifest
        with made[name].open("wb") as out:
            dump({"bundle.json": changed, **members}, out)
    _zip(made["dots in a name"], "models/../../evil.onnx")
    _zip(made["bomb"], "models/a.onnx", bytes(20 << 20), zipfile.ZIP_DEFLATED)
    _zip(made["compressed"], "models/a.onnx", b"x" * 100, zipfile.ZIP_DEFLATED)
    made["a folder"].mkdir()
    os.mkfifo(made["a pipe"])
    return made


@pytest.mark.fault("B1")
@pytest.mark.parametrize("command", ["inspect", "verify", "run", "bench"])
def test_bundles(command: str, one_line: Callable[..., str], bundle: Path, tmp_path: Path) -> None:
    said = {
        "missing": "No such file",
        "empty": "the file is empty",
        "truncated": "truncated",
        "flipped": "does not match its checksum",
        "no zip": "not a bundle",
        "extra member": "models/extra.onnx is not named",
        "dots in a name": "name",
        "bomb": "compressed",
        "compressed": "compressed",
        "too new": "too new: format 9",
        "unknown key": "surprise",
        "a folder": "no regular file",
        "a pipe": "no regular file",
    }
    options = ["--source", SOURCE] if command in ("run", "bench") else []
    sink = ["--sink", f"jsonl:{tmp_path / 'r.jsonl'}"] if command == "run" else []
    bad = bad_bundles(bundle, tmp_path)
    assert bad.keys() == said.keys()
    for name, path in bad.items():
        line = one_line(3, command, path, *options, *sink)
        assert said[name] in line, name
        assert str(path) in line


@pytest.mark.fault("B1")
@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_a_flipped_bit_in_any_member(
    command: str, one_line: Callable[..., str], bundle: Path, tmp_path: Path
) -> None:
    data = bundle.read_bytes()
    with open_bundle(bundle) as opened:
        members = {name: opened.read(name) for name in opened.manifest.files()}
    for number, (name, content) in enumerate(members.items()):
        flipped = bytearray(data)
        flipped[data.index(content) + len(content) // 2] ^= 1
        bad = tmp_path / f"{number}.bedside"
        bad.write_bytes(flipped)
        # Equal members are told apart by their order only, so the name is not asked for.
        assert "does not match its checksum" in one_line(3, command, bad), name


def rewritten(path: Path, change: Callable[[Any, dict[str, bytes]], Any]) -> None:
    with open_bundle(path) as bundle:
        manifest, members = bundle.manifest, {n: bundle.read(n) for n in bundle.manifest.files()}
    write_bundle(path, change(manifest, members), members)


def _with_model(manifest: Any, members: dict[str, bytes], data: bytes, **fields: Any) -> Any:
    """The bundle with one variant, the first, whose file is `data`."""
    model = manifest.main
    first, *rest = model.variants
    for variant, golden in zip(rest, model.golden.variants[1:], strict=True):
        del members[variant.file]
        for ref in golden.outputs:
            del members[ref.file]
    ref = file_ref(first.file, data)
    members[first.file] = data
    variant = replace(first, sha256=ref.sha256, bytes=ref.bytes, **fields)
    golden = replace(model.golden, variants=model.golden.variants[:1])
    return replace(manifest, models={"main": replace(model, variants=(variant,), golden=golden)})


@pytest.mark.fault("B8")
def test_a_model_whose_shapes_contradict_the_manifest(one_line: Callable[..., str], bundle: Path) -> None:
    def seven(manifest: Any, members: dict[str, bytes]) -> Any:
        made = _with_model(manifest, members, members[manifest.main.variants[0].file])
        model = made.main
        scores = replace(model.variants[0].outputs[0], shape=(1, 7))
        golden = model.golden.variants[0]
        members[golden.outputs[0].file] = dump_npy(np.full((2, 7), 0.1, np.float32))
        answers = replace(
            golden, outputs=(file_ref(golden.outputs[0].file, members[golden.outputs[0].file]),)
        )
        model = replace(
            model,
            variants=(replace(model.variants[0], outputs=(scores,)),),
            decode=replace(model.decode, labels=tuple("abcdefg")),
            golden=replace(model.golden, variants=(answers,)),
        )
        return replace(made, models={"main": model})

    rewritten(bundle, seven)
    for words in (
        ("run", bundle, "--source", SOURCE),
        ("bench", bundle, "--source", SOURCE),
        ("verify", bundle),
    ):
        line = one_line(3, *words)
        assert "[1, 5]" in line and "[1, 7]" in line, "both are named"


@pytest.mark.fault("B9")
def test_a_custom_op(one_line: Callable[..., str], bundle: Path, tmp_path: Path) -> None:
    data = (ASSETS / "custom_op.tflite").read_bytes()
    rewritten(bundle, lambda manifest, members: _with_model(manifest, members, data))
    assert "custom op" in one_line(5, "run", bundle, "--source", SOURCE).lower()
    packfile = tmp_path / "pack.toml"
    packfile.write_text(PACK)
    for name in ("custom_op.tflite", "flex_op.tflite"):
        line = one_line(5, "pack", ASSETS / name, "--manifest", packfile, "-o", tmp_path / "x.bedside")
        assert "op" in line


PACK = """
name = "packed"
version = "1.0.0"
description = "A model."
intended_use = "Tests."
licence = "Apache-2.0"
[input]
width = 16
height = 16
[model]
precision = "fp32"
"""


@pytest.mark.fault("B9")
@pytest.mark.parametrize("file", ["coral/posenet", "tflm/person_detect.tflite"])
def test_models_of_others_that_cannot_run(
    file: str, one_line: Callable[..., str], data_root: Path, tmp_path: Path
) -> None:
    path = data_root / "models" / file
    model = path if path.is_file() else next(iter(sorted(path.glob("*.tflite"))))
    (tmp_path / "pack.toml").write_text(PACK)
    one_line(5, "pack", model, "--manifest", tmp_path / "pack.toml", "-o", tmp_path / "x.bedside")


def test_a_model_that_is_none(one_line: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "pack.toml").write_text(PACK)
    (tmp_path / "junk.tflite").write_bytes(b"junk" * 100)
    shutil.copy(ASSETS / "tiny_uint8.tflite", tmp_path / "cut.tflite")
    with (tmp_path / "cut.tflite").open("r+b") as file:
        file.truncate(3000)
    for name, code in (("junk.tflite", 5), ("cut.tflite", 5), ("none.tflite", 2)):
        one_line(
            code, "pack", tmp_path / name, "--manifest", tmp_path / "pack.toml", "-o", tmp_path / "x.bedside"
        )


# Engines and variants.


def test_an_engine_that_is_not_installed(one_line: Callable[..., str], bundle: Path) -> None:
    absent = [status for status in engines.statuses() if not status.available]
    if not absent:
        pytest.skip("every engine is installed here")
    for status in absent:
        variant = "tflite-fp32" if "tflite" in status.formats else "onnx-fp32"
        with open_bundle(bundle) as opened:
            if opened.manifest.main.variant(variant) is None:
                continue
        line = one_line(5, "run", bundle, "--source", SOURCE, "--engine", status.id, "--variant", variant)
        assert "not installed" in line
        assert "pip install" in line


def test_engines_and_variants_that_do_not_exist(one_line: Callable[..., str], bundle: Path) -> None:
    run = ("run", bundle, "--source", SOURCE)
    assert "litert" in one_line(2, *run, "--engine", "tensorrt")
    assert "tflite-fp32" in one_line(2, *run, "--variant", "tflite-int4")
    assert "goldens" not in one_line(5, *run, "--engine", "onnxruntime", "--variant", "tflite-fp32")


# Sources.


def bad_sources(folder: Path) -> dict[str, str]:
    """Every source that the issue wants refused, by what is wrong with it."""
    (folder / "no video.mp4").write_bytes(random.Random(1).randbytes(4000))
    (folder / "empty.mp4").touch()
    (folder / "text.avi").write_text("hello")
    video = cv2.VideoWriter(str(folder / "no frames.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48))
    video.release()
    (folder / "no pictures").mkdir()
    (folder / "no pictures" / "readme.txt").write_text("hello")
    (folder / "nothing in it").mkdir()
    (folder / "cut.png").write_bytes(cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes()[:60])
    echo = get_testdata_file("examples_ybr_color.dcm", download=False)
    assert isinstance(echo, str)
    dataset = pydicom.dcmread(echo)
    del dataset.PixelData
    dataset.save_as(folder / "no pixels.dcm")
    dataset = pydicom.dcmread(echo)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.MPEG4HP41
    dataset.save_as(folder / "no codec.dcm")
    (folder / "cut.dcm").write_bytes(Path(echo).read_bytes()[:20_000])
    return {
        "a video that is none": f"{folder}/no video.mp4",
        "an empty file": f"{folder}/empty.mp4",
        "text": f"{folder}/text.avi",
        "a video without frames": f"{folder}/no frames.avi",
        "a folder without pictures": f"{folder}/no pictures",
        "an empty folder": f"{folder}/nothing in it",
        "a picture cut short": f"{folder}/cut.png",
        "a DICOM without pixels": f"{folder}/no pixels.dcm",
        "a DICOM whose codec is missing": f"{folder}/no codec.dcm",
        "a DICOM cut short": f"{folder}/cut.dcm",
        "nothing": f"{folder}/nothing.mp4",
        "a device": "/dev/null",
        "a camera that is not there": "camera:99",
    }


@pytest.mark.fault("S10")
@pytest.mark.parametrize("command", ["run", "bench"])
def test_sources(command: str, cli: Callable[..., Any], bundle: Path, tmp_path: Path) -> None:
    sources = bad_sources(tmp_path)
    out = tmp_path / "r.jsonl"
    sink = ["--sink", f"jsonl:{out}"] if command == "run" else []
    for name, source in sources.items():
        before = sorted(tmp_path.rglob("*"))
        done = cli(command, bundle, "--source", source, *sink)
        assert (done.code, done.out) == (4, ""), (name, done)
        assert done.line.startswith(f"bedside {command}: "), name
        if Path(source).is_file():
            assert Path(source).name in done.line, name
        assert sorted(tmp_path.rglob("*")) == before, name


@pytest.mark.parametrize(
    "source",
    [
        "",
        "  ",
        "srt://host/stream",
        "rtsp://host/stream#transport=pigeon",
        "camera:front",
        "camera:0?fps=0",
        "camera:0?zoom=2",
        "sample:nothing",
        "synthetic:mri",
        "synthetic:ultrasound?fps=fast",
        "synthetic:ultrasound?fps=-1",
        "synthetic:ultrasound?fps=nan",
        "synthetic:ultrasound?size=0x0",
        "synthetic:ultrasound?size=1e3x5",
        "synthetic:ultrasound?frames=-5",
        "synthetic:ultrasound?frames=5&frames=6",
        "synthetic:ultrasound?colour=red",
        "synthetic:ultrasound?frames",
        "synthetic:ultrasound?=5",
    ],
)
def test_source_uris(source: str, one_line: Callable[..., str], bundle: Path) -> None:
    one_line(2, "run", bundle, "--source", source)


# Sinks.


def test_sinks_that_are_mistyped(one_line: Callable[..., str], bundle: Path, tmp_path: Path) -> None:
    for sink in (
        "",
        "x.jsonl",
        "json:x",
        "jsonl:",
        "video:x.mp4",
        "video:",
        "null:x",
        "jsonlx:",
        "mqtt://host",
    ):
        one_line(
            2, "run", bundle, "--source", SOURCE, "--sink", f"jsonl:{tmp_path / 'r.jsonl'}", "--sink", sink
        )


def test_a_sink_does_not_write_over_what_is_read(
    one_line: Callable[..., str], bundle: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), np.zeros((64, 64, 3), np.uint8))
    link = tmp_path / "link.webm"
    link.symlink_to(picture)
    run = ("run", bundle, "--source", picture)
    assert "the bundle" in one_line(2, *run, "--sink", f"jsonl:{bundle}")
    assert "the source" in one_line(2, *run, "--sink", f"jsonl:{tmp_path}/./a.png")
    assert "the source" in one_line(2, *run, "--sink", f"video:{link}")
    twice = ("--sink", f"jsonl:{tmp_path / 'r'}", "--sink", f"jsonl:{tmp_path / 'x' / '..' / 'r'}")
    assert "the sink" in one_line(2, *run, *twice)
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.fault("K3")
def test_output_where_nobody_may_write(cli: Callable[..., Any], bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in ("/proc/self/r.jsonl", tmp_path / "file" / "r.jsonl", tmp_path):
        done = cli("run", bundle, "--source", SOURCE, "--sink", f"jsonl:{path}", "--json")
        assert done.code == 6
        assert str(path) in done.line
        summary = done.json
        assert summary["ledger"]["captured"] == 0
        assert str(path) in summary["error"]
    (tmp_path / "pack.toml").write_text(PACK)
    for path in ("/proc/self/x.bedside", tmp_path / "file" / "x.bedside", tmp_path, "/dev/null"):
        done = cli("pack", ASSETS / "tiny_uint8.tflite", "--manifest", tmp_path / "pack.toml", "-o", path)
        assert (done.code, done.out) == (6, "")
        assert str(path) in done.line


@pytest.mark.fault("K1")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_is_full(cli: Callable[..., Any], bundle: Path) -> None:
    source = "synthetic:ultrasound?frames=500&size=64x64"
    done = cli("run", bundle, "--source", source, "--sink", "jsonl:/dev/full", "--json")
    assert done.code == 6
    *_, last = done.err.splitlines()
    assert "No space left on device" in last
    assert "Traceback" not in done.err
    summary = done.json
    assert summary["sinks"][0]["written"] == 0
    ledger = summary["ledger"]
    assert ledger["captured"] == ledger["processed"] + sum(ledger["dropped"].values())
    assert ledger["captured"] < 500, "a recording stops when its results are lost"


def test_a_really_full_disk(bundle: Path, tmp_path: Path) -> None:
    """What was acknowledged before the disk was full can be read; the rest is counted."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32k", "bedside", small], capture_output=True
    ).returncode:
        pytest.skip("this user may not mount a small file system")
    try:
        words = ("run", bundle, "--source", "synthetic:ultrasound?frames=500&size=64x64", "--json")
        command = [
            sys.executable,
            "-m",
            "bedside.devices.cli.main",
            *map(str, words),
            "--sink",
            f"jsonl:{small}/r.jsonl",
        ]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        assert done.returncode == 6
        summary = msgspec.json.decode(done.stdout)
        text = (small / "r.jsonl").read_bytes()
        assert text.endswith(b"\n"), "no torn line"
        assert text.count(b"\n") == summary["sinks"][0]["written"] > 0
        assert [msgspec.json.decode(line)["seq"] for line in text.splitlines()] == list(
            range(text.count(b"\n"))
        )
    finally:
        subprocess.run(["umount", small], check=True)


# Profiles, recipes, options.


@pytest.mark.fault("P5")
def test_profiles(one_line: Callable[..., str], bundle: Path, tmp_path: Path) -> None:
    def written(text: str) -> Path:
        (tmp_path / "p.toml").write_text(text)
        return tmp_path / "p.toml"

    run = ("run", bundle, "--source", SOURCE, "--device")
    assert "ultrasound-cart" in one_line(2, *run, "ultrasound-card")
    assert "No such file" in one_line(2, *run, tmp_path / "none.toml")
    line = one_line(2, *run, written('name = "p"\n[engine]\nthread = 2\n'))
    assert "engine.thread" in line and "threads" in line
    assert "threads" in one_line(2, *run, written('name = "p"\n[engine]\nthreads = "two"\n'))
    assert "policy" in one_line(2, *run, written('name = "p"\n[capture]\npolicy = "newest"\n'))
    one_line(2, *run, written("name = "))
    one_line(2, *run, written(f'name = "p"\n[engine]\nthreads = {"9" * 5000}\n'))


@pytest.mark.fault("P5")
def test_recipes(one_line: Callable[..., str], tmp_path: Path) -> None:
    def refused(text: str) -> str:
        (tmp_path / "r.toml").write_text(text)
        return one_line(2, "export", tmp_path / "r.toml", "-o", tmp_path / "x.bedside")

    assert "nam" in refused('nam = "x"\n')
    refused("seed = ")
    refused(f"seed = {'9' * 5000}\n")
    refused("a = " + "[" * 50_000)
    assert "none.toml" in one_line(2, "export", tmp_path / "none.toml", "-o", tmp_path / "x.bedside")
    one_line(2, "export", "-o", tmp_path / "x.bedside")


USAGE: list[tuple[str, ...]] = [
    ("inspect",),
    ("verify",),
    ("pack",),
    ("pack", "m.tflite"),
    ("pack", "m.tflite", "--manifest", "m.toml"),
    ("run",),
    ("run", "B", "--sauce", "x"),
    ("run", "B", "--sourc", "x"),
    ("run", "B", "extra"),
    ("run", "B", "--policy", "newest"),
    ("run", "B", "--source", "x", "--max-frames", "0"),
    ("run", "B", "--source", "x", "--max-frames", "-1"),
    ("run", "B", "--source", "x", "--max-frames", "many"),
    ("run", "B", "--source", "x", "--max-frames", "1.5"),
    ("run", "B", "--source", "x", "--max-frames", "9" * 5000),
    ("run", "B", "--source", "x", "--seconds", "0"),
    ("run", "B", "--source", "x", "--seconds", "nan"),
    ("run", "B", "--source", "x", "--seconds", "inf"),
    ("run", "B", "--source", "x", "--seconds", "soon"),
    ("run", "B", "--source", "x", "--smoothing", "0"),
    ("run", "B", "--source", "x", "--smoothing", "1.1"),
    ("run", "B", "--source", "x", "--smoothing", "nan"),
    ("run", "B", "--source", "x", "--threads", "0"),
    ("run", "B", "--source", "x", "--threads", "100000"),
    ("run", "B", "--source"),
    ("run", "B"),
    ("verify", "B", "--threads", "0"),
    ("verify", "B", "--threads", "-3"),
    ("bench", "B", "--scenario", "Server"),
    ("bench", "B", "--threads", "two"),
    ("probe", "extra"),
]


@pytest.mark.parametrize("words", USAGE, ids=lambda words: " ".join(words)[:60])
def test_usage(words: tuple[str, ...], one_line: Callable[..., str], bundle: Path) -> None:
    one_line(2, *(bundle if word == "B" else word for word in words))


@pytest.mark.parametrize("words", [(), ("dance",), ("--frobnicate",), ("evil\nname\x1b[2J",)], ids=repr)
def test_no_such_command(words: tuple[str, ...], cli: Callable[..., Any]) -> None:
    done = cli(*words)
    assert (done.code, done.out) == (2, "")
    assert done.line.startswith("bedside: ")


def test_help_and_version(cli: Callable[..., Any]) -> None:
    done = cli("--help")
    assert done.code == 0
    assert all(name in done.out for name in COMMANDS)
    assert cli("--version").out.startswith("bedside ")
    for name in COMMANDS:
        done = cli(name, "--help")
        assert (done.code, done.err) == (0, "")
        assert f"bedside {name}" in done.out
