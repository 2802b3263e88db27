from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from bedside.devices.host import cores

T = TypeVar("T")


def on_a_thread(work: Callable[[], T]) -> T:
    """What `work` gives on a thread of its own: whatever it does to it is gone with it."""
    done: list[T] = []
    thread = threading.Thread(target=lambda: done.append(work()))
    thread.start()
    thread.join()
    return done[0]


def test_a_thread_stays_where_it_was_put_and_its_children_with_it() -> None:
    before = cores.allowed()
    core = min(before)

    def work() -> Any:
        grant = cores.place(0, (core,), "inference")
        return grant, cores.allowed(), on_a_thread(cores.allowed)

    grant, mine, child = on_a_thread(work)
    assert grant.granted
    assert grant.have == f"core {core}"
    assert mine == child == {core}
    assert cores.allowed() == before, "other threads are left alone"


def test_a_core_that_is_not_there_is_refused_and_the_rest_holds() -> None:
    core = min(cores.allowed())

    def work() -> Any:
        return cores.place(0, (core, 4000), "capture"), cores.allowed()

    grant, mine = on_a_thread(work)
    assert not grant.granted
    assert mine == {core}
    assert grant.have == f"core {core}"
    assert "may not use core 4000" in grant.reason
    assert grant.remedy


def test_nothing_but_cores_that_are_not_there_changes_nothing() -> None:
    before = cores.allowed()
    grant, mine = on_a_thread(lambda: (cores.place(0, (4000, 4001), "sink"), cores.allowed()))
    assert not grant.granted
    assert mine == before
    assert grant.asked == "cores 4000-4001"
    assert grant.reason and "name some of" in grant.remedy


@pytest.mark.parametrize(
    ("siblings", "groups"),
    [
        ({0: "0", 1: "1"}, ((0,), (1,))),
        ({0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}, ((0, 2), (1, 3))),
        ({0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}, ((0, 1), (2, 3))),
    ],
)
def test_hardware_threads_of_one_core_stay_together(
    siblings: dict[int, str], groups: tuple[tuple[int, ...], ...], tmp_path: Path
) -> None:
    for core, text in siblings.items():
        folder = tmp_path / f"cpu{core}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(text + "\n")
    assert cores.physical(siblings, tmp_path) == groups


def test_without_topology_every_processor_is_a_core(tmp_path: Path) -> None:
    assert cores.physical((5, 3), tmp_path) == ((3,), (5,))
