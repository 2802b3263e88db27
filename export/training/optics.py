"""Colour and optics of augmentation: what changes how a frame looks and moves nothing."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from bedside.export.training.augment_recipe import AugmentRecipe
from bedside.export.training.geometry import with_channels
from bedside.runtime.frame import Pixels

_JPEG_QUALITY = (25, 90)
#: Highlights in one frame, the larger radius as a fraction of the shorter side, and how much longer than wide.
_SPOTS, _SPOT_RADIUS, _SPOT_RATIO = (1, 8), (0.01, 0.05), (1.0, 3.0)
#: From this grey level on, something is there that can shine.
_LIT = 32.0
#: The rim of a highlight, as a fraction of its radius.
_SPOT_RIM = 0.35


def change_colour(pictures: list[Pixels], ranges: AugmentRecipe, rng: np.random.Generator) -> list[Pixels]:
    """Hue, saturation, grey, gamma, contrast, brightness and tint.

    Args:
        pictures: Each `(H, W, C) uint8`, C is 1 or 3: the frame, and what it should become if that is a picture.
            All get the same change; contrast is about the mean of the first.
        ranges: How much of each.
        rng: Same state, same change.
    """
    r = ranges
    channels = pictures[0].shape[2]
    if channels == 3 and (r.hue or r.saturation):
        turn = round(rng.uniform(-1, 1) * r.hue / 2.0)  # OpenCV has 180 steps for 360 degrees
        codes = np.arange(256)
        saturation = codes * (1.0 + rng.uniform(-1, 1) * r.saturation)
        table = to_uint8(np.column_stack([(codes + turn) % 180, saturation, codes])).reshape(1, 256, 3)
        pictures = [_through_hsv(p, table) for p in pictures]
    if channels == 3 and rng.random() < r.gray:
        pictures = [np.repeat(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2) for p in pictures]
    gamma = 2.0 ** (rng.uniform(-1, 1) * r.gamma)
    contrast = 1.0 + rng.uniform(-1, 1) * r.contrast
    brightness = rng.uniform(-1, 1) * r.brightness * 255.0
    tint: npt.NDArray[Any] = np.ones(channels)
    if channels == 3:
        tint = tint + rng.uniform(-1, 1, channels) * r.tint
    mean = float(pictures[0].mean())
    codes = np.arange(256, dtype=np.float32)
    tone = 255.0 * (np.clip((codes - mean) * contrast + mean + brightness, 0, 255) / 255.0) ** gamma
    table = to_uint8(tone[:, np.newaxis] * tint[np.newaxis, :]).reshape(1, 256, channels)
    return [with_channels(cv2.LUT(p, table), p) for p in pictures]


def degrade(pixels: Pixels, ranges: AugmentRecipe, rng: np.random.Generator) -> Pixels:
    """Highlights, blur, noise and a JPEG round trip: what a camera and a cable do.

    Args:
        pixels: `(H, W, C) uint8`, C is 1 or 3.
        ranges: How much of each.
        rng: Same state, same picture.
    """
    r = ranges
    if r.highlights and rng.random() < r.highlights:
        pixels = _highlights(pixels, rng)
    sigma = rng.random() * r.blur
    if sigma > 0.2:  # Below that the kernel is one pixel wide.
        pixels = with_channels(cv2.GaussianBlur(pixels, (0, 0), sigma), pixels)
    level = rng.random() * r.noise
    if level > 0.5:  # Below half a grey level rounding takes it away.
        shape = pixels.shape if rng.random() < 0.5 else (*pixels.shape[:2], 1)
        grain = np.float32(level) * rng.standard_normal(shape, np.float32)
        pixels = to_uint8(pixels.astype(np.float32) + grain)
    if rng.random() < r.jpeg:
        quality = int(rng.integers(*_JPEG_QUALITY))
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        flag = cv2.IMREAD_GRAYSCALE if pixels.shape[2] == 1 else cv2.IMREAD_COLOR
        pixels = with_channels(np.asarray(cv2.imdecode(data, flag)), pixels)
    return pixels


def _highlights(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Mirror images of the light source on wet tissue: ellipses around one place, turned alike, white with a soft
    rim."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    middle = rng.uniform(0.15, 0.85, 2) * (width, height)
    turn = rng.uniform(0, np.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    light: npt.NDArray[np.float32] = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(*_SPOTS))):
        cx, cy = middle + rng.normal(0, 0.12 * side, 2)
        long = max(1.0, rng.uniform(*_SPOT_RADIUS) * side)
        short = max(0.7, long / rng.uniform(*_SPOT_RATIO))
        along = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
        across = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
        # 1 inside, 0 outside, linear over the rim.
        distance = np.hypot(along / long, across / short)
        light = np.maximum(
            light, np.clip((1.0 + _SPOT_RIM / 2 - distance) / _SPOT_RIM, 0, 1).astype(np.float32)
        )
    # Only what is lit shines: no spots on the black surround.
    light *= np.clip(pixels.max(axis=2).astype(np.float32) / _LIT, 0, 1)
    white = np.float32(255.0) - pixels
    return to_uint8(pixels + white * light[:, :, None])


def _through_hsv(pixels: Pixels, table: npt.NDArray[np.uint8]) -> Pixels:
    hsv = cv2.LUT(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), table)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def to_uint8(values: npt.NDArray[Any]) -> Pixels:
    """Rounded, and cut off at 0 and 255."""
    whole: npt.NDArray[Any] = np.clip(np.rint(values), 0, 255)
    return whole.astype(np.uint8)
