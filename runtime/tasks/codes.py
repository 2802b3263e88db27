"""Thresholds on quantized tensors: compared with the codes, so that no tensor is dequantized for it."""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from bedside.runtime.bundle.manifest import TensorSpec
from bedside.runtime.engines.protocol import Array
from bedside.runtime.tasks.protocol import dequantize

_CODES = ("int8", "uint8", "int16")
#: Further from zero, in steps, than two codes of these types can lie apart.
_FAR = 1 << 17


def logit(probability: float) -> float:
    """`log(p / (1 - p))`; infinite at 0 and 1."""
    if probability <= 0.0:
        return -math.inf
    return math.inf if probability >= 1.0 else math.log(probability / (1.0 - probability))


def sigmoid(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """`1 / (1 + exp(-x))`, without an overflow."""
    half = np.float32(0.5)
    values = np.tanh(values * half)
    values += 1
    values *= half
    return values


def over(
    array: Array,
    spec: TensorSpec,
    level: float,
    *,
    inclusive: bool = False,
    out: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.bool_]:
    """Where the real value is above a level.

    Args:
        array: Any shape; codes where `spec` has a quantization.
        spec: Of the tensor.
        level: A real value; may be infinite.
        inclusive: The level itself counts as well.
        out: Where to write it, of the same shape; None makes an array.
    """
    if out is None:
        out = np.empty(array.shape, np.bool_)
    quantization = spec.quantization
    if quantization is not None and array.dtype.name not in _CODES:
        array, quantization = dequantize(array, spec), None
    if quantization is None:
        (np.greater_equal if inclusive else np.greater)(array, level, out=out)
        return out
    if abs(level) > _FAR * quantization.scale:
        out.fill(level < 0)
        return out
    code = _first_code(quantization.scale, quantization.zero_point, level, inclusive)
    limits = np.iinfo(array.dtype)
    if not limits.min < code <= limits.max:
        out.fill(code <= limits.min)
        return out
    np.greater_equal(array, array.dtype.type(code), out=out)
    return out


@functools.lru_cache(maxsize=256)
def _first_code(scale: float, zero_point: int, level: float, inclusive: bool) -> int:
    """The lowest code that means more, in the arithmetic of `dequantize`: float32."""
    step, border = np.float32(scale), np.float32(level)
    code = math.floor(level / scale) + zero_point - 1
    while True:
        real = np.float32(code - zero_point) * step
        if real > border or (inclusive and real == border):
            return code
        code += 1
