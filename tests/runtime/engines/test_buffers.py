"""Shapes, element types, aligned memory, and vendor errors in one line."""

import numpy as np
import pytest

from bedside.runtime.engines import buffers
from bedside.runtime.errors import EngineError


@pytest.mark.parametrize("shape", [(1, 224, 224, 3), (1, 3, 7), (1, 1), (1,)])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "float16", "float32", "int64", "bool"])
def test_buffers_are_aligned_and_empty(shape: tuple[int, ...], dtype: str) -> None:
    made = [buffers.aligned_empty(shape, dtype) for _ in range(8)]
    for array in made:
        assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
        assert array.ctypes.data % buffers.ALIGNMENT == 0
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert not array.any()
    made[0][...] = 1
    assert not made[1].any()


@pytest.mark.parametrize(
    ("shape", "fixed"), [((1, 5), (1, 5)), ((None, 5), (1, 5)), ((-1, 5), (1, 5)), (("batch", 5), (1, 5))]
)
def test_an_open_batch_is_one(shape: tuple[int | str | None, ...], fixed: tuple[int, ...]) -> None:
    assert buffers.fixed_shape(shape, "e", "x") == fixed


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        ((1, None), r"\[1, \?\]"),
        ((1, -1, 3), r"\[1, \?, 3\]"),
        (("n", "k"), r"\[n, k\]"),
        ((1, 0), r"\[1, 0\]"),
    ],
)
def test_other_open_dimensions_are_shown(shape: tuple[int | str | None, ...], shown: str) -> None:
    with pytest.raises(EngineError, match=f"e: input 'x' has the dynamic shape {shown}"):
        buffers.fixed_shape(shape, "e", "input 'x'")


def test_an_open_leading_dimension_that_is_no_batch() -> None:
    with pytest.raises(EngineError, match=r"dynamic shape \[boxes, 4\]"):
        buffers.fixed_shape(("boxes", 4), "e", "x", open_batch=False)


@pytest.mark.parametrize("shape", [(8, 5), (), (224, 224, 3)])
def test_another_batch_than_one_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(EngineError, match="its leading dimension should be a batch of 1"):
        buffers.fixed_shape(shape, "e", "x")


@pytest.mark.parametrize("dtype", [np.float64, np.complex64, np.bytes_, np.str_, np.uint32])
def test_element_types_that_no_manifest_can_say(dtype: type) -> None:
    with pytest.raises(EngineError, match="e: x has elements of type"):
        buffers.dtype_name(dtype, "e", "x")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "Encountered unresolved custom op: PosenetDecoderOp.\nSee",
            "it has no kernel for the op PosenetDecoderOp",
        ),
        (
            "[ONNXRuntimeError] : 9 : Could not find an implementation for Erfc(13) node with name 'x'",
            "it has no kernel for the op Erfc",
        ),
        ("Exception from src/core.cpp:84:\nException from src/b.cpp:2:\n\nbad weights\n", "bad weights"),
        ("", "ValueError"),
        ("Exception from src/core.cpp:84:\n", "ValueError"),
        ("x" * 1000, "x" * 239 + "…"),
        ("a\n\n  b", "a b"),
    ],
)
def test_vendor_errors_become_one_line(text: str, line: str) -> None:
    assert (
        str(buffers.engine_error("refuses the model", ValueError(text), "e"))
        == f"e: refuses the model: {line}"
    )
