"""Raw outputs, and dequantization."""

import numpy as np
import pytest

from bedside.runtime.answers import Raw, RawOutput
from bedside.runtime.bundle.decode import RawDecode
from bedside.runtime.bundle.manifest import Quantization, TensorSpec
from bedside.runtime.errors import UsageError
from bedside.runtime.tasks import NotFiniteError, dequantize, make_task
from bedside.runtime.testing.views import make_view

BOXES = TensorSpec(
    name="boxes", shape=(1, 2, 2), dtype="int8", quantization=Quantization(scale=0.5, zero_point=10)
)
CLASSES = TensorSpec(name="classes", shape=(1, 3), dtype="int64")
HEAT = TensorSpec(name="heat", shape=(1, 3), dtype="float32")


def test_every_output_is_summarised_in_real_values() -> None:
    boxes = np.array([[[10, -128], [127, 12]]], np.int8)
    classes = np.array([[3, 21, 21]], np.int64)
    found = make_task(RawDecode()).decode((boxes, classes), (BOXES, CLASSES), make_view())
    assert found == Raw(
        (
            RawOutput(name="boxes", shape=(1, 2, 2), min=-69.0, max=58.5, argmax=2),
            RawOutput(name="classes", shape=(1, 3), min=3.0, max=21.0, argmax=1),
        )
    )


@pytest.mark.fault("B12")
def test_nan_is_withheld() -> None:
    bad = np.array([[0.0, np.inf, 1.0]], np.float32)
    with pytest.raises(NotFiniteError, match="'heat'"):
        make_task(RawDecode()).decode((bad,), (HEAT,), make_view())


def test_raw_outputs_cannot_be_smoothed() -> None:
    with pytest.raises(UsageError, match="cannot be smoothed"):
        make_task(RawDecode(), smoothing=0.5)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "float16", "float32"])
def test_dequantize(dtype: str) -> None:
    array = np.array([[0, 1, 100]]).astype(dtype)
    spec = TensorSpec(name="x", shape=(1, 3), dtype=dtype)  # type: ignore[arg-type]
    plain = dequantize(array, spec)
    assert plain.dtype == np.float32
    assert plain.tolist() == [[0.0, 1.0, 100.0]]
    assert not np.shares_memory(plain, array)
    scaled = TensorSpec(
        name="x", shape=(1, 3), dtype="int8", quantization=Quantization(scale=0.25, zero_point=-3)
    )
    assert dequantize(array, scaled).tolist() == [[0.75, 1.0, 25.75]]
