"""What ends a stream: a wish, an error of ours, or a bug. Whichever came first is what is told."""

from __future__ import annotations

import threading

from bedside.runtime.errors import BedsideError


class Ending:
    """Shared by the threads of one stream.

    Attributes:
        stop: Set once the stream is to end soon.
        error: The first error of ours.
        crash: The first exception that is a bug, to be raised where somebody sees it.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.error: BedsideError | None = None
        self.crash: BaseException | None = None

    def note(self, error: BaseException) -> None:
        """Remember what went wrong; the stream goes on to the end of what it has."""
        if isinstance(error, BedsideError):
            self.error = self.error or error
        else:
            self.crash = self.crash or error

    def end_with(self, error: BedsideError) -> None:
        """Remember it, and end soon."""
        self.note(error)
        self.stop.set()
