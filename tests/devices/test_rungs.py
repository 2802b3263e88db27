"""Which variants become rungs: cheaper ones that hold their goldens and fit; others are named with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bedside.devices import rungs
from bedside.devices.compose import PipelineSpec, Stream, expects_live, limits_of
from bedside.devices.ladder_words import ladder_lines, ordinal, step_line
from bedside.devices.profiles import LadderSection, load_profile, profile_names
from bedside.devices.rungs import MemoryBudget, Rungs, check_first, open_first, open_rungs, plan
from bedside.devices.tuning import Choice
from bedside.devices.tuning.host import this_host
from bedside.devices.tuning.ranking import SCHEMA, Candidate, Limits, Measured, Ranking
from bedside.runtime import engines
from bedside.runtime.bundle.reader import Bundle, open_bundle
from bedside.runtime.clock import MonotonicClock
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.errors import EngineError, ProfileError
from bedside.runtime.latency import Percentiles
from bedside.runtime.loading import Loaded, open_session
from bedside.runtime.result import LadderState
from bedside.runtime.results_file import read_results
from bedside.runtime.stream.control import Move
from bedside.runtime.stream.ladder import Rung, Step

pytestmark = pytest.mark.skipif(not engines.status("litert").available, reason="needs LiteRT")

SECTION = LadderSection(enabled=True)
MB = 1_000_000


@pytest.fixture
def opened(bundle: Path) -> Iterator[Bundle]:
    with open_bundle(bundle) as found:
        yield found


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[Loaded]:
    """Everything that is opened in the test."""
    made: list[Loaded] = []

    def spy(*args: Any, **options: Any) -> Loaded:
        made.append(open_session(*args, **options))
        return made[-1]

    monkeypatch.setattr(rungs, "open_session", spy)
    return made


@pytest.fixture
def taking(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, float]], None]:
    """Says what variants take, in ms, instead of timing them."""

    def set_times(times: Mapping[str, float]) -> None:
        monkeypatch.setattr(rungs, "timed", lambda loaded, clock: times[loaded.variant.id])

    return set_times


def first(bundle: Bundle, variant: str = "tflite-fp32", budget: MemoryBudget | None = None) -> Rungs:
    options = SessionOptions(threads=1)
    return open_first(
        lambda: open_session(bundle, variant=variant, engine="litert", options=options),
        Choice(),
        budget or MemoryBudget(),
        MonotonicClock(),
    )


def climb(bundle: Bundle, section: LadderSection = SECTION, budget: MemoryBudget | None = None) -> Rungs:
    budget = budget or MemoryBudget()
    top = first(bundle, budget=budget)
    planned = plan(bundle, top.rungs[0].loaded, Limits())
    return open_rungs(bundle, top, planned, section, budget)


def shape(found: Rungs) -> list[tuple[str, int]]:
    return [(rung.loaded.variant.id, rung.every) for rung in found.rungs]


def closed(loaded: Loaded) -> bool:
    try:
        loaded.session.invoke()
    except EngineError:
        return True
    return False


class TestWithoutRanking:
    def test_a_cheaper_variant_of_the_same_engine_and_then_fewer_frames(
        self, opened: Bundle, taking: Any, sessions: list[Loaded]
    ) -> None:
        taking({"tflite-fp32": 4.0, "tflite-int8": 1.0})
        found = climb(opened)
        assert shape(found) == [("tflite-fp32", 1), ("tflite-int8", 1), ("tflite-int8", 2)]
        assert [rung.expected_ms for rung in found.rungs] == [4.0, 1.0, 1.0]
        assert found.rungs[1].loaded is found.rungs[2].loaded
        assert found.left_out == ()
        assert {s.session.engine for s in sessions} == {"litert"}, "another engine was loaded to find out"
        assert found.rungs[1].loaded.golden.ok
        assert [c.candidate for c in found.costs] == [
            f"tflite-{p} on litert, 1 thread" for p in ("fp32", "int8")
        ]
        assert all(c.load_ms > 0 for c in found.costs)
        found.close()
        assert all(closed(rung.loaded) for rung in found.rungs)

    @pytest.mark.parametrize("slower", [3.7, 4.0, 9.0])
    def test_what_is_not_cheaper_is_closed_and_named(
        self, opened: Bundle, taking: Any, sessions: list[Loaded], slower: float
    ) -> None:
        taking({"tflite-fp32": 4.0, "tflite-int8": slower})
        found = climb(opened)
        assert shape(found) == [("tflite-fp32", 1), ("tflite-fp32", 2)]
        assert [left.candidate for left in found.left_out] == ["tflite-int8 on litert, 1 thread"]
        assert found.left_out[0].reason.startswith(f"not cheaper: {slower:.3g} ms")
        assert all(closed(s) for s in sessions)
        found.close()

    def test_a_rung_that_does_not_hold_its_goldens_is_left_out(
        self, opened: Bundle, taking: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        taking({"tflite-fp32": 4.0})

        def refuse(*_: Any, **options: Any) -> Loaded:
            raise EngineError("goldens do not hold: 0.4 is more than 0.05", where=options["variant"])

        top = first(opened)
        monkeypatch.setattr(rungs, "open_session", refuse)
        found = open_rungs(opened, top, plan(opened, top.rungs[0].loaded, Limits()), SECTION, MemoryBudget())
        assert shape(found) == [("tflite-fp32", 1), ("tflite-fp32", 2)]
        assert "goldens do not hold" in found.left_out[0].reason
        found.close()

    def test_every_n_th_frame_as_the_profile_says(self, opened: Bundle, taking: Any) -> None:
        taking({"tflite-fp32": 4.0, "tflite-int8": 1.0})
        for every, wanted in (((), 2), ((2, 4), 4)):
            found = climb(opened, LadderSection(enabled=True, every=every))
            assert len(found.rungs) == wanted
            found.close()

    def test_one_variant_only(self, opened: Bundle, taking: Any, sessions: list[Loaded]) -> None:
        taking({"tflite-fp32": 4.0, "tflite-int8": 1.0})
        found = climb(opened, LadderSection(enabled=True, rungs=1))
        assert shape(found) == [("tflite-fp32", 1), ("tflite-fp32", 2)]
        assert "ladder.rungs" in found.left_out[0].reason
        assert sessions == []
        found.close()

    def test_a_session_that_breaks_while_it_is_timed_leaves_nothing_open(
        self, opened: Bundle, sessions: list[Loaded], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        top = first(opened)

        def breaks(loaded: Loaded, _: object) -> float:
            if loaded is not top.rungs[0].loaded:
                raise ZeroDivisionError
            return 4.0

        monkeypatch.setattr(rungs, "timed", breaks)
        with pytest.raises(ZeroDivisionError):
            open_rungs(opened, top, plan(opened, top.rungs[0].loaded, Limits()), SECTION, MemoryBudget())
        assert all(closed(s) for s in sessions)
        top.close()


class TestMemory:
    def test_a_rung_that_does_not_fit_is_left_out(
        self, opened: Bundle, taking: Any, sessions: list[Loaded]
    ) -> None:
        taking({"tflite-fp32": 4.0, "tflite-int8": 1.0})
        taken = [150 * MB]

        def resident() -> int:
            # 60 MB more as soon as a second session is there.
            return taken[0] + 60 * MB * len(sessions)

        found = climb(opened, budget=MemoryBudget(200, 0, resident))
        assert shape(found) == [("tflite-fp32", 1), ("tflite-fp32", 2)]
        assert found.left_out[0].reason == "takes 210 MB with frames, budget.memory_mb is 200"
        assert closed(sessions[0])
        found.close()

    def test_frames_to_come_count(self) -> None:
        budget = MemoryBudget(200, 50 * MB, lambda: 140 * MB)
        assert budget.refusal() is None
        assert budget.refusal(11 * MB) == "takes 201 MB with frames, budget.memory_mb is 200"
        assert MemoryBudget(None, 10**12).refusal() is None

    def test_a_stream_that_takes_more_than_its_profile_allows_is_refused(self, opened: Bundle) -> None:
        top = first(opened)
        with pytest.raises(
            ProfileError, match=r"fp32 on litert, 1 thread: the process takes 300 MB .*is 256"
        ):
            check_first(MemoryBudget(256, 0, lambda: 300 * MB), top.rungs[0].loaded)
        check_first(MemoryBudget(300, 0, lambda: 300 * MB), top.rungs[0].loaded)
        top.close()

    def test_this_process_can_be_asked(self) -> None:
        assert 10 * MB < rungs.resident_bytes() < 1 << 40


def ranking(bundle: Bundle, rows: list[tuple[str, str, int, float, float]]) -> Ranking:
    """Rows of variant, engine, threads, p95 and processor time in ms."""

    def measured(variant: str, engine: Any, threads: int, p95: float, cpu: float) -> Measured:
        times = Percentiles(samples=200, mean=p95, min=p95, max=p95, p50=p95, p90=p95, p95=p95)
        return Measured(
            candidate=Candidate(variant=variant, engine=engine, threads=threads),
            paced=times,
            low_ms=p95,
            back_to_back=times,
            cpu_ms=cpu,
            memory_bytes=60 * MB,
            golden_error=0.0,
            visits=3,
        )

    made = tuple(measured(*row) for row in rows)
    return Ranking(
        schema=SCHEMA,
        bundle=bundle.digest,
        name=bundle.manifest.name,
        version=bundle.manifest.version,
        host=this_host(),
        taken_unix_ns=1,
        fps=30.0,
        quick=False,
        default=made[0].candidate,
        noise=0.0,
        measured=made,
        per_variant={m.candidate.variant: m.candidate for m in made},
    )


class TestWithRanking:
    def planned(self, bundle: Bundle, rows: Any, limits: Limits | None = None) -> list[str]:
        top = first(bundle)
        found = plan(bundle, top.rungs[0].loaded, limits or Limits(), ranking(bundle, rows))
        top.close()
        return [str(p.candidate) for p in found]

    def test_less_processor_time_is_what_makes_a_rung(self, opened: Bundle) -> None:
        own = ("tflite-fp32", "litert", 1, 4.0, 4.0)
        rows = [
            own,
            ("tflite-int8", "litert", 2, 1.0, 1.9),
            ("tflite-int8", "litert", 1, 1.5, 1.5),
            ("tflite-int8", "openvino", 4, 0.8, 3.9),  # costs nearly as much
            ("tflite-fp32", "openvino", 1, 20.0, 2.0),  # takes more than half of a turn
            ("onnx-int8", "onnxruntime", 1, 12.0, 3.0),  # slower, but far from a turn
        ]
        assert self.planned(opened, rows) == [
            "tflite-int8 on litert, 1 thread",
            "tflite-int8 on litert, 2 threads",
            "onnx-int8 on onnxruntime, 1 thread",
        ]
        limits = Limits(engines=("litert",), variant="tflite-fp32", most_threads=1)
        assert self.planned(opened, rows, limits) == ["tflite-int8 on litert, 1 thread"]

    def test_what_was_not_measured_is_planned_as_without_one(self, opened: Bundle) -> None:
        rows = [("tflite-int8", "litert", 1, 1.0, 1.0)]
        assert self.planned(opened, rows) == ["tflite-int8 on litert, 1 thread"]

    def test_of_two_that_cost_the_same_the_cheaper_one_stays(
        self, opened: Bundle, sessions: list[Loaded]
    ) -> None:
        rows = [
            ("tflite-fp32", "litert", 1, 4.0, 4.0),
            ("tflite-int8", "litert", 1, 1.5, 1.50),
            ("tflite-int8", "litert", 2, 1.0, 1.55),
        ]
        top = first(opened)
        planned = plan(opened, top.rungs[0].loaded, Limits(), ranking(opened, rows))
        found = open_rungs(opened, top, planned, SECTION, MemoryBudget())
        assert [(r.loaded.variant.id, r.loaded.session.options.threads) for r in found.rungs] == [
            ("tflite-fp32", 1),
            ("tflite-int8", 1),
            ("tflite-int8", 1),
        ]
        assert found.left_out[0].reason == "costs as much as tflite-int8 on litert, 1 thread"
        assert len(sessions) == 1, "the other one was loaded to no end"
        found.close()

    def test_the_cheapest_are_loaded_first(self, opened: Bundle, sessions: list[Loaded]) -> None:
        rows = [
            ("tflite-fp32", "litert", 1, 4.0, 4.0),
            ("tflite-int8", "litert", 1, 1.5, 1.5),
            ("tflite-int8", "litert", 2, 1.2, 2.0),
            ("tflite-int8", "litert", 3, 1.0, 3.0),
        ]
        top = first(opened)
        planned = plan(opened, top.rungs[0].loaded, Limits(), ranking(opened, rows))
        found = open_rungs(opened, top, planned, SECTION, MemoryBudget())
        assert [r.loaded.session.options.threads for r in found.rungs] == [1, 2, 1, 1]
        assert [left.candidate for left in found.left_out] == ["tflite-int8 on litert, 3 threads"]
        assert len(sessions) == 2
        found.close()


# In a stream.


def spec(bundle: Path, **fields: Any) -> PipelineSpec:
    given: dict[str, Any] = {
        "source": "synthetic:ultrasound?frames=40&fps=100&size=320x240",
        "paced": True,
        "engine": "litert",
        "variant": "tflite-fp32",
        "threads": 1,
        "ladder": SECTION,
        **fields,
    }
    return PipelineSpec(bundle=str(bundle), **given)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, True),
        ({"paced": False}, False),
        ({"paced": False, "pace_fps": 25.0}, True),
        ({"paced": False, "policy": "latest"}, True),
        ({"policy": "all"}, False),
        ({"paced": False, "source": "camera:0"}, True),
    ],
)
def test_only_where_the_newest_frame_counts(bundle: Path, fields: Any, wanted: bool) -> None:
    assert expects_live(spec(bundle, **fields)) == wanted


def test_all_rungs_are_loaded_before_the_stream_starts(bundle: Path, taking: Any, tmp_path: Path) -> None:
    taking({"tflite-fp32": 4.0, "tflite-int8": 1.0})
    out = tmp_path / "r.jsonl"
    stream = Stream(spec(bundle, sinks=(f"jsonl:{out}",)))
    assert shape(stream.rungs) == [("tflite-fp32", 1), ("tflite-int8", 1), ("tflite-int8", 2)]
    summary = stream.summary(stream.run())
    assert all(closed(rung.loaded) for rung in stream.rungs.rungs)
    ladder = json.loads(msgspec.json.encode(summary["ladder"]))
    assert [r["variant"] for r in ladder["rungs"]] == ["tflite-fp32", "tflite-int8", "tflite-int8"]
    results = list(read_results(out))
    assert sum(r["results"] for r in ladder["rungs"]) == len(results) > 0
    assert all(isinstance(r.ladder, LadderState) and r.ladder.rungs == 3 for r in results)
    assert len(ladder["loaded"]) == 2
    assert ladder["left_out"] == []
    assert ladder["host"].keys() == {"sensors", "throttling", "load"}


def test_a_recording_loads_one_model(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    stream = Stream(spec(bundle, paced=False, sinks=(f"jsonl:{out}",)))
    assert len(stream.rungs.rungs) == 1
    summary = stream.summary(stream.run())
    assert "ladder" not in summary
    assert all(result.ladder is None for result in read_results(out))


def test_a_stream_that_is_not_run_can_be_closed(bundle: Path, taking: Any) -> None:
    taking({"tflite-fp32": 4.0, "tflite-int8": 1.0})
    stream = Stream(spec(bundle))
    stream.close()
    stream.close()
    assert all(closed(rung.loaded) for rung in stream.rungs.rungs)


def test_a_budget_that_cannot_be_kept_is_one_line_and_leaves_nothing_open(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bedside.devices import compose

    made: list[Loaded] = []

    def spy(*args: Any, **options: Any) -> Loaded:
        made.append(open_session(*args, **options))
        return made[-1]

    monkeypatch.setattr(compose, "open_session", spy)
    with pytest.raises(ProfileError, match=r"budget\.memory_mb is 1 \(raise"):
        Stream(spec(bundle, memory_mb=1))
    assert len(made) == 1
    assert closed(made[0])


def test_limits_go_on_to_the_rungs(bundle: Path) -> None:
    assert limits_of(spec(bundle)).engine == "litert"


@pytest.mark.parametrize("name", profile_names())
def test_the_profiles_have_a_ladder(name: str) -> None:
    profile = load_profile(name)
    assert profile.ladder.enabled
    assert profile.budget.memory_mb is not None


# In words.


def test_a_step_in_words(opened: Bundle) -> None:
    top = first(opened)
    loaded = top.rungs[0].loaded
    step = Step(
        812, Move(1, 0, 1, "misses", "5 of 21 frames missed their deadline"), Rung(loaded), Rung(loaded, 2)
    )
    assert step_line(step) == (
        "step down after frame 812: tflite-fp32 on litert, 1 thread, every 2nd frame "
        "(5 of 21 frames missed their deadline)"
    )
    top.close()


def test_a_summary_in_words() -> None:
    rung = {"variant": "a", "engine": "litert", "threads": 2, "every": 1, "results": 7}
    step = {"at_s": 1.25, "seq": 3, "before": 0, "after": 1, "cause": "heat", "detail": "97 °C"}
    said = ladder_lines(
        {
            "rungs": [rung, {**rung, "every": 3, "results": 1}],
            "steps": 20,
            "last_steps": [step] * 20,
            "loaded": [{"candidate": "a", "load_ms": 1.0, "memory_mb": 2.0}] * 2,
            "left_out": [{"candidate": "b", "reason": "not cheaper"}],
        }
    )
    assert said[:5] == [
        "rung 0: a on litert, 2 threads: 7 results",
        "rung 1: a on litert, 2 threads, every 3rd frame: 1 result",
        "loading a took 1 ms and 2.0 MB",
        "no rung: b: not cheaper",
        "20 steps, the last 12 of them:",
    ]
    assert said[5:] == ["1.2 s: down to rung 1, heat: 97 °C"] * 12


@pytest.mark.parametrize(
    ("number", "wanted"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th")]
)
def test_ordinals(number: int, wanted: str) -> None:
    assert ordinal(number) == wanted
