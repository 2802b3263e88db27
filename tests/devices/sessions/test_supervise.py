"""Streams side by side: what happens to one does not happen to the others."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bedside.devices.compose import PipelineSpec
from bedside.devices.sessions.events import Begun, Ended, Event, Progress
from bedside.devices.sessions.loading import Session
from bedside.devices.sessions.plan import StreamPlan
from bedside.devices.sessions.schema import Isolation
from bedside.devices.sessions.supervise import SessionEnded, run_session
from bedside.runtime.results_file import read_results

ENDLESS = "synthetic:ultrasound?size=64x64&fps=50"
SHORT = "synthetic:ultrasound?size=64x64&frames=15"

#: Far longer than anything here takes; reached only by a test that is about to fail.
LONG = 60.0


def plan(name: str, bundle: Path | str, **spec: Any) -> StreamPlan:
    given = {"bundle": str(bundle), "source": SHORT, "threads": 1, **spec}
    return StreamPlan(spec=PipelineSpec(stream=name, **given))


def session(isolation: Isolation, *plans: StreamPlan) -> Session:
    return Session(name="test", isolation=isolation, plans=plans)


def run(made: Session, on_event: Callable[[Event], None] | None = None) -> tuple[SessionEnded, list[Event]]:
    events: list[Event] = []

    def see(event: Event) -> None:
        events.append(event)
        if on_event is not None:
            on_event(event)

    return run_session(made, see), events


@pytest.mark.parametrize("isolation", ["process", "thread"])
def test_one_that_fails_does_not_end_the_others(isolation: Isolation, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "good.jsonl"
    ended, events = run(
        session(
            isolation,
            plan("no-bundle", tmp_path / "none.bedside"),
            plan("good", bundle, sinks=(f"jsonl:{out}",)),
            plan("no-sink", bundle, sinks=(f"jsonl:{tmp_path}",)),
        )
    )
    assert [e.stream for e in ended.streams] == ["no-bundle", "good", "no-sink"], "in the order of the file"
    assert [e.code for e in ended.streams] == [3, 0, 6]
    assert ended.code == 6, "the worst"
    assert ended.interrupted is None
    good = ended.streams[1].summary
    assert good is not None and good["ledger"]["processed"] == 15
    assert len(list(read_results(out))) == 15
    assert ended.streams[0].error is not None and "none.bedside" in ended.streams[0].error
    assert {e.stream for e in events if isinstance(e, Begun)} == {"good", "no-sink"}
    assert gc.isenabled() and gc.get_freeze_count() == 0
    # In processes every stream has a memory of its own; threads share one.
    assert ("process" in good) == (isolation == "process")


@pytest.mark.fault("P4")
@pytest.mark.parametrize("isolation", ["process", "thread"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all_of_them_with_their_files_whole(
    number: signal.Signals, code: int, isolation: Isolation, bundle: Path, tmp_path: Path
) -> None:
    files = {name: tmp_path / f"{name}.jsonl" for name in ("a", "b")}
    plans = [
        plan(name, bundle, source=ENDLESS, paced=True, sinks=(f"jsonl:{path}",))
        for name, path in files.items()
    ]
    going: set[str] = set()
    asked: list[float] = []

    def see(event: Event) -> None:
        if isinstance(event, Progress) and event.processed > 5:
            going.add(event.stream)
            if going == {"a", "b"} and not asked:
                asked.append(time.monotonic())
                os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    ended, events = run(session(isolation, *plans), see)
    assert signal.getsignal(number) is before
    assert ended.code == ended.interrupted == code
    assert asked
    progress = [e for e in events if isinstance(e, Progress) and e.age_ms is not None]
    assert progress and all(e.age_ms is not None and e.age_ms > 0 and e.said for e in progress)
    for end in ended.streams:
        assert (end.error, end.code) == (None, 0)
        assert end.summary is not None
        ledger = end.summary["ledger"]
        assert ledger["in_flight"] == 0 and ledger["processed"] > 5
        assert len(list(read_results(files[end.stream]))) == end.summary["sinks"][0]["written"] > 5


def worker_of(name: str) -> int:
    """Process id of the child that runs a stream: the one that has its file open."""
    for child in Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children").read_text().split():
        for descriptor in Path(f"/proc/{child}/fd").iterdir():
            try:
                if descriptor.readlink().name == f"{name}.jsonl":
                    return int(child)
            except OSError:
                continue
    raise AssertionError(f"no process has the file of {name}")


needs_children = pytest.mark.skipif(
    not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists(), reason="needs /proc"
)


@needs_children
@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGKILL, 5, "the stream's process was ended by SIGKILL"),
        (signal.SIGTERM, 143, "the stream's process was asked to end by SIGTERM"),
    ],
)
def test_a_process_that_is_ended_from_outside_is_one_stream(
    number: signal.Signals, code: int, said: str, bundle: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.jsonl"
    doomed = plan("doomed", bundle, source=ENDLESS, paced=True, sinks=(f"jsonl:{tmp_path / 'doomed.jsonl'}",))
    lasting = plan("other", bundle, source=ENDLESS, paced=True, max_frames=100, sinks=(f"jsonl:{other}",))
    done: list[int] = []

    def see(event: Event) -> None:
        if isinstance(event, Progress) and event.stream == "doomed" and event.processed and not done:
            done.append(worker_of("doomed"))
            os.kill(done[0], number)

    ended, _ = run(session("process", doomed, lasting), see)
    assert (ended.streams[0].error, ended.streams[0].code) == (said, code)
    assert (ended.streams[1].error, ended.streams[1].code) == (None, 0)
    summary = ended.streams[1].summary
    assert summary is not None and summary["ledger"]["captured"] == 100
    assert len(list(read_results(other))) == summary["sinks"][0]["written"]
    assert ended.code == code


def test_a_bug_on_a_thread_ends_its_stream_and_shows(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from bedside.devices.sessions import unit

    shown: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: shown.append(args.exc_type.__name__))
    real = unit.Stream.summary

    def broken(self: Any, ended: Any) -> Any:
        return real(self, ended) if self.spec.stream == "good" else 1 / 0

    monkeypatch.setattr(unit.Stream, "summary", broken)
    ended, _ = run(session("thread", plan("bad", bundle), plan("good", bundle)))
    assert ended.streams[0].code == 1
    assert "ZeroDivisionError" in (ended.streams[0].error or "")
    assert ended.streams[1].code == 0
    assert shown == ["ZeroDivisionError"]


def test_an_error_of_whoever_watches_leaves_nothing_running(bundle: Path) -> None:
    def see(event: Event) -> None:
        raise BrokenPipeError

    for isolation in ("process", "thread"):
        before = threading.active_count()
        with pytest.raises(BrokenPipeError):
            run(session(isolation, plan("a", bundle, source=ENDLESS, paced=True)), see)
        assert threading.active_count() == before
        assert gc.isenabled()


class TestWorker:
    """`python -m bedside.devices.sessions.worker`, as a supervisor of another make would use it."""

    @staticmethod
    def start(made: StreamPlan) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bedside.devices.sessions.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(made) + b"\n")
        process.stdin.flush()
        return process

    def test_it_ends_with_whoever_started_it(self, bundle: Path, tmp_path: Path) -> None:
        out = tmp_path / "r.jsonl"
        process = self.start(plan("a", bundle, source=ENDLESS, paced=True, sinks=(f"jsonl:{out}",)))
        assert process.stdout is not None
        decoder = msgspec.json.Decoder(Event)
        for line in process.stdout:
            event = decoder.decode(line)
            if isinstance(event, Progress) and event.processed > 3:
                break
        rest, err = process.communicate(timeout=LONG)  # closes its standard input
        ended = decoder.decode(rest.splitlines()[-1])
        assert isinstance(ended, Ended) and (ended.error, ended.code) == (None, 0)
        assert ended.summary is not None and ended.summary["ledger"]["in_flight"] == 0
        assert process.returncode == 0
        assert err == b""
        assert len(list(read_results(out))) == ended.summary["sinks"][0]["written"]

    def test_it_ends_before_it_has_begun(self, bundle: Path, tmp_path: Path) -> None:
        out = tmp_path / "r.jsonl"
        process = self.start(plan("a", bundle, source=ENDLESS, paced=True, sinks=(f"jsonl:{out}",)))
        output, err = process.communicate(timeout=LONG)
        events = [json.loads(line)["type"] for line in output.splitlines()]
        assert events[-1] == "ended" and events.count("ended") == 1
        assert process.returncode == 0
        assert err == b""
        # Its file is whole whether or not it came so far.
        assert not out.exists() or out.read_text().endswith("\n") or out.read_text() == ""
