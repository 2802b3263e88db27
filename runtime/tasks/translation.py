"""A frame turned into another picture."""

from __future__ import annotations

import math

import cv2
import numpy as np

from bedside.runtime.answers import Picture, Translation
from bedside.runtime.bundle.decode import TranslationDecode
from bedside.runtime.bundle.manifest import TensorSpec
from bedside.runtime.engines.protocol import Array
from bedside.runtime.frame import Pixels
from bedside.runtime.geometry import Box, Fit, Rect
from bedside.runtime.tasks.picture import PictureReader
from bedside.runtime.tasks.protocol import View, check_finite, seen_pixels


class TranslationDecoder:
    """Hands on the picture that the model made, without padding.

    Args:
        decode: How the output is read, from the manifest.
    """

    needs_input = True

    def __init__(self, decode: TranslationDecode) -> None:
        self._output = decode.output
        self._color = decode.color
        self._reader = PictureReader(decode.low, decode.high)

    def decode(self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...], view: View) -> Translation:
        """The picture, what it shows, and how much it differs; see `TaskDecoder.decode`."""
        check_finite(outputs, specs)
        seen = seen_pixels(view, "translation")[0]
        made = self._reader.pixels(outputs[self._output], specs[self._output], self._color)
        height, width = made.shape[:2]
        part = _covered(view.fit, width, height)
        made = made[part.y : part.y1, part.x : part.x1]
        return Translation(
            _in_frame(view.fit, part, width, height),
            _change(made, seen, part, width, height),
            Picture(part.width, part.height, self._color, made.tobytes()),
        )

    def reset(self) -> None:
        """Nothing to forget."""


def _covered(fit: Fit, width: int, height: int) -> Rect:
    """Pixels of a `width` x `height` picture of the whole input that show nothing but the frame; at least one.

    Rounded inwards: a pixel that is padding in part is not shown.
    """
    sx, sy = width / fit.size[0], height / fit.size[1]
    x0, y0 = math.ceil(fit.inner.x * sx), math.ceil(fit.inner.y * sy)
    x1, y1 = math.floor(fit.inner.x1 * sx), math.floor(fit.inner.y1 * sy)
    x0, y0 = min(x0, width - 1), min(y0, height - 1)
    return Rect(x0, y0, max(1, x1 - x0), max(1, y1 - y0))


def _in_frame(fit: Fit, part: Rect, width: int, height: int) -> Box:
    """A part of the picture in captured-frame pixels."""
    sx, sy = fit.size[0] / width, fit.size[1] / height
    box = fit.transform.box_to_frame(Box(part.x * sx, part.y * sy, part.x1 * sx, part.y1 * sy))
    crop = fit.crop
    # A map that is exact on paper may overshoot by a rounding.
    return Box(max(box.x0, crop.x), max(box.y0, crop.y), min(box.x1, crop.x1), min(box.y1, crop.y1))


def _change(made: Pixels, seen: Array, part: Rect, width: int, height: int) -> float:
    """Mean absolute difference from the input in grey levels; where the channels differ, of their means."""
    if seen.shape[:2] != (height, width):
        channels = seen.shape[2]
        area = cv2.resize(seen, (width, height), interpolation=cv2.INTER_AREA)
        seen = np.asarray(area).reshape(height, width, channels)
    seen = seen[part.y : part.y1, part.x : part.x1]
    if seen.shape == made.shape:
        rows = (part.height, -1)
        return cv2.norm(made.reshape(rows), seen.reshape(rows), cv2.NORM_L1) / made.size
    return float(np.abs(made.mean(axis=2) - seen.mean(axis=2)).mean())
