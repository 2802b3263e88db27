"""From output tensors to a result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bedside.runtime.bundle.manifest import TensorSpec
from bedside.runtime.engines.protocol import Array
from bedside.runtime.errors import EngineError
from bedside.runtime.result import TaskResult

Scores = npt.NDArray[np.float32]


class NotFiniteError(EngineError):
    """An output holds NaN or infinity. The frame is withheld (`Withheld.NOT_FINITE`), the stream goes on."""


class TaskDecoder(Protocol):
    """Decodes what a session returned. One thread owns it: temporal smoothing is state.

    The tensor specs to pass are the manifest's, `Variant.outputs`: they know the quantization of every
    format.
    """

    def decode(self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...]) -> TaskResult:
        """Decode one frame, smoothing included.

        Args:
            outputs: Of the session, batch of 1 included, any element type.
            specs: Of the outputs, in the same order.

        Raises:
            NotFiniteError: An output holds NaN or infinity; the state stays what it was.
            EngineError: The outputs are not what the bundle says.
        """
        ...

    def dense(self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...]) -> Scores:
        """What `decode` decides on, for this frame alone: a new array `(K,) float32`.

        Raises:
            NotFiniteError: An output holds NaN or infinity.
            EngineError: The outputs are not what the bundle says.
        """
        ...

    def reset(self) -> None:
        """Forget earlier frames: the stream jumped, was reopened, or shows another patient."""
        ...


def dequantize(array: Array, spec: TensorSpec) -> npt.NDArray[np.float32]:
    """Real values of a tensor, `scale * (q - zero_point)`, or the values as they are without a quantization.

    Args:
        array: Any shape.
        spec: Its tensor.

    Returns:
        A new float32 array of the same shape.
    """
    real = array.astype(np.float32)
    if spec.quantization is not None:
        real -= spec.quantization.zero_point
        real *= np.float32(spec.quantization.scale)
    return real


def check_finite(outputs: Sequence[Array], specs: Sequence[TensorSpec]) -> None:
    """Refuse NaN and infinity in floating-point outputs.

    Raises:
        NotFiniteError: With the output's name.
    """
    for array, spec in zip(outputs, specs, strict=True):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int(array.size - np.isfinite(array).sum())
            raise NotFiniteError(
                f"{bad} of {array.size} values of the output {spec.name!r} are NaN or infinite"
            )
