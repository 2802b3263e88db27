"""Outputs of a Keras model one by one, whatever it packs them into: a tensor, a list, a dict, or both."""

from __future__ import annotations

from typing import Any


def parts(struct: Any, path: str = "") -> list[tuple[str, Any]]:
    """`(path, tensor)` of every tensor, in the order that the author wrote them in.

    Keras itself sorts the keys of a dict. A path joins keys and positions, `scores` or `1` or `boxes/0`; the
    path of a single tensor is empty.
    """
    if isinstance(struct, dict):
        entries = [(str(key), value) for key, value in struct.items()]
    elif isinstance(struct, list | tuple):
        if len(struct) == 1:  # Keras unpacks a list of one when the model is called
            return parts(struct[0], path)
        entries = [(str(i), value) for i, value in enumerate(struct)]
    else:
        return [(path, struct)]
    return [part for key, value in entries for part in parts(value, f"{path}/{key}" if path else key)]
