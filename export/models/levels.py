"""Levels of an anchor-free detector: their grids, and which sizes each is there for."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.runtime.errors import RecipeError

#: A level is for boxes that reach at most this many cells from the cell to their farthest side; the last one is
#: for all larger ones. FCOS has 64 pixels at stride 8, 128 at 16 and so on (Tian et al., 2019, section 3.2).
REACH = 8
STRIDES = (8, 16, 32)


class Level(msgspec.Struct, frozen=True):
    """One feature map of a detector.

    Attributes:
        stride: Side of a cell, in pixels of the model's input.
        columns: Cells across.
        rows: Cells down.
        smallest: Distance from a cell's centre to the farthest side of its box, in pixels, at least.
        largest: The same, at most; infinity at the last level.
        bound: Largest distance that can occur, in cells: no side is farther than the picture is long.
    """

    stride: int
    columns: int
    rows: int
    smallest: float
    largest: float
    bound: float

    def centres(self) -> npt.NDArray[np.float64]:
        """`(rows, columns, 2) float64`: x and y of the cells' centres in pixels, `(column + 0.5) * stride`."""
        x, y = np.meshgrid(np.arange(self.columns), np.arange(self.rows))
        return np.asarray((np.stack([x, y], axis=-1) + 0.5) * self.stride, np.float64)


def levels(width: int, height: int, strides: tuple[int, ...]) -> tuple[Level, ...]:
    """The levels of a detector.

    Args:
        width: Of the model's input, in pixels.
        height: Of the model's input, in pixels.
        strides: One or more neighbours out of 8, 16, 32, finest first.

    Raises:
        RecipeError: The strides are not neighbours, or a side is no multiple of the coarsest.
    """
    first = STRIDES.index(strides[0]) if strides and strides[0] in STRIDES else len(STRIDES)
    if not strides or tuple(strides) != STRIDES[first : first + len(strides)]:
        raise RecipeError(
            f"strides {list(strides)}, expected neighbours out of {list(STRIDES)}, finest first",
            where="model.strides",
            hint="for example [8, 16] or [16]",
        )
    if width % strides[-1] or height % strides[-1]:
        raise RecipeError(
            f"{width}x{height} pixels: both sides have to be multiples of {strides[-1]}", where="model"
        )
    found = []
    for index, stride in enumerate(strides):
        last = index == len(strides) - 1
        longest = max(width, height) / stride
        found.append(
            Level(
                stride=stride,
                columns=width // stride,
                rows=height // stride,
                smallest=0.0 if index == 0 else float(REACH * strides[index - 1]),
                largest=float("inf") if last else float(REACH * stride),
                bound=longest if last else min(longest, float(REACH)),
            )
        )
    return tuple(found)
