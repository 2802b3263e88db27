"""Errors of a strict schema in the file's own words: path of the key, what is allowed, likely spelling."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Iterable
from typing import Any

import msgspec

from bedside.runtime.errors import RecipeError

#: The key that chooses among several tables, here and in `bedside.export.recipe`.
_TAG_FIELD = "kind"
_STEP = re.compile(r"\.(?P<key>[^.\[\]]+)|\[(?P<index>\d+)\]")


def suggest(word: str, allowed: Iterable[str]) -> str:
    """`did you mean 'epochs'?`, or the allowed words where none is close."""
    words = sorted(allowed)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    listed = f"allowed: {', '.join(words)}"
    return f"did you mean {close[0]!r}? {listed}" if close else listed


def check_keys(raw: object, schema: type, *, where: str) -> None:
    """Refuse the first key that the schema does not have, at any depth.

    Args:
        raw: Parsed TOML.
        schema: A `msgspec.Struct` with other structs below it.
        where: Named in the error.

    Raises:
        RecipeError: With the path of the key.
    """
    _walk(raw, schema, "", where)


def explain(error: msgspec.ValidationError, raw: object, schema: type, *, where: str) -> RecipeError:
    """A validation error of msgspec as one line that names the key, its value and what is allowed."""
    what, _, at = str(error).removesuffix("`").partition(" - at `$")
    what = what.replace("`", "").replace("Object missing required field", "misses the key")
    what = what.replace("object", "a table").replace("array", "a list").replace("str", "text")
    parent, _, last = at.rpartition(".")
    value, expected = _follow(raw, schema, at)
    tags = _tags(_follow(raw, schema, parent)[1]) if last else []
    allowed = [str(v) for v in _literals(expected)]
    hint = ""
    if tags and last == _TAG_FIELD:
        what, hint = f"{value!r} is not allowed", suggest(str(value), tags)
    elif what.startswith("misses"):
        hint = f"allowed: {', '.join(sorted(found))}" if (found := _tags(expected)) else ""
    elif allowed:
        what, hint = f"{value!r} is not allowed", suggest(str(value), allowed)
    elif "got" in what:
        what = f"{what} {value!r}"[:200]
    elif value is not None:
        what = f"{what}, got {value!r}"[:200]
    key = at.removeprefix(".")
    what = what[0].lower() + what[1:]
    return RecipeError(f"{key}: {what}" if key else what, where=where, hint=hint)


def _walk(raw: object, schema: Any, path: str, where: str) -> None:
    if isinstance(raw, list):
        element = next((a for a in _arguments(schema) if a is not Ellipsis), None)
        for index, value in enumerate(raw):
            _walk(value, element, f"{path}[{index}]", where)
        return
    struct = _struct(raw, schema)
    if struct is None or not isinstance(raw, dict):
        return
    hints = typing.get_type_hints(struct)
    config = struct.__struct_config__
    allowed = [*struct.__struct_encode_fields__, *([config.tag_field] if config.tag_field else [])]
    for key, value in raw.items():
        here = f"{path}.{key}" if path else str(key)
        if key not in allowed:
            raise RecipeError(f"unknown key {here!r}", where=where, hint=suggest(str(key), allowed))
        _walk(value, hints.get(key), here, where)


def _struct(raw: object, schema: Any) -> type[msgspec.Struct] | None:
    """The struct that `raw` is meant to be; of a tagged union the one its tag names."""
    choices = [c for c in _choices(schema) if isinstance(c, type) and issubclass(c, msgspec.Struct)]
    if len(choices) == 1:
        return choices[0]
    if not isinstance(raw, dict):
        return None
    return next(
        (c for c in choices if raw.get(c.__struct_config__.tag_field) == c.__struct_config__.tag), None
    )


def _follow(raw: Any, schema: Any, path: str) -> tuple[Any, Any]:
    """The value and the type at a path such as `.data.items[2].label`."""
    for step in _STEP.finditer(path):
        if step["index"] is not None:
            index = int(step["index"])
            raw = raw[index] if isinstance(raw, list) and index < len(raw) else None
            schema = next((a for a in _arguments(schema) if a is not Ellipsis), None)
        else:
            struct = _struct(raw, schema)
            schema = typing.get_type_hints(struct).get(step["key"]) if struct else None
            raw = raw.get(step["key"]) if isinstance(raw, dict) else None
    return raw, schema


def _choices(schema: Any) -> list[Any]:
    """The members of a union, `Annotated` taken off; one of anything else."""
    if typing.get_origin(schema) is typing.Annotated:
        return _choices(typing.get_args(schema)[0])
    if typing.get_origin(schema) in (typing.Union, types.UnionType):
        return [c for part in typing.get_args(schema) for c in _choices(part)]
    return [schema]


def _arguments(schema: Any) -> list[Any]:
    """Type arguments of the one generic container among the choices."""
    return [a for c in _choices(schema) for a in typing.get_args(c) if typing.get_origin(c) in (tuple, list)]


def _literals(schema: Any) -> list[Any]:
    return [a for c in _choices(schema) if typing.get_origin(c) is typing.Literal for a in typing.get_args(c)]


def _tags(schema: Any) -> list[str]:
    structs = [c for c in _choices(schema) if isinstance(c, type) and issubclass(c, msgspec.Struct)]
    tags = [c.__struct_config__.tag for c in structs]
    return [t for t in tags if isinstance(t, str)] if len(tags) > 1 else []
