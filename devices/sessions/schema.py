"""The schema of a session file: streams that run side by side on one box."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bedside.devices.profiles.schema import Line, Profile

#: How streams are kept apart: a process for each, or a thread for each in one process.
Isolation = Literal["process", "thread"]

#: Each takes a process and an engine; a box with more is several boxes.
MOST_STREAMS = 16


class StreamEntry(Profile, frozen=True, kw_only=True):
    """One `[[stream]]`: a profile with a bundle. What it leaves out is that of `device`, key by key.

    Attributes:
        bundle: Path, or the name of a starter bundle.
        device: A profile's name or the path of its file; None for that of the session.
        source: URI; None for the profile's.
        sinks: URIs.
        paced: Whether a recording is played at its own cadence, as a live stream.
        pace_fps: Frames per second that `paced` plays; None for the recording's own.
        jitter_ms: How late `paced` hands its frames over, as a device does.
        loop: Whether a recording begins again at its end.
        max_frames: Stop after so many captured frames.
        seconds: Stop after so long.
    """

    bundle: Line
    device: Line | None = None
    source: Line | None = None
    sinks: Annotated[tuple[Line, ...], Meta(max_length=16)] = ()
    paced: bool = False
    pace_fps: Annotated[float, Meta(gt=0, le=1000)] | None = None
    jitter_ms: Annotated[float, Meta(ge=0, le=1000)] = 0.0
    loop: bool = False
    max_frames: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    seconds: Annotated[float, Meta(gt=0, lt=1e9)] | None = None


class SessionFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a session file may say.

    Attributes:
        name: Of the session, for summaries.
        description: For people.
        device: Profile of the streams that name none.
        isolation: How streams are kept apart.
        stream: The streams.
    """

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] = "session"
    description: Annotated[str, Meta(max_length=1000)] = ""
    device: Line | None = None
    isolation: Isolation = "process"
    stream: Annotated[tuple[StreamEntry, ...], Meta(min_length=1, max_length=MOST_STREAMS)]
