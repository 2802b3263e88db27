from __future__ import annotations

import resource
from pathlib import Path

import pytest

from bedside.devices.host.capabilities import CAP_IPC_LOCK, CAP_SYS_NICE, capable, soft_limit


def status(folder: Path, effective: int, uid_map: str = "         0          0 4294967295\n") -> list[Path]:
    (folder / "status").write_text(f"Name:\tpython\nCapPrm:\t0\nCapEff:\t{effective:016x}\n")
    (folder / "uid_map").write_text(uid_map)
    return [folder / "status", folder / "uid_map"]


@pytest.mark.parametrize("capability", [CAP_IPC_LOCK, CAP_SYS_NICE])
def test_one_bit_decides(capability: int, tmp_path: Path) -> None:
    assert capable(capability, *status(tmp_path, 1 << capability))
    assert not capable(capability, *status(tmp_path, ~(1 << capability) & (1 << 41) - 1))


def test_root_of_a_rootless_container_has_nothing_on_the_host(tmp_path: Path) -> None:
    assert not capable(CAP_SYS_NICE, *status(tmp_path, (1 << 41) - 1, "0 1000 1\n1 100000 65536\n"))


def test_a_system_without_proc_says_no(tmp_path: Path) -> None:
    assert not capable(CAP_SYS_NICE, tmp_path / "none", tmp_path / "none")


def test_limits_are_those_of_this_process() -> None:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert soft_limit("RLIMIT_NOFILE") == (None if soft == resource.RLIM_INFINITY else soft)
    assert soft_limit("RLIMIT_OF_NOTHING") is None
