"""Ctrl-C and SIGTERM in the middle: the ledger is closed, files are whole, and it is over soon."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bedside.devices import running
from bedside.devices.compose import PipelineSpec, Stream
from bedside.runtime.results_file import read_results

ENDLESS = "synthetic:ultrasound?size=320x240&fps=100"

#: Far longer than a stop takes (about a second at most); reached only by a test that is about to fail.
LONG = 20.0


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `bedside` in a process of its own; whatever happens, none is left."""
    started: list[subprocess.Popen[str]] = []

    def run(*words: object, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "bedside.devices.cli.main", *map(str, words)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def wait_for(ready: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    pause, until = threading.Event(), time.monotonic() + 60
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "it does not begin"
        pause.wait(0.02)


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Its outputs; fails when it does not end."""
    return process.communicate(timeout=LONG)


def check(out: str, err: str, results: Path) -> dict[str, Any]:
    """The summary, after everything that has to hold for an interrupted run was checked."""
    assert "Traceback" not in err
    assert err.count("\n") <= 1, err
    summary: dict[str, Any] = json.loads(out)
    ledger = summary["ledger"]
    lost = sum(sum(ledger[column].values()) for column in ("dropped", "withheld", "failed"))
    assert ledger["captured"] == ledger["processed"] + lost
    assert ledger["in_flight"] == 0
    assert summary["error"] is None
    text = results.read_text()
    assert text.endswith("\n")
    lines = [json.loads(line) for line in text.splitlines()]
    assert len(lines) == ledger["processed"] == summary["sinks"][0]["written"] > 0
    assert len(list(read_results(results))) == len(lines)
    return summary


@pytest.mark.fault("P4")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("pace", ["paced", "as fast as it goes"])
def test_a_signal_in_the_middle(
    number: signal.Signals, code: int, pace: str, start: Callable[..., Any], bundle: Path, tmp_path: Path
) -> None:
    results, video = tmp_path / "r.jsonl", tmp_path / "v.webm"
    options = ["--paced"] if pace == "paced" else []
    process = start(
        *("run", bundle, "--source", ENDLESS, *options, "--json"),
        *("--sink", f"jsonl:{results}", "--sink", f"video:{video}"),
    )
    wait_for(lambda: results.exists() and results.read_bytes().count(b"\n") >= 10, process)
    process.send_signal(number)
    out, err = ended(process)
    assert process.returncode == code
    summary = check(out, err, results)
    assert set(summary["ledger"]["dropped"]) <= {"shutdown", "replaced"}
    assert not list(tmp_path.glob("*.partial")) and not list(tmp_path.glob(".*"))
    import cv2

    capture = cv2.VideoCapture(str(video))
    try:
        assert capture.read()[0], "the overlay can be played"
    finally:
        capture.release()


@pytest.mark.fault("P4")
def test_an_impatient_person(start: Callable[..., Any], bundle: Path, tmp_path: Path) -> None:
    results = tmp_path / "r.jsonl"
    process = start("run", bundle, "--source", ENDLESS, "--paced", "--sink", f"jsonl:{results}", "--json")
    wait_for(lambda: results.exists() and results.read_bytes().count(b"\n") >= 5, process)
    for _ in range(20):
        process.send_signal(signal.SIGINT)
    out, err = ended(process)
    if process.returncode != 130 or not out:
        # A signal may also hit the moment behind the stream, while the summary is printed.
        assert process.returncode in (130, -signal.SIGINT)
        assert "Traceback" not in err
        return
    check(out, err, results)


@pytest.mark.fault("P4")
def test_an_ignored_ctrl_c_stays_ignored(start: Callable[..., Any], bundle: Path, tmp_path: Path) -> None:
    """A shell starts background jobs with SIGINT ignored: a Ctrl-C is not meant for them."""
    results = tmp_path / "r.jsonl"

    def lines() -> int:
        return results.read_bytes().count(b"\n") if results.exists() else 0

    process = start(
        *("run", bundle, "--source", ENDLESS, "--paced", "--sink", f"jsonl:{results}", "--json"),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    wait_for(lambda: lines() >= 5, process)
    process.send_signal(signal.SIGINT)
    before = lines()
    wait_for(lambda: lines() >= before + 10, process)
    process.send_signal(signal.SIGTERM)
    out, err = ended(process)
    assert process.returncode == 143
    check(out, err, results)


@pytest.mark.fault("P4")
def test_a_sink_that_hangs_does_not_hold_it_up(
    start: Callable[..., Any], bundle: Path, tmp_path: Path
) -> None:
    """A pipe that nobody reads any more: `write` blocks for ever once it is full."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        process = start(
            "run", bundle, "--source", "synthetic:ultrasound?size=64x64", "--sink", f"jsonl:{pipe}", "--json"
        )

        def full() -> bool:
            now = array("i", [0])
            fcntl.ioctl(reader, termios.FIONREAD, now)
            waiting.append(now[0])
            # A pipe holds 64 KiB, less what is left over at the ends of its pages (pipe(7)).
            return now[0] > 40_000 and waiting[-10:] == [now[0]] * 10

        waiting: list[int] = []
        wait_for(full, process)
        process.send_signal(signal.SIGINT)
        out, err = ended(process)
    finally:
        os.close(reader)
    assert process.returncode == 130
    assert "Traceback" not in err
    summary = json.loads(out)
    assert "did not finish in time" in summary["sinks"][0]["error"]
    assert summary["ledger"]["in_flight"] == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_a_command_without_a_stream(
    number: signal.Signals, code: int, start: Callable[..., Any], bundle: Path
) -> None:
    process = start(
        "bench", bundle, "--source", "synthetic:ultrasound?size=64x64&frames=2", "--seconds", "600"
    )
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        pytest.skip("needs /proc")

    def handled() -> bool:
        caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt"))
        return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)

    wait_for(handled, process)
    process.send_signal(number)
    out, err = ended(process)
    assert process.returncode == code
    assert out == ""
    assert "Traceback" not in err
    # It may come before the command's name is known.
    said = ("bedside bench: interrupted\n", "bedside: interrupted\n")
    assert err in (said if number == signal.SIGINT else ("",))


def test_a_signal_during_the_import_of_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """pybind11 makes an ImportError of it: the engine would count as absent, and the command would go on."""
    from bedside.runtime.engines import registry

    def interrupted(engine: str) -> None:
        raise ImportError("initialization failed") from KeyboardInterrupt()

    for name, before in ((s.id, s) for s in registry.statuses()):
        with monkeypatch.context() as patch:
            registry.status.cache_clear()
            patch.setattr(registry._adapter(registry.spec(name)), "load", interrupted)
            with pytest.raises(KeyboardInterrupt):
                registry.status(name)
        assert registry.status(name) == before, "nothing is remembered of it"


# In this process: what `run_stream` does with handlers and threads.


def stream(bundle: Path, **fields: Any) -> Stream:
    source = "synthetic:ultrasound?size=64x64&frames=20"
    return Stream(PipelineSpec(**{"bundle": str(bundle), "source": source, **fields}))


def test_handlers_are_put_back(bundle: Path) -> None:
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    done = running.run_stream(stream(bundle))
    assert done.interrupted is None
    assert done.summary.ledger.processed == 20
    assert {n: signal.getsignal(n) for n in before} == before


def test_a_stream_runs_on_any_thread(bundle: Path) -> None:
    done: list[running.Ended] = []
    worker = threading.Thread(target=lambda: done.append(running.run_stream(stream(bundle))))
    worker.start()
    worker.join(LONG)
    assert done[0].summary.ledger.processed == 20


def test_a_bug_surfaces_on_the_thread_that_asked(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    made = stream(bundle)
    monkeypatch.setattr(made.pipeline._publisher, "on_result", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        running.run_stream(made)
    assert {n: signal.getsignal(n) for n in before} == before


def test_the_command_leaves_no_handler_behind(cli: Callable[..., Any], bundle: Path) -> None:
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    for words in (("inspect", bundle), ("inspect", "none"), ("run", bundle), ("inspect",)):
        cli(*words)
        assert {n: signal.getsignal(n) for n in before} == before
    codes: list[int] = []
    from bedside.devices.cli.main import main

    worker = threading.Thread(target=lambda: codes.append(main(["inspect", str(bundle), "--json"])))
    worker.start()
    worker.join(LONG)
    assert codes == [0], "it runs on any thread"
