"""`benchmarks/peers`: its statistics, its processes, its report, and what it says where something is missing."""

from __future__ import annotations

import importlib
import math
import os
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

PEERS = Path(__file__).resolve().parents[2] / "benchmarks" / "peers"
FRAMES = 20


@pytest.fixture(scope="module")
def peers() -> Any:
    """Imports a module of the comparison as its command does: from its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PEERS))
        yield importlib.import_module


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 60.0, (320, 240))
    for k in range(FRAMES):
        frame = np.full((240, 320, 3), 40, np.uint8)
        cv2.circle(frame, (60 + 8 * k, 120), 50, (30, 60, 200), -1)
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture(scope="module")
def model(peers: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return peers("material").fast("modality-cnn", 1, tmp_path_factory.mktemp("models"))


@pytest.fixture
def orders(peers: Any, clip: Path, model: Any, tmp_path: Path) -> Callable[..., Any]:
    def make(scenario: str, candidate: Any, frames: int = FRAMES) -> Any:
        records = peers("records")
        return peers("running").Orders(
            scenario=scenario,
            clip=str(clip),
            live=scenario in records.CADENCE,
            fps=records.CADENCE.get(scenario, 60.0),
            frames=frames,
            model=str(model.file),
            bundle=str(model.bundle),
            threads=1,
            labels=model.labels,
            engine=candidate.engine,
            packages=candidate.packages,
            report=str(tmp_path / f"{scenario}-{candidate.name}.json"),
        )

    return make


def made_run(peers: Any, ages_ms: list[float], *, fps: float = 60.0, **fields: Any) -> Any:
    """A run whose results come at the given ages."""
    due = [round(k * 1e9 / fps) for k in range(len(ages_ms))]
    plain = {
        "seq": list(range(len(ages_ms))),
        "due_ns": due,
        "hand_ns": [d + round(age * 1e6) for d, age in zip(due, ages_ms, strict=True)],
        "top": [0] * len(ages_ms),
        "cpu_s": 0.5,
        "wall_s": 2.0,
        "peak_bytes": 100_000_000,
        "spawned_ns": -250_000_000,
        "versions": {"python": "3.11"},
    }
    return peers("records").Run(**{**plain, **fields})


def candidates(peers: Any) -> dict[str, Any]:
    return {candidate.name: candidate for candidate in peers("records").CANDIDATES}


class TestSummaries:
    @pytest.mark.parametrize(("count", "place"), [(1, None), (5, None), (6, 0), (8, 0), (9, 1), (20, 5)])
    def test_places_of_the_interval(self, peers, count, place):
        # Tables of the sign test at 0.05, two-sided, for example Conover, Practical Nonparametric Statistics, A3.
        assert peers("summaries").interval_place(count) == place

    @given(count=st.integers(6, 200))
    def test_the_interval_is_the_narrowest_that_covers(self, peers, count):
        def outside(k: int) -> float:
            return 2 * sum(math.comb(count, i) for i in range(k + 1)) / 2**count

        place = peers("summaries").interval_place(count)
        assert outside(place) <= 0.05 < outside(place + 1)

    def test_a_median_without_enough_rounds_has_no_interval(self, peers):
        found = peers("summaries").estimate([3.0, 1.0, 2.0])
        assert (found.median, found.low, found.high) == (2.0, None, None)
        found = peers("summaries").estimate([3.0, 1.0, 2.0, 6.0, 5.0, 4.0])
        assert (found.median, found.low, found.high) == (3.5, 1.0, 6.0)

    def test_the_first_half_second_is_left_out_of_ages(self, peers):
        run = made_run(peers, [900.0] * 30 + [5.0, 6.0, 7.0])
        found = peers("summaries").numbers("paced", run, 33)
        assert found == {"paced_age_ms": 6.0, "paced_share": 100.0, "peak_mb": 100.0}

    def test_a_run_has_a_99th_percentile_when_it_carries_one(self, peers):
        numbers = peers("summaries").numbers
        assert "paced_p99_ms" not in numbers("paced", made_run(peers, [5.0] * 691), 691)
        long = made_run(peers, [5.0] * 30 + [5.0] * 655 + [9.0] * 7)
        assert numbers("paced", long, 692)["paced_p99_ms"] == 9.0

    def test_frames_without_a_result_count(self, peers):
        kept = [*range(30), 31, 34]
        run = made_run(peers, [5.0] * 32, seq=kept)
        assert peers("summaries").numbers("paced", run, 40)["paced_share"] == 20.0

    def test_overload_cold_and_idle(self, peers):
        numbers = peers("summaries").numbers
        run = made_run(peers, [5.0] * 30 + [50.0, 60.0, 100.0])
        assert numbers("overload", run, 33)["overload_last_ms"] == 100.0
        assert numbers("overload", run, 33)["overload_age_ms"] == 60.0
        assert numbers("cold", made_run(peers, [50.0]), 1)["cold_s"] == pytest.approx(0.3)
        assert numbers("idle", run, 33) == {"idle_cpu": 25.0}

    def test_throughput_leaves_the_warm_up_out(self, peers):
        hands = [k * 100_000_000 for k in range(10)] + [900_000_000 + k * 10_000_000 for k in range(1, 31)]
        run = made_run(peers, [0.0] * 40, hand_ns=hands)
        found = peers("summaries").numbers("saturated", run, 40)
        assert found["saturated_fps"] == pytest.approx(100.0)
        assert found["saturated_cpu_ms"] == pytest.approx(500 / 39)

    def test_ratios_are_taken_within_a_round(self, peers):
        known = candidates(peers)
        runs = {}
        for number, scale in enumerate((1.0, 3.0)):
            for name, factor in (("bedside", 1.0), ("two-threads", 2.0)):
                if (name, number) != ("bedside", 2):
                    runs[name, "paced", number] = made_run(peers, [5.0 * scale * factor] * 40)
        # A round that bedside has no number in has no ratio.
        runs["two-threads", "paced", 2] = made_run(peers, [1000.0] * 40)
        row = peers("summaries").row(known["two-threads"], runs, 3, 40, {"cold": "it failed"})
        assert row.ratios["paced_age_ms"].rounds == (2.0, 2.0)
        assert row.metrics["paced_age_ms"].median == 30.0
        assert row.ages_ms["paced"]["samples"] == 30
        assert row.failures == {"cold": "it failed"}
        assert peers("summaries").row(known["bedside"], runs, 3, 40, {}).ratios == {}

    def test_agreement_is_over_common_frames(self, peers):
        run = made_run(peers, [1.0] * 4, seq=[0, 2, 3, 9], top=[1, 1, 2, 0])
        reference = made_run(peers, [1.0] * 4, top=[1, 0, 1, 0])
        assert peers("summaries").agreement(run, reference) == pytest.approx(2 / 3)
        assert peers("summaries").agreement(made_run(peers, [1.0], seq=[7]), reference) is None


class TestProcesses:
    def test_from_a_file_every_frame_has_the_same_answer(self, peers, orders):
        known = candidates(peers)
        answers = {}
        for name in ("plain-loop", "two-threads", "bedside"):
            candidate = known[name]
            run = peers("running").measure(
                candidate, Path(sys.executable), orders("saturated", candidate), 120.0
            )
            assert run.seq == list(range(FRAMES))
            assert run.hand_ns == sorted(run.hand_ns) and run.hand_ns[0] > run.spawned_ns
            assert run.peak_bytes > 20e6 and run.cpu_s >= 0
            assert set(candidate.packages) <= set(run.versions)
            answers[name] = run.top
        assert answers["plain-loop"] == answers["two-threads"] == answers["bedside"]

    @pytest.mark.parametrize("name", ["two-threads", "bedside"])
    def test_a_live_frame_is_due_by_the_clock(self, peers, orders, name):
        candidate = candidates(peers)[name]
        run = peers("running").measure(candidate, Path(sys.executable), orders("idle", candidate), 120.0)
        begin = run.due_ns[0] - round(run.seq[0] * 1e9 / 30)
        for seq, due, hand in zip(run.seq, run.due_ns, run.hand_ns, strict=True):
            assert abs(due - begin - seq * 1e9 / 30) < 1e3
            assert hand > due
        assert run.seq[-1] == FRAMES - 1  # the newest frame is never lost

    def test_the_cold_start_of_bedside_is_the_command(self, peers, orders):
        candidate = candidates(peers)["bedside"]
        given = orders("cold", candidate, frames=1)
        run = peers("running").measure(candidate, Path(sys.executable), given, 120.0)
        assert run.seq == [0]
        assert run.spawned_ns < run.due_ns[0] < run.hand_ns[0]

    def test_what_a_candidate_says_last_is_the_reason(self, peers, orders, tmp_path):
        workers = tmp_path / "workers"
        workers.mkdir()
        (workers / "broken.py").write_text("raise ImportError('libcudart.so.12: no such file')\n")
        candidate = msgspec.structs.replace(candidates(peers)["plain-loop"], worker="broken")
        with pytest.raises(
            peers("running").MeasureError, match=r"exit code 1: ImportError: libcudart\.so\.12"
        ):
            peers("running").measure(
                candidate, Path(sys.executable), orders("cold", candidate), 60.0, workers
            )

    def test_one_that_hangs_is_ended_with_its_children(self, peers, orders, tmp_path):
        workers, noted = tmp_path / "workers", tmp_path / "child"
        workers.mkdir()
        (workers / "hangs.py").write_text(
            "import pathlib, subprocess, sys, time\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
            f"pathlib.Path({str(noted)!r}).write_text(str(child.pid))\n"
            "time.sleep(600)\n"
        )
        candidate = msgspec.structs.replace(candidates(peers)["plain-loop"], worker="hangs")
        given = orders("cold", candidate)
        timeout_s = 1.0
        with pytest.raises(peers("running").MeasureError, match="no end after"):
            while not noted.exists():  # on a busy host its interpreter may take longer to start
                timeout_s *= 2
                try:
                    peers("running").measure(candidate, Path(sys.executable), given, timeout_s, workers)
                except peers("running").MeasureError:
                    if noted.exists():
                        raise
        child = int(noted.read_text())
        deadline = time.monotonic() + 30
        while _runs(child) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _runs(child)


def _runs(pid: int) -> bool:
    """Whether a process lives; one that is dead and not yet collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def comparison(peers: Any, *, quick: bool = False) -> Any:
    """A comparison with a candidate that failed and one that was never installed."""
    records, summaries = peers("records"), peers("summaries")
    rows = []
    for index, candidate in enumerate(records.CANDIDATES):
        runs = {}
        failures = {}
        if candidate.name == "holoscan":
            failures["all"] = "cannot be installed: no | such wheel"
        else:
            for number in range(6):
                slow = candidate.name == "plain-loop"
                age = 5.0 + index + 0.1 * number
                overload = [60.0 + (10.0 * k if slow else index) for k in range(150)]
                for name in {candidate.name, "bedside"}:
                    runs[name, "paced", number] = made_run(peers, [age] * 150)
                    runs[name, "overload", number] = made_run(peers, overload)
                    runs[name, "saturated", number] = made_run(peers, [0.0] * 150)
                    runs[name, "idle", number] = made_run(peers, [5.0] * 150, fps=30.0)
            failures["cold"] = "no end after 120 s"
        rows.append(summaries.row(candidate, runs, 6, 150, failures))
    return records.Comparison(
        quick=quick,
        rounds=6,
        frames=150,
        threads=1,
        clip={"codec": "h264", "width": 1920, "height": 1080, "origin": "drawn"},
        models={
            "fast": {"name": "modality-cnn", "input": "64x64", "invoke_ms": 0.08},
            "slow": {"name": "slow", "input": "64x64", "invoke_ms": 50.1},
        },
        host={},
        busy=0.1,
        rows=tuple(rows),
    )


class TestReport:
    def test_page_has_every_candidate_and_every_reason(self, peers):
        text = peers("page").page(comparison(peers))
        tables = [line for line in text.splitlines() if line.startswith("|")]
        assert len({line.replace("\\|", "").count("|") for line in tables}) == 2  # two tables, each even
        for candidate in peers("records").CANDIDATES:
            assert f"**{candidate.title}** ({candidate.licence})" in text
        assert "- Holoscan, Python operators, every scenario: cannot be installed: no | such wheel" in text
        assert "- bedside, cold: no end after 120 s" in text
        assert "mean nothing" not in text
        assert "mean nothing" in peers("page").page(comparison(peers, quick=True))

    def test_noise_stands_first_among_ratios(self, peers):
        header, rows = peers("page").ratio_table(comparison(peers))
        assert rows[0][0] == "bedside, again"
        assert len(header) == len(rows[0])
        assert "bedside" not in [row[0] for row in rows]

    def test_figure_is_svg_with_every_candidate_in_every_panel(self, peers):
        found = comparison(peers)
        root = ET.fromstring(peers("figure").figure(found))
        texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        panels = 5  # no one has a cold start
        for row in found.rows:
            assert texts.count(row.title) == panels
        assert texts.count("no number, see the page") == panels
        width, height = float(root.attrib["width"]), float(root.attrib["height"])
        for dot in root.iter("{http://www.w3.org/2000/svg}circle"):
            assert 0 < float(dot.attrib["cx"]) < width and 0 < float(dot.attrib["cy"]) < height

    def test_figure_without_numbers(self, peers):
        empty = msgspec.structs.replace(comparison(peers), rows=())
        assert "No numbers." in peers("figure").figure(empty)

    def test_wide_values_get_a_logarithmic_axis(self, peers):
        scale = peers("figure").Scale([5.0, 50.0, 9000.0], 100.0, 500.0)
        assert scale.logarithmic
        assert 100 < scale(5.0) < scale(50.0) < scale(9000.0) < 500
        assert scale(50.0) - scale(5.0) == pytest.approx(scale(500.0) - scale(50.0))


class TestCommand:
    def test_every_second_round_runs_backwards(self, peers):
        in_turn = peers("compare").in_turn
        assert [list(in_turn("abc", k)) for k in range(3)] == [list("abc"), list("cba"), list("abc")]

    def test_compares_and_writes(self, peers, clip, tmp_path, capsys):
        out = tmp_path / "out"
        words = [
            str(out),
            "--clip",
            str(clip),
            "--cache",
            str(tmp_path / "cache"),
            "--quick",
            "--rounds",
            "1",
        ]
        words += ["--only", "bedside,plain-loop", "--scenarios", "saturated", "--json"]
        assert peers("compare").main(words) == 0
        printed = msgspec.json.decode(capsys.readouterr().out, type=peers("records").Comparison)
        written = (out / "peers.json").read_bytes()
        assert msgspec.json.decode(written, type=peers("records").Comparison) == printed
        assert printed.frames == FRAMES
        assert [row.agreement for row in printed.rows] == [1.0, 1.0]
        assert all(row.metrics["saturated_fps"].median > 0 for row in printed.rows)
        assert "A quick run" in (out / "peers.md").read_text()
        ET.fromstring((out / "peers.svg").read_text())

    @pytest.mark.parametrize(
        ("words", "code", "said"),
        [
            (["--only", "deepstream"], 2, "no candidate 'deepstream'"),
            (["--scenarios", "offline"], 2, "no scenario 'offline'"),
            (["--bundle", "polyp-segmentation", "--clip", "CLIP"], 2, "which this is not"),
            (["--clip", "missing.mp4"], 4, "OpenCV cannot open the clip"),
        ],
    )
    def test_refuses(self, peers, clip, tmp_path, capfd, words, code, said):
        given = [str(clip) if word == "CLIP" else word for word in words]
        assert peers("compare").main([str(tmp_path), "--cache", str(tmp_path / "cache"), *given]) == code
        assert said in capfd.readouterr().err

    def test_without_tensorflow_the_scenario_says_what_to_install(self, peers, model, tmp_path, monkeypatch):
        material = peers("material")
        monkeypatch.setattr(material.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(material.EngineError, match=r"TensorFlow, which is not here.*\[export\]"):
            material.slow(model, 50.0, 1, tmp_path, tmp_path)


class TestEnvironments:
    def test_what_pip_refuses_is_a_reason_and_not_remembered(self, peers, tmp_path):
        (tmp_path / "requirements-none.txt").write_text("--no-index\nno-such-peer==99.99\n")
        made = peers("environments").environment("requirements-none.txt", tmp_path / "cache", tmp_path)
        assert made.python is None
        assert made.reason == "cannot be installed: No matching distribution found for no-such-peer==99.99"
        assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".log"]

    def test_every_requirement_is_pinned(self, peers):
        wanted = {c.requirements for c in peers("records").CANDIDATES if c.requirements is not None}
        assert wanted | {"requirements-encoder.txt"} == {
            path.name for path in PEERS.glob("requirements-*.txt")
        }
        for name in wanted:
            lines = (PEERS / name).read_text().splitlines()
            pins = dict(line.split("==") for line in lines if not line.startswith("#"))
            assert all(version.strip() for version in pins.values())
            for candidate in peers("records").CANDIDATES:
                if candidate.requirements == name:
                    assert set(candidate.packages) == set(pins) - {"nvidia-cuda-runtime-cu12"}


@pytest.mark.peers
def test_quick_run_of_everything(peers, tmp_path):
    """Some minutes; downloads more than a gigabyte, unless BEDSIDE_PEERS_CACHE names a folder that has it."""
    cache = Path(os.environ.get("BEDSIDE_PEERS_CACHE", tmp_path / "cache"))
    assert peers("compare").main([str(tmp_path), "--quick", "--rounds", "1", "--cache", str(cache)]) == 0
    found = msgspec.json.decode((tmp_path / "peers.json").read_bytes(), type=peers("records").Comparison)
    for row in found.rows:
        assert row.failures == {}
        assert row.agreement == 1.0
        assert set(row.metrics) == set(peers("records").METRICS) - {"paced_p99_ms"}  # too few frames
