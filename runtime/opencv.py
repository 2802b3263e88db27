"""OpenCV, and the FFmpeg inside it, without their chatter."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2

#: Where OpenCV keeps its log level: version 5 in a module of its own, version 4 at the top.
_LOGGING: Any = getattr(cv2.utils, "logging", cv2)
_SILENT = 0  # LOG_LEVEL_SILENT, which version 4 does not name

# OpenCV reads this once, when the first video of the process is read or written; AV_LOG_QUIET.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV from writing to the terminal; failures become errors anyway.

    The log level is one for the process, and put back on leaving.
    """
    before = _LOGGING.getLogLevel()
    _LOGGING.setLogLevel(_SILENT)
    try:
        yield
    finally:
        _LOGGING.setLogLevel(before)
