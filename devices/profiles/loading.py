"""Reading device profiles: strictly, and with one line for whoever mistyped one."""

from __future__ import annotations

import difflib
import importlib.resources
import os
import re
import stat
import tomllib
import types
import typing
from pathlib import Path
from typing import Any

import msgspec

from bedside.devices.profiles.schema import Profile, check
from bedside.runtime.errors import ProfileError

#: A profile is a page of text. A larger file is not one, and is not read.
MAX_BYTES = 1 << 16
# msgspec speaks of JSON, the reader has written TOML.
_WORDS = {" | null": "", "object": "table", "`": ""}
# What the patterns of the schema mean.
_FORMS = {
    "name": "lower-case letters, digits, '.', '_' and '-', 64 at most",
    "engine.variant": "the id of a variant, for example tflite-int8",
    "capture.fourcc": "four characters, for example MJPG",
}
_INDEX = re.compile(r"\[\d+\]")
# Longer parts of a hostile file are not repeated to the reader.
_MAX_SHOWN = 80


def profile_names() -> tuple[str, ...]:
    """Names of the profiles that come with bedside."""
    folder = importlib.resources.files("bedside.devices.profiles")
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


def load_profile(name_or_path: str | Path) -> Profile:
    """The profile of that name, or in that file.

    Args:
        name_or_path: One of `profile_names`, or a path: anything with a separator in it or ending in `.toml`.

    Raises:
        ProfileError: There is none, or it is mistyped; the key and what it allows are named.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".toml") or "/" in text or os.sep in text:
        return parse_profile(_read(text), where=_shown(text))
    if text not in profile_names():
        near = difflib.get_close_matches(text, profile_names(), n=1)
        guess = f"did you mean {near[0]}? " if near else ""
        raise ProfileError(
            "no such profile",
            where=_shown(text),
            hint=f"{guess}there are {', '.join(profile_names())}; a file of your own ends in .toml",
        )
    data = importlib.resources.files("bedside.devices.profiles").joinpath(f"{text}.toml").read_bytes()
    return parse_profile(data, where=text)


def parse_profile(data: bytes, *, where: str) -> Profile:
    """A profile from its TOML text.

    Args:
        data: At most `MAX_BYTES`.
        where: For errors.

    Raises:
        ProfileError: It is no TOML, has a key that no profile has, or a value that the key does not allow.
    """
    if len(data) > MAX_BYTES:
        raise ProfileError(f"larger than {MAX_BYTES} bytes: not a profile", where=where)
    try:
        raw = tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ProfileError(f"not UTF-8 text: byte {error.start}", where=where) from None
    except RecursionError:
        raise ProfileError("nested too deeply", where=where) from None
    except ValueError as error:  # TOMLDecodeError, and integers of thousands of digits
        raise ProfileError(f"not TOML: {_shown(str(error), 200)}", where=where) from None
    _refuse_unknown(raw, Profile, "", where)
    try:
        profile = msgspec.convert(raw, Profile)
    except msgspec.ValidationError as error:
        raise _mistyped(str(error), raw, where) from None
    except (OverflowError, RecursionError) as error:
        raise ProfileError(f"a value is out of range: {error}", where=where) from None
    try:
        check(profile)
    except ValueError as error:
        raise ProfileError(_shown(str(error), 300), where=where) from None
    return profile


def _read(path: str) -> bytes:
    """At most a little more than `MAX_BYTES` of a regular file: no waiting on pipes, no endless devices."""
    try:
        handle = os.open(Path(path).expanduser(), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ProfileError("not a regular file", where=_shown(path))
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read(MAX_BYTES + 1)
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = error.strerror if isinstance(error, OSError) else error
        hint = f"profiles that come with bedside: {', '.join(profile_names())}"
        raise ProfileError(f"cannot read the profile: {reason}", where=_shown(path), hint=hint) from None


def _refuse_unknown(raw: dict[str, Any], kind: type[msgspec.Struct], path: str, where: str) -> None:
    """Find the first key that no profile has, and say which ones there are."""
    fields = _fields(kind)
    for key, value in raw.items():
        if key not in fields:
            near = difflib.get_close_matches(key[:_MAX_SHOWN], fields, n=1)
            guess = f"did you mean {near[0]}? " if near else ""
            section = f"[{path.rstrip('.')}]" if path else "the top level"
            hint = f"{guess}{section} allows {', '.join(fields)}"
            raise ProfileError(f"unknown key {path}{_shown(key)}", where=where, hint=hint)
        inner = fields[key]
        if isinstance(value, dict) and _is_section(inner):
            _refuse_unknown(value, inner, f"{path}{key}.", where)


def _mistyped(message: str, raw: dict[str, Any], where: str) -> ProfileError:
    """From msgspec's "Expected `int`, got `str` - at `$.engine.threads`" to key, problem, allowed values."""
    problem, _, place = message.partition(" - at `")
    key = place.rstrip("`").removeprefix("$").removeprefix(".")
    for term, word in _WORDS.items():
        problem = problem.replace(term, word)
    if problem.startswith("Object missing required field "):
        missing = problem.removeprefix("Object missing required field ")
        return ProfileError(f"the key {key + '.' if key else ''}{missing} is missing", where=where)
    name, value = _INDEX.sub("", key), _value(raw, key)
    got = f", not {_shown(repr(value))}" if isinstance(value, str | int | float) else ""
    if problem.startswith("Invalid enum value"):
        said = f"{key} is one of {', '.join(_allowed(name))}{got}"
    elif "matching regex" in problem:
        said = f"{key} is {_FORMS[name]}{got}"
    else:
        said = f"{key}: {problem[0].lower()}{problem[1:]}{got if ', got ' not in problem else ''}"
    return ProfileError(said, where=where)


def _allowed(key: str) -> list[str]:
    """The values of a key that has a closed list of them."""
    kind: Any = Profile
    for part in key.split("."):
        kind = _fields(kind).get(part) if _is_section(kind) else None
    found: list[str] = []
    waiting = [kind]
    while waiting:
        one = waiting.pop(0)
        if typing.get_origin(one) is typing.Literal:
            found += [str(value) for value in typing.get_args(one)]
        elif typing.get_origin(one) in (typing.Union, types.UnionType, typing.Annotated, tuple):
            waiting += typing.get_args(one)
    return found


def _fields(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.encode_name: field.type for field in msgspec.structs.fields(kind)}


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _value(raw: dict[str, Any], key: str) -> object:
    """What the file has at `a.b[0]`."""
    value: Any = raw
    for part in re.findall(r"[^.\[\]]+", key):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _shown(text: str, length: int = _MAX_SHOWN) -> str:
    """Text of a hostile file, fit for a terminal: printable, and not too long."""
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[: length + 1])
    return printable if len(printable) <= length else printable[: length - 1] + "…"
