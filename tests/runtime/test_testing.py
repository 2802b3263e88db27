"""The fake session is as strict as the engines."""

import numpy as np
import pytest

from bedside.runtime.bundle.manifest import TensorSpec
from bedside.runtime.engines import Session
from bedside.runtime.errors import EngineError
from bedside.runtime.testing.sessions import FakeSession

ENTRY = TensorSpec(name="x", shape=(1, 2), dtype="uint8")
ANSWER = TensorSpec(name="y", shape=(1,), dtype="float32")


def test_it_answers_for_what_was_written() -> None:
    session: Session = FakeSession((ENTRY,), (ANSWER,), lambda inputs: [inputs[0].sum(axis=1)])
    session.input()[0] = (3, 4)
    (first,) = session.invoke()
    assert first.tolist() == [7.0]
    session.input()[0, 0] = 0
    (second,) = session.invoke()
    assert second is first
    assert first.tolist() == [4.0]


def test_an_input_that_is_held_is_refused() -> None:
    session = FakeSession((ENTRY,), (ANSWER,))
    held = [session.input()]
    with pytest.raises(EngineError, match="still held"):
        session.invoke()
    held = [held[0][0]]  # a view of the view holds it as well
    with pytest.raises(EngineError, match="still held"):
        session.invoke()
    held.clear()
    assert session.invoke()[0].tolist() == [0.0]
    assert session.invocations == 1


def test_answers_see_a_copy() -> None:
    kept = []
    session = FakeSession((ENTRY,), (ANSWER,), lambda inputs: kept.append(inputs[0]) or [np.ones(1)])
    session.invoke()
    session.input()[...] = 9
    session.invoke()
    assert [array.tolist() for array in kept] == [[[0, 0]], [[9, 9]]]


def test_an_answer_may_fail() -> None:
    def failing(inputs: object) -> list[np.ndarray]:
        raise EngineError("inference failed", where="fake")

    with pytest.raises(EngineError, match="fake: inference failed"):
        FakeSession((ENTRY,), (ANSWER,), failing).invoke()


def test_closed() -> None:
    session = FakeSession((ENTRY,), (ANSWER,))
    session.close()
    session.close()
    for call in (session.input, session.invoke):
        with pytest.raises(EngineError, match="closed"):
            call()
