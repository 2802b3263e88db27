"""`captured = processed + dropped + withheld + failed + in_flight`, at any moment."""

from __future__ import annotations

import threading
from collections import Counter

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bedside.runtime.result import Dropped, Failed, Reason, Withheld
from bedside.runtime.stream.ledger import Ledger, LedgerSnapshot

REASONS: list[Reason] = [*Dropped, *Withheld, *Failed]


def test_reasons_are_closed_and_no_two_are_spelled_alike() -> None:
    # They key one table, and a StrEnum equals every other StrEnum of its spelling.
    assert len({str(reason) for reason in REASONS}) == len(REASONS)
    with pytest.raises(ValueError):
        Dropped("bored")


def test_an_empty_ledger_balances() -> None:
    assert Ledger().snapshot() == LedgerSnapshot()
    assert LedgerSnapshot().balanced
    assert not LedgerSnapshot(captured=1).balanced


def test_columns() -> None:
    ledger = Ledger()
    for seq in range(10):
        ledger.capture(seq)
    for seq, reason in enumerate(REASONS[:6]):
        ledger.lose(seq, reason)
    ledger.process(6)
    ledger.process(7)
    snapshot = ledger.snapshot()
    assert snapshot.captured == 10
    assert snapshot.processed == 2
    assert snapshot.in_flight == 2
    assert snapshot.settled == 8
    assert snapshot.balanced
    assert ledger.close().dropped["shutdown"] == 2 + (Dropped.SHUTDOWN in REASONS[:6])
    assert msgspec.json.decode(msgspec.json.encode(snapshot.to_dict())) == snapshot.to_dict()
    assert set(snapshot.to_dict()) == {"captured", "processed", "dropped", "withheld", "failed", "in_flight"}


@pytest.mark.parametrize("settle", ["process", "lose"])
def test_a_frame_cannot_be_settled_twice_or_without_being_captured(settle: str) -> None:
    ledger = Ledger()

    def go(seq: int) -> None:
        if settle == "process":
            ledger.process(seq)
        else:
            ledger.lose(seq, Withheld.STALE)

    with pytest.raises(ValueError, match="frame 3 is not in flight"):
        go(3)
    ledger.capture(3)
    with pytest.raises(ValueError, match="captured twice"):
        ledger.capture(3)
    go(3)
    before = ledger.snapshot()
    with pytest.raises(ValueError, match="not in flight"):
        go(3)
    assert ledger.snapshot() == before
    assert before.balanced


def test_a_closed_ledger_does_not_change() -> None:
    ledger = Ledger()
    for seq in range(3):
        ledger.capture(seq)
    closed = ledger.close()
    assert closed.dropped == {"shutdown": 3}
    assert closed.in_flight == 0
    # A thread that hung in a driver comes back with what it held.
    ledger.lose(0, Dropped.SHUTDOWN)
    ledger.process(1)
    ledger.capture(7)
    ledger.lose(7, Dropped.REPLACED)
    assert ledger.snapshot() == ledger.close() == closed


class Books(RuleBasedStateMachine):
    """Any order of captures and settlements, against a model that counts frame by frame."""

    @initialize()
    def begin(self) -> None:
        self.ledger = Ledger()
        self.fates: dict[int, str] = {}

    @rule(seq=st.integers(-5, 40))
    def capture(self, seq: int) -> None:
        if self.fates.get(seq) == "in_flight":
            with pytest.raises(ValueError):
                self.ledger.capture(seq)
            return
        if seq in self.fates:
            return
        self.ledger.capture(seq)
        self.fates[seq] = "in_flight"

    @rule(seq=st.integers(-5, 40), reason=st.none() | st.sampled_from(REASONS))
    def settle(self, seq: int, reason: Reason | None) -> None:
        def go() -> None:
            if reason is None:
                self.ledger.process(seq)
            else:
                self.ledger.lose(seq, reason)

        if self.fates.get(seq) == "in_flight":
            go()
            self.fates[seq] = "processed" if reason is None else str(reason)
        else:
            with pytest.raises(ValueError):
                go()

    @precondition(lambda self: len(self.fates) > 5)
    @rule()
    def close(self) -> None:
        counted = Counter(self.fates.values())
        end = self.ledger.close()
        assert end.in_flight == 0
        assert end.dropped.get("shutdown", 0) == counted["shutdown"] + counted["in_flight"]
        assert end.balanced
        self.begin()

    @invariant()
    def balances_and_agrees(self) -> None:
        snapshot = self.ledger.snapshot()
        assert snapshot.balanced
        counted = Counter(self.fates.values())
        assert snapshot.captured == len(self.fates)
        assert snapshot.in_flight == counted.pop("in_flight", 0)
        assert snapshot.processed == counted.pop("processed", 0)
        lost = Counter[str]()
        for column, kind in (
            (snapshot.dropped, Dropped),
            (snapshot.withheld, Withheld),
            (snapshot.failed, Failed),
        ):
            assert set(column) <= {str(reason) for reason in kind}
            assert all(column.values())
            lost.update(column)
        assert lost == counted


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=60, stateful_step_count=40)


def test_it_balances_while_many_threads_write() -> None:
    ledger, stop = Ledger(), threading.Event()
    unbalanced: list[LedgerSnapshot] = []

    def work(first: int) -> None:
        for seq in range(first, first + 3000):
            ledger.capture(seq)
            if seq % 3:
                ledger.process(seq)
            elif seq % 2:
                ledger.lose(seq, REASONS[seq % len(REASONS)])

    def watch() -> None:
        while not stop.is_set():
            snapshot = ledger.snapshot()
            if not snapshot.balanced:
                unbalanced.append(snapshot)

    watcher = threading.Thread(target=watch)
    workers = [threading.Thread(target=work, args=(n * 10_000,)) for n in range(4)]
    for thread in (watcher, *workers):
        thread.start()
    for thread in workers:
        thread.join(60)
    stop.set()
    watcher.join(60)
    assert unbalanced == []
    end = ledger.close()
    assert (end.captured, end.processed, end.in_flight) == (12_000, 8_000, 0)
    assert end.balanced
