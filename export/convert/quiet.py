"""Converters write to the process's own stdout and stderr, from C++ as well; here is where that ends."""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

#: Loggers that report progress nobody asked for.
_LOGGERS = ("tensorflow", "absl", "tf2onnx", "keras", "onnxruntime")


@contextmanager
def quiet() -> Iterator[Callable[[], str]]:
    """Send file descriptors 1 and 2, the converters' loggers and Python warnings elsewhere for a while.

    One thread at a time: descriptors belong to the process. Whoever draws progress meanwhile writes to a
    duplicate of descriptor 2 (see `bedside.export.cli`).

    Yields:
        A function that gives what was written so far, for error messages.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    with (
        tempfile.TemporaryFile() as sink,
        # Python's own streams need not be the descriptors: notebooks and test runners put others there.
        os.fdopen(os.dup(sink.fileno()), "w", encoding="utf-8", errors="replace") as text,
        redirect_stdout(text),
        redirect_stderr(text),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        saved = {fd: os.dup(fd) for fd in (1, 2)}
        try:
            for fd in saved:
                os.dup2(sink.fileno(), fd)
            for name in _LOGGERS:
                logging.getLogger(name).setLevel(logging.ERROR)

            def written() -> str:
                text.flush()
                return os.pread(sink.fileno(), 1 << 20, 0).decode(errors="replace")

            yield written
        finally:
            for fd, copy in saved.items():
                os.dup2(copy, fd)
                os.close(copy)
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def gist(error: BaseException, log: str = "") -> str:
    """One line out of a converter's error: what it could not do, not where its compiler was standing.

    Args:
        error: As raised.
        log: What the converter wrote meanwhile.
    """
    text = f"{error}\n{log}"
    unsupported = sorted(set(re.findall(r"'(tf\.\w+)' op is neither a custom op nor a flex op", text)))
    if unsupported:
        return f"no TFLite kernel for {', '.join(unsupported)}"
    missing = sorted(set(re.findall(r"Tensorflow op \[[^:\]]*: (\w+)\] is not supported", text)))
    if missing:
        return f"no ONNX operator for {', '.join(missing)}"
    unknown = sorted(set(re.findall(r"No Op registered for (\w+)", text)))
    if unknown:
        return f"no ONNX operator for {', '.join(unknown)}"
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first[:240]}" if first else type(error).__name__
