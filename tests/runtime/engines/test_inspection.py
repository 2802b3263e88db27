"""The readers of model files: what they find, and that nothing breaks them."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bedside.runtime.bundle.manifest import Format, Quantization
from bedside.runtime.engines import inspection, tflite_file
from bedside.runtime.engines.inspection import FileTensor, inspect
from bedside.runtime.errors import EngineError

ASSETS = Path(__file__).resolve().parents[2] / "assets"
SOUND = ("tiny_int8.tflite", "two_outputs.tflite", "tiny_int8.onnx", "batch.onnx")


def read(name: str) -> tuple[bytes, Format]:
    return (ASSETS / name).read_bytes(), cast(Format, Path(name).suffix[1:])


def test_an_int8_tflite_file() -> None:
    file = inspect(*read("tiny_int8.tflite"))
    assert file.inputs == (
        FileTensor(
            "serving_default_pixels:0", (1, 16, 16, 3), "uint8", Quantization(scale=1.0, zero_point=0)
        ),
    )
    (output,) = file.outputs
    assert (output.shape, output.dtype) == ((1, 5), "int8")
    assert output.quantization == Quantization(scale=1 / 256, zero_point=-128)
    assert "builtin:3" in file.ops  # CONV_2D


def test_an_onnx_file() -> None:
    file = inspect(*read("two_outputs.onnx"))
    assert file.inputs == (FileTensor("pixels", (1, 16, 16, 3), "uint8"),)
    assert [t.name for t in file.outputs] == ["scores", "features"]
    assert {"Conv", "Gemm", "Softmax"} < set(file.ops)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("batch.tflite", (None, 16, 16, 3)),
        ("batch.onnx", ("batch", 16, 16, 3)),
        ("dynamic.tflite", (1, None, None, 3)),
        ("dynamic.onnx", (1, 3, "height", "width")),
    ],
)
def test_open_dimensions_are_kept(name: str, shape: tuple[object, ...]) -> None:
    assert inspect(*read(name)).inputs[0].shape == shape


@pytest.mark.fault("B9")
@pytest.mark.parametrize(
    "name", ["custom_op.tflite", "flex_op.tflite", "custom_op.onnx", "external_data.onnx"]
)
def test_what_no_engine_should_be_given_is_refused(name: str) -> None:
    with pytest.raises(EngineError) as caught:
        inspect(*read(name))
    assert caught.value.hint


@pytest.mark.fault("B2")
@pytest.mark.parametrize("name", SOUND)
def test_every_truncation_is_refused(name: str) -> None:
    data, format = read(name)
    # An .onnx file ends with its opset imports, and one that lacks the last is a sound file of its own.
    end = len(data) if format == "tflite" else data.rindex(b"\x42\x04\x0a\x00\x10")
    for kept in range(0, end, 7):
        with pytest.raises(EngineError, match="not a sound"):
            inspect(data[:kept], format)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SOUND), st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=12))
def test_changed_bytes_are_read_or_refused_never_worse(name: str, changes: list[tuple[int, int]]) -> None:
    data, format = read(name)
    changed = bytearray(data)
    for at, value in changes:
        changed[at % len(changed)] = value
    try:
        inspect(bytes(changed), format)
    except EngineError as error:
        assert "\n" not in str(error)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(get_args(Format)), st.booleans())
@example(b"", "tflite", False)
@example(b"\x3a\x00" * 150, "onnx", False)
def test_any_bytes_are_refused(data: bytes, format: Format, labelled: bool) -> None:
    if labelled:
        data = data[:4] + b"TFL3" + data[4:]
    with pytest.raises(EngineError, match="not a sound"):
        inspect(data, format)


@pytest.mark.fault("B4")
def test_the_number_of_tables_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    data, format = read("tiny_int8.tflite")
    monkeypatch.setattr(tflite_file, "_MOST_TABLES", 20)
    with pytest.raises(EngineError, match="more than 20 tables"):
        inspect(data, format)


def fields(*pairs: tuple[int, bytes | int]) -> bytes:
    """Protocol Buffers, by hand."""
    out = b""
    for number, value in pairs:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def tensor_info(name: bytes, dims: Iterator[bytes] | tuple[bytes, ...] = ()) -> bytes:
    shape = b"".join(fields((1, dim)) for dim in dims)
    return fields((1, name), (2, fields((1, fields((1, 1), (2, shape))))))


def model(*pairs: tuple[int, bytes | int]) -> bytes:
    return fields(*pairs, (8, fields((2, 17))))


def graph(*nodes: bytes, inputs: tuple[bytes, ...] = (), more: bytes = b"") -> bytes:
    every = b"".join(fields((1, node)) for node in nodes)
    entries = b"".join(fields((11, i)) for i in inputs or (tensor_info(b"x"),))
    return every + entries + fields((12, tensor_info(b"y"))) + more


def test_initialized_inputs_of_old_files_are_no_inputs() -> None:
    inputs = (tensor_info(b"x", (fields((1, 4)),)), tensor_info(b"w"))
    file = inspect(model((7, graph(inputs=inputs, more=fields((5, fields((8, b"w"))))))), "onnx")
    assert [t.name for t in file.inputs] == ["x"]


def test_negative_and_unnamed_dimensions_are_open() -> None:
    dims = (fields((1, (1 << 64) - 1)), b"", fields((2, b"n")), fields((1, 7)))
    file = inspect(model((7, graph(inputs=(tensor_info(b"x", dims),)))), "onnx")
    assert file.inputs[0].shape == (None, None, "n", 7)


@pytest.mark.fault("B9")
def test_a_custom_op_is_found_in_a_branch_and_in_a_local_function() -> None:
    custom = fields((4, b"Polyp"), (7, b"com.acme"))
    branch = fields((4, b"If"), (5, fields((6, graph(custom)))))
    call = fields((4, b"Seg"), (7, b"mine"))
    function = fields((1, b"Seg"), (10, b"mine"), (7, custom))
    sound = fields((1, b"Seg"), (10, b"mine"), (7, fields((4, b"Relu"))))
    for data in (model((7, graph(branch))), model((7, graph(call)), (25, function))):
        with pytest.raises(EngineError, match=r"custom op Polyp of the domain com\.acme"):
            inspect(data, "onnx")
    assert inspect(model((7, graph(call)), (25, sound)), "onnx").ops == ("Relu", "mine.Seg")


@pytest.mark.fault("B9")
def test_external_data_is_found_wherever_a_tensor_is() -> None:
    outside = fields((8, b"w"), (13, fields((1, b"location"), (2, b"/etc/passwd"))), (14, 1))
    sparse = fields((1, outside))
    attributes = [fields((5, outside)), fields((10, outside)), fields((22, sparse)), fields((23, sparse))]
    graphs = [graph(fields((4, b"Constant"), (5, a))) for a in attributes]
    graphs += [graph(more=fields((5, outside))), graph(more=fields((15, sparse)))]
    for data in graphs:
        with pytest.raises(
            EngineError, match=r"'w' keeps its data outside the \.onnx file, in '/etc/passwd'"
        ):
            inspect(model((7, data)), "onnx")


@pytest.mark.fault("B4")
def test_graphs_nested_without_end_are_refused() -> None:
    inner = graph()
    for _ in range(60):
        inner = graph(fields((4, b"If"), (5, fields((6, inner)))))
    with pytest.raises(EngineError, match="nested deeper than"):
        inspect(model((7, inner)), "onnx")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x3b", "wire type 3"),
        (b"\x00", "field number 0"),
        (b"\xff" * 11, "longer than ten bytes"),
        (b"\x3a\x7f\x00", "beyond its message"),
        (b"\x80", "cut off"),
        (fields((7, b""), (7, b"")), "2 graphs"),
        (fields((7, 3)), "not a message"),
        (model((7, graph(fields((4, 3))))), "not a string"),
        (model((7, fields((11, tensor_info(b"x"))))), "1 inputs and 0 outputs"),
        (fields((7, graph())), "no opset is imported"),
    ],
)
def test_malformed_onnx(data: bytes, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        inspect(data, "onnx")


def test_an_input_that_is_a_sequence_is_refused() -> None:
    sequence = fields((1, b"x"), (2, fields((4, b""))))
    with pytest.raises(EngineError, match="'x' is not a tensor"):
        inspect(model((7, graph(inputs=(sequence,)))), "onnx")


def test_vendor_errors_have_one_way_in() -> None:
    assert issubclass(inspection.Malformed, Exception)
    assert not issubclass(inspection.Malformed, EngineError)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "coral/posenet/posenet_mobilenet_v1_075_353_481_16_quant_decoder.tflite",
            "custom op PosenetDecoderOp",
        ),
        ("tflm/person_detect.tflite", "not a sound .tflite model: tensor .*: quantized_dimension 3"),
    ],
)
@pytest.mark.fault("B9")
def test_third_party_files_that_cannot_run(data_root: Path, name: str, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        inspect((data_root / "models" / name).read_bytes(), "tflite")


def test_third_party_files_that_can(data_root: Path) -> None:
    models = data_root / "models"
    good = [
        p for p in models.rglob("*.tflite") if "posenet" not in p.name and p.name != "person_detect.tflite"
    ]
    assert len(good) >= 14
    for path in good:
        file = inspect(path.read_bytes(), "tflite")
        assert file.inputs, path
        assert file.outputs, path
