"""How many threads a host is good for."""

from pathlib import Path

import pytest

from bedside.runtime.engines import default_threads, threads


def topology(folder: Path, siblings: dict[int, str]) -> Path:
    for cpu, listed in siblings.items():
        place = folder / f"cpu{cpu}" / "topology"
        place.mkdir(parents=True)
        (place / "thread_siblings_list").write_text(listed + "\n")
    return folder


@pytest.mark.parametrize(
    ("allowed", "siblings", "cores"),
    [
        ({0, 1, 2, 3}, {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}, 2),
        ({0, 1, 2, 3}, {0: "0", 1: "1", 2: "2", 3: "3"}, 4),
        ({0, 2}, {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}, 1),
        ({0, 1}, {}, 2),
    ],
)
def test_hardware_threads_of_a_core_count_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, allowed: set[int], siblings: dict[int, str], cores: int
) -> None:
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: allowed, raising=False)
    assert threads.physical_cores(topology(tmp_path, siblings)) == cores


@pytest.mark.parametrize(
    ("text", "limit"),
    [("max 100000\n", None), ("150000 100000\n", 1.5), ("", None), ("junk\n", None), ("5 0\n", None)],
)
def test_the_quota_of_a_container(tmp_path: Path, text: str, limit: float | None) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(text)
    assert threads.quota(file) == limit
    assert threads.quota(tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("cores", "quota", "expected"), [(1, None, 1), (2, None, 2), (16, None, 4), (8, 2.5, 2), (8, 0.5, 1)]
)
def test_the_default(monkeypatch: pytest.MonkeyPatch, cores: int, quota: float | None, expected: int) -> None:
    monkeypatch.setattr(threads, "physical_cores", lambda: cores)
    monkeypatch.setattr(threads, "quota", lambda: quota)
    assert default_threads() == expected
