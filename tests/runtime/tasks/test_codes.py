"""Thresholds on codes say what thresholds on dequantized values say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.runtime.bundle.manifest import Quantization, TensorSpec
from bedside.runtime.tasks import dequantize
from bedside.runtime.tasks.codes import logit, over, sigmoid


@given(
    st.sampled_from(["int8", "uint8", "int16"]),
    st.floats(1e-6, 1e3),
    st.integers(-200, 300),
    st.floats(-1e6, 1e6, width=32),
    st.booleans(),
)
def test_codes_are_compared_as_values_are(
    dtype: str, scale: float, zero_point: int, level: float, inclusive: bool
) -> None:
    limits = np.iinfo(dtype)
    codes = np.arange(limits.min, limits.max + 1).astype(dtype)
    quantization = Quantization(scale=scale, zero_point=zero_point)
    spec = TensorSpec(name="x", shape=codes.shape, dtype=dtype, quantization=quantization)  # type: ignore[arg-type]
    real = dequantize(codes, spec)
    for at in (level, float(real[len(real) // 3]), math.inf, -math.inf):
        border = np.float32(at)
        expected = real >= border if inclusive else real > border
        np.testing.assert_array_equal(over(codes, spec, at, inclusive=inclusive), expected)


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_other_types_are_compared_as_values(dtype: str) -> None:
    values = np.array([-3, 0, 2, 5]).astype(dtype)
    scaled = Quantization(scale=0.5, zero_point=1) if dtype == "int32" else None
    spec = TensorSpec(name="x", shape=values.shape, dtype=dtype, quantization=scaled)  # type: ignore[arg-type]
    np.testing.assert_array_equal(over(values, spec, 0.4), dequantize(values, spec) > 0.4)


def test_logit_and_sigmoid_undo_each_other() -> None:
    assert (logit(0.0), logit(1.0)) == (-math.inf, math.inf)
    probabilities = np.linspace(0.01, 0.99, 50)
    there = np.array([logit(p) for p in probabilities], np.float32)
    np.testing.assert_allclose(sigmoid(there), probabilities, atol=1e-6)
    np.testing.assert_array_equal(sigmoid(np.array([-1e30, 0, 1e30], np.float32)), [0, 0.5, 1])
