"""Coarse maps over a frame: coded in bytes, laid on the captured frame, and read back."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from bedside.runtime.answers import HeatMap
from bedside.runtime.geometry import Box, Fit

Map = npt.NDArray[np.float32]

#: Most cells per axis: a map travels in every line of a result file.
LARGEST = 32

_CODES = 255


def over_input(values: Map, fit: Fit) -> HeatMap:
    """A map of the whole model input as one of the captured frame, padding cut away.

    Padding seldom ends where a cell does; then the cells that are left are drawn anew between the old ones
    (linear interpolation), so that the box is exactly what the model saw of the frame.

    Args:
        values: `(h, w) float32`, finite; its cells divide the input evenly.
        fit: How the frame was laid into the input.

    Returns:
        At most `LARGEST` cells per axis.
    """
    width, height = fit.size
    inner = fit.inner
    if (inner.width, inner.height) != fit.size:
        if values.shape == (height, width):
            values = values[inner.y : inner.y1, inner.x : inner.x1]
        else:
            values = _without_padding(values, fit)
    rows, columns = values.shape
    if rows > LARGEST or columns > LARGEST:
        size = (min(columns, LARGEST), min(rows, LARGEST))
        values = np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)
    crop = fit.crop
    return coded(values, Box(float(crop.x), float(crop.y), float(crop.x1), float(crop.y1)))


def coded(values: Map, box: Box) -> HeatMap:
    """Values as codes of one byte, the smallest 0 and the largest 255.

    Args:
        values: `(h, w) float32`, finite.
        box: What they cover, in captured-frame pixels.
    """
    low, high = values.min().item(), values.max().item()
    # In float64: the range of float32 values may exceed float32.
    step = (high - low) / _CODES
    codes = np.rint((values.astype(np.float64) - low) / step if step > 0 else np.zeros_like(values))
    height, width = values.shape
    return HeatMap(width, height, box, low, high, codes.astype(np.uint8).tobytes())


def values(heat: HeatMap) -> Map:
    """The values of a map, `(height, width) float32`, to within half a code."""
    codes = np.frombuffer(heat.codes, np.uint8).reshape(heat.height, heat.width)
    return (heat.low + codes * ((heat.high - heat.low) / _CODES)).astype(np.float32)


def _without_padding(values: Map, fit: Fit) -> Map:
    """The cells over `fit.inner`, as many as fit there, `(h', w') float32`."""
    (width, height), inner = fit.size, fit.inner
    rows, columns = values.shape
    right, down = max(1, round(columns * inner.width / width)), max(1, round(rows * inner.height / height))
    # Cell centres, as continuous coordinates of the new map and of the old one.
    sx, sy = inner.width / right * columns / width, inner.height / down * rows / height
    x, y = inner.x * columns / width, inner.y * rows / height
    place = np.array([[sx, 0.0, x + 0.5 * sx - 0.5], [0.0, sy, y + 0.5 * sy - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut = cv2.warpAffine(values, place, (right, down), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cut, np.float32)
