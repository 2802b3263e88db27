"""From output tensors to a result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.runtime.answers import TaskResult
from bedside.runtime.bundle.manifest import TensorSpec
from bedside.runtime.engines.protocol import Array
from bedside.runtime.errors import EngineError
from bedside.runtime.geometry import Fit

Scores = npt.NDArray[np.float32]


class NotFiniteError(EngineError):
    """An output holds NaN or infinity. The frame is withheld (`Withheld.NOT_FINITE`), the stream goes on."""


class View(msgspec.Struct, frozen=True):
    """What a decoder knows about the frame behind the tensors.

    Attributes:
        fit: How the frame was laid into the input; `fit.size` is the input's width and height.
        spacing_mm: Millimetres per row and per column step of the captured frame, where known.
        pixels: The input tensor as it was before the invocation, `(1, H, W, C)`, for decoders with
            `needs_input`; None for others: engines may overwrite their input.
    """

    fit: Fit
    spacing_mm: tuple[float, float] | None = None
    pixels: Array | None = None


class TaskDecoder(Protocol):
    """Decodes what a session returned. One thread owns it: temporal smoothing is state.

    The tensor specs to pass are the manifest's, `Variant.outputs`: they know the quantization of every
    format.
    """

    @property
    def needs_input(self) -> bool:
        """Whether `View.pixels` has to be there."""
        ...

    def decode(self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...], view: View) -> TaskResult:
        """Decode one frame, smoothing included.

        Args:
            outputs: Of the session, batch of 1 included, any element type.
            specs: Of the outputs, in the same order.
            view: Of the frame.

        Raises:
            NotFiniteError: An output holds NaN or infinity; the state stays what it was.
            EngineError: The outputs are not what the bundle says.
        """
        ...

    def reset(self) -> None:
        """Forget earlier frames: the stream jumped, was reopened, or shows another patient."""
        ...


def seen_pixels(view: View, decoder: str) -> Array:
    """The input tensor, for a decoder that compares with it.

    Args:
        view: Of the frame.
        decoder: Its name, for the message.

    Raises:
        ValueError: The caller did not heed `needs_input`.
    """
    if view.pixels is None:
        raise ValueError(f"{decoder} compares with the input: View.pixels has to be there")
    return view.pixels


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
