"""Reading device profiles: strictly, and with one line for whoever mistyped one."""

from __future__ import annotations

import difflib
import importlib.resources
import os
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
        with Path(path).expanduser().open("rb", opener=_open_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ProfileError("not a regular file", where=_shown(path))
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = error.strerror if isinstance(error, OSError) else error
        hint = f"profiles that come with bedside: {', '.join(profile_names())}"
        raise ProfileError(f"cannot read the profile: {reason}", where=_shown(path), hint=hint) from None


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _refuse_unknown(raw: dict[str, Any], kind: type[msgspec.Struct], path: str, where: str) -> None:
    """Find the first key that no profile has, and say which ones there are."""
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    for key, value in raw.items():
        if key not in fields:
            near = difflib.get_close_matches(key[:_MAX_SHOWN], fields, n=1)
            guess = f"did you mean {near[0]}? " if near else ""
            section = f"[{path.rstrip('.')}]" if path else "the top level"
            hint = f"{guess}{section} allows {', '.join(fields)}"
            raise ProfileError(f"unknown key {path}{_shown(key)}", where=where, hint=hint)
        inner = fields[key]
        if isinstance(value, dict) and isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            _refuse_unknown(value, inner, f"{path}{key}.", where)


def _mistyped(message: str, raw: dict[str, Any], where: str) -> ProfileError:
    """From msgspec's "Expected `int`, got `str` - at `$.engine.threads`" to key, problem, allowed values."""
    problem, _, place = message.partition(" - at `")
    key = place.rstrip("`").removeprefix("$").removeprefix(".")
    problem = problem.replace("`", "")
    if problem.startswith("Object missing required field "):
        missing = problem.removeprefix("Object missing required field ")
        return ProfileError(f"the key {key + '.' if key else ''}{missing} is missing", where=where)
    allowed = _allowed(key)
    value = _value(raw, key)
    got = f", not {_shown(repr(value))}" if isinstance(value, str | int | float) else ""
    said = (
        f"{key}: {problem[0].lower()}{problem[1:]}{got}" if not allowed else f"{key} is one of {allowed}{got}"
    )
    return ProfileError(said, where=where)


def _allowed(key: str) -> str:
    """The values of a key that has a closed list of them."""
    kind: Any = Profile
    for part in key.replace("[...]", "").split("."):
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            return ""
        kind = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}.get(part)
    found: list[str] = []
    waiting = [kind]
    while waiting:
        one = waiting.pop(0)
        if typing.get_origin(one) is typing.Literal:
            found += [str(value) for value in typing.get_args(one)]
        elif typing.get_origin(one) in (typing.Union, types.UnionType, typing.Annotated, tuple):
            waiting += typing.get_args(one)
    return ", ".join(found)


def _value(raw: dict[str, Any], key: str) -> object:
    value: Any = raw
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _shown(text: str, length: int = _MAX_SHOWN) -> str:
    """Text of a hostile file, fit for a terminal: printable, and not too long."""
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[: length + 1])
    return printable if len(printable) <= length else printable[: length - 1] + "…"
