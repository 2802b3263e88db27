"""What outsiders implement: a source of frames and a sink of results."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import msgspec

from bedside.runtime.frame import Color, Frame
from bedside.runtime.result import Result


class SourceInfo(msgspec.Struct, frozen=True):
    """What a source says of itself once it is open.

    Attributes:
        name: For results and reports.
        width: Of captured frames, in pixels.
        height: Of captured frames, in pixels.
        color: Channel order of captured frames.
        fps: Frames per second where known: from the file, the driver, or the generator.
        frames: How many frames there will be, None where unknown or endless.
        live: Whether frames come whether or not anybody is ready (camera, paced playback).
        details: Anything worth reporting: codec, transfer syntax, format that the driver granted.
    """

    name: str
    width: int
    height: int
    color: Color = "bgr"
    fps: float | None = None
    frames: int | None = None
    live: bool = False
    details: dict[str, Any] = {}


@runtime_checkable
class Source(Protocol):
    """A stream of frames. One thread opens, reads and closes it."""

    def open(self) -> SourceInfo:
        """Acquire the device or file.

        Raises:
            SourceError: With what to do about it.
        """
        ...

    def read(self) -> Frame | None:
        """The next frame, with its capture stamp taken where `Frame.captured_ns` says; None at the end.

        Raises:
            FrameError: This frame is unusable; it has used up its `seq`, and the next read goes on behind it.
            SourceError: The source is gone.
        """
        ...

    def cancel(self) -> None:
        """End a `read` that waits on the clock; it and later ones return None. Any thread may call it."""
        ...

    def close(self) -> None:
        """Release the device or file. May be called more than once, and before `open`."""
        ...


@runtime_checkable
class Sink(Protocol):
    """A consumer of results. One thread opens, writes and closes it; see `bedside.runtime.stream.delivery`.

    Attributes:
        name: For the summary, for example `jsonl:results.jsonl`.
        durable: Whether every result must reach it: then a full queue makes a recording wait.
        needs_frame: Whether `write` wants the captured pixels.
    """

    name: str
    durable: bool
    needs_frame: bool

    def open(self, info: SourceInfo) -> None:
        """Acquire the file or device.

        Raises:
            SinkError: With what to do about it.
        """
        ...

    def write(self, result: Result, frame: Frame | None) -> None:
        """Consume one result. `frame` is set when `needs_frame`; it is valid during the call only.

        Raises:
            SinkError: The result could not be written.
        """
        ...

    def close(self) -> None:
        """Finish the file. May be called more than once, and before `open`."""
        ...
