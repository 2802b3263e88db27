"""Device profiles, by name or out of a file."""

from __future__ import annotations

import contextlib
import importlib.resources
import os
from pathlib import Path

from bedside.devices.profiles.schema import Profile, check
from bedside.runtime import strict_toml
from bedside.runtime.errors import ProfileError

# What the patterns of the schema mean.
FORMS = {
    **strict_toml.FORMS,
    "engine.variant": "the id of a variant, for example tflite-int8",
    "capture.fourcc": "four characters, for example MJPG",
}


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
    return parse_profile(read_profile(name_or_path), where=str(name_or_path))


def read_profile(name_or_path: str | Path) -> bytes:
    """The text of a profile, as `load_profile` finds it, not checked yet.

    Raises:
        ProfileError: There is none, or it cannot be read.
    """
    text, names = str(name_or_path), profile_names()
    if isinstance(name_or_path, Path) or text.endswith(".toml") or "/" in text or os.sep in text:
        path = Path(text)
        with contextlib.suppress(RuntimeError):  # the home of a user that there is not
            path = path.expanduser()
        hint = f"profiles that come with bedside: {', '.join(names)}"
        return strict_toml.read_file(path, error=ProfileError, hint=hint)
    if text not in names:
        raise ProfileError(
            "no such profile",
            where=text,
            hint=f"{strict_toml.did_you_mean(text, names)}there are {', '.join(names)}; "
            "a file of your own ends in .toml",
        )
    return importlib.resources.files("bedside.devices.profiles").joinpath(f"{text}.toml").read_bytes()


def parse_profile(data: bytes, *, where: str) -> Profile:
    """A profile from its TOML text.

    Args:
        data: At most `strict_toml.MAX_BYTES`.
        where: For errors.

    Raises:
        ProfileError: It is no TOML, has a key that no profile has, or a value that the key does not allow.
    """
    profile = strict_toml.loads(data, Profile, error=ProfileError, where=where, forms=FORMS)
    try:
        check(profile)
    except ValueError as error:
        raise ProfileError(str(error), where=where) from None
    return profile
