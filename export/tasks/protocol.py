"""What the exporter has to know of a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.data.types import Progress, Split
from bedside.export.gates.marks import Marks
from bedside.runtime.bundle.decode import Decode
from bedside.runtime.bundle.manifest import InputSpec, TensorSpec
from bedside.runtime.engines.protocol import Array

#: What a model said of one frame, compactly; each task has its own.
Row = Any


class Samples(msgspec.Struct, frozen=True):
    """Frames in memory, with their truth.

    Attributes:
        inputs: `(N, H, W, C) uint8` from the device's own preprocessing, or `(N, D) float32` latents.
        truth: Of every frame, in model-input pixels; what it is, is the task's.
        groups: Of every frame.
        keys: Of every frame.
    """

    inputs: npt.NDArray[Any]
    truth: Sequence[Any]
    groups: tuple[str, ...]
    keys: tuple[str, ...]

    @classmethod
    def of(cls, split: Split, inputs: npt.NDArray[Any], truth: Sequence[Any]) -> Samples:
        """The frames of a split, in its order."""
        groups, keys = (i.group for i in split.items), (i.key for i in split.items)
        return cls(inputs, truth, tuple(groups), tuple(keys))


class Reader(Protocol):
    """Reads what the device's decoder makes of the outputs of one frame."""

    def __call__(self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...], pixels: Array) -> Row:
        """One frame.

        Args:
            outputs: Batch of 1 included.
            specs: Of the outputs.
            pixels: The input, batch of 1 included.

        Raises:
            EngineError: The outputs are not finite, or not what the bundle says.
        """
        ...


class TaskKit(Protocol):
    """One task.

    Attributes:
        labels: Class names; empty where there are none.
    """

    labels: tuple[str, ...]

    def read(self, split: Split, spec: InputSpec, progress: Progress | None = None) -> Samples:
        """Read a split through the device's own preprocessing.

        Raises:
            RecipeError: Items cannot be read.
        """
        ...

    def reader(self, decode: Decode, spec: InputSpec) -> Reader:
        """Through the device's own decoder."""
        ...

    def mark(self, rows: Sequence[Row], samples: Samples) -> Marks:
        """Hold answers against the truth."""
        ...

    def agreement(self, rows: Sequence[Row], reference: Sequence[Row]) -> float:
        """How far answers are the Keras model's, 0..1."""
        ...


def float_specs(outputs: Sequence[str], arrays: Sequence[Array]) -> tuple[TensorSpec, ...]:
    """Specs of outputs that are no file's: the Keras model's, batch of N included."""
    return tuple(
        TensorSpec(name=name, shape=(1, *array.shape[1:]), dtype="float32")
        for name, array in zip(outputs, arrays, strict=True)
    )


def read_all(reader: Reader, outputs: Sequence[str], arrays: Sequence[Array], inputs: Array) -> list[Row]:
    """Rows of a batch of float outputs, frame by frame."""
    specs = float_specs(outputs, arrays)
    return [
        reader(tuple(np.ascontiguousarray(a[i : i + 1]) for a in arrays), specs, inputs[i : i + 1])
        for i in range(len(inputs))
    ]
