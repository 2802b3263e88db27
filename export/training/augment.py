"""Augmentation of training frames and their targets: uint8 in, uint8 out, seeded, numpy and OpenCV only.

The ranges are `AugmentRecipe`'s. Order: ultrasound, geometry, screen and furniture, colour, optics. Every step
happens at the model's own input size.
"""

from __future__ import annotations

import cv2
import numpy as np

from bedside.export.data.types import BoxesTarget, PictureTarget, Target
from bedside.export.training.augment_recipe import AugmentRecipe
from bedside.export.training.geometry import draw_affine, is_identity, move_target, warp
from bedside.export.training.optics import change_colour, degrade
from bedside.export.training.screen import on_screen
from bedside.export.training.sonics import insonify
from bedside.runtime.frame import Pixels


class Augmenter:
    """Varies one frame and its target.

    Args:
        ranges: How much.
    """

    def __init__(self, ranges: AugmentRecipe) -> None:
        self._ranges = ranges
        self.active = ranges != AugmentRecipe()

    def __call__(
        self,
        pixels: Pixels,
        rng: np.random.Generator,
        *,
        target: Target | None = None,
        screen: bool = True,
    ) -> tuple[Pixels, Target | None]:
        """A varied copy, and what it should be taken for.

        A target picture moves and changes its colours as the frame does. What degrades the frame (speckle, shadows,
        highlights, blur, noise, JPEG) leaves it alone: that is what a network may learn to undo.

        Args:
            pixels: `(H, W, C) uint8`, C is 1 or 3 (RGB or BGR).
            rng: Same state, same picture.
            target: In pixels of this frame; moved as the frame is.
            screen: Whether `pad` and `furniture` apply.

        Returns:
            `(H, W, C) uint8`, a new array, and the target.
        """
        if not self.active:
            return pixels.copy(), target
        out, target = self._geometry(insonify(pixels, self._ranges, rng), rng, target)
        if screen:
            out, target = on_screen(out, self._ranges, rng, target)
        if isinstance(target, PictureTarget):
            out, wanted = change_colour([out, target.pixels], self._ranges, rng)
            target = PictureTarget(wanted, target.color)
        else:
            (out,) = change_colour([out], self._ranges, rng)
        return degrade(out, self._ranges, rng), target

    def _geometry(
        self, pixels: Pixels, rng: np.random.Generator, target: Target | None
    ) -> tuple[Pixels, Target | None]:
        size = pixels.shape[:2]
        matrix = draw_affine(self._ranges, rng, size)
        border = cv2.BORDER_CONSTANT if rng.random() < 0.5 else cv2.BORDER_REFLECT_101
        if isinstance(target, BoxesTarget):
            border = cv2.BORDER_CONSTANT  # a reflected object would be one that nobody boxed
        if is_identity(matrix):
            return pixels.copy(), target
        return warp(pixels, matrix, border), move_target(target, matrix, size, border)
