"""Between capture and inference: the newest frame, or every frame. Nobody spins."""

from __future__ import annotations

import threading
from collections import deque
from typing import Literal

from bedside.runtime.frame import Frame

Policy = Literal["latest", "all"]


class Mailbox:
    """Hands frames from one capturing thread to one working thread.

    Args:
        policy: `latest` holds one frame and replaces it, so that the age of what is taken out stays bounded;
            `all` holds `depth` frames and makes the source wait.
        depth: Waiting frames under `all`.
    """

    def __init__(self, policy: Policy, depth: int = 4) -> None:
        self.policy = policy
        self._depth = 1 if policy == "latest" else depth
        self._frames: deque[Frame] = deque()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, frame: Frame) -> Frame | None:
        """Offer a frame.

        Returns:
            The frame that was lost by it: the one that it replaced under `latest`, `frame` itself when the
            mailbox is closed, None when nothing was lost. The caller accounts for it.
        """
        with self._changed:
            if self.policy == "all":
                while len(self._frames) >= self._depth and not self._closed:
                    self._changed.wait()
            if self._closed:
                return frame
            lost = self._frames.popleft() if len(self._frames) >= self._depth else None
            self._frames.append(frame)
            self._changed.notify_all()
            return lost

    def get(self) -> Frame | None:
        """The oldest waiting frame; waits for one. None when the mailbox is closed and empty."""
        with self._changed:
            while not self._frames and not self._closed:
                self._changed.wait()
            if not self._frames:
                return None
            frame = self._frames.popleft()
            self._changed.notify_all()
            return frame

    def close(self) -> None:
        """No more frames; waiting ones can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def drain(self) -> list[Frame]:
        """Close, and take everything that waits. The caller accounts for it."""
        with self._changed:
            self._closed = True
            left = list(self._frames)
            self._frames.clear()
            self._changed.notify_all()
            return left
