"""Sinks that write nowhere: for measuring, and for tests of code that produces results."""

from __future__ import annotations

from bedside.runtime.frame import Frame, Pixels
from bedside.runtime.protocols import SourceInfo
from bedside.runtime.result import Result


class NullSink:
    """Takes every result and keeps none."""

    name = "null:"
    durable = False
    needs_frame = False

    def open(self, info: SourceInfo) -> None:
        """Nothing to acquire."""

    def write(self, result: Result, frame: Frame | None) -> None:
        """Nothing to write."""

    def close(self) -> None:
        """Nothing to finish."""


class ListSink:
    """Keeps every result in memory, in order, from one `open` to the next.

    Args:
        keep_pixels: Whether to keep a copy of every frame's pixels as well.

    Attributes:
        info: What the source said of itself, None before `open`.
        results: In the order they were written.
        pixels: `(H, W, C) uint8` copies, None where a result came without its frame.
        closed: Whether `close` was called.
    """

    name = "list:"
    durable = True

    def __init__(self, *, keep_pixels: bool = False) -> None:
        self.needs_frame = keep_pixels
        self.info: SourceInfo | None = None
        self.results: list[Result] = []
        self.pixels: list[Pixels | None] = []
        self.closed = False

    def open(self, info: SourceInfo) -> None:
        """Begin with nothing."""
        self.info = info
        self.results, self.pixels, self.closed = [], [], False

    def write(self, result: Result, frame: Frame | None) -> None:
        """Keep the result."""
        self.results.append(result)
        if self.needs_frame:
            self.pixels.append(None if frame is None else frame.pixels.copy())

    def close(self) -> None:
        """Remember that it was called."""
        self.closed = True
