"""Silencing engines: what is dropped, what comes through, and what is left as it was."""

import os
import re
import sys
import threading
from pathlib import Path

import pytest

from bedside.runtime.engines import quiet

CHATTER = re.compile(rb"INFO: ")


def test_chatter_is_dropped_and_the_rest_comes_through(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet.filtered_stderr(CHATTER):
        os.write(2, b"INFO: Created a delegate.\nsomething else\nINFO: again\n")
    os.write(2, b"INFO: afterwards\n")
    assert capfd.readouterr().err == "something else\nINFO: afterwards\n"


def test_it_comes_through_when_the_block_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="broken"), quiet.filtered_stderr(CHATTER):
        os.write(2, b"INFO: x\nreason\n")
        raise ValueError("broken")
    assert capfd.readouterr().err == "reason\n"


def open_files() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def test_descriptors_are_given_back() -> None:
    before = open_files()
    for _ in range(5):
        with quiet.filtered_stderr(CHATTER):
            pass
    assert open_files() == before


def test_a_process_without_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(descriptor: int) -> int:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(quiet.os, "dup", closed)
    ran = []
    with quiet.filtered_stderr(CHATTER):
        ran.append(True)
    assert ran


def test_two_threads_do_not_mix_up_the_descriptor(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        for _ in range(50):
            with quiet.filtered_stderr(CHATTER):
                os.write(2, b"INFO: x\n")

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"


def test_openvino_telemetry_is_blocked_inside_and_back_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    marker = type(sys)("openvino_telemetry")
    monkeypatch.setitem(sys.modules, "openvino_telemetry", marker)
    monkeypatch.delitem(sys.modules, "openvino_telemetry.backend", raising=False)
    with quiet.without_openvino_telemetry(), pytest.raises(ImportError):
        import openvino_telemetry  # noqa: F401
    assert sys.modules["openvino_telemetry"] is marker
    assert "openvino_telemetry.backend" not in sys.modules
