from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from bedside.devices.sinks import JsonlSink
from bedside.runtime.answers import Generation, Picture
from bedside.runtime.clock import ManualClock
from bedside.runtime.errors import SinkError
from bedside.runtime.protocols import SourceInfo
from bedside.runtime.result import Result
from bedside.runtime.results_file import read_results

INFO = SourceInfo("test", 96, 64)
MakeResult = Callable[..., Result]

#: Every line of a results file has at least these, whatever comes later.
STABLE = [
    "schema",
    "session",
    "stream",
    "seq",
    "captured_ns",
    "age_ms",
    "outcome",
    "reason",
    "task",
    "result",
    "bundle",
    "variant",
    "engine",
    "precision",
]


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Descriptors that were synced, in order; the real fsync runs."""
    calls: list[int] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        calls.append(fd)
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    return calls


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Lets no file of this process grow beyond a size: writes end in part, then fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_line_has_every_stable_field(tmp_path: Path, make_result: MakeResult) -> None:
    sink = JsonlSink(tmp_path / "r.jsonl", clock=ManualClock())
    sink.open(INFO)
    sink.write(make_result(7), None)
    sink.close()
    lines = (tmp_path / "r.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1
    record = json.loads(lines[0])
    assert set(STABLE) <= set(record)
    assert record["seq"] == 7
    assert record["result"]["kind"] == "classification"
    assert record["result"]["label"] == "ultrasound"


def test_a_line_is_in_the_file_when_write_returns(tmp_path: Path, make_result: MakeResult) -> None:
    sink = JsonlSink(tmp_path / "r.jsonl", clock=ManualClock())
    sink.open(INFO)
    for seq in range(3):
        sink.write(make_result(seq), None)
        assert [r.seq for r in read_results(tmp_path / "r.jsonl")] == list(range(seq + 1))
    sink.close()


def test_a_line_goes_out_in_one_write(
    tmp_path: Path, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = JsonlSink(tmp_path / "r.jsonl", clock=ManualClock())
    sink.open(INFO)
    written: list[bytes] = []
    real = os.write

    def write(fd: int, data: memoryview) -> int:
        written.append(bytes(data))
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    for seq in range(5):
        sink.write(make_result(seq), None)
    sink.close()
    assert [json.loads(line)["seq"] for line in written] == [0, 1, 2, 3, 4]
    assert all(line.endswith(b"\n") for line in written)


@pytest.mark.fault("K4")
def test_the_disk_is_asked_at_least_every_second(
    tmp_path: Path, make_result: MakeResult, synced: list[int]
) -> None:
    clock = ManualClock()
    sink = JsonlSink(tmp_path / "r.jsonl", clock=clock)
    sink.open(INFO)
    synced.clear()
    for seq in range(32):  # at 10 results a second
        sink.write(make_result(seq), None)
        clock.advance(100_000_000)
    assert len(synced) == 3
    sink.close()
    assert len(synced) == 4


def test_a_pause_can_be_used_to_sync(tmp_path: Path, make_result: MakeResult, synced: list[int]) -> None:
    sink = JsonlSink(tmp_path / "r.jsonl", clock=ManualClock())
    sink.open(INFO)
    synced.clear()
    sink.sync()
    assert synced == []
    sink.write(make_result(0), None)
    sink.sync()
    sink.sync()
    assert len(synced) == 1
    sink.close()
    assert len(synced) == 1


@pytest.mark.fault("K1")
def test_a_full_disk_is_one_clear_line(make_result: MakeResult) -> None:
    sink = JsonlSink("/dev/full", clock=ManualClock())
    sink.open(INFO)
    with pytest.raises(SinkError) as caught:
        sink.write(make_result(4), None)
    assert str(caught.value) == (
        "jsonl:/dev/full: cannot write the result of frame 4: No space left on device "
        "(free some space, or write to another disk)"
    )
    assert caught.value.exit_code == 6
    sink.close()


@pytest.mark.fault("K1")
def test_no_part_of_a_line_stays_and_writing_goes_on_when_there_is_room(
    tmp_path: Path, make_result: MakeResult, small_files: Callable[[int], None]
) -> None:
    path = tmp_path / "r.jsonl"
    sink = JsonlSink(path, clock=ManualClock())
    sink.open(INFO)
    sink.write(make_result(0), None)
    line = path.stat().st_size
    small_files(2 * line + line // 2)
    sink.write(make_result(1), None)
    for seq in (2, 3):
        with pytest.raises(SinkError, match="the size of files is limited here"):
            sink.write(make_result(seq), None)
        assert path.stat().st_size == 2 * line
    small_files(1 << 20)
    sink.write(make_result(4), None)
    sink.close()
    assert [r.seq for r in read_results(path)] == [0, 1, 4]


@pytest.mark.fault("K3")
def test_a_part_that_cannot_be_taken_back_at_once_is_taken_back_later(
    tmp_path: Path,
    make_result: MakeResult,
    small_files: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "r.jsonl"
    sink = JsonlSink(path, clock=ManualClock())
    sink.open(INFO)
    sink.write(make_result(0), None)
    line = path.stat().st_size

    def refused(fd: int, length: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    small_files(line + 10)
    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", refused)
        with pytest.raises(SinkError):
            sink.write(make_result(1), None)
        assert path.stat().st_size == line + 10
        with pytest.raises(SinkError, match="the file system is mounted read-only"):
            sink.write(make_result(2), None)
    small_files(1 << 20)
    sink.write(make_result(3), None)
    sink.close()
    assert [r.seq for r in read_results(path)] == [0, 3]


@pytest.mark.fault("K1")
def test_a_disk_that_loses_what_it_took_is_reported(
    tmp_path: Path, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    sink = JsonlSink(tmp_path / "r.jsonl", clock=clock)
    sink.open(INFO)

    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    sink.write(make_result(0), None)
    clock.advance(1_000_000_000)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(SinkError, match="the disk did not store the last results: Input/output error"):
            sink.write(make_result(1), None)
        with pytest.raises(SinkError, match="did not store"):
            sink.close()
    sink.close()
    assert [r.seq for r in read_results(tmp_path / "r.jsonl")] == [0, 1]


_WRITER = """
import sys
import msgspec
from bedside.devices.sinks import JsonlSink
from bedside.runtime.clock import MonotonicClock
from bedside.runtime.protocols import SourceInfo
from bedside.runtime.result import Result

result = msgspec.json.decode(sys.argv[2], type=Result)
sink = JsonlSink(sys.argv[1], clock=MonotonicClock())
sink.open(SourceInfo("test", 96, 64))
seq = 0
while True:
    sink.write(msgspec.structs.replace(result, seq=seq), None)
    print(seq, flush=True)
    seq += 1
"""


@pytest.mark.fault("K4")
def test_every_acknowledged_line_survives_a_kill(tmp_path: Path, make_result: MakeResult) -> None:
    path = tmp_path / "r.jsonl"
    encoded = msgspec.json.encode(make_result(0)).decode()
    command = [sys.executable, "-c", _WRITER, str(path), encoded]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(200):
            writer.stdout.readline()
        writer.kill()
        acknowledged = 199 + len(writer.stdout.read().split())
    seqs = [r.seq for r in read_results(path)]
    assert seqs == list(range(len(seqs)))
    assert len(seqs) > acknowledged


def test_a_pipe_takes_lines_too(tmp_path: Path, make_result: MakeResult) -> None:
    reading, writing = os.pipe()
    clock = ManualClock()
    sink = JsonlSink(f"/dev/fd/{writing}", clock=clock)
    sink.open(INFO)
    sink.write(make_result(0), None)
    clock.advance(2_000_000_000)
    sink.write(make_result(1), None)
    sink.close()
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        assert [json.loads(line)["seq"] for line in file] == [0, 1]


def test_a_pipe_that_nobody_reads_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SinkError, match="nobody reads from this pipe"):
        JsonlSink(tmp_path / "pipe", clock=ManualClock()).open(INFO)


def test_the_home_folder_is_understood(
    tmp_path: Path, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    sink = JsonlSink("~/r.jsonl", clock=ManualClock())
    sink.open(INFO)
    sink.close()
    assert (tmp_path / "r.jsonl").exists()


def test_a_picture_that_a_model_made_is_not_written(make_result: MakeResult, tmp_path: Path) -> None:
    picture = Picture(64, 64, "rgb", bytes(64 * 64 * 3))
    sink = JsonlSink(tmp_path / "r.jsonl", clock=ManualClock())
    sink.open(INFO)
    sink.write(make_result(0, result=Generation(0.0, 0.0, picture)), None)
    sink.close()
    assert (tmp_path / "r.jsonl").stat().st_size < 1_000
    (again,) = read_results(tmp_path / "r.jsonl")
    assert again.result == Generation(0.0, 0.0)
