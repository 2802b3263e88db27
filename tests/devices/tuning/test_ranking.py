from __future__ import annotations

import itertools
from collections.abc import Callable

import msgspec
import pytest

from bedside.devices.tuning.ranking import Candidate, Limits, Measured, Ranking, check, ordered, ties

Make = Callable[..., Measured]


def names(measured: tuple[Measured, ...]) -> list[str]:
    return [m.candidate.variant for m in measured]


def test_the_smaller_p95_comes_first(make_measured: Make) -> None:
    # The median says otherwise; their tails can be told apart.
    a = make_measured("a", "litert", 2, 1.0, 9.0, 8.0)
    b = make_measured("b", "litert", 1, 2.0, 2.5, 2.1)
    assert names(ordered([a, b])) == ["b", "a"]
    assert names(ties([a, b])) == ["b"]


def test_the_median_decides_among_those_that_cannot_be_told_apart(make_measured: Make) -> None:
    a = make_measured("a", "litert", 1, 1.5, 3.0, 1.9)
    b = make_measured("b", "litert", 1, 1.0, 4.0, 1.8)  # one long pause of the host
    c = make_measured("c", "litert", 1, 0.5, 9.0, 3.1)  # slower for certain
    assert names(ordered([a, b, c])) == ["b", "a", "c"]
    assert names(ties([a, b, c])) == ["b", "a"]


def test_too_few_samples_for_a_p95(make_measured: Make) -> None:
    few = make_measured("a", "litert", 1, 1.0, None, 0.0)
    assert few.p95_ms == few.paced.max == 2.0
    assert names(ordered([few, make_measured("b", "litert", 1, 1.5, 1.7, 1.6)])) == ["a", "b"]
    assert ordered([]) == ties([]) == ()


def test_the_order_does_not_depend_on_the_order(make_measured: Make) -> None:
    medians = {"a": 4, "b": 1, "c": 3, "d": 2}
    everyone = [make_measured(v, "litert", 1, p50, p50 + 1, p50 / 2) for v, p50 in medians.items()]
    assert {ordered(p) for p in itertools.permutations(everyone)} == {ordered(everyone)}


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(), "tflite-int8 on openvino (f32), 2 threads"),
        (Limits(engine="litert"), "tflite-int8 on litert, 1 thread"),
        (Limits(engines=("litert", "onnxruntime")), "tflite-int8 on litert, 1 thread"),
        (Limits(variant="tflite-fp32"), "tflite-fp32 on litert, 2 threads"),
        (Limits(variant="tflite-fp32", most_threads=1), "tflite-fp32 on litert, 1 thread"),
        (Limits(threads=1), "tflite-int8 on litert, 1 thread"),
        (Limits(most_threads=4), "tflite-int8 on openvino (f32), 2 threads"),
        (Limits(hint="f32"), "tflite-int8 on openvino (f32), 2 threads"),
        (Limits(hint="bf16"), None),
        (Limits(threads=4), None),
        (Limits(engine="tflite"), None),
        (Limits(engines=("onnxruntime",)), None),
    ],
)
def test_the_best_within_limits(ranking: Ranking, limits: Limits, expected: str | None) -> None:
    best = ranking.best(limits)
    assert (None if best is None else str(best.candidate)) == expected
    assert best is None or limits.allow(best.candidate)


def test_rungs_are_the_best_of_each_variant(ranking: Ranking) -> None:
    assert [str(m.candidate) for m in ranking.rungs()] == [
        "tflite-int8 on openvino (f32), 2 threads",
        "tflite-fp32 on litert, 2 threads",
    ]
    assert [m.candidate.threads for m in ranking.rungs(Limits(most_threads=1))] == [1, 1]
    assert ranking.rungs(Limits(engine="tflite")) == ()


def test_a_rung_is_the_best_of_its_own_variant_also_where_another_is_far_ahead(
    ranking: Ranking, make_measured: Make
) -> None:
    # Against the fast int8 both fp32 are far behind; between themselves only the median tells them apart.
    slow = make_measured("tflite-fp32", "litert", 1, 3.0, 5.0, 3.4)
    fast = make_measured("tflite-fp32", "litert", 2, 2.5, 5.2, 3.3)
    both = msgspec.structs.replace(ranking, measured=(*ranking.measured[:2], slow, fast))
    assert both.rungs()[1] == fast


def test_a_candidate_is_found_again(ranking: Ranking) -> None:
    for measured in ranking.measured:
        assert ranking.of(measured.candidate) == measured
    assert ranking.of(Candidate(variant="tflite-int8", engine="litert", threads=7)) is None


def test_the_day_is_utc(ranking: Ranking) -> None:
    assert ranking.date == "2026-11-23"
    latest = msgspec.structs.replace(ranking, taken_unix_ns=2**63 - 1)
    assert latest.date == "2262-04-11"


def test_what_tune_makes_is_consistent(ranking: Ranking) -> None:
    check(ranking)


def lapses(ranking: Ranking) -> dict[str, Ranking]:
    first, *rest = ranking.measured
    swapped = dict(zip(ranking.per_variant, reversed(ranking.per_variant.values()), strict=True))
    bad = msgspec.structs.replace(first, paced=msgspec.structs.replace(first.paced, p50=99.0))
    negative = msgspec.structs.replace(first, paced=msgspec.structs.replace(first.paced, min=-1.0))
    beyond = msgspec.structs.replace(first, back_to_back=msgspec.structs.replace(first.paced, p99=99.0))
    return {
        "appears twice": msgspec.structs.replace(ranking, measured=(first, first, *rest)),
        "per_variant": msgspec.structs.replace(ranking, per_variant=swapped),
        "contradict": msgspec.structs.replace(ranking, measured=(bad, *rest)),
        "contradict each other": msgspec.structs.replace(ranking, measured=(negative, *rest)),
        "the times of": msgspec.structs.replace(ranking, measured=(beyond, *rest)),
    }


@pytest.mark.parametrize(
    "what", ["appears twice", "per_variant", "contradict", "contradict each other", "the times of"]
)
def test_contradictions_are_seen(ranking: Ranking, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        check(lapses(ranking)[what])
