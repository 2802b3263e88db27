"""A verifying reader of `.tflite` files: the FlatBuffer is walked whole, every offset checked.

Sources: the TFLite schema, version 3 (`tensorflow/compiler/mlir/lite/schema/schema.fbs`), and the FlatBuffers
binary format (`flatbuffers.dev/internals`). `ai-edge-litert` verifies as well; `tflite-runtime` does not, and
reads out of bounds on a truncated file.
"""

from __future__ import annotations

import struct
from typing import cast

from bedside.runtime.bundle.manifest import DType, Quantization
from bedside.runtime.engines.inspection import FileTensor, Malformed, ModelFile, Refused

_IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
_CUSTOM = 32  # BuiltinOperator.CUSTOM
#: FlatBuffers' own verifier stops at a million tables; real models have a few thousand.
_MOST_TABLES = 250_000

#: Custom ops that TFLite's built-in resolver carries itself (`tensorflow/lite/core/kernels/register.cc`).
_RESOLVED_CUSTOM = frozenset({"NumericVerify", "Mfcc", "AudioSpectrogram", "TFLite_Detection_PostProcess"})

#: `TensorType` to the manifest's names.
_DTYPES: dict[int, DType] = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8",
}  # fmt: skip

# Kinds of fields that hold offsets. An int is an inline scalar of that many bytes.
_Kind = int | str | tuple[str, int | str]
_OPAQUE = "opaque"  # a table whose layout depends on a union: only its frame is checked

_BYTES, _INTS, _LONGS = ("vector", 1), ("vector", 4), ("vector", 8)

#: Slot to kind, per table.
_TABLES: dict[str, dict[int, _Kind]] = {
    "Model": {
        0: 4, 1: ("tables", "OperatorCode"), 2: ("tables", "SubGraph"), 3: "string",
        4: ("tables", "Buffer"), 5: _INTS, 6: ("tables", "Metadata"), 7: ("tables", "SignatureDef"),
        8: ("tables", _OPAQUE), 9: ("tables", _OPAQUE),
    },
    "OperatorCode": {0: 1, 1: "string", 2: 4, 3: 4},
    "SubGraph": {0: ("tables", "Tensor"), 1: _INTS, 2: _INTS, 3: ("tables", "Operator"), 4: "string", 5: 4},
    "Tensor": {
        0: _INTS, 1: 1, 2: 4, 3: "string", 4: "Quantization", 5: 1, 6: "Sparsity", 7: _INTS, 8: 1,
        9: ("tables", "VariantSubType"), 10: 4,
    },
    "Quantization": {0: _INTS, 1: _INTS, 2: _INTS, 3: _LONGS, 4: 1, 5: _OPAQUE, 6: 4},
    "Sparsity": {0: _INTS, 1: _INTS, 2: ("tables", "DimensionMetadata")},
    "DimensionMetadata": {0: 1, 1: 4, 2: 1, 3: _OPAQUE, 4: 1, 5: _OPAQUE},
    "VariantSubType": {0: _INTS, 1: 1, 2: 1},
    "Operator": {
        0: 4, 1: _INTS, 2: _INTS, 3: 1, 4: "Options", 5: _BYTES, 6: 1, 7: _BYTES, 8: _INTS, 9: 8, 10: 8,
        11: 1, 12: _OPAQUE, 13: 4,
    },
    "Buffer": {0: _BYTES, 1: 8, 2: 8},
    "Metadata": {0: "string", 1: 4},
    "SignatureDef": {0: ("tables", "TensorMap"), 1: ("tables", "TensorMap"), 2: "string", 4: 4},
    "TensorMap": {0: "string", 1: 4},
    _OPAQUE: {},
    # The option tables of classic kernels that hold a vector, by their number in the union BuiltinOptions.
    "Options17": {0: _INTS},  # ReshapeOptions.new_shape
    "Options30": {0: _INTS},  # SqueezeOptions.squeeze_dims
    "Options115": {0: _INTS},  # BucketizeOptions.boundaries
}  # fmt: skip


def read(data: bytes) -> ModelFile:
    """The interface of a `.tflite` file.

    Raises:
        Malformed: Not such a file, or an offset points outside it.
        Refused: A custom op, a Flex op, or external buffers.
    """
    if len(data) < 8 or data[4:8] != _IDENTIFIER:
        raise Malformed(f"{len(data)} bytes without the identifier TFL3")
    walker = _Walker(data)
    model = walker.table(walker.offset(0))
    walker.verify("Model", model)
    version = walker.number(model, 0, "<I")
    if version != _SCHEMA_VERSION:
        raise Malformed(f"schema version {version}, known is {_SCHEMA_VERSION}")
    if walker.vector(model, 8) or walker.vector(model, 9):
        raise Refused("the .tflite file keeps weights in external buffers")
    ops = _ops(walker, model)
    graphs = walker.tables(model, 2)
    if not graphs:
        raise Malformed("no subgraph")
    tensors = walker.tables(graphs[0], 0)
    inputs = tuple(_tensor(walker, tensors, k) for k in walker.integers(graphs[0], 1))
    outputs = tuple(_tensor(walker, tensors, k) for k in walker.integers(graphs[0], 2))
    if not inputs or not outputs:
        raise Malformed(f"{len(inputs)} inputs and {len(outputs)} outputs")
    _check_indices(walker, model, graphs, len(ops))
    stateful = any(walker.number(t, 5, "<b") for graph in graphs for t in walker.tables(graph, 0))
    return ModelFile(inputs, outputs, tuple(sorted(set(ops))), stateful)


def _ops(walker: _Walker, model: _Fields) -> list[str]:
    """Names (numbers for built-in ones) of the operator codes, in order."""
    names: list[str] = []
    for code in walker.tables(model, 1):
        builtin = max(walker.number(code, 0, "<b"), walker.number(code, 3, "<i"))
        if builtin != _CUSTOM:
            names.append(f"builtin:{builtin}")
            continue
        name = walker.text(code, 1)
        if name.startswith("Flex"):
            raise Refused(f"the model uses the Flex op {name}, which needs all of TensorFlow")
        if name not in _RESOLVED_CUSTOM:
            raise Refused(f"the model uses the custom op {name}")
        names.append(name)
    return names


def _check_indices(walker: _Walker, model: _Fields, graphs: list[_Fields], codes: int) -> None:
    """Indices that older interpreters follow unchecked."""
    buffers = len(walker.tables(model, 4))
    for graph in graphs:
        tensors = walker.tables(graph, 0)
        for tensor in tensors:
            if not 0 <= walker.number(tensor, 2, "<I") < max(1, buffers):
                raise Malformed("a tensor names a buffer that is not there")
            _check_quantization(walker, tensor)
        for operator in walker.tables(graph, 3):
            if not 0 <= walker.number(operator, 0, "<I") < codes:
                raise Malformed("an operator names an operator code that is not there")
            for slot in (1, 2, 8):
                if any(not -1 <= k < len(tensors) for k in walker.integers(operator, slot)):
                    raise Malformed("an operator names a tensor that is not there")


def _check_quantization(walker: _Walker, tensor: _Fields) -> None:
    fields = walker.child(tensor, 4)
    if fields is None:
        return
    scales, zeros = walker.vector(fields, 2), walker.vector(fields, 3)
    shape = walker.integers(tensor, 0)
    axis = walker.number(fields, 6, "<i")
    if scales > 1:
        name = walker.text(tensor, 3)
        if not 0 <= axis < len(shape):
            raise Malformed(
                f"tensor {name!r}: quantized_dimension {axis} of a tensor with {len(shape)} dimensions"
            )
        if zeros not in (0, 1, scales):
            raise Malformed(f"tensor {name!r}: {scales} scales and {zeros} zero points")


def _tensor(walker: _Walker, tensors: list[_Fields], index: int) -> FileTensor:
    if not 0 <= index < len(tensors):
        raise Malformed(f"tensor {index} of {len(tensors)} is an input or output")
    fields = tensors[index]
    shape = walker.integers(fields, 7) or walker.integers(fields, 0)
    return FileTensor(
        name=walker.text(fields, 3),
        shape=tuple(d if d >= 0 else None for d in shape),
        dtype=_DTYPES.get(walker.number(fields, 1, "<b")),
        quantization=_quantization(walker, fields),
    )


def _quantization(walker: _Walker, tensor: _Fields) -> Quantization | None:
    fields = walker.child(tensor, 4)
    if fields is None or walker.vector(fields, 2) != 1:
        return None
    scale = walker.element(fields, 2, "<f")
    zero = int(walker.element(fields, 3, "<q")) if walker.vector(fields, 3) else 0
    return Quantization(scale=scale, zero_point=zero) if scale > 0 else None


class _Fields:
    """A table: where it starts, and where its fields lie, by slot."""

    __slots__ = ("end", "places", "start")

    def __init__(self, start: int, end: int, places: tuple[int, ...]) -> None:
        self.start = start
        self.end = end
        self.places = places

    def place(self, slot: int) -> int | None:
        """Absolute position of a field, None where it has its default."""
        if slot >= len(self.places) or self.places[slot] == 0:
            return None
        return self.start + self.places[slot]


class _Walker:
    """Bounds-checked access to a FlatBuffer. Everything that leaves the buffer raises `Malformed`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = _MOST_TABLES

    def unpack(self, form: str, at: int) -> float:
        """One little-endian number."""
        if at < 0 or at + struct.calcsize(form) > len(self._data):
            raise Malformed(f"byte {at} of {len(self._data)} is outside the file")
        return cast(float, struct.unpack_from(form, self._data, at)[0])

    def offset(self, at: int) -> int:
        """Follow a forward offset."""
        distance = int(self.unpack("<I", at))
        if distance == 0:
            raise Malformed(f"offset 0 at byte {at}")
        return at + distance

    def table(self, at: int) -> _Fields:
        """Read a table's frame: its vtable, and the extent of its inline fields."""
        self._left -= 1
        if self._left < 0:
            raise Malformed(f"more than {_MOST_TABLES} tables")
        vtable = at - int(self.unpack("<i", at))
        size, extent = int(self.unpack("<H", vtable)), int(self.unpack("<H", vtable + 2))
        if (
            size < 4
            or size % 2
            or vtable + size > len(self._data)
            or extent < 4
            or at + extent > len(self._data)
        ):
            raise Malformed(f"table at byte {at} reaches outside the file")
        places = struct.unpack_from(f"<{(size - 4) // 2}H", self._data, vtable + 4)
        if any(place >= extent for place in places):
            raise Malformed(f"a field of the table at byte {at} lies outside it")
        return _Fields(at, at + extent, places)

    def verify(self, kind: str, fields: _Fields) -> None:
        """Check everything that a table of a known kind reaches."""
        for slot, what in _TABLES[kind].items():
            at = fields.place(slot)
            if at is None:
                continue
            width = what if isinstance(what, int) else 4
            if at + width > fields.end:
                raise Malformed(f"field {slot} of {kind} at byte {fields.start} is cut off")
            if isinstance(what, int):
                continue
            if what == "string":
                self.length(at, 1)
            elif isinstance(what, tuple):
                self._verify_vector(at, *what)
            else:
                self.verify(self._union(what, fields), self.table(self.offset(at)))

    def _union(self, what: str, fields: _Fields) -> str:
        if what != "Options":
            return what
        kind = f"Options{int(self.number(fields, 3, '<B'))}"
        return kind if kind in _TABLES else _OPAQUE

    def _verify_vector(self, at: int, what: str, element: int | str) -> None:
        if isinstance(element, int):
            self.length(at, element)
            return
        first = self.offset(at) + 4
        for k in range(self.length(at, 4)):
            self.verify(element, self.table(self.offset(first + 4 * k)))

    def length(self, at: int, width: int) -> int:
        """Elements of the vector behind the offset at `at`, all inside the file."""
        start = self.offset(at)
        count = int(self.unpack("<I", start))
        if start + 4 + count * width > len(self._data):
            raise Malformed(
                f"{count} elements at byte {start} reach outside the file of {len(self._data)} bytes"
            )
        return count

    def number(self, fields: _Fields, slot: int, form: str) -> int:
        """An integer field, 0 by default."""
        at = fields.place(slot)
        return 0 if at is None else int(self.unpack(form, at))

    def vector(self, fields: _Fields, slot: int) -> int:
        """Number of elements of a vector field, 0 where it is absent."""
        at = fields.place(slot)
        return 0 if at is None else int(self.unpack("<I", self.offset(at)))

    def element(self, fields: _Fields, slot: int, form: str) -> float:
        """First element of a vector field that is there."""
        at = fields.place(slot)
        if at is None:
            raise Malformed(f"field {slot} of the table at byte {fields.start} is absent")
        return self.unpack(form, self.offset(at) + 4)

    def integers(self, fields: _Fields, slot: int) -> tuple[int, ...]:
        """A vector of int32."""
        at = fields.place(slot)
        if at is None:
            return ()
        count = self.length(at, 4)
        return struct.unpack_from(f"<{count}i", self._data, self.offset(at) + 4)

    def text(self, fields: _Fields, slot: int) -> str:
        """A string field, empty where it is absent."""
        at = fields.place(slot)
        if at is None:
            return ""
        start = self.offset(at) + 4
        return self._data[start : start + self.length(at, 1)].decode("utf-8", "replace")

    def child(self, fields: _Fields, slot: int) -> _Fields | None:
        """A table field."""
        at = fields.place(slot)
        return None if at is None else self.table(self.offset(at))

    def tables(self, fields: _Fields, slot: int) -> list[_Fields]:
        """A vector of tables."""
        at = fields.place(slot)
        if at is None:
            return []
        first = self.offset(at) + 4
        return [self.table(self.offset(first + 4 * k)) for k in range(self.length(at, 4))]
