"""`bedside run SESSION.toml`: what it prints, and its exit code."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bedside.devices.cli import session
from bedside.devices.sessions import events
from bedside.devices.sessions.loading import load_session

SHORT = "synthetic:ultrasound?size=64x64&frames=12"


@pytest.fixture
def write(tmp_path: Path, bundle: Path) -> Callable[..., Path]:
    """A session file with two streams; further text for each."""

    def make(first: str = "", second: str = "", *, top: str = 'isolation = "thread"') -> Path:
        text = top + "\n"
        for name, more in (("us", first), ("scope", second)):
            source = "" if "source" in more else f'source = "{SHORT}"\n'
            given = "" if "bundle" in more else f'bundle = "{bundle}"\n'
            text += f'[[stream]]\nname = "{name}"\n{given}{source}{more}\n'
        path = tmp_path / "session.toml"
        path.write_text(text)
        return path

    return make


def test_one_object_for_scripts(cli: Callable[..., Any], write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(f'sinks = ["jsonl:{tmp_path / "us.jsonl"}"]', "[stream.budget]\nmemory_mb = 9000")
    done = cli("run", path, "--json", "--max-frames", 10)
    assert done.code == 0
    summary = done.json
    assert (summary["session"], summary["isolation"], summary["code"]) == ("session", "thread", 0)
    assert [s["stream"] for s in summary["streams"]] == ["us", "scope"]
    for stream in summary["streams"]:
        assert stream["ledger"]["processed"] == 10, "options of the command hold for every stream"
        assert {"latency_ms", "findings", "host", "sinks", "bundle", "code", "error"} <= stream.keys()
    overall = summary["overall"]
    assert (overall["captured"], overall["processed"], overall["in_flight"]) == (20, 20, 0)
    assert (overall["streams"], overall["failed_streams"]) == (2, [])
    assert len((tmp_path / "us.jsonl").read_text().splitlines()) == 10
    assert "us: tiny 1.0.0" in done.err and "goldens hold" in done.err


def test_tables_for_people(cli: Callable[..., Any], write: Callable[..., Path]) -> None:
    done = cli("run", write("", 'bundle = "none.bedside"'))
    assert done.code == 3
    assert "12 captured = 12 processed" in done.out
    assert "us" in done.out and "in order" in done.out
    assert "none.bedside" in done.err
    assert "Traceback" not in done.err


def test_in_processes(cli: Callable[..., Any], write: Callable[..., Path]) -> None:
    done = cli("run", write("", 'source = "none.mp4"', top=""), "--json")
    assert done.code == 4
    first, second = done.json["streams"]
    assert first["ledger"]["processed"] == 12
    assert first["process"]["peak_mb"] > 10
    assert (second["ledger"], second["code"]) == (None, 4)
    assert done.json["overall"]["failed_streams"] == ["scope"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--source", "x"), "--source cannot be given for a session (write it into the file"),
        (("--sink", "null:"), "--sink cannot be given for a session"),
        (("--paced",), "--paced cannot be given for a session"),
        (("--threads", "1"), "--threads cannot be given for a session"),
        (("--device", "field-laptop"), "--device cannot be given for a session"),
    ],
)
def test_options_that_belong_into_the_file(
    words: tuple[str, ...], said: str, cli: Callable[..., Any], write: Callable[..., Path]
) -> None:
    done = cli("run", write(), *words)
    assert done.code == 2
    assert said in done.line


def test_a_mistake_in_the_file_runs_nothing(
    cli: Callable[..., Any], write: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "us.jsonl"
    done = cli("run", write(f'sinks = ["jsonl:{out}"]', "[stream.engine]\nthread = 1"))
    assert done.code == 2
    assert "unknown key stream[1].engine.thread (did you mean threads?" in done.line
    assert not out.exists()
    done = cli("run", tmp_path / "none.toml")
    assert done.code == 2
    assert "cannot be read" in done.line


def test_what_the_host_refuses_is_in_the_summary_and_ends_nothing(
    cli: Callable[..., Any], write: Callable[..., Path]
) -> None:
    host = "[stream.host]\nsink_cores = [4000]"
    path = write(f'sinks = ["null:"]\n{host}', top="")
    done = cli("run", path)
    assert done.code == 0
    assert "host: cores of sink: asked for core 4000" in done.out
    assert "AllowedCPUs=" in done.out
    setup = cli("run", path, "--json").json["streams"][0]["host"]["setup"]
    refused = [grant for grant in setup if not grant["granted"]]
    assert [grant["what"] for grant in refused] == ["cores"]


def test_a_terminal_shows_a_line_for_each_stream(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(
        session,
        "progress_console",
        lambda: Console(file=out, force_terminal=True, width=100, highlight=False),
    )
    with session.SessionWatch(load_session(write()), enabled=True) as watch:
        watch.see(events.Begun("us", "tiny 1.0.0 runs"))
        watch.see(events.Progress("us", 7, 6, 1.25, "[red]liver 91 %"))
        watch.see(events.Progress("scope", 0, 0))
        watch.see(events.Ended("scope", None, "no \x1b[31m model", 5))
        watch._progress.refresh()
    text = out.getvalue()
    assert "us: tiny 1.0.0 runs" in text
    assert "7 frames" in text and "[red]liver 91 %, age 1.2 ms" in text
    assert r"scope: no \x1b[31m model" in text, "no terminal codes out of a file"
    assert "1 engine thread" in text


@pytest.mark.fault("P4")
def test_ctrl_c_in_a_terminal(write: Callable[..., Path], tmp_path: Path) -> None:
    """The signal goes to the whole process group, as a terminal sends it; the workers have their own."""
    files = [tmp_path / f"{name}.jsonl" for name in ("us", "scope")]
    endless = 'source = "synthetic:ultrasound?size=64x64&fps=50"\npaced = true\n'
    path = write(*(f'{endless}sinks = ["jsonl:{file}"]' for file in files), top="")
    process = subprocess.Popen(
        [sys.executable, "-m", "bedside.devices.cli.main", "run", str(path), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        until = time.monotonic() + 60
        while not all(file.exists() and file.read_bytes().count(b"\n") > 3 for file in files):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "Traceback" not in err
    summary = json.loads(out)
    assert summary["interrupted"] is True
    for stream, file in zip(summary["streams"], files, strict=True):
        assert (stream["code"], stream["error"], stream["ledger"]["in_flight"]) == (0, None, 0)
        text = file.read_text()
        assert text.endswith("\n") and text.count("\n") == stream["sinks"][0]["written"]
