"""What a Keras model does last: the activation behind each output, and the range that leaves its values in.

Only what can be read with certainty is said; everything else is `unknown`, and the caller asks.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np

from bedside.export.adopt.structure import parts
from bedside.export.backend import keras

Head = Literal["softmax", "sigmoid", "tanh", "linear", "unknown"]

_RANGES: dict[str, tuple[float, float]] = {"softmax": (0.0, 1.0), "sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
#: Layers whose `activation` is the last thing they do.
_ACTIVATED = frozenset(
    {
        "Activation", "Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv2DTranspose", "SeparableConv2D",
        "DepthwiseConv2D", "ClassActivationHead",
    }
)  # fmt: skip
#: Layers and operations behind the last activation that keep probabilities probabilities, logits logits, and
#: values in their range: they move, take, join or average values.
_TRAILING = frozenset(
    {
        "Dropout", "SpatialDropout2D", "Identity", "Flatten", "Reshape", "Squeeze", "ExpandDims", "Cast",
        "GlobalAveragePooling2D", "AveragePooling2D", "ActivityRegularization", "UpSampling2D", "Resizing",
        "CenterCrop", "Cropping2D", "GetItem", "Concatenate",
    }
)  # fmt: skip
#: Layers and operations that map every value by the same line, if their constants say so.
_AFFINE = frozenset({"Rescaling", "Multiply", "TrueDivide", "Divide", "Add", "Subtract", "Negative"})
#: Longest way back from an output that is looked at: more than any head has.
_DEPTH = 64


class Ending(msgspec.Struct, frozen=True):
    """The end of one output.

    Attributes:
        head: The last activation; `linear`: none, so scores are logits.
        range: Smallest and largest value that the activation, and scaling behind it, can give; None where it
            has no bounds or is not known.
    """

    head: Head = "unknown"
    range: tuple[float, float] | None = None

    @property
    def scaled(self) -> bool:
        """Whether something behind the activation changes its range."""
        return self.range is not None and self.range != _RANGES.get(self.head)


UNKNOWN = Ending()


def endings(model: Any) -> dict[str, Ending]:
    """How each output ends, by its path (see `bedside.export.adopt.structure.parts`).

    Empty where the model cannot be looked into (subclassed models).
    """
    if getattr(model, "outputs", None) is None:
        return {}
    struct = model.outputs[0] if isinstance(model, keras.Sequential) else model.output
    try:
        return {path: _trace(tensor, (), 0) for path, tensor in parts(struct)}
    except (AttributeError, TypeError, ValueError, KeyError, IndexError):
        return {}  # an architecture we cannot read: the caller asks instead


def _trace(tensor: Any, outer: tuple[tuple[Any, Any], ...], depth: int) -> Ending:
    """Follow a tensor back to its activation.

    Args:
        tensor: Symbolic.
        outer: The nested models that the tensor lies in, outermost first, each with the tensor it is fed.
        depth: Steps taken.
    """
    history = tensor._keras_history
    op, node = history.operation, history.operation._inbound_nodes[history.node_index]
    sources = node.input_tensors
    if depth > _DEPTH:
        return UNKNOWN
    if isinstance(op, keras.layers.InputLayer):
        return _trace(outer[-1][1], outer[:-1], depth + 1) if outer else UNKNOWN
    if isinstance(op, keras.Model):
        if getattr(op, "outputs", None) is None or len(sources) != 1 or len(op.inputs) != 1:
            return UNKNOWN
        return _trace(op.outputs[history.tensor_index], (*outer, (op, sources[0])), depth + 1)
    kind = type(op).__name__
    head = _head(op, kind, history.tensor_index)
    if head is not None:
        return Ending(head, _RANGES.get(head))
    if kind in _AFFINE and len(sources) == 1:
        return _through(_trace(sources[0], outer, depth + 1), op, node)
    passes = kind in _TRAILING or (kind == "Activation" and _function(op) == "linear")
    if not passes or not sources:
        return UNKNOWN
    found = {_trace(source, outer, depth + 1) for source in sources}
    return found.pop() if len(found) == 1 else UNKNOWN


def _head(op: Any, kind: str, tensor_index: int) -> Head | None:
    """The activation that an operation ends with; None where it has none."""
    if kind in ("Softmax", "Sigmoid", "Tanh"):
        return kind.lower()  # type: ignore[return-value]
    if kind not in _ACTIVATED or tensor_index != 0:
        return None
    name = _function(op)
    if name in ("softmax", "sigmoid", "tanh"):
        return name  # type: ignore[return-value]
    if name == "linear":
        return None if kind == "Activation" else "linear"
    return "unknown"


def _function(op: Any) -> str:
    return str(getattr(op.activation, "__name__", ""))


def _through(ending: Ending, op: Any, node: Any) -> Ending:
    """An ending behind `op`: its range mapped by running `op` on the two ends."""
    if ending.head == "linear":
        return ending  # logits, with a temperature
    if ending.range is None or ending.head == "softmax":
        return UNKNOWN  # scaled probabilities are none
    source = node.input_tensors[0]
    shape = tuple(d or 1 for d in source.shape)
    mapped = []
    for value in ending.range:
        arguments, words = node.arguments.fill_in({id(source): np.full(shape, value, np.float32)})
        out = keras.ops.convert_to_numpy(op(*arguments, **words))
        mapped.append(np.asarray(out, np.float64))
    low, high = (float(m.flat[0]) for m in mapped)
    even = all(np.allclose(m, m.flat[0], atol=1e-5) for m in mapped)
    return Ending(ending.head, (round(low, 6), round(high, 6))) if even and low < high else UNKNOWN
