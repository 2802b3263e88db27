"""Where a passphrase comes from: the environment, or the terminal. Never an option, which `ps` and the shell's
history would show."""

from __future__ import annotations

import getpass
import os
import sys

from bedside.runtime.errors import UsageError

VARIABLE = "BEDSIDE_PASSPHRASE"


def passphrase(prompt: str, *, twice: bool = False) -> str:
    """Out of the environment variable where it is set, else asked for without an echo.

    Args:
        prompt: What it is for.
        twice: Have it typed again: a new key under a mistyped passphrase is lost.

    Raises:
        UsageError: There is no terminal to ask at, or the two differ.
    """
    given = os.environ.get(VARIABLE)
    if given is not None:
        return given
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("the key has a passphrase, and nobody can be asked", hint=f"set {VARIABLE}")
    try:
        typed = getpass.getpass(f"{prompt}: ")
        if twice and getpass.getpass("again: ") != typed:
            raise UsageError("the two passphrases differ", hint="nothing was written; try again")
    except EOFError:
        raise UsageError("no passphrase was given") from None
    return typed
