"""Engines that neither talk nor phone home.

Vendor libraries write to the process's standard error, and two of them report their use over the network
unless told otherwise. A device in a clinic must do neither, and nothing here touches files or settings of the
user.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Iterator

#: onnxruntime 1.32 and later: "set before ONNX Runtime initializes: the uploader, events, and persistent
#: device identifier are not created for the process lifetime" (Privacy.md in its wheel; on by default, Linux
#: included).
ORT_SWITCH = "ORT_DISABLE_TELEMETRY"

#: What TFLite's MinimalLogger prefixes; what matters of it is in the exception as well.
TFLITE_CHATTER = re.compile(rb"(INFO|VERBOSE|WARNING|ERROR): ")

_stderr = threading.Lock()


def disable_onnxruntime_telemetry() -> None:
    """Turn onnxruntime's telemetry off for this process and its children. Call before it is imported."""
    os.environ[ORT_SWITCH] = "1"


@contextlib.contextmanager
def without_openvino_telemetry() -> Iterator[None]:
    """Import openvino inside, so that its `__init__` does not report the import.

    It does so through the package `openvino_telemetry`, if that is there. With that one blocked, openvino
    falls back on its own stub (`openvino/tools/ovc/telemetry_utils.py`). The block is lifted afterwards:
    elsewhere in the process the package is what it was.
    """
    absent = object()
    blocked = {
        name: sys.modules.get(name, absent) for name in ("openvino_telemetry", "openvino_telemetry.backend")
    }
    # None is how CPython spells "cannot be imported".
    sys.modules.update(dict.fromkeys(blocked))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name, module in blocked.items():
            if module is absent:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module  # type: ignore[assignment]


@contextlib.contextmanager
def filtered_stderr(chatter: re.Pattern[bytes]) -> Iterator[None]:
    """Drop lines of standard error that start with `chatter`, native code's included.

    The rest comes out at the end. TFLite's logger has no switch that its Python wheels expose. This moves
    file descriptor 2 aside for a moment, so it is for compiling and importing only, never for the frame loop.
    What other threads write meanwhile is delayed, not lost.
    """
    with _stderr:
        saved = _saved_stderr()
        if saved is None:
            yield
            return
        sink = os.fdopen(os.memfd_create("bedside-stderr", os.MFD_CLOEXEC), "w+b")
        try:
            with contextlib.suppress(AttributeError, OSError, ValueError):
                sys.stderr.flush()
            os.dup2(sink.fileno(), 2)
            try:
                yield
            finally:
                with contextlib.suppress(AttributeError, OSError, ValueError):
                    sys.stderr.flush()
                os.dup2(saved, 2)
                sink.seek(0)
                kept = b"".join(line for line in sink if not chatter.match(line))
                if kept:
                    with contextlib.suppress(OSError):
                        os.write(2, kept)
        finally:
            sink.close()
            os.close(saved)


def _saved_stderr() -> int | None:
    """A duplicate of standard error; None for a daemon that has none, and on systems other than Linux."""
    if not hasattr(os, "memfd_create"):
        return None
    try:
        return os.dup(2)
    except OSError:
        return None
