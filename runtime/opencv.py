"""OpenCV without its chatter."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2

#: Where OpenCV keeps its log level: version 5 in a module of its own, version 4 at the top.
_LOGGING: Any = getattr(cv2.utils, "logging", cv2)
_SILENT = 0  # LOG_LEVEL_SILENT, which version 4 does not name


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV, and the FFmpeg inside it, from writing to the terminal; failures become errors anyway.

    OpenCV's log level is one for the process: it is put back on leaving. FFmpeg's is read once, from the
    environment, when the first video is opened.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    before = _LOGGING.getLogLevel()
    _LOGGING.setLogLevel(_SILENT)
    try:
        yield
    finally:
        _LOGGING.setLogLevel(before)
