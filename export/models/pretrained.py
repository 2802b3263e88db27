"""Published weights of an encoder, out of a quantized `.tflite` file, as a start for training.

A file such as TensorFlow's `deeplabv3_mnv2_dm05_pascal_quant.tflite` holds a MobileNetV2 that was trained on
ImageNet, COCO and PASCAL VOC. Two things keep its weights from being copied: they are integers, and its batch
norms were folded into them (Jacob et al., 2018, section 3.2). The first is undone by `scale * (q - zero)`.
The second cannot be undone, and need not be: any batch norm will do that leaves the function as it is, so each
gets the statistics that its inputs have on frames to be trained on.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.backend import keras
from bedside.export.convert.quiet import gist
from bedside.runtime.engines import tflite_file
from bedside.runtime.engines.inspection import Malformed, Refused
from bedside.runtime.errors import RecipeError

#: `MobilenetV2/expanded_conv_3/project/weights_quant/FakeQuantWithMinMaxVars` and its kin: block and layer. The
#: converter joins the names of all that it fused with semicolons; the first is the tensor's own.
_NAME = re.compile(r"MobilenetV\d/(?P<layer>Conv|expanded_conv(_\d+)?/(expand|depthwise|project))/")
#: The same in Keras.
_LAYER = re.compile(r"Conv|(?P<block>expanded_conv(_(?P<number>\d+))?)_(expand|depthwise|project)")
#: Frames per forward pass, when statistics are taken.
_BATCH = 16
#: Of kernels and biases.
_DTYPES = (np.uint8, np.int8, np.int32, np.float32)


class Folded(msgspec.Struct, frozen=True):
    """A convolution with its batch norm folded in.

    Attributes:
        kernel: `(kh, kw, in, out) float32`, or `(kh, kw, channels, 1)` of a depthwise one, as Keras has it.
        bias: `(out,) float32`.
    """

    kernel: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]


def initialize(
    network: Any, path: Path, frames: npt.NDArray[np.uint8], *, frozen: int = 0
) -> tuple[str, ...]:
    """Put a file's weights into the layers of a network that have their names.

    Every convolution of the network named `Conv` or `expanded_conv...` must be in the file, in the same shape.
    Behind it is a batch norm of its name and `_bn`, which gets the mean and the deviation of what it normalizes
    as its statistics and, undoing itself, as its scale and shift. All other layers keep their weights. A network
    for one channel gets the sum of the colour kernels: the same response to a grey frame.

    Args:
        network: For example `light_segmenter()`.
        path: The `.tflite` file.
        frames: `(N, H, W, C) uint8`, of the training split: a hundred or so, for the batch norms' statistics.
        frozen: Blocks from the front that are not to be trained, the first convolution being one of them. Their
            filters (edges, colours) are those of any picture, and at their resolution they are the most costly
            ones to train. 0: all are trained.

    Returns:
        The names of the convolutions that were set.

    Raises:
        RecipeError: The file cannot be read, or is of another network; the frames do not fit the network.
    """
    where = str(path)
    convolutions = [layer for layer in network.layers if _LAYER.fullmatch(layer.name)]
    if not convolutions:
        raise RecipeError(
            "the network has no layers that pretrained weights fit",
            where=where,
            hint="light-segmenter has; model.initialize is for such",
        )
    shape = tuple(network.input_shape[1:])
    if len(frames) == 0 or tuple(frames.shape[1:]) != shape:
        raise RecipeError(f"frames for the batch norms: {frames.shape}, expected (N, *{shape})", where=where)
    weights = read_folded(path)
    chosen = [_fitting(layer, weights, where) for layer in convolutions]
    norms = [network.get_layer(f"{layer.name}_bn") for layer in convolutions]
    for layer, norm, folded in zip(convolutions, norms, chosen, strict=True):
        layer.set_weights([folded.kernel])
        # An identity plus the bias, for as long as the statistics are taken.
        one = np.ones_like(folded.bias)
        norm.set_weights([one, folded.bias, 0 * one, one - norm.epsilon])
        layer.trainable = norm.trainable = block(layer.name) >= frozen
    moments = _moments(keras.Model(network.input, [layer.output for layer in convolutions]), frames)
    for norm, folded, (mean, variance) in zip(norms, chosen, moments, strict=True):
        norm.set_weights([np.sqrt(variance + norm.epsilon), folded.bias + mean, mean, variance])
    return tuple(layer.name for layer in convolutions)


def block(name: str) -> int:
    """Which block a convolution belongs to: `Conv` 0, `expanded_conv_expand` 1, `expanded_conv_2_project` 3."""
    found = _LAYER.fullmatch(name)
    if found is None:
        raise ValueError(f"{name} is no layer of a MobileNetV2")
    if found["block"] is None:
        return 0
    return int(found["number"] or 0) + 1


def read_folded(path: Path) -> dict[str, Folded]:
    """The convolutions of a MobileNetV2 in a `.tflite` file, quantized or float, by their Keras names.

    Names are `Conv` and `expanded_conv_3_expand`, `..._depthwise`, `..._project`. What else the file holds is
    left out.

    Raises:
        RecipeError: The file cannot be read, or there is no such convolution in it.
    """
    where = str(path)
    try:
        data = path.read_bytes()
        tflite_file.read(data)
    except OSError as error:
        raise RecipeError(f"cannot be read: {error.strerror or error}", where=where) from None
    except (Malformed, Refused) as error:
        raise RecipeError(f"no file to take weights from: {error}", where=where) from None
    kernels: dict[str, npt.NDArray[np.float32]] = {}
    biases: dict[str, npt.NDArray[np.float32]] = {}
    for name, values in _constants(data, where):
        found = _NAME.match(name)
        if found is None:
            continue
        layer = found["layer"].replace("/", "_")
        if values.ndim == 1:
            biases[layer] = values
        elif values.ndim == 4:
            # TFLite keeps (out, kh, kw, in), and (1, kh, kw, channels) of a depthwise convolution.
            kernels[layer] = np.ascontiguousarray(values.transpose(1, 2, 3, 0))
    both = sorted(kernels.keys() & biases.keys())
    if not both:
        raise RecipeError(
            "no convolution of a MobileNetV2 in it",
            where=where,
            hint="wanted are tensors named MobilenetV2/expanded_conv_1/expand/... with their biases",
        )
    return {name: Folded(kernels[name], biases[name]) for name in both}


def _constants(data: bytes, where: str) -> list[tuple[str, npt.NDArray[np.float32]]]:
    """Names and real values of the constant tensors of a `.tflite` file."""
    from ai_edge_litert.interpreter import Interpreter

    found = []
    try:
        interpreter = Interpreter(model_content=data)
        details = interpreter.get_tensor_details()
    except (RuntimeError, ValueError) as error:
        raise RecipeError(f"no file to take weights from: {gist(error)}", where=where) from None
    for detail in details:
        if detail["dtype"] not in _DTYPES:
            continue
        try:
            # Nothing is allocated: only what lies in the file has data.
            values = np.asarray(interpreter.get_tensor(detail["index"]))
        except ValueError:
            continue
        found.append((str(detail["name"]), _dequantized(values, detail["quantization_parameters"])))
    return found


def _dequantized(values: npt.NDArray[Any], parameters: dict[str, Any]) -> npt.NDArray[np.float32]:
    """`scale * (q - zero)` (Jacob et al., 2018, equation 1), per tensor or per channel; floats as they are."""
    scales, zeros = np.asarray(parameters["scales"]), np.asarray(parameters["zero_points"])
    if len(scales) == 0:
        return values.astype(np.float32)
    shape = [1] * values.ndim
    if len(scales) > 1:
        shape[int(parameters["quantized_dimension"])] = -1
    real: npt.NDArray[np.float64] = (values.astype(np.float64) - zeros.reshape(shape)) * scales.astype(
        np.float64
    ).reshape(shape)
    return real.astype(np.float32)


def _fitting(layer: Any, weights: dict[str, Folded], where: str) -> Folded:
    """The weights of a layer, in its shape."""
    folded = weights.get(layer.name)
    if folded is None:
        raise RecipeError(f"has no weights for the layer {layer.name}", where=where)
    expected = tuple(layer.kernel.shape)
    kernel = folded.kernel
    if expected[2] == 1 and kernel.shape[2] == 3 and kernel.shape[3] == expected[3] and expected[3] > 1:
        kernel = kernel.sum(axis=2, keepdims=True)
    if kernel.shape != expected or folded.bias.shape != (int(layer.output.shape[-1]),):
        raise RecipeError(
            f"layer {layer.name}: the file has {kernel.shape}, the network takes {expected}",
            where=where,
            hint="pretrained weights fit model.width_multiplier 1 only",
        )
    return Folded(kernel, folded.bias)


def _moments(model: Any, frames: npt.NDArray[np.uint8]) -> list[tuple[Any, Any]]:
    """Mean and variance per channel of every output, over all frames and places, summed in float64."""
    sums = [np.zeros((2, int(output.shape[-1]))) for output in model.outputs]
    counts = [0] * len(sums)
    for start in range(0, len(frames), _BATCH):
        outputs = model.predict_on_batch(frames[start : start + _BATCH].astype(np.float32))
        for k, output in enumerate(outputs if isinstance(outputs, list) else [outputs]):
            values = np.asarray(output, np.float64).reshape(-1, output.shape[-1])
            sums[k] += values.sum(0), (values**2).sum(0)
            counts[k] += len(values)
    moments = []
    for (total, squares), count in zip(sums, counts, strict=True):
        mean = total / count
        moments.append((mean, np.maximum(squares / count - mean**2, 0.0)))
    return moments
