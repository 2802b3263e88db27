"""`.npy` members: plain numbers, and nothing that could run, surprise or swell."""

from __future__ import annotations

import io
import pickle
import tracemalloc
import warnings
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bedside.runtime.bundle.reader import dump_npy, load_npy

DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=6, max_side=4))


def saved(array: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asanyarray(array), **options)
    return stream.getvalue()


def with_header(header: str | bytes, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    raw = header.encode("latin1") if isinstance(header, str) else header
    raw += b" " * (-(len(raw) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + len(raw).to_bytes(2, "little") + raw + body


def refused(data: bytes) -> str:
    with pytest.raises(ValueError) as caught:
        load_npy(data)
    message = str(caught.value)
    assert message and "\n" not in message and len(message) < 4000
    return message


@given(ARRAYS)
def test_arrays_come_back(array: np.ndarray[Any, Any]) -> None:
    data = dump_npy(array)
    back = load_npy(data)
    assert back.dtype == array.dtype.newbyteorder("<")
    assert back.shape == array.shape
    assert back.tobytes() == np.ascontiguousarray(array, back.dtype).tobytes()
    assert not back.flags.writeable
    np.testing.assert_array_equal(np.load(io.BytesIO(data), allow_pickle=False), back)
    assert dump_npy(back) == data


@given(ARRAYS)
def test_what_numpy_saves_is_read(array: np.ndarray[Any, Any]) -> None:
    plain = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    stream = io.BytesIO()
    np.save(stream, plain)
    assert load_npy(stream.getvalue()).tobytes() == plain.tobytes()


def test_any_memory_order_is_written_in_c_order() -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    for view in (np.asfortranarray(array), array[::-1], array[:, ::2], array.transpose(2, 0, 1)):
        np.testing.assert_array_equal(load_npy(dump_npy(view)), view)


@pytest.mark.parametrize(
    "array",
    [
        np.array([1, "a", None], object),
        np.array(["text"]),
        np.array([b"bytes"]),
        np.array([1 + 2j]),
        np.array(["2020-01-01"], "M8[D]"),
        np.array([1], "m8[s]"),
        np.array([(1, 2.0)], [("a", "i4"), ("b", "f4")]),
        np.zeros(3, np.longdouble),
    ],
    ids=lambda a: str(a.dtype),
)
def test_only_plain_numbers(array: np.ndarray[Any, Any]) -> None:
    refused(saved(array, allow_pickle=True))
    with pytest.raises(ValueError):
        dump_npy(array)


def test_empty_arrays_are_not_written() -> None:
    for shape in ((0,), (3, 0), (1,) * 9):
        with pytest.raises(ValueError):
            dump_npy(np.zeros(shape, np.uint8))


def test_a_pickle_is_never_opened() -> None:
    class Boom:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("it was unpickled",))

    refused(saved(np.array([Boom()], object), allow_pickle=True))
    refused(pickle.dumps(Boom()))
    refused(with_header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", pickle.dumps(Boom())))


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }", 16),
        ("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 2), }", 16),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 16),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }", 16),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 2), }", 0),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -2), }", 16),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 16),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", 16),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", 0),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (4.0,), }", 16),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': [4], }", 16),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': 4, }", 16),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2, True, 2), }", 16),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,4), }", 16),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 70 + "4), }", 16),
        ("{'descr': '<f4', 'fortran_order': 0, 'shape': (4,), }", 16),
        ("{'descr': '<f4', 'shape': (4,), }", 16),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (4,), 'x': 1, }", 16),
        ("{'shape': (4L,), 'fortran_order': False, 'descr': '<f4'}", 16),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (4L,), }", 16),
        ("{'descr': 'f4', 'fortran_order': False, 'shape': (4,), }", 16),
        ("{'descr': '|V4', 'fortran_order': False, 'shape': (4,), }", 16),
        ("{'descr': '|S4', 'fortran_order': False, 'shape': (4,), }", 16),
        ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4,), }", 16),
        ("{'descr': [], 'fortran_order': False, 'shape': (4,), }", 16),
        ("{'descr': (), 'fortran_order': False, 'shape': (4,), }", 16),
        ("{'descr': None, 'fortran_order': False, 'shape': (4,), }", 32),
        ("{'descr': '\\d', 'fortran_order': False, 'shape': (4,), }", 16),
        ("__import__('os').system('true')", 0),
        ("(" * 5000, 0),
        ("'" * 3, 0),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }\n\n", 16),
        ("{" + " " * 30_000 + "}", 0),
        ("", 0),
    ],
    ids=lambda v: str(v)[:60],
)
def test_headers_that_are_refused(header: str, body: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(with_header(header, bytes(body)))


@pytest.mark.parametrize("version", [b"\x00\x00", b"\x01\x01", b"\x02\x00", b"\x03\x00", b"\xff\xff"])
def test_other_versions_are_refused(version: bytes) -> None:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }"
    load_npy(with_header(header, bytes(16)))
    refused(with_header(header, bytes(16), version))


def test_every_truncation_is_refused() -> None:
    data = dump_npy(np.arange(4, dtype=np.float32))
    for length in range(len(data)):
        refused(data[:length])
    refused(data + b"\0")


@given(st.binary(max_size=300))
def test_junk_is_refused(data: bytes) -> None:
    refused(data)
    refused(b"\x93NUMPY\x01\x00" + data)


@given(st.text(st.characters(max_codepoint=255), max_size=120), st.binary(max_size=64))
def test_any_header_gives_an_array_or_a_value_error(header: str, body: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with suppress(ValueError):
            load_npy(with_header(header, body))


@given(data=st.data())
def test_a_damaged_file_gives_an_array_or_a_value_error(data: st.DataObject) -> None:
    whole = bytearray(dump_npy(np.arange(6, dtype=np.uint8).reshape(2, 3)))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            back = load_npy(bytes(whole))
        except ValueError:
            return
    assert back.nbytes == 6


def test_a_promise_of_terabytes_allocates_nothing() -> None:
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (999999999, 999), }"
    data = with_header(header, bytes(64))
    tracemalloc.start()
    try:
        refused(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000
