"""`bedside inspect`, `verify`, `pack` and `probe`: what they print and write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bedside.devices.cli import verify
from bedside.runtime import engines
from bedside.runtime.bundle.reader import dump_npy, open_bundle
from bedside.runtime.bundle.writer import file_ref, write_bundle

ASSETS = Path(__file__).resolve().parents[1] / "assets"
replace = msgspec.structs.replace

PACK = """
name = "packed"
version = "1.2.3"
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


def rewritten(path: Path, change: Callable[[Any, dict[str, bytes]], Any]) -> None:
    """Write the bundle again with another manifest; `change` may also change the members."""
    with open_bundle(path) as bundle:
        manifest, members = bundle.manifest, {n: bundle.read(n) for n in bundle.manifest.files()}
    write_bundle(path, change(manifest, members), members)


def off_goldens(manifest: Any, members: dict[str, bytes]) -> Any:
    """The bundle of a host whose first variant answered differently."""
    golden = manifest.main.golden
    first = golden.variants[0]
    name = first.outputs[0].file
    with_error = np.full((2, 5), 0.2, np.float32)
    members[name] = dump_npy(with_error)
    other = replace(first, outputs=(file_ref(name, members[name]),))
    golden = replace(golden, variants=(other, *golden.variants[1:]))
    return replace(manifest, models={"main": replace(manifest.main, golden=golden)})


def test_inspect(cli: Callable[..., Any], bundle: Path) -> None:
    with open_bundle(bundle) as opened:
        digest, shipped = opened.digest, [v.id for v in opened.manifest.main.shipped]
    done = cli("inspect", bundle, "--json")
    assert done.code == 0
    assert done.err == ""
    what = done.json
    assert (what["digest"], what["bytes"], what["signed"]) == (digest, bundle.stat().st_size, False)
    with zipfile.ZipFile(bundle) as file:
        assert what["manifest"] == json.loads(file.read("bundle.json"))
    done = cli("inspect", bundle)
    assert done.code == 0
    for text in (
        digest,
        "tiny 1.0.0",
        "16 x 16 rgb uint8",
        "liver, kidney",
        "protected against accident only",
        *shipped,
    ):
        assert text in done.out


def test_inspect_shows_why_a_variant_was_refused(cli: Callable[..., Any], bundle: Path) -> None:
    def change(manifest: Any, members: dict[str, bytes]) -> Any:
        model = manifest.main
        first, *rest = model.variants
        refused = replace(first, file=None, refused="accuracy fell from 0.95 to 0.60")
        golden = replace(model.golden, variants=model.golden.variants[1:])
        for ref in model.golden.variants[0].outputs:
            del members[ref.file]
        del members[first.file]
        model = replace(model, variants=(refused, *rest), golden=golden, default=rest[0].id)
        return replace(manifest, models={"main": model})

    rewritten(bundle, change)
    assert "refused:" in cli("inspect", bundle).out
    assert cli("inspect", bundle, "--json").json["manifest"]["models"]["main"]["variants"][0]["refused"]


def test_hostile_text_does_not_reach_the_terminal(cli: Callable[..., Any], bundle: Path) -> None:
    evil = "fine\x1b[2J\x1b]0;owned\x07\x9b31m\u202egpj.exe\r[bold red]x[/]\nsecond line"

    def change(manifest: Any, members: dict[str, bytes]) -> Any:
        decode = replace(manifest.main.decode, labels=(evil, "b", "c", "d", "e"))
        notes = replace(manifest.provenance, notes=(evil,))
        models = {"main": replace(manifest.main, decode=decode)}
        return replace(manifest, description=evil, licence=evil, provenance=notes, models=models)

    rewritten(bundle, change)
    for words in (
        ("inspect", bundle),
        ("verify", bundle),
        ("run", bundle, "--source", "synthetic:ultrasound?frames=3&size=64x64"),
    ):
        done = cli(*words)
        assert done.code == 0
        shown = (done.out + done.err).replace("\n", "")
        assert shown.isprintable(), repr([c for c in shown if not c.isprintable()])
    assert "[bold red]x[/]" in cli("inspect", bundle).out, "markup is text here"
    assert cli("inspect", bundle, "--json").json["manifest"]["description"] == evil


def test_verify(cli: Callable[..., Any], bundle: Path) -> None:
    done = cli("verify", bundle, "--json")
    assert done.code == 0
    what = done.json
    assert what["ok"] is True
    expected = set()
    with open_bundle(bundle) as opened:
        assert what["bundle"] == opened.digest
        for variant in opened.manifest.main.shipped:
            expected |= {
                (variant.id, s.id) for s in engines.statuses() if s.available and variant.format in s.formats
            }
    assert {(c["variant"], c["engine"]) for c in what["checks"]} == expected
    assert all(c["ok"] and c["error"] <= c["tolerance"] for c in what["checks"])
    absent = {s.id for s in engines.statuses() if not s.available}
    assert what["absent"].keys() == absent
    done = cli("verify", bundle, "--threads", 1)
    assert done.code == 0
    assert done.err == ""
    assert "every digest holds" in done.out
    assert all(engine in done.out for engine in absent)


@pytest.mark.fault("B11")
def test_goldens_that_do_not_hold_fail_the_check(cli: Callable[..., Any], bundle: Path) -> None:
    rewritten(bundle, off_goldens)
    done = cli("verify", bundle, "--json")
    assert done.code == 1
    what = done.json
    assert what["ok"] is False
    with open_bundle(bundle) as opened:
        first = opened.manifest.main.variants[0].id
    for check in what["checks"]:
        assert check["ok"] is (check["variant"] != first)
        if not check["ok"]:
            assert "goldens do not hold" in check["reason"]
    done = cli("verify", bundle)
    assert done.code == 1
    assert "FAILED" in done.out
    done = cli("run", bundle, "--source", "synthetic:ultrasound?frames=3", "--variant", first)
    assert done.code == 5
    assert "goldens do not hold" in done.line
    assert first in done.line


def test_verify_with_no_engine_at_all_is_no_success(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, cli: Any
) -> None:
    states = tuple(replace(s, version=None, reason="not installed") for s in engines.statuses())
    monkeypatch.setattr(verify.engines, "statuses", lambda: states)
    done = cli("verify", bundle, "--json")
    assert done.code == 1
    assert done.json["checks"] == []


def test_pack(cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "pack.toml").write_text(PACK)
    out = tmp_path / "new" / "x.bedside"
    words = ("pack", ASSETS / "tiny_uint8.tflite", "--manifest", tmp_path / "pack.toml", "-o", out)
    done = cli(*words, "--json")
    assert done.code == 0
    assert done.err == ""
    what = done.json
    assert what["output"] == str(out)
    assert what["bytes"] == out.stat().st_size
    with open_bundle(out) as bundle:
        bundle.verify_all()
        assert what["bundle"] == bundle.digest
        assert what["tolerance"] == bundle.manifest.main.golden.variants[0].tolerance
        assert bundle.manifest.version == "1.2.3"
    assert what["variant"]["id"] == "tflite-fp32"
    assert cli("verify", out).code == 0
    done = cli(*words)
    assert done.code == 0
    assert str(out) in done.out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('labels = ["a", "b", "c", "d", "e"]', 'labels = ["a", "b"]'), "2 labels"),
        (('labels = ["a", "b", "c", "d", "e"]', "labels = []"), "labels"),
        (("[decode]", "[decode]\noutput = 3"), "output"),
        (('precision = "fp32"', 'precision = "fp32"\noutputs = ["a", "b"]'), "outputs"),
        (("height = 16", "height = 16\nquantization = { scale = inf }"), "scale"),
        (
            (
                "[model]",
                "normalization = { mean = [nan], std = [1.0] }\nquantization = { scale = 1.0 }\n[model]",
            ),
            "mean",
        ),
        (('"Random weights."', f'"{"x" * 5000}"'), "description"),
    ],
    ids=lambda v: str(v)[:40],
)
def test_a_pack_file_that_contradicts_the_model(
    change: tuple[str, str], said: str, cli: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "pack.toml").write_text(PACK.replace(*change))
    before = sorted(tmp_path.iterdir())
    words = (
        "pack",
        ASSETS / "tiny_uint8.tflite",
        "--manifest",
        tmp_path / "pack.toml",
        "-o",
        tmp_path / "x.bedside",
    )
    done = cli(*words)
    assert done.code == 2
    assert said in done.line
    assert "pack.toml" in done.line
    assert done.out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_a_third_party_classifier(cli: Callable[..., Any], data_root: Path, tmp_path: Path) -> None:
    """Issue 2, "done when" 6: class 286 on cat.bmp at over 0.67."""
    coral = data_root / "models" / "coral"
    model = coral / "mobilenet_v1_0.5_160_quant.tflite"
    names = [
        line.strip() for line in (coral / "imagenet_labels.txt").read_text().splitlines() if line.strip()
    ]
    (tmp_path / "labels.txt").write_text("\n".join(f"{i} {name}" for i, name in enumerate(names)))
    size = 'width = 160\nheight = 160\nresize = "letterbox"'
    text = PACK.replace("width = 16\nheight = 16", size).replace("fp32", "uint8")
    text = text.replace('labels = ["a", "b", "c", "d", "e"]', 'labels_file = "labels.txt"')
    (tmp_path / "pack.toml").write_text(text)
    out = tmp_path / "x.bedside"
    done = cli("pack", model, "--manifest", tmp_path / "pack.toml", "-o", out)
    assert done.code == 0, done.err
    sink = tmp_path / "r.jsonl"
    done = cli("run", out, "--source", coral / "cat.bmp", "--sink", f"jsonl:{sink}", "--json")
    assert done.code == 0, done.err
    result = json.loads(sink.read_text())["result"]
    assert result["index"] == 286
    assert result["score"] > 0.67


def test_probe(cli: Callable[..., Any]) -> None:
    done = cli("probe", "--json")
    assert done.code == 0
    assert done.err == ""
    assert {status.id for status in engines.statuses()} == {e["id"] for e in done.json["engines"]}
    done = cli("probe")
    assert done.code == 0
    assert all(status.id in done.out for status in engines.statuses())


# What becomes of the output, in processes of their own.


def bedside(*words: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-W", "error", "-m", "bedside.devices.cli.main", *map(str, words)]
    # Buffered, as it is for everybody else: what fails may fail at the last flush only.
    environment = {k: v for k, v in options.pop("env", os.environ).items() if k != "PYTHONUNBUFFERED"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 60, "check": False, **options}
    return subprocess.run(command, env=environment, **options)


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_a_reader_that_leaves_is_no_failure(json_option: list[str], bundle: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = bedside("inspect", bundle, *json_option, stdout=write_end)
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_output_that_cannot_be_written(json_option: list[str], bundle: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = bedside("inspect", bundle, *json_option, stdout=full)
    assert done.returncode == 6
    assert (
        done.stderr.decode()
        == "bedside inspect: standard output: cannot be written: No space left on device\n"
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_any_encoding_of_the_terminal(encoding: str, bundle: Path) -> None:
    text = "\u00e4\u6f22\U0001fac0"
    rewritten(bundle, lambda manifest, members: replace(manifest, description=text))
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = bedside("inspect", bundle, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    done = bedside("inspect", bundle, "--json", env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout.decode(encoding))["manifest"]["description"] == text


def test_a_path_that_is_no_text(bundle: Path, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/\xff.bedside"
    try:
        bundle.rename(Path(os.fsdecode(odd)))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    done = bedside("inspect", os.fsdecode(odd))
    assert (done.returncode, done.stderr) == (0, b"")
    sink = "jsonl:" + os.fsdecode(os.fsencode(tmp_path) + b"/\xfe.jsonl")
    source = "synthetic:ultrasound?frames=2&size=64x64"
    done = bedside("run", os.fsdecode(odd), "--source", source, "--sink", sink, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sinks"][0]["written"] == 2
    done = bedside("inspect", os.fsdecode(odd) + "x")
    assert done.returncode == 3
    assert done.stderr.count(b"\n") == 1
