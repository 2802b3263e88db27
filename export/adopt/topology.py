"""What a Keras model does first: the normalization that it begins with.

Only what can be read with certainty is said; everything else is None, and the caller asks. What it does last
is read by `bedside.export.adopt.endings`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.backend import keras

#: Layers and operations that change the scale of pixels and nothing else.
_NORMALIZING = frozenset(
    {"Rescaling", "Normalization", "TrueDivide", "Divide", "Multiply", "Add", "Subtract", "Negative"}
)
#: Layers and operations that leave the values of a uniform picture alone when the model is not training.
_TRANSPARENT = frozenset(
    {
        "InputLayer", "Identity", "Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout",
        "AlphaDropout", "Resizing", "CenterCrop", "Cropping2D", "ZeroPadding2D", "GetItem", "Stack",
        "Concatenate", "Flip", "Cast", "MixUp", "CutMix", "RandAugment", "AugMix",
    }
)  # fmt: skip


class Leading(msgspec.Struct, frozen=True):
    """The normalization that a model begins with.

    Attributes:
        layers: What it is made of, in order.
        low: Smallest value that pixels 0..255 become.
        high: Largest value that pixels 0..255 become.
    """

    layers: tuple[str, ...]
    low: float
    high: float

    @property
    def plausible(self) -> bool:
        """Whether it is a normalization of pixels 0..255: of what else it may be, only the author knows.

        A model that wants 0..1 and begins with `Rescaling(2, offset=-1)` would make -1..509 of raw pixels;
        one that begins with 1/65535 was made for deeper pixels.
        """
        return self.high - self.low >= 0.1 and max(abs(self.low), abs(self.high)) <= 256.0

    def __str__(self) -> str:
        """One line for reports."""
        return f"{' > '.join(self.layers)}, pixels 0..255 become {self.low:.4g}..{self.high:.4g}"


class _Node(msgspec.Struct, frozen=True):
    """One operation of a model, nested models taken apart.

    Attributes:
        name: Unique path, for example `base/conv1`.
        op: Layer or operation.
        feeds: Names of the nodes that feed it.
        calls: How often it is used; weights shared by two places are called twice.
        owner: The model it belongs to.
        entry: Name of that model's input node.
    """

    name: str
    op: Any
    feeds: tuple[str, ...]
    calls: int
    owner: Any
    entry: str


def leading(model: Any, shape: tuple[int, ...]) -> Leading | None:
    """The normalization at the beginning of a model, found by running it on a black and a white frame.

    Args:
        model: A Keras model with one image input.
        shape: Of a frame, without the batch.

    Returns:
        None where the model begins with something else, or cannot be looked into (subclassed models).
    """
    frames = np.stack([np.zeros(shape, np.float32), np.full(shape, 255.0, np.float32)])
    try:
        values, names = _lead(_nodes(model)[0], frames)
    except (AttributeError, TypeError, ValueError, KeyError):
        return None  # an architecture we cannot read: the caller asks for the preprocessing instead
    return Leading(names, float(values.min()), float(values.max())) if names else None


def walk(model: Any) -> Iterator[Any]:
    """Every layer and operation of a model, nested ones included."""
    for layer in getattr(model, "operations", None) or model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from walk(layer)


def _lead(
    nodes: list[_Node], frames: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
    """Values that the first real layer is given, and the layers that made them."""
    values: dict[str, npt.NDArray[np.float32]] = {}
    names: list[str] = []
    last = ""
    blocked: set[str] = set()
    for node in nodes:
        if not node.feeds:
            values[node.name] = frames
        elif any(feed not in values for feed in node.feeds):
            blocked |= {feed for feed in node.feeds if feed in values}
            continue
        else:
            kind = type(node.op).__name__
            known = kind in _NORMALIZING or kind in _TRANSPARENT or kind.startswith("Random")
            if not known or node.calls != 1:
                blocked |= set(node.feeds)
                continue
            values[node.name] = _apply(node, values)
            if kind in _NORMALIZING:
                names.append(_describe(node.op))
        last = node.name
    ends = blocked or {last}
    if len(ends) != 1:
        return frames, ()  # several differently treated pictures side by side: not ours to judge
    return values[ends.pop()], tuple(names)


def _apply(node: _Node, values: dict[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    out: Any
    if isinstance(node.op, keras.layers.InputLayer):
        return values[node.feeds[0]]
    if isinstance(node.op, keras.layers.Layer) and len(node.feeds) == 1:
        # Random layers draw unless told that nobody trains; Rescaling does not know the word.
        arguments = {"training": False} if node.op._call_has_training_arg else {}
        out = node.op(values[node.feeds[0]], **arguments)
    else:  # a bare operation (`x / 127.5`): its constants are known to the graph only
        out = keras.Model(node.owner.inputs[0], node.op.output)(values[node.entry], training=False)
    return np.asarray(keras.ops.convert_to_numpy(out), np.float32)


def _nodes(model: Any, path: str = "", source: str | None = None) -> tuple[list[_Node], str]:
    """Operations in execution order, nested models taken apart, and the name of the last one.

    Args:
        model: The model.
        path: Prefix of names.
        source: Node that feeds it, None for the outermost.

    Returns:
        No nodes where the model is a subclassed one.
    """
    feeds = () if source is None else (source,)
    entry = f"{path}@input"
    nodes: list[_Node] = []
    ends: dict[str, str] = {}  # name in this model -> name of the node that gives its output
    for name, op, inner_feeds, calls in _entries(model):
        if isinstance(op, keras.layers.InputLayer):
            entry = f"{path}{name}"
            nodes.append(_Node(entry, op, feeds, 1, model, entry))
            ends[name] = entry
            continue
        here = tuple(ends[f] for f in inner_feeds)
        if isinstance(op, keras.Model) and len(here) == 1 and calls == 1:
            below, end = _nodes(op, f"{path}{name}/", here[0])
            if below:
                nodes += below
                ends[name] = end
                continue
        nodes.append(_Node(f"{path}{name}", op, here, calls, model, entry))
        ends[name] = f"{path}{name}"
    return nodes, ends.get(_output(model, list(ends)), "")


def _entries(model: Any) -> Iterator[tuple[str, Any, tuple[str, ...], int]]:
    """`(call, operation, calls that feed it, how often it is called)` of one model, in execution order."""
    if isinstance(model, keras.Sequential):
        previous = "@input"
        yield previous, keras.layers.InputLayer((1,)), (), 1
        for layer in model.layers:
            yield layer.name, layer, (previous,), 1
            previous = layer.name
        return
    try:
        config = model.get_config()
    except NotImplementedError:
        return
    if "input_layers" not in config:
        return
    ops = {op.name: op for op in model.operations}
    waiting: dict[str, tuple[str, tuple[str, ...], int]] = {}
    for entry in config["layers"]:
        calls, name = entry["inbound_nodes"], entry["name"]
        for index, call in enumerate(calls or [None]):
            waiting[_call(name, index)] = (name, tuple(dict.fromkeys(_histories(call))), max(1, len(calls)))
    # Layers are listed by their first call: a layer used twice is fed by others that come after it.
    done: set[str] = set()
    while waiting:
        ready = [call for call, (_, feeds, _) in waiting.items() if done.issuperset(feeds)]
        for call in ready:
            name, feeds, count = waiting.pop(call)
            done.add(call)
            yield call, ops[name], feeds, count
        if not ready:
            return


def _call(name: str, index: int) -> str:
    """A name for one call of a layer: the first has the layer's own."""
    return f"{name}#{index}" if index else name


def _histories(value: Any) -> Iterator[str]:
    """Calls in the `keras_history` of every tensor in a serialized call."""
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            name, index, _ = value["config"]["keras_history"]
            yield _call(str(name), int(index))
        else:
            for part in value.values():
                yield from _histories(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _histories(part)


def _output(model: Any, names: list[str]) -> str:
    if isinstance(model, keras.Sequential) or not names:
        return names[-1] if names else ""
    value = model.get_config()["output_layers"]
    while isinstance(value, dict | list | tuple) and value:
        if isinstance(value, list | tuple) and isinstance(value[0], str):
            return _call(value[0], int(value[1]))
        value = next(iter(value.values())) if isinstance(value, dict) else value[0]
    return ""


def _describe(op: Any) -> str:
    kind = type(op).__name__
    if kind == "Rescaling":
        return f"Rescaling(scale={_short(op.scale)}, offset={_short(op.offset)})"
    if kind == "Normalization":
        return f"Normalization(mean={_short(op.mean)}, variance={_short(op.variance)})"
    return kind


def _short(value: Any) -> str:
    flat = np.asarray(keras.ops.convert_to_numpy(value), np.float64).ravel()
    shown = ", ".join(f"{v:.4g}" for v in flat[:4])
    return shown if flat.size == 1 else f"[{shown}{', ...' if flat.size > 4 else ''}]"
