"""Outputs of a `.tflite` file, put into the order of the model.

The converter lists a file's outputs in an order of its own, and every device reads them by position. The
signature in the file still knows which is which: Keras exports a list of outputs as `output_0`, `output_1`, ...
"""

from __future__ import annotations

import re

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from bedside.export.convert.artifact import ConversionError

_NUMBERED = re.compile(rb"output_(\d+)")


def in_model_order(data: bytes, shapes: tuple[tuple[int, ...], ...], where: str) -> bytes:
    """The same file with its outputs in the order of the model's.

    Only the list of output indices changes, in place; every other byte stays as the converter wrote it.

    Args:
        data: As converted from a Keras model, or from what it exported.
        shapes: Of the model's outputs, batch of 1 included.
        where: Named in errors.

    Raises:
        ConversionError: The file has no signature of that kind, or other outputs than the model.
    """
    buffer = bytearray(data)
    model = schema.Model.GetRootAsModel(buffer, 0)
    graph = model.Subgraphs(0)
    if graph.OutputsLength() != len(shapes):
        raise ConversionError(
            f"the file has {graph.OutputsLength()} outputs, the model {len(shapes)}", where=where
        )
    if model.SignatureDefsLength() != 1:
        if len(shapes) > 1:
            raise ConversionError("the file does not say which output is which", where=where)
        order = list(graph.OutputsAsNumpy())
    else:
        signature = model.SignatureDefs(0)
        entries = [signature.Outputs(i) for i in range(signature.OutputsLength())]
        order = [
            int(entry.TensorIndex()) for entry in sorted(entries, key=lambda e: _number(e.Name(), where))
        ]
    if sorted(order) != sorted(graph.OutputsAsNumpy().tolist()):
        raise ConversionError("the file's signature names other outputs than its graph", where=where)
    found = tuple(tuple(graph.Tensors(i).ShapeAsNumpy().tolist()) for i in order)
    if found != shapes:
        told, wanted = (", ".join(str(list(s)) for s in each) for each in (found, shapes))
        raise ConversionError(f"the file's outputs are {told}, the model's {wanted}", where=where)
    # A view of the buffer: flatbuffers store vectors of scalars as they are.
    np.copyto(graph.OutputsAsNumpy(), np.asarray(order, np.int32))
    return bytes(buffer)


def _number(name: bytes, where: str) -> int:
    match = _NUMBERED.fullmatch(name)
    if match is None:
        raise ConversionError(f"cannot tell which output {name.decode(errors='replace')!r} is", where=where)
    return int(match[1])
