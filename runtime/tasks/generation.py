"""A picture drawn from noise."""

from __future__ import annotations

import numpy as np

from bedside.runtime.answers import Generation, Picture
from bedside.runtime.bundle.decode import GenerationDecode
from bedside.runtime.bundle.manifest import TensorSpec
from bedside.runtime.engines.protocol import Array
from bedside.runtime.tasks.picture import PictureReader
from bedside.runtime.tasks.protocol import View, check_finite


class GenerationDecoder:
    """Hands on the picture that the model drew.

    Args:
        decode: How the output is read, from the manifest.
    """

    needs_input = False

    def __init__(self, decode: GenerationDecode) -> None:
        self._output = decode.output
        self._color = decode.color
        self._reader = PictureReader(decode.low, decode.high)

    def decode(self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...], view: View) -> Generation:
        """The picture and its grey levels; see `TaskDecoder.decode`."""
        check_finite(outputs, specs)
        pixels = self._reader.pixels(outputs[self._output], specs[self._output], self._color)
        height, width = pixels.shape[:2]
        picture = Picture(width, height, self._color, pixels.tobytes())
        return Generation(float(np.mean(pixels)), float(np.std(pixels)), picture)

    def reset(self) -> None:
        """Nothing to forget."""
