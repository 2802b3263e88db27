"""Keeping what FFmpeg prints out of the terminal, and nothing else."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import BinaryIO

# What FFmpeg and OpenCV's use of it print to standard error, whatever their log level is. The first comes
# with every WebM: its muxer has no table of fourccs to find VP80 in.
_NOISE = re.compile(
    rb"OpenCV: FFMPEG: |\[ ?WARN:\S*\] global \S*cap_ffmpeg|\[(webm|matroska|libvpx)[^\]]*\] "
)

# Standard error belongs to the process: of two redirections at once, one would put back what the other had
# put.
_one_at_a_time = threading.Lock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """While this lasts, lines of FFmpeg on standard error are dropped; all others come when it ends."""
    with _one_at_a_time, contextlib.ExitStack() as stack:
        try:
            kept = os.dup(2)
        except OSError:  # no standard error at all: nothing can be printed
            yield
            return
        stack.callback(os.close, kept)
        caught = stack.enter_context(_scratch())
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            caught.seek(0)
            for line in caught:
                if not _NOISE.match(line):
                    os.write(2, line)


def _scratch() -> BinaryIO:
    """A file that needs no disk where the system has such a thing: the disk may be what is full."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("stderr"), "w+b")
    return tempfile.TemporaryFile()
