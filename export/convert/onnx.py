"""ONNX variants: fp32 through tf2onnx, int8 as QDQ through ONNX Runtime's quantizer."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, MutableSequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx
from onnx import TensorProto, numpy_helper
from onnxruntime import quantization as ort

from bedside.export.adopt.graph import PixelModel
from bedside.export.convert.artifact import OUTPUT, ConversionError
from bedside.export.convert.quiet import gist, quiet

#: ONNX operator set 17 (IR 8) is read by every ONNX Runtime and OpenVINO that the extras allow, and by older
#: ones.
OPSET = 17
_PIXELS = "pixels"


def convert_onnx(
    model: PixelModel, precision: str, calibration: npt.NDArray[np.uint8] | None = None
) -> bytes:
    """Convert to ONNX. The file takes `(1, H, W, C) uint8` pixels and gives `(1, K) float32` scores.

    Args:
        model: With raw pixels for an input.
        precision: `fp32`, or `int8`: QDQ, activations uint8 per tensor, weights int8 per channel.
        calibration: For `int8`: `(N, H, W, C) uint8` training frames, black and white among them.

    Raises:
        ConversionError: The converter refuses, in one line.
    """
    where = f"onnx-{precision}"
    if precision == "int8" and calibration is None:
        raise ConversionError("int8 needs a calibration set", where=where)
    with quiet() as written:
        try:
            if calibration is None or precision == "fp32":
                proto = _from_keras(model.uint8)
            else:
                # Quantized from the float graph: its input QuantizeLinear then has scale 1, and goes.
                proto = _quantize(_from_keras(model.float32), calibration)
            onnx.checker.check_model(proto, full_check=True)
            return bytes(proto.SerializeToString(deterministic=True))
        except ConversionError:
            raise
        except Exception as error:
            reason = gist(error, written())
    raise ConversionError(reason, where=where)


def _from_keras(graph: Any) -> onnx.ModelProto:
    # `from_keras` stumbles over Sequential models; a function works for all (facts: KeyError on outputs).
    signature = [tf.TensorSpec(graph.inputs[0].shape, graph.inputs[0].dtype, name=_PIXELS)]

    scores = tf.function(lambda pixels: {OUTPUT: graph(pixels, training=False)}, input_signature=signature)
    proto: onnx.ModelProto = tf2onnx.convert.from_function(scores, input_signature=signature, opset=OPSET)[0]
    _bind_captures(proto, scores.get_concrete_function().graph.captures)
    _replace_erfc(proto)
    _renumber(proto)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _bind_captures(proto: onnx.ModelProto, captures: Iterable[tuple[Any, Any]]) -> None:
    """Make constants of the tensors that the function captured; tf2onnx leaves them as further inputs.

    Layers such as Normalization, and arithmetic with arrays, hold eager tensors that are no variables.
    """
    held = {inner.name: outer for outer, inner in captures if outer.dtype != tf.resource}
    for entry in [i for i in proto.graph.input if i.name in held]:
        proto.graph.initializer.append(numpy_helper.from_array(held[entry.name].numpy(), entry.name))
        proto.graph.input.remove(entry)


def _replace_erfc(proto: onnx.ModelProto) -> None:
    """`erfc(x) = 1 - erf(x)`: exact GELU becomes Erfc, which is no ONNX operator."""
    graph = proto.graph
    nodes = []
    for node in graph.node:
        if node.op_type == "Erfc":
            inner, one = f"{node.output[0]}_erf", f"{node.output[0]}_one"
            graph.initializer.append(numpy_helper.from_array(np.array(1.0, np.float32), one))
            nodes.append(onnx.helper.make_node("Erf", node.input, [inner], name=f"{node.name}_erf"))
            nodes.append(onnx.helper.make_node("Sub", [one, inner], node.output, name=node.name))
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _renumber(proto: onnx.ModelProto) -> None:
    """Number tf2onnx's helper tensors by their place in the graph, so that equal models give equal bytes.

    It numbers them with a counter of the process (`Relu__17`), and names the graph after the traced function.
    """
    graph, numbers = proto.graph, dict[str, int]()
    graph.name, graph.doc_string, proto.doc_string = "bedside", "", ""

    def renamed(name: str) -> str:
        base, mark, rest = name.partition("__")
        digits = re.match(r"\d+", rest)
        if not mark or digits is None:
            return name
        number = numbers.setdefault(digits[0], len(numbers))
        return f"{base}__{number}{rest[digits.end() :]}"

    for node in graph.node:
        node.name = renamed(node.name)
        for names in (node.input, node.output):
            names[:] = [renamed(name) for name in names]
    for value in (*graph.initializer, *graph.value_info):
        value.name = renamed(value.name)


def _quantize(proto: onnx.ModelProto, calibration: npt.NDArray[np.uint8]) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory(prefix="bedside-") as folder:
        source, prepared, target = (str(Path(folder) / name) for name in ("a.onnx", "b.onnx", "c.onnx"))
        onnx.save(proto, source)
        # Shapes are static. Symbolic inference would add nothing, and leaves a file in the working directory
        # when it fails.
        ort.quant_pre_process(source, prepared, skip_symbolic_shape=True)
        ort.quantize_static(
            prepared,
            target,
            _Frames(calibration),
            quant_format=ort.QuantFormat.QDQ,
            activation_type=ort.QuantType.QUInt8,
            weight_type=ort.QuantType.QInt8,
            per_channel=True,
            # Without it a Transpose in front of the first convolution keeps the pixels float.
            extra_options={"ForceQuantizeNoInputCheck": True},
            # A softmax over K classes costs nothing in float and would be rounded to 1/256 otherwise.
            nodes_to_exclude=[n.name for n in onnx.load(prepared).graph.node if n.op_type == "Softmax"],
        )
        return take_pixels(onnx.load(target))


def take_pixels(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Make a graph that was quantized with a float input take uint8 pixels.

    Where the input is quantized first, that QuantizeLinear is taken out and pixels go straight into the
    quantized graph. Where an operator without an integer form comes first, a Cast goes in front of it, which
    is exact.

    Raises:
        ConversionError: The scale is not exactly 1 or the zero point not 0: pixels would be misread.
    """
    graph = proto.graph
    entry = graph.input[0]
    users = [node for node in graph.node if entry.name in node.input]
    entry.type.tensor_type.elem_type = TensorProto.UINT8
    if [node.op_type for node in users] != ["QuantizeLinear"]:
        real = f"{entry.name}_float"
        for node in users:
            _rename(node.input, entry.name, real)
        graph.node.insert(
            0, onnx.helper.make_node("Cast", [entry.name], [real], name="pixels_cast", to=TensorProto.FLOAT)
        )
        return proto
    first = users[0]
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    scale, zero = constants[first.input[1]], constants[first.input[2]]
    if zero.dtype != np.uint8 or not (scale == 1.0).all() or zero.any():
        raise ConversionError(
            f"quantizes pixels with ({scale.ravel()[0]:.6g}, {zero.ravel()[0]}) {zero.dtype}, expected (1, "
            "0) uint8",
            where="onnx-int8",
            hint="the calibration set must span 0..255",
        )
    for node in graph.node:
        _rename(node.input, first.output[0], entry.name)
    graph.node.remove(first)
    for stale in [v for v in graph.value_info if v.name == first.output[0]]:
        graph.value_info.remove(stale)
    return proto


def _rename(names: MutableSequence[str], old: str, new: str) -> None:
    for i, name in enumerate(names):
        if name == old:
            names[i] = new


class _Frames(ort.CalibrationDataReader):  # type: ignore[misc]
    """Training frames, one at a time."""

    def __init__(self, calibration: npt.NDArray[np.uint8]) -> None:
        self._frames = iter(calibration)

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        frame = next(self._frames, None)
        return None if frame is None else {_PIXELS: frame[None].astype(np.float32)}


def versions() -> dict[str, str]:
    """Of the tools used here, for provenance."""
    return {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__, "tf2onnx": tf2onnx.__version__}
