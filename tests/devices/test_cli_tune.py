"""`bedside tune` from end to end: real engines in real children, and what `bedside run` makes of the ranking."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest

from bedside.devices.cli import tune as tune_command
from bedside.devices.cli.main import main
from bedside.devices.tuning.ranking import Limits, Ranking, check
from bedside.devices.tuning.store import alone
from bedside.devices.tuning.tuner import Plan
from bedside.runtime import engines
from bedside.runtime.bundle.reader import dump_npy, load_npy
from bedside.runtime.bundle.writer import file_ref, write_bundle
from bedside.runtime.packing import BundleDraft, build

SOURCE = "synthetic:ultrasound?size=160x120&frames=5"
FAST = Plan(first=4, rounds=1, paced=4, back_to_back=3)
PAIR = ("litert", "onnxruntime")

#: Far longer than anything here takes; reached only by a test that is about to fail.
LONG = 120.0


@contextlib.contextmanager
def in_short(data: Path) -> Iterator[Path]:
    """Measuring in short, on two engines with one thread, with a user's data folder of its own."""
    every = engines.statuses()
    if not all(s.available for s in every if s.id in PAIR):
        pytest.skip("needs LiteRT and ONNX Runtime")
    pair = tuple(s if s.id in PAIR else msgspec.structs.replace(s, reason="left out") for s in every)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "statuses", lambda: pair)
        patch.setattr(tune_command, "QUICK", FAST)
        patch.setattr(tune_command, "thread_counts", lambda *counts: (1,))
        patch.setattr(engines, "default_threads", lambda: 1)
        patch.setenv("XDG_DATA_HOME", str(data))
        yield data / "bedside" / "rankings"


@pytest.fixture(autouse=True)
def rankings(tmp_path: Path) -> Iterator[Path]:
    """The folder of rankings of this test."""
    with in_short(tmp_path / "data") as folder:
        yield folder


@pytest.fixture
def device(tmp_path: Path) -> Callable[[str], Path]:
    """A profile with a fast cadence, and further lines of TOML."""

    def write(text: str = "") -> Path:
        path = tmp_path / "box.toml"
        path.write_text(f'name = "box"\n[capture]\nfps = 500.0\n{text}\n')
        return path

    return write


@pytest.fixture
def with_wrong_goldens(tiny_draft: BundleDraft, tmp_path: Path) -> Callable[..., Path]:
    """The tiny bundle, in which recorded answers of the named variants are not what engines give."""

    def write(*names: str) -> Path:
        manifest, members = build(tiny_draft)
        main = manifest.main
        answers = []
        for entry in main.golden.variants:
            outputs = entry.outputs
            if entry.variant in names or not names:
                ref = outputs[0]
                turned = np.ascontiguousarray(load_npy(members[ref.file])[:, ::-1])
                members[ref.file] = dump_npy(turned)
                outputs = (file_ref(ref.file, members[ref.file]),)
            answers.append(msgspec.structs.replace(entry, outputs=outputs))
        golden = msgspec.structs.replace(main.golden, variants=tuple(answers))
        models = {"main": msgspec.structs.replace(main, golden=golden)}
        path = tmp_path / "wrong.bedside"
        write_bundle(path, msgspec.structs.replace(manifest, models=models), members)
        return path

    return write


@pytest.fixture(scope="module")
def tuned_once(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `bedside tune --json` prints."""
    folder = tmp_path_factory.mktemp("tuned")
    (folder / "box.toml").write_text('name = "box"\n[capture]\nfps = 500.0\n')
    out, err = io.StringIO(), io.StringIO()
    with in_short(folder) as kept, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["tune", str(tiny_bundle), "--quick", "--device", str(folder / "box.toml"), "--json"])
    assert (code, err.getvalue()) == (0, "")
    assert out.getvalue().count("\n") == 1
    said: dict[str, Any] = json.loads(out.getvalue())
    assert [str(p) for p in kept.iterdir() if p.name != ".lock"] == [said["stored"]]
    return said


@pytest.fixture
def tuned(tuned_once: dict[str, Any], rankings: Path) -> tuple[dict[str, Any], Ranking]:
    """The same, and what it stored, in this test's folder."""
    there = Path(tuned_once["stored"])
    rankings.mkdir(parents=True)
    stored = Path(shutil.copy(there, rankings / there.name))
    ranking = msgspec.json.decode(stored.read_bytes(), type=Ranking)
    return {**tuned_once, "stored": str(stored)}, ranking


def test_json_is_complete_and_what_was_stored(tuned: tuple[dict[str, Any], Ranking], bundle: Path) -> None:
    said, ranking = tuned
    check(ranking)
    assert msgspec.convert(said["ranking"], Ranking) == ranking
    assert {(m.candidate.engine, m.candidate.threads) for m in ranking.measured} == {(e, 1) for e in PAIR}
    assert len({m.candidate.variant for m in ranking.measured}) == 4
    assert ranking.struck_off == ()
    assert (ranking.fps, ranking.quick, ranking.name) == (500.0, True, "tiny")
    assert said["picked"] == msgspec.to_builtins(ranking.measured[0].candidate)
    assert said["picked"] in said["tied"]
    assert said["fingerprint"] == ranking.host.fingerprint
    assert set(said["absent"]) == {"tflite", "openvino"}
    default = ranking.of(ranking.default)
    assert default is not None
    picked = ranking.measured[0]
    assert said["gain"]["p50"] == pytest.approx(default.paced.p50 / picked.paced.p50)
    assert said["gain"]["p95"] == pytest.approx(default.p95_ms / picked.p95_ms)
    assert set(ranking.per_variant) == {m.candidate.variant for m in ranking.measured}


def test_the_table_says_what_the_json_says(
    tuned: tuple[dict[str, Any], Ranking], capfd: pytest.CaptureFixture[str]
) -> None:
    said, ranking = tuned
    tune_command.print_ranking(ranking, Limits())
    out = capfd.readouterr().out
    rows = [
        [cell.strip() for cell in line.strip("│\n").split("│")] for line in out.splitlines() if "│" in line
    ]
    assert len(rows) == len(said["ranking"]["measured"])
    for row, entry in zip(rows, said["ranking"]["measured"], strict=True):
        candidate, paced = entry["candidate"], entry["paced"]
        assert row[1:4] == [candidate["variant"], candidate["engine"], str(candidate["threads"])]
        assert row[4] == ("-" if "p95" not in paced else f"{paced['p95']:.3f}")
        assert row[5] == f"{paced['p50']:.3f}"
        assert row[6] == f"{entry['back_to_back']['p50']:.3f}"
        assert row[7] == f"{entry['cpu_ms']:.2f}"
        assert ("taken" in row[9]) == (candidate == said["picked"])
        assert ("default" in row[9]) == (candidate == said["ranking"]["default"])
        assert ("best of its variant" in row[9]) == (candidate in said["ranking"]["per_variant"].values())
    lines = out.splitlines()
    assert any(line.startswith(f"taken: {ranking.measured[0].candidate}: p95 ") for line in lines)
    if said["picked"] == said["ranking"]["default"]:
        assert "that is the default as well: nothing to gain on this host" in lines
    else:
        cost = f"would have cost {said['gain']['p95']:.2f}x p95, {said['gain']['p50']:.2f}x median"
        assert any(line.startswith(f"staying with the default, {ranking.default}, {cost}") for line in lines)


def test_run_takes_what_was_measured(
    tuned: tuple[dict[str, Any], Ranking],
    cli: Callable[..., Any],
    bundle: Path,
    device: Callable[[str], Path],
) -> None:
    said, ranking = tuned
    picked = said["picked"]
    done = cli("run", bundle, "--source", SOURCE, "--json")
    assert done.code == 0
    assert f"measured on this host on {ranking.date}" in done.line
    assert (done.json["variant"], done.json["engine"], done.json["threads"]) == (
        picked["variant"],
        picked["engine"],
        picked["threads"],
    )
    assert done.json["choice"] == f"measured on this host on {ranking.date}"

    # What somebody asks for wins, and the ranking fills in the rest.
    for engine in PAIR:
        best = ranking.best(Limits(engine=engine))
        assert best is not None
        asked = cli("run", bundle, "--source", SOURCE, "--engine", engine, "--json").json
        assert (asked["variant"], asked["engine"]) == (best.candidate.variant, engine)
    for variant in ranking.per_variant:
        asked = cli("run", bundle, "--source", SOURCE, "--variant", variant, "--json").json
        assert asked["variant"] == variant
    two = cli("run", bundle, "--source", SOURCE, "--threads", 2, "--json")
    assert two.json["threads"] == 2
    assert "nothing that was measured" in two.line

    # So does the profile: only what it names, and not more threads than it gives.
    slowest = ranking.measured[-1].candidate
    for text in (f'[engine]\npreference = ["{slowest.engine}"]', f'[engine]\nvariant = "{slowest.variant}"'):
        kept = cli("run", bundle, "--source", SOURCE, "--device", device(text), "--json").json
        assert kept["choice"].startswith("measured")
        assert slowest.engine == kept["engine"] or slowest.variant == kept["variant"]
    capped = cli(
        "run", bundle, "--source", SOURCE, "--device", device("[engine]\nthreads = 4"), "--json"
    ).json
    assert (capped["threads"], capped["choice"]) == (1, done.json["choice"])


def test_a_ranking_of_another_host_is_not_used(
    tuned: tuple[dict[str, Any], Ranking], cli: Callable[..., Any], bundle: Path
) -> None:
    stored = Path(tuned[0]["stored"])
    plain = json.loads(stored.read_text())
    plain["host"]["engines"]["litert"] = "1.0.0"
    stored.write_text(json.dumps(plain))
    done = cli("run", bundle, "--source", SOURCE, "--json")
    assert done.code == 0
    assert "by default, not by measurement on this host" in done.line
    assert re.search(r"litert \S+ instead of 1\.0\.0; run `bedside tune` again", done.line)
    stored.write_text(stored.read_text()[:300])
    assert "it is damaged" in cli("run", bundle, "--source", SOURCE, "--json").line
    stored.unlink()
    again = cli("run", bundle, "--source", SOURCE, "--json")
    assert again.json["choice"] == "by default, not by measurement on this host"


def test_a_ranking_that_names_what_the_bundle_has_not(
    tuned: tuple[dict[str, Any], Ranking], cli: Callable[..., Any], bundle: Path
) -> None:
    stored = Path(tuned[0]["stored"])
    stored.write_text(stored.read_text().replace("tflite-fp32", "tflite-none"))
    done = cli("run", bundle, "--source", SOURCE, "--json")
    assert done.code == 0
    assert "which this bundle does not offer; run `bedside tune` again" in done.line


def test_wrong_goldens_strike_a_variant_off(
    cli: Callable[..., Any],
    with_wrong_goldens: Callable[..., Path],
    device: Callable[[str], Path],
    rankings: Path,
) -> None:
    path = with_wrong_goldens("tflite-fp32", "onnx-int8")
    done = cli("tune", path, "--quick", "--device", device('[engine]\nvariant = "tflite-fp32"'))
    assert done.code == 0, done.err
    struck_off = done.out[done.out.index("Struck off") : done.out.index("the profile leaves")]
    assert struck_off.count("goldens do not hold") == 2
    assert "the profile leaves nothing that passes: `bedside run` stays with the default" in done.out
    assert "the default does not pass here: tflite-fp32 on litert, 1 thread" in done.out
    (stored,) = rankings.glob("*.json")
    ranking = msgspec.json.decode(stored.read_bytes(), type=Ranking)
    assert [(s.candidate.variant, s.kind) for s in ranking.struck_off] == [
        ("tflite-fp32", "refused"),
        ("onnx-int8", "refused"),
    ]
    assert set(ranking.per_variant) == {"tflite-int8", "onnx-fp32"}


def test_where_nothing_passes(
    cli: Callable[..., Any],
    with_wrong_goldens: Callable[..., Path],
    device: Callable[[str], Path],
    rankings: Path,
) -> None:
    done = cli("tune", with_wrong_goldens(), "--quick", "--device", device(""), "--json")
    assert done.code == 5
    assert "none of 4 candidates passes on this host" in done.line
    assert done.json["ranking"] is None
    assert len(done.json["struck_off"]) == 4
    assert [p.name for p in rankings.iterdir()] == [".lock"]


def test_it_measures_on_the_cores_of_the_profile(
    cli: Callable[..., Any], bundle: Path, device: Callable[[str], Path]
) -> None:
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("needs two cores")
    core = min(before)
    said = cli(
        "tune", bundle, "--quick", "--device", device(f"[host]\ninference_cores = [{core}]"), "--json"
    ).json
    assert said["ranking"]["host"]["logical_cores"] == 1
    assert os.sched_getaffinity(0) == before
    # On all cores that ranking says nothing.
    assert "instead of 1" in cli("run", bundle, "--source", SOURCE, "--json").json["choice"]


@pytest.mark.parametrize(
    ("words", "profile", "code", "said"),
    [
        (("none.bedside",), "", 3, "cannot be opened"),
        (("BUNDLE",), '[engine]\nvariant = "none"', 2, "the variant 'none', which is not shipped"),
        (("BUNDLE", "--seconds", "3"), "", 2, "--seconds"),
    ],
)
def test_what_cannot_be_tuned(
    cli: Callable[..., Any],
    bundle: Path,
    device: Callable[[str], Path],
    words: tuple[str, ...],
    profile: str,
    code: int,
    said: str,
) -> None:
    done = cli(
        "tune", *(bundle if w == "BUNDLE" else w for w in words), "--quick", "--device", device(profile)
    )
    assert done.code == code
    assert said in done.line
    assert done.out == ""


def test_a_folder_that_cannot_be_written_is_said_before_measuring(
    cli: Callable[..., Any], bundle: Path, device: Callable[[str], Path], rankings: Path
) -> None:
    rankings.parent.mkdir(parents=True)
    rankings.write_text("a file in its place")
    done = cli("tune", bundle, "--quick", "--device", device(""))
    assert done.code == 6
    assert "cannot be written" in done.line


@pytest.fixture
def endless(bundle: Path) -> Iterator[subprocess.Popen[str]]:
    """A `bedside tune` in another process, which is in the middle of measuring and takes minutes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bedside.devices.cli.main", "tune", str(bundle)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    pause, until = threading.Event(), time.monotonic() + LONG
    while not psutil.Process(process.pid).children():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "it does not begin"
        pause.wait(0.02)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_two_at_once_and_a_signal(
    endless: subprocess.Popen[str],
    cli: Callable[..., Any],
    bundle: Path,
    device: Callable[[str], Path],
    rankings: Path,
    number: signal.Signals,
    code: int,
) -> None:
    second = cli("tune", bundle, "--quick", "--device", device(""))
    assert second.code == 2
    assert "another `bedside tune` is at work on this host" in second.line
    children = psutil.Process(endless.pid).children()
    endless.send_signal(number)
    out, err = endless.communicate(timeout=LONG)
    assert endless.returncode == code
    assert out == ""
    assert "Traceback" not in err
    assert not any(child.is_running() for child in children)
    assert [p.name for p in rankings.iterdir()] == [".lock"], "nothing half-measured is stored"
    with alone():
        pass  # and the way is free
