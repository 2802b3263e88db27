"""The control law: for any stream of events within its rungs, never faster than its dwell times, and back at the
top when the trouble is over."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.runtime.stream.control import ControlLaw, LadderSettings, Move, Pressure

S = 10**9
FRAME = S // 30
HEAT, BUSY = Pressure("heat", "97 °C"), Pressure("busy", "80 %")
SETTINGS = LadderSettings()

#: Gap to the observation before, frames, missed, pressure, room.
Event = tuple[int, int, int, Pressure | None, bool]


@st.composite
def events(draw: st.DrawFn) -> list[Event]:
    """Phases of one kind each, as trouble comes in spells, and single events of any kind."""
    made: list[Event] = []
    for _ in range(draw(st.integers(1, 12))):
        frames = draw(st.integers(1, 8))
        event = (
            draw(st.sampled_from([0, 1, S // 60, FRAME, S // 5, S, 20 * S])),
            frames,
            draw(st.integers(0, frames)),
            draw(st.sampled_from([None, None, None, HEAT, BUSY])),
            draw(st.booleans()),
        )
        made += [event] * draw(st.sampled_from([1, 2, 10, 60, 300]))
    return made


def run(law: ControlLaw, told: Iterable[Event], now: int = 0) -> Iterator[tuple[int, Move | None]]:
    for gap, frames, missed, pressure, room in told:
        now += gap
        yield now, law.observe(now, frames=frames, missed=missed, pressure=pressure, room=room)


def steady(
    seconds: float, missed: bool = False, pressure: Pressure | None = None, room: bool = True
) -> list[Event]:
    return [(FRAME, 1, int(missed), pressure, room)] * round(seconds * S / FRAME)


def moves(law: ControlLaw, told: Iterable[Event], now: int = 0) -> list[Move]:
    return [move for _, move in run(law, told, now) if move is not None]


@settings(max_examples=150)
@given(events(), st.integers(1, 5), st.data())
def test_it_keeps_its_word_whatever_happens(told: list[Event], rungs: int, data: st.DataObject) -> None:
    full = data.draw(st.integers(1, rungs))
    law = ControlLaw(rungs, full, SETTINGS)
    taken: list[Move] = []
    for (now, move), (_, _, _, pressure, room) in zip(run(law, told), told, strict=True):
        assert 0 <= law.rung < rungs
        if move is None:
            continue
        assert (move.at_ns, move.after) == (now, law.rung)
        assert abs(move.after - move.before) == 1
        down = move.after > move.before
        if taken:
            assert move.before == taken[-1].after
            assert now - taken[-1].at_ns >= (SETTINGS.down_s if down else SETTINGS.up_s) * S
        assert down == (move.cause != "calm")
        if not down:
            assert room and pressure is None
        if move.cause in ("heat", "busy"):
            assert pressure is not None and pressure.cause == move.cause
        if move.cause == "busy":
            assert move.after < full
        taken.append(move)
    climbs = [m.at_ns for m in taken if m.cause == "calm"]
    assert all(b - a >= SETTINGS.up_s * S for a, b in itertools.pairwise(climbs))


@settings(max_examples=60)
@given(events(), st.integers(2, 5))
def test_it_climbs_back_when_the_trouble_is_over(told: list[Event], rungs: int) -> None:
    law, now = ControlLaw(rungs, rungs, SETTINGS), 0
    for at, _ in run(law, told):
        now = at
    bound = SETTINGS.up_most_s + rungs * SETTINGS.up_s + 1.0
    after = moves(law, steady(bound), now)
    assert law.rung == 0
    assert all(m.cause == "calm" for m in after)


@given(events())
def test_the_same_events_give_the_same_steps(told: list[Event]) -> None:
    assert moves(ControlLaw(4, 3), told) == moves(ControlLaw(4, 3), told)


class TestMisses:
    @pytest.mark.parametrize("fps", [5, 15, 30, 60, 120])
    def test_a_second_of_misses_is_a_step_down(self, fps: int) -> None:
        law, gap = ControlLaw(3, 3), S // fps
        before = moves(law, [(gap, 1, 0, None, True)] * (10 * fps))
        first = moves(law, [(gap, 1, 1, None, True)] * fps, 10 * S)
        assert before == []
        assert [m.cause for m in first][:1] == ["misses"]
        assert first[0].at_ns - 10 * S <= S

    def test_a_model_slower_than_a_second_steps_down_with_its_second_result(self) -> None:
        slow: Event = (3 * S // 2, 45, 44, None, True)
        assert [m.at_ns for m in moves(ControlLaw(2, 2), [slow] * 3)] == [3 * S]

    @pytest.mark.parametrize("lost", [2, 8, 100])
    def test_one_hiccup_does_nothing(self, lost: int) -> None:
        hiccup: Event = (lost * FRAME, lost, lost - 1, None, True)
        assert moves(ControlLaw(3, 3), [*steady(5), hiccup, *steady(5)]) == []

    def test_a_few_misses_among_many_do_nothing(self) -> None:
        tenth = ([(FRAME, 1, 0, None, True)] * 9 + [(FRAME, 1, 1, None, True)]) * 100
        assert moves(ControlLaw(3, 3), tenth) == []

    def test_a_step_every_half_second_down_to_the_last_rung(self) -> None:
        taken = moves(ControlLaw(4, 3), steady(5, missed=True))
        assert [m.after for m in taken] == [1, 2, 3]
        assert all(b.at_ns - a.at_ns < 0.6 * S for a, b in itertools.pairwise(taken))
        assert taken[0].detail == "3 of 3 frames missed their deadline"


class TestPressure:
    def test_heat_goes_down_at_once_and_again_while_it_lasts(self) -> None:
        taken = moves(ControlLaw(4, 2), steady(35, pressure=HEAT))
        assert [(m.after, m.cause, m.detail) for m in taken] == [(k, "heat", "97 °C") for k in (1, 2, 3)]
        assert taken[0].at_ns == FRAME
        assert [b.at_ns - a.at_ns >= 10 * S for a, b in itertools.pairwise(taken)] == [True, True]

    def test_a_busy_host_costs_no_frames(self) -> None:
        law = ControlLaw(4, 2)
        assert [m.after for m in moves(law, steady(60, pressure=BUSY))] == [1]
        assert moves(ControlLaw(2, 1), steady(60, pressure=BUSY)) == []

    def test_there_is_no_climb_under_pressure(self) -> None:
        law = ControlLaw(2, 2)
        moves(law, steady(1, missed=True))
        assert moves(law, steady(120, pressure=BUSY), S) == []
        assert [m.after for m in moves(law, steady(6), 121 * S)] == [0]


class TestClimbing:
    def down(self, rungs: int = 2) -> ControlLaw:
        law = ControlLaw(rungs, rungs)
        moves(law, steady(3 * FRAME / S, missed=True))
        assert law.rung == 1
        return law

    def test_only_with_room(self) -> None:
        law = self.down()
        assert moves(law, steady(100, room=False), S) == []
        assert len(moves(law, steady(0.1), 101 * S)) == 1

    def test_a_single_miss_does_not_end_a_calm_and_a_few_do(self) -> None:
        one = [*steady(3), *steady(FRAME / S, missed=True), *steady(2.2)]
        assert len(moves(self.down(), one, S)) == 1
        few = [*steady(3), *steady(3 * FRAME / S, missed=True), *steady(2.2)]
        assert moves(self.down(), few, S) == []

    def test_a_rung_that_is_too_slow_is_tried_less_and_less_often(self) -> None:
        law, now, climbs = self.down(), S, list[int]()
        while now < 400 * S:
            now += FRAME
            missed = int(law.rung == 0)
            move = law.observe(now, frames=1, missed=missed)
            if move is not None and move.cause == "calm":
                climbs.append(now)
        waits = [round((b - a) / S) for a, b in itertools.pairwise(climbs)]
        # And half a second to step down, and one until the misses are forgotten.
        assert waits[:4] == pytest.approx([10, 20, 40, 60], abs=2)
        assert waits[3:] == pytest.approx([60] * len(waits[3:]), abs=2), "and no less often than that"

    def test_a_rung_that_holds_is_trusted_again(self) -> None:
        law, now = self.down(3), S
        for _ in range(3):  # three climbs that fail
            for at, move in run(law, steady(100), now):
                now = at
                if move is not None:
                    break
            for at, _ in run(law, steady(0.6, missed=True), now):
                now = at
            for at, _ in run(law, steady(0.4), now):
                now = at
        taken = moves(law, steady(200), now)
        assert taken[-1].after == 0
        if len(taken) > 1:
            assert taken[-1].at_ns - taken[-2].at_ns < 6 * S, "the next climb waits no longer than ever"


@pytest.mark.parametrize(("rungs", "full"), [(0, 0), (2, 0), (2, 3)])
def test_it_needs_rungs(rungs: int, full: int) -> None:
    with pytest.raises(ValueError, match="work on every frame"):
        ControlLaw(rungs, full)
