"""`bedside run` with a ladder: who has one, and that every step is said, in the results and in the summary."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bedside.devices import compose
from bedside.devices.cli import run as run_command
from bedside.devices.profiles import LadderSection
from bedside.devices.sessions.plan import StreamPlan
from bedside.devices.sessions.threads import _pooled
from bedside.runtime import engines
from bedside.runtime.results_file import read_results
from bedside.runtime.stream.control import Pressure

pytestmark = pytest.mark.skipif(not engines.status("litert").available, reason="needs LiteRT")

SOURCE = "synthetic:ultrasound?frames=60&fps=100&size=320x240"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "device.toml"
    path.write_text(
        """
        name = "device"
        [engine]
        preference = ["litert"]
        threads = 1
        [ladder]
        enabled = true
        rungs = 1
        """
    )
    return path


@pytest.fixture
def hot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host at its limit."""
    said = Pressure("heat", "package at 97 °C, limit 95")
    monkeypatch.setattr(compose.HostWatch, "look", lambda watch: setattr(watch, "_now", said))


@pytest.mark.usefixtures("hot")
def test_a_step_is_in_the_results_the_summary_and_on_the_terminal(
    cli: Callable[..., Any], bundle: Path, profile: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r.jsonl"
    done = cli(
        "run", bundle, "--device", profile, "--source", SOURCE, "--paced", "--sink", f"jsonl:{out}", "--json"
    )
    assert done.code == 0
    ladder = done.json["ladder"]
    assert [(s["before"], s["after"], s["cause"]) for s in ladder["last_steps"]] == [(0, 1, "heat")]
    assert [r["every"] for r in ladder["rungs"]] == [1, 2]
    assert ladder["rungs"][1]["results"] > 0
    stepped = [r for r in read_results(out) if r.ladder is not None and r.ladder.step is not None]
    assert [r.ladder.step for r in stepped if r.ladder is not None] == ["heat"]
    assert stepped[0].seq > ladder["last_steps"][0]["seq"]
    assert done.json["ledger"]["dropped"]["skipped"] > 0
    assert sum(line.startswith("step down after frame ") for line in done.err.splitlines()) == 1
    assert "every 2nd frame (package at 97 °C, limit 95)" in done.err


@pytest.mark.usefixtures("hot")
def test_for_people(cli: Callable[..., Any], bundle: Path, profile: Path) -> None:
    done = cli("run", bundle, "--device", profile, "--source", SOURCE, "--paced")
    assert "rung 1: tflite-" in done.out
    assert "down to rung 1, heat: package at 97 °C, limit 95" in done.out
    assert "skipped" in done.out


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (("--paced",), True),
        (("--paced", "--ladder", "off"), False),
        (("--ladder", "on"), False),  # a recording that nobody waits for
        (("--policy", "latest"), True),
    ],
)
def test_who_has_one(
    cli: Callable[..., Any], bundle: Path, profile: Path, options: tuple[str, ...], wanted: bool
) -> None:
    done = cli("run", bundle, "--device", profile, "--source", SOURCE, "--max-frames", 5, *options, "--json")
    assert ("ladder" in done.json) == wanted


def test_it_can_be_asked_for_without_a_profile(cli: Callable[..., Any], bundle: Path) -> None:
    run = ("run", bundle, "--source", SOURCE, "--paced", "--max-frames", 5, "--json")
    assert "ladder" not in cli(*run).json
    assert "ladder" in cli(*run, "--ladder", "on").json


def test_the_profile_reaches_the_run(tmp_path: Path) -> None:
    profile = tmp_path / "device.toml"
    profile.write_text(
        'name = "d"\n[budget]\nmemory_mb = 300\n[ladder]\nenabled = true\nevery = [3]\nup_s = 2.0\n'
    )
    parser = argparse.ArgumentParser()
    run_command.add_arguments(parser)
    words = ["b.bedside", "--source", "camera:0", "--device", str(profile)]
    spec = run_command.spec_from(parser.parse_args(words))
    assert spec.memory_mb == 300
    assert spec.ladder == LadderSection(enabled=True, every=(3,), up_s=2.0)
    off = run_command.spec_from(parser.parse_args([*words, "--ladder", "off"]))
    assert off.ladder == LadderSection(enabled=False, every=(3,), up_s=2.0)


def test_a_budget_that_is_too_small_is_one_line(
    cli: Callable[..., Any], bundle: Path, tmp_path: Path
) -> None:
    profile = tmp_path / "small.toml"
    profile.write_text('name = "small"\n[budget]\nmemory_mb = 64\n')
    done = cli("run", bundle, "--device", profile, "--source", SOURCE)
    assert done.code == 2
    assert "budget.memory_mb is 64 (raise budget.memory_mb, or" in done.line


@pytest.mark.usefixtures("hot")
def test_a_stream_of_a_session_tells_of_its_steps(
    cli: Callable[..., Any], bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "session.toml"
    path.write_text(
        f"""
        isolation = "thread"
        [[stream]]
        name = "us"
        bundle = "{bundle}"
        source = "{SOURCE}"
        paced = true
        [stream.engine]
        preference = ["litert"]
        threads = 1
        [stream.ladder]
        enabled = true
        rungs = 1
        """
    )
    done = cli("run", path, "--json")
    assert done.code == 0
    assert done.json["streams"][0]["ladder"]["steps"] == 1
    assert any(line.startswith("us: step down after frame ") for line in done.err.splitlines())


def test_streams_of_one_process_share_their_budgets() -> None:
    spec = compose.PipelineSpec(bundle="b", source="s")
    plans = [
        StreamPlan(spec=msgspec.structs.replace(spec, stream=name, memory_mb=mb))
        for name, mb in (("a", 300), ("b", 200))
    ]
    assert [plan.spec.memory_mb for plan in _pooled(plans)] == [500, 500]
    assert [plan.spec.memory_mb for plan in _pooled([*plans, StreamPlan(spec=spec)])] == [None] * 3
