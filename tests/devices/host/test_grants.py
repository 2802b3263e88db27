from __future__ import annotations

import pytest

from bedside.devices.host.grants import Grant, numbers, refusals


@pytest.mark.parametrize(
    ("cores", "said"),
    [
        ((), "no core"),
        ((3,), "core 3"),
        ((1, 0), "cores 0-1"),
        ((0, 1, 2, 5, 7, 8), "cores 0-2, 5, 7-8"),
    ],
)
def test_core_numbers_are_said_in_runs(cores: tuple[int, ...], said: str) -> None:
    assert numbers(cores) == said


def test_a_refusal_says_what_holds_why_and_what_to_do() -> None:
    granted = Grant(what="cores", who="sink", asked="core 0", granted=True, have="core 0")
    refused = Grant(
        what="memory locking",
        who="process",
        asked="all pages",
        granted=False,
        have="none",
        reason="the limit is 8 MiB",
        remedy="raise it",
    )
    assert granted.line == "cores of sink: core 0"
    assert refused.line == "memory locking: asked for all pages, have none: the limit is 8 MiB (raise it)"
    assert refusals([granted, refused]) == (refused,)
