"""Geometry of augmentation: an affine map of pixel centres, and targets that move with their frame."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from bedside.export.data.types import BoxesTarget, MaskTarget, PictureTarget, Target
from bedside.export.training.augment_recipe import AugmentRecipe
from bedside.runtime.frame import Pixels

Matrix = npt.NDArray[np.float64]

#: A box is kept while this much of it is in the frame.
_VISIBLE = 0.25


def draw_affine(ranges: AugmentRecipe, rng: np.random.Generator, size: tuple[int, int]) -> Matrix:
    """Flips, rotation, scale, aspect, shift, crop and depth as one map, so that a frame is resampled once.

    Args:
        ranges: How much of each.
        rng: Same state, same map.
        size: `(height, width)` of the frame.

    Returns:
        `(2, 3)`, of pixel centres, from the frame to its varied copy.
    """
    height, width = size
    flip_x = -1.0 if rng.random() < ranges.flip_horizontal else 1.0
    flip_y = -1.0 if rng.random() < ranges.flip_vertical else 1.0
    angle = np.deg2rad(rng.uniform(-1, 1) * ranges.rotate)
    scale = 1.0 + rng.uniform(-1, 1) * ranges.scale
    aspect = np.sqrt(1.0 + rng.uniform(-1, 1) * ranges.stretch)
    keep = 1.0 - rng.random() * ranges.crop
    slack = (1.0 - keep) / (2.0 * keep)
    move = rng.uniform(-1, 1, 2) * (ranges.shift + slack) * (width, height)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag(
        [flip_x * scale * aspect / keep, flip_y * scale / aspect / keep]
    )
    # Centres of pixels are at integers for warpAffine, so the middle of the picture is at (size - 1) / 2.
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.column_stack([linear, centre + move - linear @ centre])
    if ranges.depth:
        zoom = 1.0 / (1.0 + rng.uniform(-1, 1) * ranges.depth)
        apex = np.array([(width - 1) / 2, -0.5])
        # The depth is set on the scanner, before whatever else happens to the picture.
        matrix[:, 2] += matrix[:, :2] @ (apex - zoom * apex)
        matrix[:, :2] *= zoom
    return matrix


def is_identity(matrix: Matrix) -> bool:
    """Whether a map moves nothing."""
    return bool(np.array_equal(matrix, np.eye(2, 3)))


def warp(pixels: Pixels, matrix: Matrix, border: int, *, nearest: bool = False) -> Pixels:
    """A picture moved by an affine map of pixel centres, `(2, 3)`, into a picture of the same size."""
    height, width = pixels.shape[:2]
    flags = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    moved = cv2.warpAffine(pixels, matrix, (width, height), flags=flags, borderMode=border)
    return with_channels(moved, pixels)


def move_target(target: Target | None, matrix: Matrix, size: tuple[int, int], border: int) -> Target | None:
    """A target moved as its frame was.

    Args:
        target: In pixels of the frame.
        matrix: `(2, 3)`, of pixel centres.
        size: `(height, width)` of the frame.
        border: What lies outside: OpenCV's border mode. With a constant border a mask is background there.

    Returns:
        Boxes become the boxes around their moved corners, cut to the frame; of which less than a quarter is left
        in the frame, they are left out.
    """
    if isinstance(target, MaskTarget):
        return MaskTarget(warp(target.classes[:, :, None], matrix, border, nearest=True)[:, :, 0])
    if isinstance(target, PictureTarget):
        return PictureTarget(warp(target.pixels, matrix, border), target.color)
    if not isinstance(target, BoxesTarget) or not len(target.boxes):
        return target
    height, width = size
    x0, y0, x1, y1 = target.boxes.T.astype(np.float64)
    # Corners are half a pixel outside the centres of the pixels they enclose.
    corners = np.stack([np.stack(p) for p in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]) - 0.5  # (4, 2, N)
    placed = np.einsum("ij,cjn->cin", matrix[:, :2], corners) + matrix[:, 2][None, :, None] + 0.5
    low, high = placed.min(axis=0).T, placed.max(axis=0).T
    cut_low, cut_high = np.clip(low, 0, (width, height)), np.clip(high, 0, (width, height))
    whole, left = (high - low).prod(axis=1), (cut_high - cut_low).prod(axis=1)
    keep = left > np.maximum(_VISIBLE * whole, 1.0)
    boxes = np.concatenate([cut_low, cut_high], axis=1)[keep].astype(np.float32)
    return BoxesTarget(boxes, target.labels[keep])


def with_channels(result: npt.NDArray[Any], like: Pixels) -> Pixels:
    """OpenCV drops the axis of a single channel; put it back."""
    return result.reshape(*result.shape[:2], like.shape[2]).astype(np.uint8, copy=False)
