"""Pictures among the outputs: real values to pixels, compared with the input in grey levels."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from bedside.runtime.bundle.manifest import TensorSpec
from bedside.runtime.engines.protocol import Array
from bedside.runtime.errors import EngineError
from bedside.runtime.frame import Color, Pixels
from bedside.runtime.tasks.protocol import dequantize

#: Element types that OpenCV's arithmetic reads.
_READABLE = ("uint8", "int8", "int16", "float32")


class PictureReader:
    """Reads one output tensor as a picture, from codes to grey levels in one pass.

    Args:
        low: Value that means pixel 0.
        high: Value that means pixel 255.
    """

    def __init__(self, low: float, high: float) -> None:
        self._low = low
        self._gain = 255.0 / (high - low)
        self._difference = np.empty(0, np.float32)

    def pixels(self, raw: Array, spec: TensorSpec, color: Color) -> Pixels:
        """The picture, rounded to the nearest pixel value (ties to even) and cut to 0..255.

        Args:
            raw: `(1, h, w, C)`, finite; C is 1 for `gray`, else 3.
            spec: Its tensor.
            color: What its channels are.

        Returns:
            A new `(h, w, C) uint8`.

        Raises:
            EngineError: It is no such picture.
        """
        channels = 1 if color == "gray" else 3
        if raw.ndim != 4 or raw.shape[3] != channels:
            raise EngineError(
                f"the output {spec.name!r} is {list(raw.shape)}, a {color} picture is [1, h, w, {channels}]"
            )
        flat, gain, offset = self._readable(raw, spec)
        made = cv2.addWeighted(flat, gain, flat, 0.0, offset, dtype=cv2.CV_8U)
        return np.asarray(made, np.uint8).reshape(raw.shape[1:])

    def difference(self, raw: Array, spec: TensorSpec, pixels: Array) -> npt.NDArray[np.float32]:
        """Output minus input in grey levels.

        Args:
            raw: `(1, h, w, C)`, finite.
            spec: Its tensor.
            pixels: Of the input, `(1, h, w, C) uint8`.

        Returns:
            `(h, w * C) float32`, valid until the next call.

        Raises:
            EngineError: The shapes differ.
        """
        if raw.shape != pixels.shape or raw.ndim != 4:
            raise EngineError(
                f"the output {spec.name!r} is {list(raw.shape)}, the input {list(pixels.shape)}: "
                "a reconstruction has the shape of the input"
            )
        flat, gain, offset = self._readable(raw, spec)
        if self._difference.shape != flat.shape:
            self._difference = np.empty(flat.shape, np.float32)
        cv2.addWeighted(
            flat, gain, pixels.reshape(flat.shape), -1.0, offset, dst=self._difference, dtype=cv2.CV_32F
        )
        return self._difference

    def _readable(self, raw: Array, spec: TensorSpec) -> tuple[Array, float, float]:
        """The tensor as a matrix, and what makes its elements grey levels: `gain * element + offset`."""
        gain, offset = self._gain, -self._low * self._gain
        if raw.dtype.name not in _READABLE:
            raw = dequantize(raw, spec)
        elif spec.quantization is not None:
            offset -= gain * spec.quantization.scale * spec.quantization.zero_point
            gain *= spec.quantization.scale
        return raw.reshape(raw.shape[1], -1), gain, offset
