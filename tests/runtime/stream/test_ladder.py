"""The ladder at work: exactly, on a simulated clock; through the pipeline, with sessions slowed on purpose."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bedside.devices.sources import Paced
from bedside.runtime import engines
from bedside.runtime.bundle.decode import ClassificationDecode
from bedside.runtime.bundle.manifest import (
    EngineGolden,
    FileRef,
    Golden,
    InputSpec,
    Model,
    TensorSpec,
    Variant,
    VariantGolden,
)
from bedside.runtime.engines.protocol import Array, Session, SessionOptions
from bedside.runtime.golden import GoldenReport
from bedside.runtime.loading import Loaded
from bedside.runtime.preprocess import Preprocessor
from bedside.runtime.result import Dropped, LadderState, Result
from bedside.runtime.stream.control import LadderSettings, Pressure
from bedside.runtime.stream.ladder import Ladder, Rung, Step
from bedside.runtime.stream.pipeline import Pipeline, StreamIdentity, StreamLimits, StreamSummary
from bedside.runtime.tasks import make_task
from bedside.runtime.testing.sessions import FakeSession
from bedside.runtime.testing.sources import ArraySource

ASSETS = Path(__file__).resolve().parents[2] / "assets"
S, MS = 10**9, 10**6
SIZE = 16
LABELS = ("a", "b", "c", "d", "e")
PIXELS = TensorSpec(name="pixels", shape=(1, SIZE, SIZE, 3), dtype="uint8")
SCORES = TensorSpec(name="scores", shape=(1, len(LABELS)), dtype="float32")
REF = FileRef(file="golden/x.npy", sha256="0" * 64, bytes=1)
IDENTITY = StreamIdentity(session="s", stream="main", boot="b", task="classification", bundle="0" * 64)


def loaded(name: str = "v", session: Session | None = None, outputs: TensorSpec = SCORES) -> Loaded:
    session = session or FakeSession((PIXELS,), (SCORES,))
    variant = Variant(
        id=name,
        format="tflite",
        precision="fp32",
        sha256="0" * 64,
        bytes=1,
        inputs=(PIXELS,),
        outputs=(outputs,),
    )
    model = Model(
        input=InputSpec(width=SIZE, height=SIZE),
        outputs=("scores",),
        decode=ClassificationDecode(labels=LABELS),
        variants=(variant,),
        golden=Golden(
            engine=EngineGolden(input=REF),
            variants=(VariantGolden(variant=name, outputs=(REF,), tolerance=0.01),),
        ),
        default=name,
    )
    report = GoldenReport(
        engine=session.engine, variant=name, tolerance=0.01, samples=1, error=0.0, errors=(0.0,)
    )
    return Loaded(session, model, variant, report)


def rungs(count: int = 2, every: Sequence[int] = (2,)) -> list[Rung]:
    sessions = [Rung(loaded(f"v{k}")) for k in range(count)]
    return [*sessions, *(Rung(sessions[-1].loaded, n) for n in every)]


class Simulation:
    """One capturing and one inferring thread under `latest`, on a clock of its own.

    Args:
        ladder: Of the stream.
        cost_ms: What a frame takes, by rung and time in seconds.
        fps: Of the source.
        decode_ms: From the stamp of a frame until it lies in the mailbox.
        max_age_ms: Of the profile.
    """

    def __init__(
        self,
        ladder: Ladder,
        cost_ms: Callable[[int, float], float],
        *,
        fps: float = 60.0,
        decode_ms: float = 3.0,
        max_age_ms: float | None = 100.0,
    ) -> None:
        self.ladder, self.cost_ms = ladder, cost_ms
        self.interval, self.decode = round(S / fps), round(decode_ms * MS)
        self.limit = None if max_age_ms is None else int(max_age_ms * MS)
        ladder.begin(self.limit)
        self.lost: Counter[str] = Counter()
        self.ages: list[tuple[float, float, int]] = []  # when, in s; age in ms; rung

    def run(self, seconds: float) -> Simulation:
        now, taken, seq = 0, -1, 0
        while now < seconds * S:
            # The newest frame that lies in the mailbox, or the next one that will.
            newest = (now - self.decode) // self.interval
            seq = max(taken + 1, newest)
            captured = seq * self.interval
            now = max(now, captured + self.decode)
            self.lost["replaced"] += seq - taken - 1
            taken = seq
            refused = self.ladder.refusal(seq, captured, now)
            if refused is not None:
                self.lost[refused] += 1
                continue
            begun, rung = now, self.ladder.index
            self.ladder.state()
            now += round(self.cost_ms(rung, now / S) * MS)
            if self.limit is not None and now - captured > self.limit:
                self.lost["stale"] += 1
            self.ages.append((now / S, (now - captured) / MS, rung))
            self.ladder.done(seq, captured, begun, now)
        return self

    def shown(self, begin: float = 0.0, end: float = 1e9) -> list[float]:
        limit = 1e9 if self.limit is None else self.limit / MS
        return [age for at, age, _ in self.ages if begin <= at < end and age <= limit]

    def steps(self) -> list[tuple[float, int, str]]:
        return [(s.move.at_ns / S, s.move.after, s.move.cause) for s in self.ladder.steps]


class TestOverload:
    """A model that takes three times the frame interval, without another rung."""

    @pytest.mark.parametrize("every", [(), (2,), (2, 4)])
    @pytest.mark.parametrize("max_age_ms", [None, 100.0, 60.0])
    def test_an_age_stays_below_one_invoke_an_interval_and_a_decode(
        self, every: Any, max_age_ms: Any
    ) -> None:
        cost, interval = 50.0, 1e3 / 60
        played = Simulation(Ladder(rungs(1, every)), lambda *_: cost, max_age_ms=max_age_ms).run(60)
        assert max(age for _, age, _ in played.ages) <= cost + interval + 3.0 + 1e-6
        thirds = [played.shown(k * 20, k * 20 + 20) for k in range(3)]
        assert max(map(max, thirds)) < max(thirds[0]) + 1.0, "it grows over time"

    def test_what_cannot_be_in_time_is_not_begun(self) -> None:
        # A frame that waited longer than 7 ms would be too old, one that waited less is not.
        played = Simulation(Ladder(rungs(1, ())), lambda *_: 50.0, max_age_ms=60.0).run(30)
        assert played.lost["stale"] <= 2, "only until it knows"
        assert played.lost[Dropped.LATE] > 100
        assert len(played.shown()) > 400

    def test_a_model_that_is_never_in_time_is_tried_twice_a_second(self) -> None:
        played = Simulation(Ladder(rungs(1, ())), lambda *_: 150.0).run(20)
        assert played.shown() == []
        assert played.lost["stale"] == pytest.approx(40, abs=10)
        assert played.lost[Dropped.LATE] > 700

    def test_it_is_shown_again_soon_after_it_recovers(self) -> None:
        played = Simulation(Ladder(rungs(1, ())), lambda _, at: 150.0 if at < 20 else 5.0).run(30)
        assert played.shown(20, 30), "it was never measured again"
        first = min(at for at, age, _ in played.ages if at >= 20 and age <= 100)
        assert first < 20.6
        assert len(played.shown(23, 30)) == pytest.approx(7 * 60, abs=3)


@pytest.mark.fault("E4")
class TestSlowdown:
    """Done when: misses are followed by a step down within one second, the age limit holds, and it climbs back."""

    def played(self, **options: Any) -> Simulation:
        # Between 10 and 20 s everything takes eight times as long.
        def cost(rung: int, at: float) -> float:
            return (8.0, 3.0, 1.0, 1.0)[rung] * (8.0 if 10 <= at < 20 else 1.0)

        return Simulation(Ladder(rungs(3)), cost, **options).run(120)

    @pytest.mark.parametrize("fps", [30.0, 60.0])
    def test_down_within_a_second_and_back_up(self, fps: float) -> None:
        played = self.played(fps=fps)
        steps = played.steps()
        assert 10 <= steps[0][0] <= 11
        assert (steps[0][1], steps[0][2]) == (1, "misses")
        assert played.ladder.index == 0
        assert steps[-1][1:] == (0, "calm")
        assert steps[-1][0] < 20 + 60 + 3 * 5 + 1
        assert len(steps) < 12

    def test_the_age_limit_holds(self) -> None:
        played = self.played()
        assert max(played.shown()) <= 100
        assert played.lost["stale"] <= 1
        assert min(len(played.shown(t, t + 1)) for t in range(119)) > 10, "a second without results"

    def test_without_load_there_is_no_step_and_no_loss(self) -> None:
        played = Simulation(Ladder(rungs(3)), lambda *_: 8.0).run(60)
        assert played.steps() == []
        assert +played.lost == Counter()

    def test_every_second_frame_relieves_a_host_that_can_no_more(self) -> None:
        played = Simulation(Ladder(rungs(1)), lambda rung, _: 20.0).run(10)
        assert played.ladder.rung.every == 2
        # It takes a frame when it comes, and not the one that waited: a result is as young as can be.
        assert all(age == pytest.approx(23.0, abs=0.1) for at, age, _ in played.ages if at > 2)
        assert played.lost[Dropped.SKIPPED] > 200


def test_heat_is_told_by_the_host() -> None:
    hot: list[Pressure | None] = [None]
    told: list[Step] = []
    ladder = Ladder(rungs(1), pressure=lambda: hot[0], on_step=told.append)

    def cost(_: int, at: float) -> float:
        hot[0] = Pressure("heat", "package at 97 °C, limit 95") if 5 <= at < 8 else None
        return 5.0

    played = Simulation(ladder, cost).run(30)
    assert [s[1:] for s in played.steps()] == [(1, "heat"), (0, "calm")]
    assert told[0].move.detail == "package at 97 °C, limit 95"
    assert (told[0].before.every, told[0].after.every) == (1, 2)


def test_a_recording_has_no_ladder() -> None:
    ladder = Ladder(rungs())
    for k in range(100):
        assert ladder.refusal(k, 0, k * S) is None
        ladder.done(k, 0, k * S, (k + 1) * S)
    assert ladder.index == ladder.taken == 0


def test_results_say_where_the_stream_stood() -> None:
    ladder = Ladder(rungs(1), pressure=lambda: Pressure("heat", "hot"))
    ladder.begin(None)
    assert ladder.state() == LadderState(0, 2)
    ladder.done(0, 0, 0, 1)
    assert ladder.state() == LadderState(1, 2, 2, "heat")
    assert ladder.state() == LadderState(1, 2, 2)
    assert Ladder(rungs(1, ())).state() is None
    plain = ladder.summary(0)
    assert [r["results"] for r in plain["rungs"]] == [1, 2]
    assert plain["last_steps"] == [
        {"at_s": 0.0, "seq": 0, "before": 0, "after": 1, "cause": "heat", "detail": "hot"}
    ]


def test_steps_are_remembered_within_bounds() -> None:
    ladder = Ladder(rungs(1), settings=LadderSettings(up_s=1.0, up_most_s=1.0))
    ladder.begin(50 * MS)
    for k in range(40_000):
        now = k * S // 30
        ladder.done(k, now - (100 if ladder.index == 0 else 1) * MS, now, now)
    assert ladder.taken > len(ladder.steps) == 256


@pytest.mark.parametrize("every", [[], [2, 1], [0]])
def test_rungs_have_an_order(every: list[int]) -> None:
    with pytest.raises(ValueError, match="n rising from 1"):
        Ladder([Rung(loaded(), n) for n in every])


# Through the pipeline.


@pytest.fixture(scope="module")
def real() -> Iterator[Callable[[str], Session]]:
    opened: list[Session] = []

    def make(file: str) -> Session:
        data = (ASSETS / file).read_bytes()
        opened.append(engines.compile_model("litert", data, "tflite", SessionOptions(threads=1)))
        return opened[-1]

    yield make
    for session in opened:
        session.close()


class Slowed:
    """A real session that takes longer while `slow` is set, as on a host that others use."""

    def __init__(self, session: Session, slow: threading.Event, seconds: float) -> None:
        self.engine, self.options = session.engine, session.options
        self.inputs, self.outputs = session.inputs, session.outputs
        self.input, self.close = session.input, session.close
        self._session, self._slow, self._seconds = session, slow, seconds

    def invoke(self) -> tuple[Array, ...]:
        if self._slow.is_set():
            time.sleep(self._seconds)
        return self._session.invoke()


def pipeline(source: Any, ladder: Ladder, **options: Any) -> Pipeline:
    first = ladder.rungs[0].loaded
    task = make_task(first.model.decode, smoothing=options.pop("smoothing", None))
    return Pipeline(
        source, first, Preprocessor(first.model.input), task, [], IDENTITY, ladder=ladder, **options
    )


def endless(count: int = 100_000) -> list[Any]:
    return [np.full((SIZE, SIZE, 3), 90, np.uint8)] * count


@pytest.mark.fault("E4")
def test_a_real_session_that_is_slowed_steps_down_and_climbs_back(real: Callable[[str], Session]) -> None:
    slow, results = threading.Event(), list[Result]()
    preferred, cheap = real("tiny_uint8.tflite"), real("tiny_int8.tflite")
    first = loaded("fp32", Slowed(preferred, slow, 0.2))
    below = loaded("int8", cheap, cheap.outputs[0])
    ladder = Ladder(
        [Rung(first), Rung(below), Rung(below, 2)],
        # So few misses, and so slow a cadence, that a host which is busy on its own does not step down.
        settings=LadderSettings(up_s=1.0, up_most_s=2.0, down_share=0.4),
    )
    stages = iter(
        (
            (lambda r: r.seq >= 10, slow.set),
            (lambda r: r.variant == "int8", slow.clear),
            (lambda r: r.variant == "fp32" and r.ladder is not None and r.ladder.step == "calm", None),
        )
    )
    stage = [next(stages)]
    slowed_at: list[int] = []

    def see(result: Result) -> None:
        results.append(result)
        reached, act = stage[0]
        if reached(result):
            if act is None:
                stream.stop()
                return
            if act == slow.set:
                slowed_at.append(len(results))
            act()
            stage[0] = next(stages)

    source = Paced(ArraySource(endless(), fps=20.0))
    limits = StreamLimits(max_age_ms=150.0, seconds=60.0)
    stream = pipeline(source, ladder, limits=limits, on_result=see, smoothing=0.3)
    summary = stream.run()
    assert summary.error is None
    assert summary.ledger.balanced
    assert summary.ledger.in_flight == 0
    downs = [s for s in ladder.steps if s.move.after > s.move.before]
    assert downs and ladder.steps[-1].move.after == 0, "it did not climb back"
    # A step costs no frame: the one after it was worked on by the rung that was taken.
    for step in ladder.steps:
        following = next((r for r in results if r.seq > step.seq), None)
        assert following is None or following.variant == step.after.loaded.variant.id
        assert following is None or (
            following.ladder is not None and following.ladder.step == step.move.cause
        )
    # What is shown is never too old, whatever the host did.
    assert all(r.age_ms <= 150.0 for r in results if r.outcome == "ok")
    assert {r.variant for r in results[slowed_at[0] :]} == {"fp32", "int8"}
    assert sum(ladder.results) == len(results)


def test_smoothing_begins_anew_on_another_rung() -> None:
    def says(index: int) -> FakeSession:
        scores = np.zeros((1, len(LABELS)), np.float32)
        scores[0, index] = 1.0
        return FakeSession((PIXELS,), (SCORES,), lambda _: [scores])

    results: list[Result] = []
    hot: list[Pressure | None] = [None]

    def see(result: Result) -> None:
        results.append(result)
        if result.seq >= 5:
            hot[0] = Pressure("heat", "hot")
        if ladder.index == 1 and result.variant == "below":
            stream.stop()

    ladder = Ladder([Rung(loaded("top", says(0))), Rung(loaded("below", says(1)))], pressure=lambda: hot[0])
    stream = pipeline(
        ArraySource(endless(3000), live=True), ladder, policy="latest", on_result=see, smoothing=0.1
    )
    summary: StreamSummary = stream.run()
    assert summary.error is None
    first = next(r for r in results if r.variant == "below")
    assert first.result is not None
    assert (first.result.label, first.result.score) == ("b", 1.0)  # type: ignore[union-attr]
    assert first.ladder == LadderState(1, 2, 1, "heat")


def test_a_ladder_begins_with_the_model_of_the_stream() -> None:
    ladder, other = Ladder(rungs(1)), loaded()
    with pytest.raises(ValueError, match="another session"):
        Pipeline(
            ArraySource([]),
            other,
            Preprocessor(other.model.input),
            make_task(other.model.decode),
            [],
            IDENTITY,
            ladder=ladder,
        )


def test_late_and_skipped_frames_are_in_the_ledger() -> None:
    results: list[Result] = []

    def respond(_: tuple[Array, ...]) -> Sequence[Array]:
        time.sleep(0.03)
        return [np.zeros((1, len(LABELS)), np.float32)]

    session = loaded("v", FakeSession((PIXELS,), (SCORES,), respond))
    ladder = Ladder([Rung(session), Rung(session, 2)], settings=LadderSettings(up_s=100.0, up_most_s=100.0))
    source = Paced(ArraySource(endless(150), fps=50.0))
    stream = pipeline(source, ladder, limits=StreamLimits(max_age_ms=5.0), on_result=results.append)
    ledger = stream.run().ledger
    assert ledger.captured == 150
    assert ledger.balanced and ledger.in_flight == 0
    assert ledger.dropped["late"] > 0
    assert ledger.processed == 0
    assert ledger.withheld["stale"] == len(results) > 1, "it was never tried again"
