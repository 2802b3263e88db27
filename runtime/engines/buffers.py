"""What all engines share: element types, fixed shapes, aligned buffers, and errors in one line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt

from bedside.runtime.bundle.manifest import DType
from bedside.runtime.engines.protocol import Array
from bedside.runtime.errors import EngineError

#: Widest vector register plus one cache line: engines may otherwise copy, or take a slower path.
ALIGNMENT = 64

_DTYPES = frozenset(get_args(DType))

#: Where engines bury the reason in pages of context.
_REASONS = (
    re.compile(r"No conversion rule found for operations: (?P<why>.+)"),
    re.compile(r"No translator found for (?P<why>\S+) node"),
    re.compile(r"No Op registered for (?P<why>\S+)"),
    re.compile(r"Could not find an implementation for (?P<why>\S+?)\(\d+\) node"),
    re.compile(r"(?P<why>\S+?)\(-?\d+\) is not a registered function/op"),
    re.compile(r"unresolved custom op: (?P<why>[^\s.]+)"),
)


def dtype_name(dtype: npt.DTypeLike, engine: str, what: str) -> DType:
    """NumPy element type as the manifest spells it.

    Raises:
        EngineError: A type that bedside does not carry (strings, complex numbers, float64, ...).
    """
    name = np.dtype(dtype).name
    if name not in _DTYPES:
        raise EngineError(
            f"{what} has elements of type {name}, supported are {', '.join(sorted(_DTYPES))}", where=engine
        )
    return cast(DType, name)


def is_dynamic(dimension: int | str | None) -> bool:
    """Whether a dimension is left open: negative, named, or unknown."""
    return not isinstance(dimension, int) or dimension < 0


def show_shape(shape: Sequence[int | str | None]) -> str:
    """A shape for people, open dimensions by name or as `?`."""
    return "[" + ", ".join(str(d) if isinstance(d, str) or not is_dynamic(d) else "?" for d in shape) + "]"


def fixed_shape(
    shape: Sequence[int | str | None], engine: str, what: str, *, open_batch: bool = True
) -> tuple[int, ...]:
    """A shape with its open leading dimension, the batch, set to 1.

    Args:
        shape: As the engine or the file reports it.
        engine: For the error.
        what: For the error, for example `input 'x'`.
        open_batch: Whether the leading dimension may be open.

    Raises:
        EngineError: Any other dimension is open or empty, or the batch is not 1.
    """
    fixed = [1 if k == 0 and open_batch and is_dynamic(d) else d for k, d in enumerate(shape)]
    if any(is_dynamic(d) or d == 0 for d in fixed):
        raise EngineError(
            f"{what} has the dynamic shape {show_shape(shape)}",
            where=engine,
            hint="export the model with a fixed height and width",
        )
    if not fixed or fixed[0] != 1:
        raise EngineError(
            f"{what} has the shape {show_shape(shape)}, its leading dimension should be a batch of 1",
            where=engine,
            hint="export the model for one picture at a time",
        )
    return tuple(cast("list[int]", fixed))


def check_count(have: int, want: int, engine: str) -> None:
    """Refuse an engine's view of a model that has more or fewer inputs or outputs than the file.

    Raises:
        EngineError: The counts differ.
    """
    if have != want:
        raise EngineError(f"sees {have} inputs or outputs where the file has {want}", where=engine)


def aligned_empty(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """A C-contiguous array whose data starts at a multiple of `ALIGNMENT` bytes, filled with zeros."""
    kind: np.dtype[Any] = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(kind).reshape(shape)


def engine_error(what: str, error: BaseException, engine: str) -> EngineError:
    """Map a vendor exception: one line with the reason, not the pages around it."""
    text = str(error).strip() or type(error).__name__
    for pattern in _REASONS:
        match = pattern.search(text)
        if match:
            return EngineError(f"{what}: it has no kernel for the op {match['why'].strip()}", where=engine)
    # Headers such as OpenVINO's "Exception from src/...:84:" say where in the vendor's code, not what.
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if line and not line.startswith("Exception from ")] or [
        type(error).__name__
    ]
    reason = " ".join(kept)
    return EngineError(f"{what}: {reason if len(reason) <= 240 else reason[:239] + '…'}", where=engine)
