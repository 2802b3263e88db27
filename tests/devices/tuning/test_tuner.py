from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bedside.devices.tuning.candidates import candidates
from bedside.devices.tuning.host import this_host
from bedside.devices.tuning.ranking import Candidate, Limits, Ranking, check
from bedside.devices.tuning.tuner import FULL, LEFT_OUT, QUICK, Job, Outcome, Plan, Step, tune
from bedside.runtime import engines
from bedside.runtime.bundle.reader import Bundle, open_bundle
from bedside.runtime.clock import ManualClock
from bedside.runtime.latency import least_samples

from .conftest import HOST

CLOCKWORK, SABOTEUR = (Path(__file__).with_name(name) for name in ("clockwork.py", "saboteur.py"))


def candidate(who: str, variant: str = "tflite-int8") -> Candidate:
    engine, threads = who.split()
    return msgspec.convert({"variant": variant, "engine": engine, "threads": int(threads)}, Candidate)


@pytest.fixture
def opened(tiny_bundle: Path) -> Iterator[Bundle]:
    with open_bundle(tiny_bundle) as bundle:
        yield bundle


class Rounds(msgspec.Struct):
    """What tuning did with children of clockwork."""

    outcome: Outcome
    visits: list[str]
    steps: list[Step]

    @property
    def ranking(self) -> Ranking:
        assert self.outcome.ranking is not None
        return self.outcome.ranking


@pytest.fixture
def rounds(opened: Bundle, tmp_path: Path) -> Callable[..., Rounds]:
    """Tunes candidates that take the given times, in ms, from visit to visit."""

    def run(table: dict[str, list[float | str]], *, rounds: int = 4, **fields: Any) -> Rounds:
        (tmp_path / "table.json").write_text(json.dumps(table))
        everyone = tuple(candidate(who) for who in table)
        job = Job(
            candidates=everyone,
            default=everyone[0],
            limits=Limits(),
            fps=30.0,
            host=HOST,
            quick=False,
            plan=Plan(first=40, rounds=rounds, paced=60, back_to_back=3),
        )
        steps: list[Step] = []
        outcome = tune(
            opened,
            msgspec.structs.replace(job, **fields),
            ManualClock(),
            command=(sys.executable, str(CLOCKWORK), str(tmp_path / "table.json"), str(tmp_path / "visits")),
            on_step=steps.append,
        )
        return Rounds(outcome, (tmp_path / "visits").read_text().splitlines(), steps)

    return run


def test_rounds_go_there_and_back(rounds: Callable[..., Rounds]) -> None:
    done = rounds({"litert 1": [1.0], "litert 2": [1.1], "openvino 1": [1.2]}, rounds=3)
    there = ["litert 1", "litert 2", "openvino 1"]
    assert done.visits == [*there, *there[::-1], *there, *there[::-1]]
    assert [str(m.candidate) for m in done.ranking.measured] == [
        "tflite-int8 on litert, 1 thread",
        "tflite-int8 on litert, 2 threads",
        "tflite-int8 on openvino, 1 thread",
    ]
    first = done.ranking.measured[0]
    assert first.paced.samples == 40 + 2 * 60, "of four visits one is left out"
    assert first.paced.p95 == pytest.approx(1.0)
    assert first.low_ms == pytest.approx(1.0)
    assert first.back_to_back.p50 == pytest.approx(0.5)
    assert first.cpu_ms == pytest.approx(2.0)
    assert (first.memory_bytes, first.golden_error) == (4_000_000, 0.004), "the worst of all visits"
    assert (first.visits, first.left_out) == (4, 1)
    assert done.ranking.taken_unix_ns == ManualClock().unix_ns()
    assert done.ranking.noise == 0.0
    check(done.ranking)


def test_who_is_clearly_slower_is_not_visited_again(rounds: Callable[..., Rounds]) -> None:
    done = rounds({"litert 1": [1.0], "litert 2": [1.6], "openvino 1": [1.4], "openvino 2": [1.2]})
    counts = {who: done.visits.count(who) for who in done.visits}
    # 1.6 is out after the first round, 1.4 when medians of three visits say so.
    assert counts == {"litert 1": 5, "litert 2": 1, "openvino 1": 3, "openvino 2": 5}
    slow = done.ranking.of(candidate("litert 2"))
    assert slow is not None
    assert slow.paced.p95 is None, "40 samples carry none"


def test_a_slow_start_does_not_decide(rounds: Callable[..., Rounds]) -> None:
    done = rounds({"litert 1": [1.0], "openvino 1": [1.4, 0.7]})
    best = done.ranking.best()
    assert best is not None
    assert best.candidate == candidate("openvino 1")


def test_a_busy_moment_of_the_host_falls_on_one_visit(rounds: Callable[..., Rounds]) -> None:
    done = rounds({"litert 1": [1.0], "openvino 1": [0.7, 0.7, 5.0, 0.7]})
    best = done.ranking.best()
    assert best is not None
    assert best.candidate == candidate("openvino 1")
    assert best.paced.max == pytest.approx(0.7)
    assert done.ranking.noise > 1, "and is told all the same"


def test_the_default_is_measured_to_the_end(rounds: Callable[..., Rounds]) -> None:
    done = rounds({"litert 2": [9.0], "litert 1": [1.0]})
    default = done.ranking.of(done.ranking.default)
    assert default is not None
    assert default.paced.p95 == pytest.approx(9.0)


def test_the_best_that_the_profile_allows_is_measured_to_the_end(rounds: Callable[..., Rounds]) -> None:
    table = {"litert 2": [1.0], "openvino 1": [3.5], "litert 1": [2.0]}
    done = rounds(table, limits=Limits(most_threads=1))
    assert {who: done.visits.count(who) for who in table} == {"litert 2": 5, "openvino 1": 1, "litert 1": 5}


def test_each_variant_is_ranked_within_itself(rounds: Callable[..., Rounds], tmp_path: Path) -> None:
    # The table knows engine and threads only: give the other variant an engine of its own.
    everyone = (candidate("litert 1"), candidate("onnxruntime 1", "onnx-fp32"))
    done = rounds({"litert 1": [1.0], "onnxruntime 1": [5.0]}, candidates=everyone, default=everyone[0])
    assert done.visits.count("onnxruntime 1") == 5, "the best of its variant, however slow"
    assert done.ranking.per_variant == {c.variant: c for c in everyone}


@pytest.mark.parametrize(
    ("entry", "kind", "reason"),
    [
        ("goldens do not hold", "refused", "goldens do not hold"),
        ("crash", "crashed", "its process ended with exit code 1: boom"),
    ],
)
def test_one_failure_strikes_a_candidate_off(
    rounds: Callable[..., Rounds], entry: str, kind: str, reason: str
) -> None:
    done = rounds({"litert 1": [1.0], "litert 2": [0.5, 0.5, entry]})
    assert [m.candidate for m in done.ranking.measured] == [candidate("litert 1")]
    assert [msgspec.to_builtins(s) for s in done.outcome.struck_off] == [
        {"candidate": msgspec.to_builtins(candidate("litert 2")), "kind": kind, "reason": reason}
    ]
    assert done.ranking.struck_off == done.outcome.struck_off
    assert done.visits.count("litert 2") == 3
    check(done.ranking)


def test_nothing_is_left(rounds: Callable[..., Rounds]) -> None:
    done = rounds({"litert 1": ["no"], "litert 2": ["no", "never asked"]})
    assert done.outcome.ranking is None
    assert [s.reason for s in done.outcome.struck_off] == ["no", "no"]
    assert done.visits == ["litert 1", "litert 2"]


def test_noise_is_how_far_visits_are_apart(rounds: Callable[..., Rounds]) -> None:
    done = rounds({"litert 1": [1.0, 1.2, 1.0]}, rounds=2)
    assert done.ranking.noise == pytest.approx(0.2)


def test_progress_never_goes_back_and_ends_at_its_total(rounds: Callable[..., Rounds]) -> None:
    done = rounds({"litert 1": [1.0], "litert 2": [4.0]})
    assert [s.done for s in done.steps] == list(range(len(done.visits)))
    assert done.steps[-1].total == len(done.visits)


def test_what_stays_has_enough_samples_for_a_p95() -> None:
    for plan in (FULL, QUICK):
        visits = 1 + plan.rounds
        assert plan.first + (plan.rounds - visits // LEFT_OUT) * plan.paced >= least_samples(0.95)


def test_bad_candidates_are_struck_off_and_tuning_goes_on(opened: Bundle) -> None:
    """Real children, real engines: one crashes, one hangs, one is refused, the others are ranked."""
    model = opened.manifest.main
    shipped = [v.id for v in model.shipped]
    if len(shipped) < 4:
        pytest.skip("needs engines for both formats")
    everyone = candidates(model, engines.statuses(), (1,))
    firsts = {v: next(c for c in everyone if c.variant == v) for v in shipped}
    refused = msgspec.structs.replace(firsts[shipped[2]], hint="bf16")
    chosen = (firsts[shipped[0]], firsts[shipped[1]], refused, firsts[shipped[3]])
    job = Job(
        candidates=chosen,
        default=chosen[0],
        limits=Limits(),
        fps=500.0,
        host=this_host(),
        quick=True,
        plan=Plan(first=3, rounds=1, paced=3, back_to_back=3),
    )
    command = (sys.executable, str(SABOTEUR), f"{shipped[0]}=crash", f"{shipped[1]}=short hang")
    outcome = tune(opened, job, ManualClock(), command=command)
    assert [(s.candidate, s.kind) for s in outcome.struck_off] == [
        (chosen[0], "crashed"),
        (chosen[1], "hung"),
        (chosen[2], "refused"),
    ]
    assert "SIGSEGV" in outcome.struck_off[0].reason
    assert "precision hint 'bf16'" in outcome.struck_off[2].reason
    assert outcome.ranking is not None
    assert [m.candidate for m in outcome.ranking.measured] == [chosen[3]]
    assert outcome.ranking.measured[0].visits == 2
    check(outcome.ranking)
