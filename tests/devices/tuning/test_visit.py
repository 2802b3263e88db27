"""Children that are processes: what they answer, and what becomes of those that do not."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from bedside.devices.tuning.ranking import Candidate
from bedside.devices.tuning.visit import COMMAND, Lost, Order, Refused, Times, visit
from bedside.runtime import engines
from bedside.runtime.bundle.reader import open_bundle

SABOTEUR = Path(__file__).with_name("saboteur.py")


@pytest.fixture(scope="module")
def order(tiny_bundle: Path) -> Order:
    with open_bundle(tiny_bundle) as bundle:
        variant = bundle.manifest.main.shipped[0]
        engine = next(e for e in engines.preference(variant.format) if engines.status(e).available)
        return Order(
            bundle=str(tiny_bundle),
            digest=bundle.digest,
            candidate=msgspec.convert({"variant": variant.id, "engine": engine, "threads": 1}, Candidate),
            fps=500.0,
            paced=4,
            back_to_back=3,
            most_s=1.0,
            ends_s=0.0,
        )


def sabotaged(order: Order, fault: str) -> tuple[str, ...]:
    return (sys.executable, str(SABOTEUR), f"{order.candidate.variant}={fault}")


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def test_a_candidate_that_works(order: Order) -> None:
    answer = visit(order)
    assert isinstance(answer, Times)
    assert len(answer.paced_ns) == 4
    assert len(answer.back_to_back_ns) == 3
    assert answer.memory_bytes > 0
    assert children() == []


def test_a_folder_full_of_modules_changes_nothing(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m` would take modules out of the folder that somebody happens to stand in."""
    for name in ("msgspec", "psutil", "cv2", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken from the working folder')")
    monkeypatch.chdir(tmp_path)
    assert isinstance(visit(order), Times)


def test_what_engines_print_is_not_the_answer(order: Order) -> None:
    assert isinstance(visit(order, command=sabotaged(order, "chatter")), Times)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("crash", "its process was ended by SIGSEGV"),
        ("exit", "its process ended with exit code 3: some engine: assertion failed"),
        ("bug", "its process ended with exit code 1: ZeroDivisionError: in an engine"),
        ("silence", "its process ended without an answer"),
    ],
)
def test_a_crash(order: Order, fault: str, reason: str) -> None:
    assert visit(order, command=sabotaged(order, fault)) == Lost("crashed", reason)


def test_a_hang_is_ended(order: Order) -> None:
    short = msgspec.structs.replace(order, most_s=0.1)
    answer = visit(short, command=sabotaged(order, "hang"), start_s=0.8)
    assert answer == Lost("hung", "gave no answer within 1 s and was ended")
    assert children() == []


def test_a_child_that_hangs_ends_when_nobody_is_left_to_end_it(order: Order) -> None:
    child = subprocess.Popen(
        sabotaged(order, "hang"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        child.communicate(msgspec.json.encode(msgspec.structs.replace(order, ends_s=0.5)), timeout=60)
        assert child.returncode == -signal.SIGALRM
    finally:
        child.kill()
        child.wait()


def test_a_refusal(order: Order) -> None:
    answer = visit(msgspec.structs.replace(order, digest="cd" * 32))
    assert isinstance(answer, Refused)
    assert "changed since tuning began" in answer.reason


def test_a_command_that_is_not_there(order: Order, tmp_path: Path) -> None:
    answer = visit(order, command=(str(tmp_path / "python"),))
    assert answer == Lost("crashed", "cannot be started: No such file or directory")


def test_the_command_is_this_python() -> None:
    assert COMMAND[0] == sys.executable
