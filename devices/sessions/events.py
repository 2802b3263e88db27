"""What a running stream says of itself. Plain data: it may come from another process."""

from __future__ import annotations

from typing import Any

import msgspec


class Begun(msgspec.Struct, frozen=True, tag="begun"):
    """The models are loaded and their goldens hold.

    Attributes:
        stream: Its name.
        runs: What runs on what, one line.
    """

    stream: str
    runs: str


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """Where a stream stands; some times a second.

    Attributes:
        stream: Its name.
        captured: Frames so far.
        processed: Results so far that were shown.
        age_ms: Of the newest result; None before the first.
        said: What the newest result says, in a few words.
    """

    stream: str
    captured: int
    processed: int
    age_ms: float | None = None
    said: str = ""


class Stepped(msgspec.Struct, frozen=True, tag="stepped"):
    """A stream took a step of its ladder.

    Attributes:
        stream: Its name.
        said: From where to where and why, one line.
    """

    stream: str
    said: str


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """A stream is over.

    Attributes:
        stream: Its name.
        summary: As `bedside run --json` ends with; None where the stream never began or broke off.
        error: What ended it early, one line.
        code: Exit code of that error; 0 without one.
    """

    stream: str
    summary: dict[str, Any] | None = None
    error: str | None = None
    code: int = 0


Event = Begun | Progress | Stepped | Ended
