"""The child's measurement, with exact clocks; as a process it is tested in `test_visit`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bedside.devices.tuning.ranking import Candidate
from bedside.devices.tuning.visit import Order
from bedside.devices.tuning.worker import WARM_UP, back_to_back, measure, paced
from bedside.runtime import engines
from bedside.runtime.bundle.manifest import TensorSpec
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.clock import ManualClock, MonotonicClock
from bedside.runtime.engines.protocol import Array
from bedside.runtime.errors import BundleError, EngineError
from bedside.runtime.testing.sessions import FakeSession

MS = 1_000_000
SPEC = TensorSpec(name="x", shape=(1, 2), dtype="uint8")
SAMPLES = np.array([[1, 2], [3, 4]], np.uint8)
ORDER = Order(
    bundle="",
    digest="",
    candidate=Candidate(variant="tflite-fp32", engine="litert", threads=1),
    fps=100.0,
    paced=5,
    back_to_back=4,
    most_s=1.0,
    ends_s=0.0,
)


class Slow:
    """A session that takes the given times, in ms, one after the other and over again."""

    def __init__(self, clock: ManualClock, takes: Sequence[float]) -> None:
        self.begins: list[int] = []
        self.seen: list[list[int]] = []
        self._clock, self._takes = clock, takes
        self.session = FakeSession([SPEC], [SPEC], self._answer)

    def _answer(self, inputs: tuple[Array, ...]) -> list[Array]:
        took = self._takes[len(self.begins) % len(self._takes)]
        self.begins.append(self._clock.now_ns() // MS)
        self.seen.append(inputs[0][0].tolist())
        self._clock.advance(round(took * MS))
        return [inputs[0]]


def test_one_after_the_other() -> None:
    clock = ManualClock(start_ns=0)
    slow = Slow(clock, [3, 5])
    assert back_to_back(slow.session, SAMPLES, ORDER, clock) == [3 * MS, 5 * MS, 3 * MS, 5 * MS]
    assert slow.begins == [0, 3, 8, 11]
    assert slow.seen == [[1, 2], [3, 4], [1, 2], [3, 4]], "golden samples in turn"


def test_paced_invocations_follow_an_idle_gap() -> None:
    clock = ManualClock(start_ns=0)
    slow = Slow(clock, [3])
    assert paced(slow.session, SAMPLES, ORDER, clock) == [3 * MS] * 5
    assert slow.begins == [10, 20, 30, 40, 50]


def test_what_the_scheduler_is_late_is_not_the_engines() -> None:
    clock = ManualClock(start_ns=0, overshoot_ns=2 * MS)
    slow = Slow(clock, [3])
    assert paced(slow.session, SAMPLES, ORDER, clock) == [3 * MS] * 5
    assert slow.begins == [12, 22, 32, 42, 52]


def test_an_overrun_is_followed_at_once_and_not_made_up_for() -> None:
    clock = ManualClock(start_ns=0)
    slow = Slow(clock, [3, 25, 3, 3, 3])
    paced(slow.session, SAMPLES, ORDER, clock)
    assert slow.begins == [10, 20, 45, 55, 65]


@pytest.mark.parametrize("part", [back_to_back, paced])
def test_each_part_ends_in_time_with_what_it_has(part) -> None:  # type: ignore[no-untyped-def]
    clock = ManualClock(start_ns=0)
    short = msgspec.structs.replace(ORDER, most_s=0.1)
    assert part(Slow(clock, [40]).session, SAMPLES, short, clock) == [40 * MS] * 3
    assert part(Slow(clock, [5000]).session, SAMPLES, short, clock) == [5000 * MS], "at least one"


@pytest.fixture
def order(tiny_bundle: Path) -> Order:
    """One for the tiny bundle's default, on the first engine here."""
    with open_bundle(tiny_bundle) as bundle:
        variant = bundle.manifest.main.shipped[0]
        engine = next(e for e in engines.preference(variant.format) if engines.status(e).available)
        candidate = msgspec.convert({"variant": variant.id, "engine": engine, "threads": 1}, Candidate)
        return msgspec.structs.replace(
            ORDER, bundle=str(tiny_bundle), digest=bundle.digest, candidate=candidate, fps=500.0
        )


def test_a_real_engine(order: Order) -> None:
    times = measure(order, MonotonicClock())
    assert len(times.paced_ns) == order.paced
    assert len(times.back_to_back_ns) == order.back_to_back
    assert min(times.paced_ns) > 0
    assert times.cpu_ns > 0
    assert 0 <= times.golden_error < 0.1


def test_only_the_paced_part_counts_as_processor_time(order: Order) -> None:
    readings = iter((1_000, 8_000))
    assert measure(order, MonotonicClock(), lambda: next(readings)).cpu_ns == 7_000


def test_it_warms_up(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    from bedside.devices.tuning import worker

    opened = []

    def counted(*args: object, **options: object) -> object:
        loaded = real(*args, **options)  # type: ignore[arg-type]
        invoke, calls = loaded.session.invoke, []
        loaded.session.invoke = lambda: calls.append(1) or invoke()  # type: ignore[method-assign,func-returns-value]
        opened.append(calls)
        return loaded

    real = worker.open_session
    monkeypatch.setattr(worker, "open_session", counted)
    measure(order, MonotonicClock())
    assert [len(calls) for calls in opened] == [WARM_UP + order.paced + order.back_to_back]


def test_another_bundle_is_not_measured(order: Order) -> None:
    with pytest.raises(BundleError, match="changed since tuning began"):
        measure(msgspec.structs.replace(order, digest="cd" * 32), MonotonicClock())


def test_what_the_engine_refuses_is_not_measured(order: Order) -> None:
    hinted = msgspec.structs.replace(order.candidate, hint="f16")
    if hinted.hint in engines.status(hinted.engine).hints:
        pytest.skip("this engine takes the hint")
    with pytest.raises(EngineError, match="precision hint"):
        measure(msgspec.structs.replace(order, candidate=hinted), MonotonicClock())
