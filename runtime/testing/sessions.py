"""A session for tests, shipped for those who write pipelines against bedside."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np

from bedside.runtime.bundle.manifest import TensorSpec
from bedside.runtime.engines.protocol import Array, SessionOptions
from bedside.runtime.errors import EngineError

#: From input arrays to output arrays, batch of 1 included.
Answer = Callable[[tuple[Array, ...]], Sequence[Array]]


class FakeSession:
    """A session that answers with a function, and is as strict as the strictest engine.

    Like LiteRT it refuses to run while an array from `input` is held, and like all engines it overwrites its
    output arrays on every `invoke`: code that works with it works with every engine.

    Args:
        inputs: Tensors to take.
        outputs: Tensors to give.
        answer: What to give for what was written; None leaves the outputs at 0. It may raise.
        engine: Id to report.
        options: To report; None for the defaults.
    """

    def __init__(
        self,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        answer: Answer | None = None,
        *,
        engine: str = "fake",
        options: SessionOptions | None = None,
    ) -> None:
        self.engine = engine
        self.options = options or SessionOptions()
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.invocations = 0
        self.closed = False
        self._answer = answer
        self._entries = [np.zeros(spec.shape, spec.dtype) for spec in self.inputs]
        self._results = tuple(np.zeros(spec.shape, spec.dtype) for spec in self.outputs)
        self._references = [sys.getrefcount(entry) for entry in self._entries]

    def input(self, index: int = 0) -> Array:
        """A fresh view of the input buffer; let go of it before `invoke`."""
        self._check_open()
        return self._entries[index].view()

    def invoke(self) -> tuple[Array, ...]:
        """Answer; see `Session.invoke`.

        Raises:
            EngineError: Closed, or an input array is still held.
        """
        self._check_open()
        held = [sys.getrefcount(entry) for entry in self._entries]
        if held != self._references:
            raise EngineError("an array from input() is still held", where=self.engine)
        self.invocations += 1
        if self._answer is not None:
            answers = self._answer(tuple(entry.copy() for entry in self._entries))
            for result, answer in zip(self._results, answers, strict=True):
                np.copyto(result, answer, casting="unsafe")
        return self._results

    def close(self) -> None:
        """Mark as closed; see `Session.close`."""
        self.closed = True

    def _check_open(self) -> None:
        if self.closed:
            raise EngineError("the session is closed", where=self.engine)
