"""From `SCHEME:REST`, as given to `--sink`, to a sink."""

from __future__ import annotations

import difflib

from bedside.devices.sinks.jsonl import JsonlSink
from bedside.devices.sinks.memory import NullSink
from bedside.devices.sinks.video import VideoSink
from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.errors import UsageError
from bedside.runtime.protocols import Sink

#: What `--sink` takes, and what it means.
SCHEMES = {
    "jsonl:PATH": "one result per line, safe against power cuts",
    "video:PATH.webm": "the frames with their results under them",
    "null:": "nothing",
}


def make_sink(uri: str, *, clock: Clock | None = None) -> Sink:
    """The sink that `uri` names, not yet open.

    Args:
        uri: One of `SCHEMES`.
        clock: For whatever a sink does in intervals.

    Raises:
        UsageError: The scheme is unknown, or the rest does not fit it.
    """
    scheme, colon, rest = uri.partition(":")
    if not colon or scheme not in ("jsonl", "video", "null"):
        raise _unknown(uri, scheme if colon else "")
    if scheme == "null":
        if rest:
            raise UsageError("null: takes no path", where=f"sink {uri!r}", hint="write null:")
        return NullSink()
    if not rest:
        raise UsageError("the path is missing", where=f"sink {uri!r}", hint=f"write {scheme}:PATH")
    if "\0" in rest:
        raise UsageError("a path cannot hold a NUL character", where=f"sink {uri!r}")
    return VideoSink(rest) if scheme == "video" else JsonlSink(rest, clock=clock or MonotonicClock())


def _unknown(uri: str, scheme: str) -> UsageError:
    allowed = ", ".join(SCHEMES)
    near = difflib.get_close_matches(scheme, ["jsonl", "video", "null"], n=1)
    if near:
        hint = f"did you mean {near[0]}:? Allowed: {allowed}"
    elif not scheme and uri.endswith((".jsonl", ".webm")):
        hint = f"write {'jsonl' if uri.endswith('.jsonl') else 'video'}:{uri}. Allowed: {allowed}"
    else:
        hint = f"allowed: {allowed}"
    return UsageError("no such kind of sink", where=f"sink {uri!r}", hint=hint)
