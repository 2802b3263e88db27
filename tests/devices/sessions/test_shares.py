from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.devices.compose import PipelineSpec
from bedside.devices.profiles import HostSection
from bedside.devices.sessions.plan import StreamPlan
from bedside.devices.sessions.shares import shared_out
from bedside.runtime.engines.threads import MOST_THREADS


def plan(name: str, *, threads: int | None = None, cores: tuple[int, ...] = ()) -> StreamPlan:
    spec = PipelineSpec(bundle="b", source="s", stream=name, threads=threads)
    return StreamPlan(spec=spec, host=HostSection(inference_cores=cores))


def plans(count: int) -> list[StreamPlan]:
    return [plan(f"s{k}") for k in range(count)]


FOUR = ((0,), (1,), (2,), (3,))
#: Two physical cores with two hardware threads each.
PAIRS = ((0, 2), (1, 3))


@given(
    count=st.integers(1, 8),
    cores=st.integers(1, 24),
    limit=st.one_of(st.none(), st.floats(0.1, 32)),
    smt=st.booleans(),
)
def test_shares_are_disjoint_and_the_sum_fits(count: int, cores: int, limit: float | None, smt: bool) -> None:
    groups = [(k, k + cores) if smt else (k,) for k in range(cores)]
    made, notes = shared_out(plans(count), groups, limit or float("inf"))
    budget = min(cores, max(1, int(limit))) if limit else cores
    threads = [p.spec.threads or 0 for p in made]
    assert all(1 <= t <= MOST_THREADS for t in threads)
    if count <= budget:
        assert sum(threads) <= budget
        assert notes == ()
    else:
        assert "wait for each other" in notes[0]
    named = [core for p in made for core in p.host.inference_cores]
    assert len(named) == len(set(named))
    if 1 < count <= cores:
        assert set(named) == {core for group in groups for core in group}, "nobody's core lies idle"
        sizes = [len(p.host.inference_cores) for p in made]
        assert max(sizes) - min(sizes) <= len(groups[0])
    else:
        assert named == []
    for p in made:
        assert p.host.capture_cores == p.host.sink_cores == p.host.inference_cores
        assert p.host.opencv_threads == (p.spec.threads if count > 1 else None)
        assert not p.spec.threads_fixed, "a measured choice may take fewer threads"


def test_hardware_threads_of_a_core_go_to_one_stream() -> None:
    made, _ = shared_out(plans(2), PAIRS)
    assert [p.host.inference_cores for p in made] == [(0, 2), (1, 3)]
    assert [p.spec.threads for p in made] == [1, 1]


def test_one_stream_has_the_whole_host() -> None:
    made, notes = shared_out(plans(1), FOUR)
    assert made[0].host == HostSection()
    assert made[0].spec.threads == 4
    assert notes == ()


def test_cores_that_a_stream_names_are_nobody_elses() -> None:
    made, notes = shared_out([plan("a", cores=(3,)), plan("b"), plan("c")], FOUR)
    assert [p.host.inference_cores for p in made] == [(3,), (0, 1), (2,)]
    assert notes == ()


def test_what_a_profile_asks_for_goes_before_the_share_and_too_much_is_said() -> None:
    made, notes = shared_out([plan("a", threads=3), plan("b", threads=2)], FOUR)
    assert [p.spec.threads for p in made] == [3, 2]
    assert notes == ("5 engine threads on 4 cores (a 3, b 2): streams wait for each other",)


def test_streams_that_name_the_same_core_are_told() -> None:
    _, notes = shared_out([plan("a", cores=(0, 1), threads=1), plan("b", cores=(1,), threads=1)], FOUR)
    assert notes == ("a and b both infer on core 1",)


@pytest.mark.parametrize(("limit", "threads"), [(2.0, [1, 1]), (0.5, [1, 1]), (None, [2, 2])])
def test_a_containers_quota_counts(limit: float | None, threads: list[int]) -> None:
    made, _ = shared_out(plans(2), FOUR, limit or float("inf"))
    assert [p.spec.threads for p in made] == threads
