"""Augmentation of training frames and their targets: uint8 in, uint8 out, seeded, numpy and OpenCV only.

The ranges are `bedside.export.recipe.AugmentRecipe`'s. Order: geometry, screen and furniture, colour, optics.
Every step happens at the model's own input size.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from bedside.export.data.types import BoxesTarget, MaskTarget, PictureTarget, Target
from bedside.export.recipe import AugmentRecipe
from bedside.runtime.frame import Pixels

_JPEG_QUALITY = (25, 90)
#: A box is kept while this much of it is in the frame.
_VISIBLE = 0.25
#: What a padded frame leaves of the screen, as a fraction of each side.
_PICTURE = (0.45, 0.95)


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
        out, target = self._geometry(pixels, rng, target)
        if screen:
            out, target = self._screen(out, rng, target)
        out = self._colour(out, rng)
        return self._optics(out, rng), target

    def _geometry(
        self, pixels: Pixels, rng: np.random.Generator, target: Target | None
    ) -> tuple[Pixels, Target | None]:
        """Flips, rotation, scale, aspect, shift and crop as one affine map, so that it is resampled once."""
        r = self._ranges
        height, width = pixels.shape[:2]
        flip_x = -1.0 if rng.random() < r.flip_horizontal else 1.0
        flip_y = -1.0 if rng.random() < r.flip_vertical else 1.0
        angle = np.deg2rad(rng.uniform(-1, 1) * r.rotate)
        scale = 1.0 + rng.uniform(-1, 1) * r.scale
        aspect = np.sqrt(1.0 + rng.uniform(-1, 1) * r.stretch)
        keep = 1.0 - rng.random() * r.crop
        slack = (1.0 - keep) / (2.0 * keep)
        move = rng.uniform(-1, 1, 2) * (r.shift + slack) * (width, height)
        linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag(
            [flip_x * scale * aspect / keep, flip_y * scale / aspect / keep]
        )
        # Centres of pixels are at integers for warpAffine, so the middle of the picture is at (size - 1) / 2.
        centre = np.array([(width - 1) / 2, (height - 1) / 2])
        border = cv2.BORDER_CONSTANT if rng.random() < 0.5 else cv2.BORDER_REFLECT_101
        if isinstance(target, BoxesTarget):
            border = cv2.BORDER_CONSTANT  # a reflected object would be one that nobody boxed
        if np.array_equal(linear, np.eye(2)) and not move.any():
            return pixels.copy(), target
        matrix = np.column_stack([linear, centre + move - linear @ centre])
        return warp(pixels, matrix, border), moved(target, matrix, (height, width), border)

    def _screen(
        self, pixels: Pixels, rng: np.random.Generator, target: Target | None
    ) -> tuple[Pixels, Target | None]:
        """The frame as a part of a scanner's screen, and the furniture that a screen has."""
        r = self._ranges
        if rng.random() < r.pad:
            height, width = pixels.shape[:2]
            w = max(4, round(width * rng.uniform(*_PICTURE)))
            h = max(4, round(height * rng.uniform(*_PICTURE)))
            x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
            small = _channels(cv2.resize(pixels, (w, h), interpolation=cv2.INTER_AREA), pixels)
            shade = 0 if rng.random() < 0.8 else int(rng.integers(0, 64))
            pixels = np.full_like(pixels, shade)
            pixels[y : y + h, x : x + w] = small
            sx, sy = w / width, h / height
            # A pixel's centre i is at (i + 0.5) * s - 0.5 of the smaller picture.
            matrix = np.array([[sx, 0, x + 0.5 * sx - 0.5], [0, sy, y + 0.5 * sy - 0.5]])
            target = moved(target, matrix, (height, width), cv2.BORDER_CONSTANT)
        if rng.random() < r.furniture:
            pixels = pixels.copy()
            for _ in range(int(rng.integers(1, 7))):
                _draw_furniture(pixels, rng)
        return pixels, target

    def _colour(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        r = self._ranges
        channels = pixels.shape[2]
        if channels == 3 and (r.hue or r.saturation):
            turn = round(rng.uniform(-1, 1) * r.hue / 2.0)  # OpenCV has 180 steps for 360 degrees
            codes = np.arange(256)
            saturation = codes * (1.0 + rng.uniform(-1, 1) * r.saturation)
            table = _uint8(np.column_stack([(codes + turn) % 180, saturation, codes]))
            hsv = cv2.LUT(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), table.reshape(1, 256, 3))
            pixels = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).astype(np.uint8, copy=False)
        if channels == 3 and rng.random() < r.gray:
            luma = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
            pixels = np.repeat(luma[:, :, np.newaxis], 3, axis=2).astype(np.uint8, copy=False)
        gamma = 2.0 ** (rng.uniform(-1, 1) * r.gamma)
        contrast = 1.0 + rng.uniform(-1, 1) * r.contrast
        brightness = rng.uniform(-1, 1) * r.brightness * 255.0
        tint: npt.NDArray[Any] = np.ones(channels)
        if channels == 3:
            tint = tint + rng.uniform(-1, 1, channels) * r.tint
        mean = float(pixels.mean())
        codes = np.arange(256, dtype=np.float32)
        tone = 255.0 * (np.clip((codes - mean) * contrast + mean + brightness, 0, 255) / 255.0) ** gamma
        table = _uint8(tone[:, np.newaxis] * tint[np.newaxis, :])
        return _channels(cv2.LUT(pixels, table.reshape(1, 256, channels)), pixels)

    def _optics(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        r = self._ranges
        sigma = rng.random() * r.blur
        if sigma > 0.2:  # Below that the kernel is one pixel wide.
            pixels = _channels(cv2.GaussianBlur(pixels, (0, 0), sigma), pixels)
        level = rng.random() * r.noise
        if level > 0.5:  # Below half a grey level rounding takes it away.
            shape = pixels.shape if rng.random() < 0.5 else (*pixels.shape[:2], 1)
            grain = np.float32(level) * rng.standard_normal(shape, np.float32)
            pixels = _uint8(pixels.astype(np.float32) + grain)
        if rng.random() < r.jpeg:
            quality = int(rng.integers(*_JPEG_QUALITY))
            _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
            flag = cv2.IMREAD_GRAYSCALE if pixels.shape[2] == 1 else cv2.IMREAD_COLOR
            pixels = _channels(np.asarray(cv2.imdecode(data, flag)), pixels)
        return pixels


def warp(pixels: Pixels, matrix: npt.NDArray[np.float64], border: int, *, nearest: bool = False) -> Pixels:
    """A picture moved by an affine map of pixel centres, `(2, 3)`, into a picture of the same size."""
    height, width = pixels.shape[:2]
    flags = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    return _channels(cv2.warpAffine(pixels, matrix, (width, height), flags=flags, borderMode=border), pixels)


def moved(
    target: Target | None, matrix: npt.NDArray[np.float64], size: tuple[int, int], border: int
) -> Target | None:
    """A target moved as its frame was.

    Args:
        target: In pixels of the frame.
        matrix: `(2, 3)`, of pixel centres.
        size: `(height, width)` of the frame.
        border: What lies outside: OpenCV's border mode.

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
    corners = np.stack([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) - 0.5  # (4, 2, N)
    placed = np.einsum("ij,cjn->cin", matrix[:, :2], corners) + matrix[:, 2][None, :, None] + 0.5
    low, high = placed.min(axis=0).T, placed.max(axis=0).T
    cut_low, cut_high = np.clip(low, 0, (width, height)), np.clip(high, 0, (width, height))
    whole, left = (high - low).prod(axis=1), (cut_high - cut_low).prod(axis=1)
    keep = left > np.maximum(_VISIBLE * whole, 1.0)
    boxes = np.concatenate([cut_low, cut_high], axis=1)[keep].astype(np.float32)
    return BoxesTarget(boxes, target.labels[keep])


def _draw_furniture(pixels: Pixels, rng: np.random.Generator) -> None:
    """One piece, in place: a line of text (uneven dots at this size), a scale, a grey wedge, or a marker."""
    height, width, channels = pixels.shape
    colour = np.full(channels, int(rng.integers(120, 256)), np.uint8)
    if channels == 3 and rng.random() < 0.3:
        colour[int(rng.integers(0, 3))] = int(rng.integers(0, 120))
    x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
    piece = rng.integers(0, 4)
    if piece == 0:
        row = pixels[y : y + int(rng.integers(1, 3)), x : x + max(3, int(rng.uniform(0.05, 0.35) * width))]
        row[rng.random(row.shape[:2]) < 0.6] = colour
    elif piece == 1:
        step = max(2, int(rng.integers(height // 16, height // 4 + 1)))
        pixels[::step, x : x + 1] = colour
    elif piece == 2:
        tall = max(4, int(rng.uniform(0.2, 0.7) * height))
        bar = pixels[y : y + tall, x : x + int(rng.integers(1, 4))]
        bar[:] = np.linspace(255, 0, bar.shape[0])[:, np.newaxis, np.newaxis].astype(np.uint8)
    else:
        side = max(1, round(0.04 * width))
        pixels[y : y + side, x : x + side] = colour


def _channels(result: npt.NDArray[Any], like: Pixels) -> Pixels:
    """OpenCV drops the axis of a single channel; put it back."""
    return result.reshape(*result.shape[:2], like.shape[2]).astype(np.uint8, copy=False)


def _uint8(values: npt.NDArray[Any]) -> Pixels:
    whole: npt.NDArray[Any] = np.clip(np.rint(values), 0, 255)
    return whole.astype(np.uint8)
