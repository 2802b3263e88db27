"""A frame as a part of a scanner's screen, and the furniture that a screen has."""

from __future__ import annotations

import cv2
import numpy as np

from bedside.export.data.types import PictureTarget, Target
from bedside.export.training.augment_recipe import AugmentRecipe
from bedside.export.training.geometry import move_target, with_channels
from bedside.runtime.frame import Pixels

#: What a padded frame leaves of the screen, as a fraction of each side.
_PICTURE = (0.45, 0.95)
#: Pieces of furniture: one more than the most there are.
_PIECES = (1, 7)


def on_screen(
    pixels: Pixels, ranges: AugmentRecipe, rng: np.random.Generator, target: Target | None
) -> tuple[Pixels, Target | None]:
    """Shrink a frame into a screen, and draw furniture over it.

    Args:
        pixels: `(H, W, C) uint8`, not changed.
        ranges: `pad` and `furniture` count.
        rng: Same state, same screen.
        target: Moved as the frame is. A target picture gets the same furniture: to take it away is not what
            anybody trains for.

    Returns:
        `(H, W, C) uint8`, and the target.
    """
    if rng.random() < ranges.pad:
        height, width = pixels.shape[:2]
        w = max(4, round(width * rng.uniform(*_PICTURE)))
        h = max(4, round(height * rng.uniform(*_PICTURE)))
        x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
        shade = 0 if rng.random() < 0.8 else int(rng.integers(0, 64))
        pixels = _placed(pixels, x, y, w, h, shade)
        if isinstance(target, PictureTarget):
            target = PictureTarget(_placed(target.pixels, x, y, w, h, shade), target.color)
        else:
            sx, sy = w / width, h / height
            # A pixel's centre i is at (i + 0.5) * s - 0.5 of the smaller picture.
            matrix = np.array([[sx, 0, x + 0.5 * sx - 0.5], [0, sy, y + 0.5 * sy - 0.5]])
            target = move_target(target, matrix, (height, width), cv2.BORDER_CONSTANT)
    if rng.random() < ranges.furniture:
        pictures = [pixels.copy()]
        if isinstance(target, PictureTarget):
            pictures.append(target.pixels.copy())
            target = PictureTarget(pictures[1], target.color)
        for _ in range(int(rng.integers(*_PIECES))):
            _draw_piece(pictures, rng)
        pixels = pictures[0]
    return pixels, target


def _placed(pixels: Pixels, x: int, y: int, width: int, height: int, shade: int) -> Pixels:
    """A picture, shrunk into a part of an even one of its size."""
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    screen = np.full_like(pixels, shade)
    screen[y : y + height, x : x + width] = with_channels(small, pixels)
    return screen


def _draw_piece(pictures: list[Pixels], rng: np.random.Generator) -> None:
    """One piece, in place and in all alike: a line of text (uneven dots at this size), a scale, a grey wedge, or a
    marker."""
    height, width, channels = pictures[0].shape
    colour = np.full(channels, int(rng.integers(120, 256)), np.uint8)
    if channels == 3 and rng.random() < 0.3:
        colour[int(rng.integers(0, 3))] = int(rng.integers(0, 120))
    x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
    piece = rng.integers(0, 4)
    if piece == 0:
        tall, wide = int(rng.integers(1, 3)), max(3, int(rng.uniform(0.05, 0.35) * width))
        dots = rng.random((min(tall, height - y), min(wide, width - x))) < 0.6
        for picture in pictures:
            picture[y : y + tall, x : x + wide][dots] = colour
    elif piece == 1:
        step = max(2, int(rng.integers(height // 16, height // 4 + 1)))
        for picture in pictures:
            picture[::step, x : x + 1] = colour
    elif piece == 2:
        tall, wide = max(4, int(rng.uniform(0.2, 0.7) * height)), int(rng.integers(1, 4))
        wedge = np.linspace(255, 0, min(tall, height - y))[:, None, None].astype(np.uint8)
        for picture in pictures:
            picture[y : y + tall, x : x + wide] = wedge
    else:
        side = max(1, round(0.04 * width))
        for picture in pictures:
            picture[y : y + side, x : x + side] = colour
