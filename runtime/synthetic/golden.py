"""Captured frames that travel in a bundle, so that a device can replay what the workstation saw."""

from __future__ import annotations

from bedside.runtime.frame import Color, Pixels
from bedside.runtime.synthetic.endoscopy import EndoscopyScene
from bedside.runtime.synthetic.patterns import PATTERNS, PatternScene
from bedside.runtime.synthetic.scene import Scene
from bedside.runtime.synthetic.ultrasound import UltrasoundScene


def golden_frames(count: int = 3, size: tuple[int, int] = (320, 240)) -> tuple[tuple[Pixels, Color], ...]:
    """Ultrasound, endoscopy, pattern, and again with other seeds.

    They are stored with the bundle, pixel by pixel: another OpenCV may draw them slightly differently.

    Args:
        count: How many, at least 1.
        size: `(width, height)` in pixels, at least 48 each.

    Returns:
        `(pixels, color)` each: `(H, W, 3) uint8`, `bgr`.
    """
    width, height = size
    frames: list[tuple[Pixels, Color]] = []
    for number in range(count):
        turn, kind = divmod(number, 3)
        scene: Scene
        if kind == 0:
            scene = UltrasoundScene(width=width, height=height, seed=turn + 1)
        elif kind == 1:
            scene = EndoscopyScene(width=width, height=height, seed=turn + 1)
        else:
            scene = PatternScene(
                PATTERNS[(turn + 1) % len(PATTERNS)], width=width, height=height, seed=turn + 1
            )
        frames.append((scene.render(0), scene.color))
    return tuple(frames)
