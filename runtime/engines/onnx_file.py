"""A reader of `.onnx` files without the `onnx` package, which has no place on a device.

It walks the Protocol Buffers wire format (`protobuf.dev/programming-guides/encoding`) as far as the interface
and the refusals need: graph inputs and outputs, node types and their domains, and where tensors keep their
data. Field numbers are those of `onnx/onnx.proto`.
"""

from __future__ import annotations

from collections.abc import Iterator

from bedside.runtime.bundle.manifest import DType
from bedside.runtime.engines.inspection import FileTensor, Malformed, ModelFile, Refused

#: Domains whose ops engines here may have built in. `com.microsoft` is onnxruntime's own: its quantizer
#: writes it.
_KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
_EXTERNAL = 1  # TensorProto.DataLocation
_DEEPEST = 32  # graphs within attributes within graphs

#: `TensorProto.DataType` to the manifest's names.
_DTYPES: dict[int, DType] = {
    1: "float32", 2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
}  # fmt: skip

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def read(data: bytes) -> ModelFile:
    """The interface of an `.onnx` file.

    Raises:
        Malformed: Not such a file, or cut off.
        Refused: An op from an unknown domain, or a tensor whose data lies outside the file.
    """
    model = _Message(memoryview(data))
    graphs = model.messages(7)
    if len(graphs) != 1:
        raise Malformed(f"{len(graphs)} graphs in {len(data)} bytes")
    if not model.has(8):
        raise Malformed("no opset is imported")
    functions = model.messages(25)
    local = frozenset((f.text(10), f.text(1)) for f in functions)
    ops: set[str] = set()
    for function in functions:
        _check_nodes(function.messages(7), local, ops, depth=0)
    graph = graphs[0]
    _check_graph(graph, local, ops, depth=0)
    initialized = {t.text(8) for t in graph.messages(5)}
    inputs = tuple(_tensor(value) for value in graph.messages(11) if value.text(1) not in initialized)
    outputs = tuple(_tensor(value) for value in graph.messages(12))
    if not inputs or not outputs:
        raise Malformed(f"{len(inputs)} inputs and {len(outputs)} outputs")
    return ModelFile(inputs, outputs, tuple(sorted(ops)))


def _check_graph(graph: _Message, local: frozenset[tuple[str, str]], ops: set[str], depth: int) -> None:
    if depth > _DEEPEST:
        raise Malformed(f"graphs nested deeper than {_DEEPEST}")
    for tensor in graph.messages(5):
        _check_tensor(tensor)
    for sparse in graph.messages(15):
        _check_sparse(sparse)
    _check_nodes(graph.messages(1), local, ops, depth)


def _check_nodes(nodes: list[_Message], local: frozenset[tuple[str, str]], ops: set[str], depth: int) -> None:
    for node in nodes:
        domain, op = node.text(7), node.text(4)
        if domain not in _KNOWN_DOMAINS and (domain, op) not in local:
            raise Refused(f"the model uses the custom op {op} of the domain {domain}")
        ops.add(f"{domain}.{op}" if domain else op)
        for attribute in node.messages(5):
            for tensor in (*attribute.messages(5), *attribute.messages(10)):
                _check_tensor(tensor)
            for sparse in (*attribute.messages(22), *attribute.messages(23)):
                _check_sparse(sparse)
            for graph in (*attribute.messages(6), *attribute.messages(11)):
                _check_graph(graph, local, ops, depth + 1)


def _check_sparse(sparse: _Message) -> None:
    for tensor in (*sparse.messages(1), *sparse.messages(2)):
        _check_tensor(tensor)


def _check_tensor(tensor: _Message) -> None:
    entries = tensor.messages(13)
    if entries or tensor.number(14) == _EXTERNAL:
        location = next((e.text(2) for e in entries if e.text(1) == "location"), "?")
        raise Refused(f"the tensor {tensor.text(8)!r} keeps its data outside the .onnx file, in {location!r}")


def _tensor(value: _Message) -> FileTensor:
    for kind in value.messages(2):
        for tensor in kind.messages(1):
            shape: list[int | str | None] = []
            for dims in tensor.messages(2):
                for dim in dims.messages(1):
                    size = dim.number(1) if dim.has(1) else None
                    # An int64 below zero arrives as a large unsigned number; exporters write it for
                    # "unknown".
                    shape.append(size if size is not None and size < 1 << 63 else dim.text(2) or None)
            return FileTensor(value.text(1), tuple(shape), _DTYPES.get(tensor.number(1)))
    raise Refused(f"{value.text(1)!r} is not a tensor")


class _Message:
    """One message, its fields split but not interpreted."""

    __slots__ = ("_fields",)

    def __init__(self, data: memoryview) -> None:
        self._fields: dict[int, list[int | memoryview]] = {}
        for number, value in _fields(data):
            if isinstance(value, int):
                self._fields[number] = [value]  # the last one counts, and nothing here reads repeated numbers
            else:
                self._fields.setdefault(number, []).append(value)

    def has(self, number: int) -> bool:
        """Whether a field is there."""
        return number in self._fields

    def number(self, number: int) -> int:
        """A varint field, 0 by default; the last one counts."""
        value = self._fields.get(number, [0])[-1]
        if not isinstance(value, int):
            raise Malformed(f"field {number} is not a number")
        return value

    def text(self, number: int) -> str:
        """A string field, empty by default; the last one counts."""
        values = self._fields.get(number)
        if values is None:
            return ""
        if isinstance(values[-1], int):
            raise Malformed(f"field {number} is not a string")
        return str(values[-1], "utf-8", "replace")

    def messages(self, number: int) -> list[_Message]:
        """A repeated message field."""
        found = []
        for value in self._fields.get(number, ()):
            if isinstance(value, int):
                raise Malformed(f"field {number} is not a message")
            found.append(_Message(value))
        return found


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise Malformed(f"field number 0 at byte {at}")
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise Malformed(f"wire type {wire} at byte {at}")
        if at + size > end:
            raise Malformed(f"field {number} reaches {at + size - end} bytes beyond its message")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise Malformed("cut off in the middle of a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise Malformed(f"a number longer than ten bytes at byte {at}")
