"""One table per object: from every value a sample can store to what is shown."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from bedside.runtime.dicom.header import Header
from bedside.runtime.frame import Pixels

Stored = npt.NDArray[Any]
"""Stored values of a frame, `(H, W)` or `(H, W, 3)`, of the type the file gives."""


def domain(header: Header) -> Stored:
    """Every value a sample can take, in the order of its bit pattern."""
    bits = 16 if header.bits_allocated == 16 else 8
    unsigned = np.arange(1 << bits, dtype=np.uint16 if bits == 16 else np.uint8)
    return unsigned.view(np.int16 if bits == 16 else np.int8) if header.signed else unsigned


def look_up(table: Pixels, stored: Stored, out: Pixels) -> None:
    """Write `table[stored]`; table `(N,)` or `(N, 3)`, stored `(H, W)` of 8 or 16 bits."""
    index = np.ascontiguousarray(stored.astype(stored.dtype.newbyteorder("="), copy=False))
    if index.itemsize == 1:
        index = index.view(np.uint8)
        if table.ndim == 1:
            cv2.LUT(index, table, dst=out[..., 0])
        else:
            cv2.LUT(cv2.merge((index, index, index)), table.reshape(1, 256, 3), dst=out)
        return
    index = index.view(np.uint16)
    # Every index is inside the table by its type; "wrap" only spares numpy the check and a buffer.
    np.take(table, index, axis=0, out=out if table.ndim == 2 else out[..., 0], mode="wrap")
