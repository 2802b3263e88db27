"""Augmentation of training frames: uint8 in, uint8 out, seeded, numpy and OpenCV only.

The ranges are `bedside.export.recipe.AugmentRecipe`'s. Order: geometry, screen and furniture, colour, optics.
Every step happens at the model's own input size.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from bedside.export.recipe import AugmentRecipe
from bedside.runtime.frame import Pixels

_JPEG_QUALITY = (25, 90)
#: What a padded frame leaves of the screen, as a fraction of each side.
_PICTURE = (0.45, 0.95)


class Augmenter:
    """Varies one frame.

    Args:
        ranges: How much.
    """

    def __init__(self, ranges: AugmentRecipe) -> None:
        self._ranges = ranges
        self.active = ranges != AugmentRecipe()

    def __call__(self, pixels: Pixels, rng: np.random.Generator, *, screen: bool = True) -> Pixels:
        """A varied copy.

        Args:
            pixels: `(H, W, C) uint8`, C is 1 or 3 (RGB or BGR).
            rng: Same state, same picture.
            screen: Whether `pad` and `furniture` apply.

        Returns:
            `(H, W, C) uint8`, a new array.
        """
        if not self.active:
            return pixels.copy()
        out = self._geometry(pixels, rng)
        if screen:
            out = self._screen(out, rng)
        out = self._colour(out, rng)
        return self._optics(out, rng)

    def _geometry(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
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
        if np.array_equal(linear, np.eye(2)) and not move.any():
            return pixels.copy()
        matrix = np.column_stack([linear, centre + move - linear @ centre])
        border = cv2.BORDER_CONSTANT if rng.random() < 0.5 else cv2.BORDER_REFLECT_101
        return _channels(
            cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border), pixels
        )

    def _screen(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
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
        if rng.random() < r.furniture:
            pixels = pixels.copy()
            for _ in range(int(rng.integers(1, 7))):
                _draw_furniture(pixels, rng)
        return pixels

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
