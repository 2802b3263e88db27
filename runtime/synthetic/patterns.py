"""Pictures without anatomy: what a capture card delivers when nothing, or something else, is plugged in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np

from bedside.runtime.frame import Color, Pixels
from bedside.runtime.synthetic import painters
from bedside.runtime.synthetic.scene import Truth, check_frame, generator

PatternKind = Literal[
    "blank", "bars", "gradient", "checkerboard", "noise", "nosignal", "screen", "document", "desktop"
]
PATTERNS: tuple[PatternKind, ...] = (
    "blank",
    "bars",
    "gradient",
    "checkerboard",
    "noise",
    "nosignal",
    "screen",
    "document",
    "desktop",
)


class PatternScene:
    """A picture without anatomy.

    Args:
        kind: `blank` one colour; `bars` colour bars after SMPTE EG 1; `gradient`; `checkerboard`; `noise` as
            of an untuned input; `nosignal` a monitor's message; `screen` a scanner's menus; `document` a page
            of text; `desktop` windows. Noise, message and mouse pointer move; the others stand still, as they
            do.
        width: Of the frame, in pixels, at least 48.
        height: Of the frame, in pixels, at least 48.
        fps: Frames per second.
        seed: At least 0; colours, words and layout follow from it.
        color: `bgr` or `gray`.
        level: For `blank`: the gray value, drawn from the seed when None.
    """

    spacing_mm: tuple[float, float] | None = None

    def __init__(
        self,
        kind: PatternKind,
        *,
        width: int = 1280,
        height: int = 720,
        fps: float = 30.0,
        seed: int = 0,
        color: Color = "bgr",
        level: int | None = None,
    ) -> None:
        self.name: str = kind
        check_frame(width, height, fps, color)
        self.width, self.height, self.fps, self.color = width, height, fps, color
        rng = generator(seed, f"pattern {kind}")
        if kind == "blank" and level is not None:
            canvas = np.full((height, width, 3), level, np.uint8)
        else:
            canvas = _PAINTERS[kind](width, height, rng)
        self._canvas = self._colored(canvas)
        self._mover: Pixels | None = None
        if kind == "nosignal":
            self._mover = self._colored(painters.message(width, height, rng))
        elif kind == "desktop":
            self._mover = self._colored(painters.pointer(height))
        self._wander = rng.uniform(0, 1, 2)

    def render(self, index: int, out: Pixels | None = None) -> Pixels:
        """See `Scene`."""
        if out is None:
            out = np.empty((self.height, self.width, self._canvas.shape[2]), np.uint8)
        rows, columns = self._canvas.shape[:2]
        # Noise is drawn larger than the frame, and another part of it is shown each time.
        y, x = index * 7919 % (rows - self.height + 1), index * 104729 % (columns - self.width + 1)
        np.copyto(out, self._canvas[y : y + self.height, x : x + self.width])
        if self._mover is not None:
            h, w = self._mover.shape[:2]
            top = _bounce(self._wander[0] + 0.11 * index / self.fps, self.height - h)
            left = _bounce(self._wander[1] + 0.08 * index / self.fps, self.width - w)
            np.copyto(out[top : top + h, left : left + w], self._mover)
        return out

    def label(self, index: int) -> str:
        """See `Scene`."""
        return self.name

    def truth(self, index: int) -> Truth:
        """See `Scene`: nothing to be found."""
        empty = np.zeros((self.height, self.width), np.uint8)
        return Truth(self.name, ("background",), (), (), empty, empty.astype(np.bool_))

    def _colored(self, canvas: Pixels) -> Pixels:
        if self.color == "gray":
            return np.asarray(cv2.cvtColor(canvas, cv2.COLOR_BGR2GRAY), np.uint8)[:, :, None]
        return canvas


def pattern_sample(seed: int, width: int, height: int, kind: PatternKind | None = None) -> Pixels:
    """One still for a training set.

    Args:
        seed: At least 0.
        width: In pixels, at least 48.
        height: In pixels, at least 48.
        kind: Drawn from the seed when None.

    Returns:
        `(H, W, 3) uint8`, blue, green, red.
    """
    kind = kind or PATTERNS[int(generator(seed, "pattern").integers(len(PATTERNS)))]
    return PatternScene(kind, width=width, height=height, seed=seed).render(0)


def _bounce(phase: float, way: int) -> int:
    """A place that goes to and fro between 0 and `way` pixels, once each way per unit of `phase`."""
    return round((1 - abs(1 - phase % 2)) * max(way, 0))


_PAINTERS: dict[PatternKind, Callable[[int, int, np.random.Generator], Pixels]] = {
    "blank": painters.blank,
    "bars": painters.bars,
    "gradient": painters.gradient,
    "checkerboard": painters.checkerboard,
    "noise": painters.noise,
    "nosignal": painters.nosignal,
    "screen": painters.screen,
    "document": painters.document,
    "desktop": painters.desktop,
}
