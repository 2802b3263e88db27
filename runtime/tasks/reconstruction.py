"""How well an autoencoder reproduces a frame, and whether the frame is like those that it was made for."""

from __future__ import annotations

import math

import cv2
import numpy as np

from bedside.runtime.answers import HeatMap, Reconstruction
from bedside.runtime.bundle.decode import ReconstructionDecode
from bedside.runtime.bundle.manifest import TensorSpec
from bedside.runtime.engines.protocol import Array
from bedside.runtime.errors import EngineError
from bedside.runtime.geometry import Fit
from bedside.runtime.tasks.heatmap import over_input
from bedside.runtime.tasks.picture import PictureReader
from bedside.runtime.tasks.protocol import View, check_finite, dequantize, seen_pixels


class ReconstructionDecoder:
    """Compares a reconstruction with the input.

    Args:
        decode: How the outputs are read, from the manifest.
    """

    needs_input = True

    def __init__(self, decode: ReconstructionDecode) -> None:
        self._output = decode.output
        self._code = decode.code
        self._out = decode.out
        self._reader = PictureReader(decode.low, decode.high)
        # Of the frame that was scored last, in the reader's buffer.
        self._difference = np.empty((0, 0), np.float32)

    def decode(self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...], view: View) -> Reconstruction:
        """Error, score and error map; see `TaskDecoder.decode`."""
        pixels = seen_pixels(view, "reconstruction")
        error, distance, score = self.score(outputs, specs, pixels)
        return Reconstruction(
            error,
            score,
            distance,
            None if self._out is None else self._out.threshold,
            self._error_map(pixels, view.fit),
        )

    def score(
        self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...], pixels: Array
    ) -> tuple[float, float | None, float]:
        """How unlike the frame is: what a threshold is chosen on, and what a guard decides on.

        Args:
            outputs: Of the session, batch of 1 included, any element type.
            specs: Of the outputs, in the same order.
            pixels: The input tensor as it was, `(1, H, W, C) uint8`, padding included.

        Returns:
            The mean absolute error in grey levels; the root mean square of the whitened code, None where the
            model gives none; and the score, see `bedside.runtime.bundle.decode.OutOfDistribution`, or the
            error where the bundle has no threshold.

        Raises:
            NotFiniteError: An output holds NaN or infinity.
            EngineError: The outputs are not what the bundle says.
        """
        check_finite(outputs, specs)
        difference = self._difference = self._reader.difference(
            outputs[self._output], specs[self._output], pixels
        )
        error = cv2.norm(difference, cv2.NORM_L1) / difference.size
        distance = None
        if self._code is not None:
            code = dequantize(outputs[self._code], specs[self._code])
            if code.ndim != 2:
                raise EngineError(
                    f"the output {specs[self._code].name!r} is {list(code.shape)}, a code is [1, D]"
                )
            distance = cv2.norm(code, cv2.NORM_L2) / math.sqrt(code.size)
        score = error
        if self._out is not None:
            score = error / self._out.error_scale
            if distance is not None and self._out.distance_scale is not None:
                score = max(score, distance / self._out.distance_scale)
        return error, distance, score

    def reset(self) -> None:
        """Nothing to forget."""

    def _error_map(self, pixels: Array, fit: Fit) -> HeatMap:
        """Absolute error per pixel of the frame that was scored, in grey levels, the mean over its channels."""
        _, height, width, channels = pixels.shape
        wrong = np.abs(self._difference, out=self._difference).reshape(height, width, channels)
        # Plane by plane: numpy's mean over a last axis of three takes ten times as long.
        error = wrong[:, :, 0].copy()
        for k in range(1, channels):
            error += wrong[:, :, k]
        error /= channels
        return over_input(error, fit)
