"""A converted model file before anybody judged it."""

from __future__ import annotations

import msgspec

from bedside.runtime.bundle.manifest import Format, Precision, TensorSpec
from bedside.runtime.errors import GateError

#: Of every variant that bedside makes: format and precision.
KINDS: dict[str, tuple[Format, Precision]] = {
    "tflite-fp32": ("tflite", "fp32"),
    "tflite-fp16": ("tflite", "fp16"),
    "tflite-dynamic": ("tflite", "dynamic"),
    "tflite-int8": ("tflite", "int8"),
    "tflite-int16x8": ("tflite", "int16x8"),
    "onnx-fp32": ("onnx", "fp32"),
    "onnx-int8": ("onnx", "int8"),
}


class ConversionError(GateError):
    """A variant could not be made, or is not what it has to be."""


class Artifact(msgspec.Struct, frozen=True):
    """One converted model file.

    Attributes:
        id: For example `tflite-int8`.
        format: Of the file.
        precision: Of its arithmetic.
        data: The file.
        inputs: Tensors as the device's engine reports them.
        outputs: Tensors as the device's engine reports them, in the order of `PixelModel.outputs`.
    """

    id: str
    format: Format
    precision: Precision
    data: bytes
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
