from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bedside.devices.host import memory

LOCKED = """
from bedside.devices.host import memory
def locked():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmLck")).split()[1])
grant = memory.lock()
held = locked()
memory.unlock()
print(json.dumps({"granted": grant.granted, "reason": grant.reason, "remedy": grant.remedy,
                  "held_kib": held, "after_kib": locked()}))
"""


def test_a_finite_limit_is_a_refusal_and_not_a_crash_later(unprivileged: Callable[[str], Any]) -> None:
    found = unprivileged(LOCKED)
    assert not found["granted"]
    assert found["held_kib"] == 0
    assert found["reason"] == "the limit of locked memory is 64 KiB here, not unlimited"
    assert "LimitMEMLOCK=infinity" in found["remedy"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_where_it_is_permitted_pages_are_locked_and_let_go() -> None:
    import json
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", "import json\n" + LOCKED], check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["granted"] == memory.permitted().granted
    assert (found["held_kib"] > 0) == found["granted"]
    assert found["after_kib"] == 0


def test_looking_locks_nothing() -> None:
    before = Path("/proc/self/status").read_text() if Path("/proc/self/status").exists() else ""
    memory.permitted()
    if before:
        line = next(text for text in before.splitlines() if text.startswith("VmLck"))
        assert line in Path("/proc/self/status").read_text()


def test_what_is_locked_is_read_from_the_system(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tpython\nVmPin:\t 1 kB\nVmLck:\t    2048 kB\n")
    assert memory.held(tmp_path / "status") == 2048
    assert memory.held(tmp_path / "none") == 0
