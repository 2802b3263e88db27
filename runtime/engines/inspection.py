"""What a model file says of itself, read before any engine sees it.

A few hundred lines of checks instead of trust: no engine detects corruption, `tflite-runtime` crashes on a
truncated file, and onnxruntime goes looking on the disk for external data. The readers here are pure Python,
take only bytes, check every offset, and refuse custom ops by name.
"""

from __future__ import annotations

import msgspec

from bedside.runtime.bundle.manifest import DType, Format, Quantization
from bedside.runtime.errors import EngineError


class FileTensor(msgspec.Struct, frozen=True):
    """One input or output as the file states it.

    Attributes:
        name: Of the tensor.
        shape: Batch included; a dimension that the file leaves open is its name, or None.
        dtype: None for element types that bedside does not carry.
        quantization: Per tensor; only TFLite files have one.
    """

    name: str
    shape: tuple[int | str | None, ...]
    dtype: DType | None
    quantization: Quantization | None = None


class ModelFile(msgspec.Struct, frozen=True):
    """A model file's interface, in the file's own order.

    Attributes:
        inputs: Without the ones that are initialized in the file.
        outputs: In order.
        ops: Names of the operators it uses, sorted.
        stateful: Whether it has tensors that outlive a run (TFLite's variable tensors).
    """

    inputs: tuple[FileTensor, ...]
    outputs: tuple[FileTensor, ...]
    ops: tuple[str, ...]
    stateful: bool = False


class Malformed(Exception):
    """The bytes break the format; turned into an `EngineError` by `inspect`."""


class Refused(Exception):
    """The bytes are well formed but ask for something that bedside does not run; likewise."""


def inspect(data: bytes, format: Format) -> ModelFile:
    """Read the interface of a model file and refuse what no engine here should be given.

    Args:
        data: The whole file.
        format: `tflite` or `onnx`.

    Raises:
        EngineError: Not such a file, or damaged; a custom op, a Flex op or data outside the file, by name.
    """
    from bedside.runtime.engines import onnx_file, tflite_file

    read = tflite_file.read if format == "tflite" else onnx_file.read
    try:
        return read(data)
    except Malformed as error:
        raise EngineError(f"not a sound .{format} model: {error}", where="model file") from None
    except Refused as error:
        raise EngineError(
            str(error), where="model file", hint="export with built-in ops and one self-contained file"
        ) from None
