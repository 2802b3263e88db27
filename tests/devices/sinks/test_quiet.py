from __future__ import annotations

import os
import threading

import pytest

from bedside.devices.sinks.quiet import quiet


def test_only_the_noise_of_ffmpeg_is_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        os.write(2, b"OpenCV: FFMPEG: tag 0x30385056/'VP80' is not supported with codec id 139\n")
        os.write(2, b"[webm @ 0x55] noise\n")
        os.write(2, b"a line that matters\n")
    assert capfd.readouterr().err == "a line that matters\n"


def test_standard_error_comes_back_after_an_exception(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), quiet():
        raise KeyError
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"


def test_many_threads_at_once_leave_standard_error_where_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    before = os.fstat(2)

    def work(number: int) -> None:
        for _ in range(20):
            with quiet():
                os.write(2, f"{number}\n".encode())

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (os.fstat(2).st_dev, os.fstat(2).st_ino) == (before.st_dev, before.st_ino)
    assert sorted(capfd.readouterr().err.split()) == sorted(str(n) for n in range(8) for _ in range(20))


def test_a_process_without_standard_error_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(fd: int) -> int:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(os, "dup", closed)
    with quiet():
        pass
