"""ONNX variants: fp32 through tf2onnx, int8 as QDQ through ONNX Runtime's quantizer."""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Callable, Iterable, MutableSequence
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
from onnxruntime.quantization.calibrate import TensorData, TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from bedside.export.adopt.pixel_model import PixelModel
from bedside.export.convert.artifact import ConversionError
from bedside.export.convert.quiet import gist, quiet

#: ONNX operator set 17 (IR 8) is read by every ONNX Runtime and OpenVINO that the extras allow, and by older
#: ones.
OPSET = 17
#: Name of the input, of a latent too.
PIXELS = "pixels"
#: Operators that the quantizer has an integer form of.
QUANTIZABLE = sorted({*QDQRegistry, *QLinearOpsRegistry})
#: Calibration samples whose activations are held at a time.
_PIECE = 4


def convert_onnx(model: PixelModel, precision: str, calibration: npt.NDArray[Any] | None = None) -> bytes:
    """Convert to ONNX. The file takes `(1, H, W, C) uint8` pixels, or `(1, D) float32` latents.

    Its outputs are float32, named as `model.outputs` and in that order.

    Args:
        model: With raw pixels, or a latent, for an input.
        precision: `fp32`, or `int8`: QDQ, activations uint8 per tensor, weights int8 per channel.
        calibration: For `int8`: `(N, *shape)`, uint8 training frames with black and white among them, or
            float32 latents.

    Raises:
        ConversionError: The converter refuses, in one line.
    """
    where = f"onnx-{precision}"
    if precision == "fp32":
        return guarded(lambda: from_keras(model.uint8, model.outputs), where)
    if calibration is None:
        raise ConversionError("int8 needs a calibration set", where=where)

    def quantized() -> onnx.ModelProto:
        prepared = prepare(model)
        ranges = calibrated(prepared, calibration, latent=model.latent)
        return quantize(prepared, ranges, latent=model.latent)

    return guarded(quantized, where)


def guarded(make: Callable[[], onnx.ModelProto], where: str) -> bytes:
    """A checked file, with every complaint of the tools in one line and nothing on the terminal.

    Raises:
        ConversionError: A tool refuses.
    """
    with quiet() as written:
        try:
            proto = make()
            onnx.checker.check_model(proto, full_check=True)
            return bytes(proto.SerializeToString(deterministic=True))
        except ConversionError:
            raise
        except Exception as error:
            reason = gist(error, written())
    raise ConversionError(reason, where=where)


def from_keras(graph: Any, names: tuple[str, ...]) -> onnx.ModelProto:
    """The float graph: input `pixels`, one output for every name."""
    # `from_keras` stumbles over Sequential models; a function works for all (facts: KeyError on outputs).
    signature = [tf.TensorSpec(graph.inputs[0].shape, graph.inputs[0].dtype, name=PIXELS)]

    def answers(pixels: Any) -> dict[str, Any]:
        found = graph(pixels, training=False)
        return dict(zip(names, found if isinstance(found, list | tuple) else [found], strict=True))

    function = tf.function(answers, input_signature=signature, autograph=False)
    proto: onnx.ModelProto = tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET)[
        0
    ]
    _bind_captures(proto, function.get_concrete_function().graph.captures)
    _replace_erfc(proto)
    _renumber(proto)
    _in_order(proto, names)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _in_order(proto: onnx.ModelProto, names: tuple[str, ...]) -> None:
    """Put the outputs into the order of `names`; TensorFlow sorts what a function returns by name."""
    outputs = {value.name: value for value in proto.graph.output}
    ordered = [outputs[name] for name in names]
    del proto.graph.output[:]
    proto.graph.output.extend(ordered)


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


def prepare(model: PixelModel) -> onnx.ModelProto:
    """The float graph as the quantizer wants it: float32 pixels for an input, constants folded, shapes known."""
    # From float32: the input's QuantizeLinear then has scale 1, and goes.
    with tempfile.TemporaryDirectory(prefix="bedside-") as folder:
        source, prepared = (str(Path(folder) / name) for name in ("a.onnx", "b.onnx"))
        onnx.save(from_keras(model.float32, model.outputs), source)
        # Shapes are static. Symbolic inference would add nothing, and leaves a file in the working directory
        # when it fails.
        ort.quant_pre_process(source, prepared, skip_symbolic_shape=True)
        return onnx.load(prepared)


def calibrated(
    prepared: onnx.ModelProto,
    calibration: npt.NDArray[Any],
    *,
    latent: bool = False,
    method: str = "MinMax",
) -> TensorsData:
    """Ranges of every activation.

    Args:
        prepared: From `prepare`.
        calibration: `(N, *shape)`.
        latent: The input is no pixels.
        method: `MinMax` (all that occurred), `Percentile` (99.999 % of it) or `Entropy` (least loss of
            information, Kullback-Leibler); the last two give up rare extremes for finer steps.
    """
    with tempfile.TemporaryDirectory(prefix="bedside-") as folder:
        source = str(Path(folder) / "b.onnx")
        onnx.save(prepared, source)
        calibrator = create_calibrator(
            source,
            QUANTIZABLE,
            augmented_model_path=str(Path(folder) / "c.onnx"),
            calibrate_method=ort.CalibrationMethod[method],
            extra_options={"symmetric": False},
        )
        # In pieces: the calibrators keep every activation of what one call shows them.
        for start in range(0, len(calibration), _PIECE):
            calibrator.collect_data(_Frames(calibration[start : start + _PIECE]))
        ranges = calibrator.compute_data()
    if method != "MinMax" and not latent:
        # Pixels are pixels, however rare black and white are.
        ranges[PIXELS] = TensorData(lowest=np.float32(0), highest=np.float32(255))
    return ranges


def quantize(
    prepared: onnx.ModelProto,
    ranges: TensorsData,
    *,
    latent: bool = False,
    keep: Iterable[str] = (),
    only: Iterable[str] = (),
) -> onnx.ModelProto:
    """QDQ: activations uint8 per tensor, weights int8 per channel.

    Args:
        prepared: From `prepare`.
        ranges: From `calibrated`.
        latent: The input is no pixels and stays float32.
        keep: Names of nodes that stay in float.
        only: Names of the only nodes that do not, where there are any.

    Raises:
        ConversionError: Pixels would be misread.
    """
    quantizer = QDQQuantizer(
        copy.deepcopy(prepared),
        per_channel=True,
        reduce_range=False,
        weight_qType=ort.QuantType.QInt8,
        activation_qType=ort.QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=list(only),
        # A softmax over K classes costs nothing in float and would be rounded to 1/256 otherwise.
        nodes_to_exclude=[*keep, *(n.name for n in prepared.graph.node if n.op_type == "Softmax")],
        op_types_to_quantize=QUANTIZABLE,
        # Without it a Transpose in front of the first convolution keeps the pixels float.
        extra_options={"ForceQuantizeNoInputCheck": True},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantized = quantizer.model.model
    return quantized if latent else take_pixels(quantized)


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
    """The calibration set, one sample at a time."""

    def __init__(self, calibration: npt.NDArray[Any]) -> None:
        self._frames = iter(calibration)

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        frame = next(self._frames, None)
        return None if frame is None else {PIXELS: frame[None].astype(np.float32)}


def versions() -> dict[str, str]:
    """Of the tools used here, for provenance."""
    return {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__, "tf2onnx": tf2onnx.__version__}
