"""Which operators of a converted file make one layer of the Keras model, by their names.

Both converters name operators after the path of name scopes they came from, `bedside_1/encoder_1/up_1/Relu`; a
TFLite operator that several were fused into has all their paths, with semicolons between them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import msgspec

#: A scope that was entered once more, by a call of the model inside another one. Mostly `_1`; a second `conv2d_1`
#: beside a second `conv2d` becomes `conv2d_1_2`.
_AGAIN = re.compile(r"_[1-9][0-9]*$")


class Layer(msgspec.Struct, frozen=True):
    """Operators that are quantized, or left in float, together.

    Attributes:
        name: Of the Keras layer, with the models around it; of an operator that has none, its own.
        op: Types of its operators, in the file's words: `TRANSPOSE_CONV`, `Conv + Relu`.
        members: What the quantizer calls its operators.
    """

    name: str
    op: str
    members: tuple[str, ...]


def grouped(operators: Sequence[tuple[str, str, str]]) -> tuple[Layer, ...]:
    """Layers in the order of the file.

    Args:
        operators: Of each its name, its type, and what the quantizer calls it.
    """
    table: dict[str, list[tuple[str, str]]] = {}
    for name, op, member in operators:
        table.setdefault(_scope(name), []).append((op, member))
    short = _shorten(tuple(table))
    return tuple(
        Layer(
            name=short[scope],
            op=" + ".join(dict.fromkeys(op for op, _ in entries)),
            members=tuple(member for _, member in entries),
        )
        for scope, entries in table.items()
    )


def _scope(name: str) -> str:
    """The path without the operator at its end."""
    first = next((part for part in name.split(";") if part), name)
    return first.rpartition("/")[0] or first


def _shorten(scopes: tuple[str, ...]) -> dict[str, str]:
    """Paths without what all of them begin with, and without the mark of a second call where all carry it.

    Operators that a converter made up have no path, and keep their names.
    """
    paths = {scope: scope.split("/") for scope in scopes if "/" in scope}
    while paths and all(len(p) > 1 for p in paths.values()) and len({p[0] for p in paths.values()}) == 1:
        paths = {scope: path[1:] for scope, path in paths.items()}
    if all(_AGAIN.search(path[-1]) for path in paths.values()):
        paths = {scope: [_AGAIN.sub("", part) for part in path] for scope, path in paths.items()}
    names = {scope: "/".join(paths.get(scope, [scope])) for scope in scopes}
    taken = Counter(names.values())
    return {scope: name if taken[name] == 1 else scope for scope, name in names.items()}
