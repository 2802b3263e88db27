"""A fit as a device profile: TOML that says what was found, and by what."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import msgspec

from bedside.devices.fitting.picture import describe
from bedside.devices.fitting.screen import ScreenFit
from bedside.devices.profiles import Profile
from bedside.devices.sources.network import NETWORK_SCHEMES, shown
from bedside.runtime.errors import printable
from bedside.runtime.geometry import Rect

LONGEST_SOURCE = 200
"""Characters of a source that a profile takes."""

_SECTION = re.compile(r"\s*\[\s*([A-Za-z0-9_-]+)\s*\]\s*(?:#.*)?")
_NEW = """# Made by bedside fit-profile. Every key may be left out; unknown keys are refused.

name = {name}
description = {description}
"""


def profile_text(
    fit: ScreenFit, *, name: str, source: str, base: str | None = None, profile: Profile | None = None
) -> str:
    """The profile as TOML.

    Args:
        fit: Sure of itself.
        name: Of the profile; of a new one, or in place of the base's own.
        source: URI that was looked at, for the comments, and of a new profile.
        base: Text of the profile that is extended: its other sections and its comments stay.
        profile: What `base` says.

    Raises:
        ValueError: The base writes its screen in another form than under a `[screen]` heading.
    """
    if base is None or profile is None:
        description = f"Fitted to {_public(source)}"[:1000]
        text = _NEW.format(name=_quoted(name), description=_quoted(description))
        if len(_utf8(source)) <= LONGEST_SOURCE:
            text += f"\n[capture]\n# What was looked at.\nsource = {_quoted(source)}\n"
    else:
        text = _renamed(_without_screen(base), name)
        if "screen" in tomllib.loads(text):
            raise ValueError("write the profile's screen under a heading [screen] of its own line")
    return f"{text.rstrip()}\n\n{_screen(fit, source)}"


def _screen(fit: ScreenFit, source: str) -> str:
    lines = [
        "[screen]",
        f"# Found by bedside fit-profile in {_public(source)}:",
        f"# {describe(fit)}. Look at its picture before you use this.",
    ]
    if fit.roi is None:
        lines.append("# The image is the whole frame: no region of interest.")
    else:
        lines.append(
            f"# [x, y, width, height] in pixels of the captured picture, {fit.width} x {fit.height}."
        )
        lines.append(f"roi = {_numbers(fit.roi)}")
    if fit.masks:
        lines.append("# Letters, scales and icons: blanked before anything sees them.")
        lines.append("masks = [")
        lines += [f"    {_numbers(mask)}," for mask in fit.masks]
        lines.append("]")
    return "\n".join(lines) + "\n"


def _without_screen(text: str) -> str:
    """A profile's text less its `[screen]`, with the comments that lead to the section behind it."""
    kept: list[str] = []
    inside = False
    for line in text.splitlines():
        section = _SECTION.fullmatch(line)
        if section is not None:
            inside = section[1] == "screen"
        if not inside:
            kept.append(line)
    return "\n".join(kept)


def _renamed(text: str, name: str) -> str:
    return re.sub(r"(?m)^\s*name\s*=.*$", lambda _: f"name = {_quoted(name)}", text, count=1)


def _numbers(rect: Rect) -> str:
    return f"[{rect.x}, {rect.y}, {rect.width}, {rect.height}]"


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are a part of TOML's, but for those of surrogates."""
    return json.dumps(_utf8(text), ensure_ascii=False).replace("\x7f", "\\u007f")


def _utf8(text: str) -> str:
    """Without what no file can hold: a path may have bytes that are no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def _public(source: str) -> str:
    """A source as it may stand in a comment: on one line, without user and password."""
    url = source.partition("://")[0].lower() in NETWORK_SCHEMES
    return printable(_utf8(shown(source) if url else source))


def profile_name(text: str) -> str:
    """A profile's name made of a file's: lower-case letters, digits, `.`, `_` and `-`."""
    name = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")
    return name[:64] or "fitted"


def as_json(fit: ScreenFit) -> dict[str, Any]:
    """The fit as plain data."""
    plain: dict[str, Any] = msgspec.to_builtins(fit)
    return {"sure": fit.sure, **plain}
