"""Mixed int8 and float `.tflite` files, through ai-edge-quantizer.

TensorFlow's own `QuantizationDebugger` has `denylisted_nodes` for this; TensorFlow 2.21 leaves TRANSPOSE_CONV
int8 in spite of it, which is the operator that int8 breaks most often. ai-edge-quantizer keeps it in float.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from ai_edge_quantizer import qtyping
from ai_edge_quantizer.algorithm_manager import AlgorithmName, check_op_quantization_config
from ai_edge_quantizer.calibrator import CalibrationMode, Calibrator
from ai_edge_quantizer.quantizer import Quantizer
from ai_edge_quantizer.recipe_manager import RecipeManager
from ai_edge_quantizer.utils import qsv_utils
from ai_edge_quantizer.utils.tfl_flatbuffer_utils import TFL_OP_CODE_TO_NAME, get_op_scope

from bedside.export.adopt.pixel_model import PixelModel
from bedside.export.convert.artifact import ConversionError
from bedside.export.convert.layers import Layer, grouped
from bedside.export.convert.quiet import gist, quiet
from bedside.export.convert.tflite import convert_tflite
from bedside.runtime.bundle.manifest import Format

_WHERE = "tflite-int8"
_OPS = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


class TfliteMixer:
    """See `bedside.export.convert.mixed.Mixer`.

    Files take uint8 pixels (a latent: float32) and give float32 outputs.

    Args:
        model: To be quantized.
        calibration: `(N, *shape)`.

    Raises:
        ConversionError: The model does not convert, or cannot be calibrated.
    """

    format: Format = "tflite"
    #: All that occurred, as TensorFlow's converter has it; and a moving average over the samples, which gives up
    #: rare extremes for finer steps.
    methods: tuple[str, ...] = ("min-max", "moving-average")

    def __init__(self, model: PixelModel, calibration: npt.NDArray[Any]) -> None:
        self._latent = model.latent
        self._calibration = calibration
        self._float = convert_tflite(model, "fp32")
        self._ranges: dict[str, Any] = {}
        self.layers = _layers(self._float, model.outputs)

    def reference(self) -> bytes:
        """The float file."""
        return self._float

    def build(self, quantized: Sequence[Layer], method: str = "min-max") -> bytes:
        """See `Mixer.build`."""
        with quiet() as written:
            try:
                if method not in self._ranges:
                    self._ranges[method] = _calibrated(self._float, self._calibration, method, self._latent)
                quantizer = Quantizer(self._float)
                for layer in quantized:
                    for scope in layer.members:
                        _quantize(quantizer, f"^{re.escape(scope)}$")
                made = quantizer.quantize(
                    self._ranges[method], enable_progress_bar=False, enable_progress_report=False
                ).quantized_model
                if made is None:
                    raise ValueError("nothing was quantized")
                # Large files keep their weights behind the flatbuffer, where older interpreters do not look:
                # read them in, and write one flatbuffer.
                file = flatbuffer_utils.read_model_from_bytearray(bytes(made))
                if not self._latent:
                    _take_pixels(file)
                for buffer in file.buffers:
                    if isinstance(buffer.data, bytes):  # arrays are written at once, bytes one by one
                        buffer.data = np.frombuffer(buffer.data, np.uint8)
                return bytes(flatbuffer_utils.convert_object_to_bytearray(file))
            except ConversionError:
                raise
            except Exception as error:
                reason = gist(error, written())
        raise ConversionError(reason, where=_WHERE)


def _quantize(recipe: Quantizer | RecipeManager, regex: str) -> None:
    """int8 activations per tensor, int8 weights per channel, where the operator has that form."""
    recipe.add_static_config(
        regex=regex,
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        activation_num_bits=8,
        weight_num_bits=8,
    )


def _calibrated(data: bytes, calibration: npt.NDArray[Any], method: str, latent: bool) -> Any:
    """Ranges by tensor name."""
    recipe = RecipeManager()
    _quantize(recipe, ".*")
    update = {"min-max": qsv_utils.min_max_update, "moving-average": qsv_utils.moving_average_update}
    calibrator = Calibrator(
        data,
        num_threads=1,
        mode=CalibrationMode.CALIBRATION_PRESERVE_ALL_TENSORS,
        qsv_update_func=update[method],
    )
    signature = schema.Model.GetRootAsModel(data, 0).SignatureDefs(0)
    key, entry = signature.SignatureKey().decode(), signature.Inputs(0).Name().decode()
    calibrator.calibrate({key: [{entry: sample[None]} for sample in calibration]}, recipe)
    ranges = calibrator.get_model_qsvs()
    if method != "min-max" and not latent:
        # Pixels are pixels, however rare black and white are.
        for name in _cast_pixels(flatbuffer_utils.read_model_from_bytearray(data)):
            low, high = (
                np.full_like(ranges[name][side], value) for side, value in (("min", 0), ("max", 255))
            )
            ranges[name] = {"min": low, "max": high}
    return ranges


def _cast_pixels(model: Any) -> list[str]:
    """Names of the tensors that hold the input's pixels as float."""
    graph = model.subgraphs[0]
    casts = [op for op in graph.operators if _kind(model, op) == "CAST" and op.inputs[0] == graph.inputs[0]]
    return [graph.tensors[op.outputs[0]].name.decode() for op in casts]


def _kind(model: Any, op: Any) -> str:
    return str(_OPS[model.operatorCodes[op.opcodeIndex].builtinCode])


def _layers(data: bytes, outputs: tuple[str, ...]) -> tuple[Layer, ...]:
    """Layers that ai-edge-quantizer has an integer form of."""
    recipe = RecipeManager()
    _quantize(recipe, ".*")
    config = recipe.get_quantization_configs(qtyping.TFLOperationName.CONV_2D, "any")[1]
    model = flatbuffer_utils.read_model_from_bytearray(data)
    graph = model.subgraphs[0]
    # The converter names what gives an output after its function, not after its layer.
    final = dict(zip(graph.outputs, outputs, strict=True))
    found = []
    for op in graph.operators:
        code = model.operatorCodes[op.opcodeIndex].builtinCode
        try:
            check_op_quantization_config(
                AlgorithmName.MIN_MAX_UNIFORM_QUANT, TFL_OP_CODE_TO_NAME[code], config
            )
        except (KeyError, ValueError):
            continue  # stays float in every file
        name = graph.tensors[op.outputs[0]].name.decode()
        if "PartitionedCall" in name:
            name = f"{final[op.outputs[0]]} (output)" if op.outputs[0] in final else name
        found.append((name, _kind(model, op), get_op_scope(op, graph.tensors)))
    return grouped(found)


def _take_pixels(model: Any) -> None:
    """Quantize pixels directly where the file casts them to float and quantizes them then.

    What is left is the QUANTIZE from uint8 to int8 that TensorFlow's converter writes as well. Where the first
    layer stays in float, so does the CAST.

    Raises:
        ConversionError: The scale is not exactly 1: pixels would be misread.
    """
    graph = model.subgraphs[0]

    def users(tensor: int) -> list[Any]:
        return [op for op in graph.operators if op.inputs is not None and tensor in op.inputs]

    first = users(graph.inputs[0])
    if len(first) != 1 or _kind(model, first[0]) != "CAST":
        return
    second = users(first[0].outputs[0])
    if len(second) != 1 or _kind(model, second[0]) != "QUANTIZE":
        return
    cast, quantize = first[0], second[0]
    steps = graph.tensors[quantize.outputs[0]].quantization
    if list(steps.scale) != [1.0] or list(steps.zeroPoint) != [-128]:
        raise ConversionError(
            f"quantizes pixels with ({steps.scale[0]:.6g}, {steps.zeroPoint[0]}) int8, expected (1, -128)",
            where=_WHERE,
            hint="the calibration set must span 0..255",
        )
    pixels = schema.QuantizationParametersT()
    pixels.scale, pixels.zeroPoint = np.array([1.0], np.float32), np.array([0], np.int64)
    graph.tensors[graph.inputs[0]].quantization = pixels
    quantize.inputs = [graph.inputs[0]]
    graph.operators.remove(cast)
