"""TOML files that people write, read strictly into a msgspec schema: one line for each mistake.

Profiles, recipes and pack files come through here. The line names the key by its path and says what is allowed
there, and what was probably meant. The files may be hostile: size, kind of file, encoding, depth and numbers
are checked before anything is made of them.

A schema is a `msgspec.Struct` made of scalars, literals, other structs, unions of structs with a tag, lists and
tuples of them.
"""

from __future__ import annotations

import difflib
import functools
import os
import re
import stat
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bedside.runtime.errors import UsageError

#: Such a file is a page of text. A larger one is something else, and is not read.
MAX_BYTES = 1 << 16
#: What the patterns of keys mean that profiles, recipes and pack files share.
FORMS: Mapping[str, str] = types.MappingProxyType(
    {
        "name": "lower-case letters, digits, '.', '_' and '-', 64 at most",
        "version": "three numbers, for example 1.0.0",
    }
)

_T = TypeVar("_T", bound=msgspec.Struct)
# msgspec speaks of JSON and Python, the reader has written TOML.
_WORDS = {"object": "a table", "array": "a list", "str": "text"}
_TERM = re.compile(r"`([^`]*)`")
_STEP = re.compile(r"(?P<key>[^.\[\]]+)|\[(?P<index>\d+)\]")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# Longer parts of a hostile file are not repeated to the reader.
_MAX_SHOWN = 80
# Keys of more parts than this keep Python's parser busy for seconds: its time grows with their square.
_MAX_DOTS = 2000
# What TOML 1.0 asks of a parser ("Integer"); Python's reads larger ones, which fit no number in a schema.
_INTEGERS = range(-(2**63), 2**63)

_Refuse = Callable[..., UsageError]


def read_file(path: str | Path, *, error: type[UsageError], hint: str = "") -> bytes:
    """At most a little more than `MAX_BYTES` of a regular file: no waiting on pipes, no endless devices.

    Args:
        path: Named in errors as it is given.
        error: What to raise.
        hint: Of errors that say that it cannot be read.

    Raises:
        UsageError: As `error`: it is not there, not readable, or no regular file.
    """
    refuse: _Refuse = functools.partial(error, where=str(path), hint=hint)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
        try:
            mode = os.fstat(handle).st_mode
            if not stat.S_ISREG(mode):
                kind = "it is a folder" if stat.S_ISDIR(mode) else "not a regular file"
                raise refuse(f"cannot be read: {kind}")
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read(MAX_BYTES + 1)
        finally:
            os.close(handle)
    except (OSError, ValueError) as problem:  # ValueError: a NUL character in the path
        reason = getattr(problem, "strerror", None) or problem
        raise refuse(f"cannot be read: {reason}") from None


def loads(
    data: bytes,
    schema: type[_T],
    *,
    error: type[UsageError],
    where: str,
    forms: Mapping[str, str] = FORMS,
) -> _T:
    """What the TOML text says, checked against the schema.

    Args:
        data: UTF-8, at most `MAX_BYTES`.
        schema: See the module.
        error: What to raise.
        where: The file, for errors.
        forms: By path of the key without indices: what the pattern of its text means.

    Raises:
        UsageError: As `error`: it is no TOML, has a key that the schema has not, lacks one, or has a value
            that the key does not allow.
    """
    refuse: _Refuse = functools.partial(error, where=where)
    if len(data) > MAX_BYTES:
        raise refuse(f"larger than {MAX_BYTES} bytes", hint="expected a page of TOML")
    if any(line.count(b".") > _MAX_DOTS for line in data.split(b"\n")):
        raise refuse("nested too deeply", hint=f"a line has more than {_MAX_DOTS} dots")
    try:
        raw = tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as problem:
        raise refuse(f"not UTF-8 text: byte {problem.start}") from None
    except tomllib.TOMLDecodeError as problem:
        raise refuse(f"not TOML: {_short(str(problem), 200)}") from None
    except ValueError:  # Python converts no decimal number of thousands of digits
        raise refuse("not TOML: a number has too many digits") from None
    except RecursionError:
        raise refuse("nested too deeply") from None
    return convert(raw, schema, error=error, where=where, forms=forms)


def convert(
    raw: Mapping[str, object],
    schema: type[_T],
    *,
    error: type[UsageError],
    where: str,
    forms: Mapping[str, str] = FORMS,
) -> _T:
    """Like `loads`, of TOML that was parsed already: `raw` is as `tomllib` gives it.

    Raises:
        UsageError: As `error`.
    """
    refuse: _Refuse = functools.partial(error, where=where)
    _check(raw, schema, "", refuse)
    try:
        return msgspec.convert(raw, schema)
    except msgspec.ValidationError as problem:
        raise _explained(str(problem), raw, schema, forms, refuse) from None


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """`did you mean epochs? `, to begin a hint with; nothing where no word is close."""
    near = difflib.get_close_matches(word[:_MAX_SHOWN], list(words), n=1)
    return f"did you mean {near[0]}? " if near else ""


def _check(raw: object, schema: Any, path: str, refuse: _Refuse) -> None:
    """Refuse the first key that the schema has not, at any depth, and numbers that TOML has not."""
    if isinstance(raw, int) and raw not in _INTEGERS:
        raise refuse(f"{path}: an integer of more than 64 bits")
    if isinstance(raw, list):
        for index, value in enumerate(raw):
            _check(value, _element(schema, index), f"{path}[{index}]", refuse)
    elif isinstance(raw, Mapping):
        keys = _keys(raw, schema)
        for key, value in raw.items():
            here = _joined(path, key)
            if keys and key not in keys and _struct(raw, schema):
                table = f"[{path}]" if path and "[" not in path else path or "the top level"
                hint = f"{did_you_mean(key, keys)}{table} allows {', '.join(keys)}"
                raise refuse(f"unknown key {here}", hint=hint)
            if key in keys:
                _check(value, keys[key], here, refuse)


def _explained(
    message: str, raw: object, schema: Any, forms: Mapping[str, str], refuse: _Refuse
) -> UsageError:
    """From msgspec's "Expected `int`, got `str` - at `$.engine.threads`" to key, problem, allowed values."""
    at = message.rfind(" - at `$")
    problem, path = (message, "") if at < 0 else (message[:at], message[at + 8 :].strip("`."))
    value, expected = _follow(raw, schema, path)
    if problem.startswith("Object missing required field"):
        name = problem.split("`")[1]
        offer = _offer(_keys(value, expected).get(name))
        return refuse(f"the key {_joined(path, name)} is missing", hint=offer)
    form = forms.get(re.sub(r"\[\d+\]", "", path))
    shown = _shown(value)
    if form and "matching regex" in problem:
        return refuse(f"{path} is {form}, not {shown}")
    hint = _offer(expected)
    if problem.startswith("Invalid"):
        return refuse(
            f"{path}: {shown} is not allowed", hint=f"{did_you_mean(str(value), _literals(expected))}{hint}"
        )
    said = _TERM.sub(_word, problem)
    if ", got `" in problem:
        said = f"{said} {shown}"
    elif ", got " not in problem:
        said = (
            f"{said}, got {len(value) if isinstance(value, list | str) and ' length ' in problem else shown}"
        )
    return refuse(f"{path}: {said[0].lower()}{said[1:]}", hint=hint)


def _word(term: re.Match[str]) -> str:
    names = (name.removeprefix("datetime.") for name in term[1].split(" | ") if name != "null")
    return " or ".join(_WORDS.get(name, name) for name in names)


def _offer(schema: Any) -> str:
    """What may stand there, if that is a closed list."""
    if literals := _literals(schema):
        return f"allowed: {', '.join(literals)}"
    tables = [f"{key} = {', '.join(_literals(kind))}" for key, kind in _tag(_structs(schema)).items()]
    return f"a table with {tables[0]}" if tables else ""


def _follow(raw: Any, schema: Any, path: str) -> tuple[Any, Any]:
    """The value and the type at a path such as `data.items[2].label`; None where there is none."""
    for step in _STEP.finditer(path):
        if step["index"] is None:
            schema = _keys(raw, schema).get(step["key"])
            raw = raw.get(step["key"]) if isinstance(raw, Mapping) else None
        else:
            index = int(step["index"])
            schema = _element(schema, index)
            raw = raw[index] if isinstance(raw, list) and index < len(raw) else None
    return raw, schema


def _keys(raw: object, schema: Any) -> dict[str, Any]:
    """The keys that a table may have, and their types; only the tag where that does not say which table."""
    struct = _struct(raw, schema)
    fields = msgspec.structs.fields(struct) if struct else ()
    return {**_tag(_structs(schema)), **{field.encode_name: field.type for field in fields}}


def _struct(raw: object, schema: Any) -> type[msgspec.Struct] | None:
    """The struct that `raw` is meant to be; of a tagged union the one that its tag names."""
    structs = _structs(schema)
    if len(structs) < 2:
        return structs[0] if structs else None
    config = structs[0].__struct_config__
    named = raw.get(config.tag_field) if isinstance(raw, Mapping) else None
    return next((s for s in structs if s.__struct_config__.tag == named), None)


def _structs(schema: Any) -> list[type[msgspec.Struct]]:
    """Those that are written as tables."""
    kinds = (c for c in _choices(schema) if isinstance(c, type) and issubclass(c, msgspec.Struct))
    return [kind for kind in kinds if not kind.__struct_config__.array_like]


def _tag(structs: list[type[msgspec.Struct]]) -> dict[str, Any]:
    """The key that chooses among tables, with the literals that it may be; empty where there is no choice."""
    configs = [struct.__struct_config__ for struct in structs]
    if len(configs) < 2 or configs[0].tag_field is None:
        return {}
    return {configs[0].tag_field: typing.Literal.__getitem__(tuple(config.tag for config in configs))}


def _element(schema: Any, index: int) -> Any:
    """The type of an element of a list or tuple; None of anything else."""
    for kind in _choices(schema):
        arguments = typing.get_args(kind)
        if typing.get_origin(kind) is list or (typing.get_origin(kind) is tuple and arguments[-1] is ...):
            return arguments[0]
        if typing.get_origin(kind) is tuple:
            return arguments[index] if index < len(arguments) else None
    return None


def _choices(schema: Any) -> list[Any]:
    """The members of a union, `Annotated` taken off; one of anything else."""
    if typing.get_origin(schema) is typing.Annotated:
        return _choices(typing.get_args(schema)[0])
    if typing.get_origin(schema) in (typing.Union, types.UnionType):
        return [choice for part in typing.get_args(schema) for choice in _choices(part)]
    return [schema]


def _literals(schema: Any) -> list[str]:
    literals = (c for c in _choices(schema) if typing.get_origin(c) is typing.Literal)
    return [str(value) for literal in literals for value in typing.get_args(literal)]


def _joined(path: str, key: str) -> str:
    shown = key if _BARE_KEY.fullmatch(key) else repr(key)
    return f"{path}.{_short(shown)}" if path else _short(shown)


def _shown(value: object) -> str:
    """A value as the file has it; nothing of a table or list, whose kind says enough."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or isinstance(value, list | Mapping):
        return ""
    return _short(repr(value) if isinstance(value, str) else str(value))


def _short(text: str, length: int = _MAX_SHOWN) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
