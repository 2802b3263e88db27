"""One compiled model on one engine."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
import numpy.typing as npt

from bedside.runtime.bundle.manifest import TensorSpec

Array = npt.NDArray[Any]


class SessionOptions(msgspec.Struct, frozen=True):
    """How a session is compiled.

    Attributes:
        threads: Worker threads of the engine, at least 1.
        hint: Precision hint of the engine (`f32`, `bf16`), None for engines that have none.
    """

    threads: int = 2
    hint: str | None = None


class Session(Protocol):
    """A compiled model with fixed shapes and reused buffers. One thread owns it.

    Attributes:
        engine: Id of the engine.
        options: What it was compiled with, after defaults.
        inputs: Tensors as the engine reports them.
        outputs: Tensors as the engine reports them.
    """

    engine: str
    options: SessionOptions
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def input(self, index: int = 0) -> Array:
        """The engine's own input buffer, to be written in place. Let go of it before `invoke`."""
        ...

    def invoke(self) -> tuple[Array, ...]:
        """Run. The arrays belong to the session and are valid until the next `invoke`.

        Every run begins in the model's initial state: the same input gives the same output, whatever came
        before.

        Raises:
            EngineError: The engine failed.
        """
        ...

    def close(self) -> None:
        """Free the engine's memory. May be called more than once."""
        ...
