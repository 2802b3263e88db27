"""The wall of the colon, unrolled: relief (folds, polyps) and colour (mucosa, vessels, residue).

Rows run along the lumen, columns around it. Lengths are in units of the lumen's radius.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import msgspec
import numpy as np

from bedside.runtime.frame import Pixels
from bedside.runtime.synthetic.scene import F32, smooth_noise

LENGTH = 9.0
"""Of the modelled stretch, in radii."""

RELIEF = (288, 256)
"""Rows and columns of the relief."""

SKIN = (1024, 768)
"""Rows and columns of the colour picture."""

PATCH = 192
"""Rows and columns of each polyp's own colour picture; they lie side by side below the skin."""

MARGIN = SKIN[1] // 2 + 64
"""Columns of the skin that are repeated at each side: half a turn, so that no look-up has to wrap."""

MAX_POLYPS = SKIN[1] // PATCH


class Wall(msgspec.Struct, frozen=True):
    """The unrolled wall.

    Attributes:
        relief: How far the wall stands into the lumen, `RELIEF` float32, in radii.
        skin: Blue, green, red and gloss (128 is even; higher tends to shine), uint8,
            `(SKIN[0] + PATCH, SKIN[1] + 2 MARGIN, 4)`; the last `PATCH` rows are the polyps'.
    """

    relief: F32
    skin: Pixels


def folds(rng: np.random.Generator) -> F32:
    """Haustral folds: at each station three crescents, between the three taeniae, slightly staggered."""
    z, theta = _coordinates(RELIEF)
    wavy = smooth_noise(rng, RELIEF, (14, 14), around=True)
    relief = np.zeros(RELIEF, np.float32)
    at, start = 0.4, rng.uniform(0, 2 * math.pi)
    while at < LENGTH:
        for sector in range(3):
            height, width = rng.uniform(0.2, 0.5), rng.uniform(0.06, 0.12)
            middle = start + sector * 2 * math.pi / 3 + rng.normal(0, 0.2)
            away = _wrap(theta - np.float32(middle))
            around = np.clip(np.cos(np.clip(away * rng.uniform(0.95, 1.3), -math.pi / 2, math.pi / 2)), 0, 1)
            ridge = (
                z
                - np.float32(at + rng.normal(0, 0.22))
                + 0.07 * wavy
                + np.float32(rng.normal(0, 0.12)) * away
            )
            np.maximum(relief, np.float32(height) * around * np.exp(-((ridge / width) ** 2)), out=relief)
        at += rng.uniform(0.75, 1.15)
    relief += (
        0.025 * smooth_noise(rng, RELIEF, (9, 10), around=True)
        + 0.05 * np.cos(3 * (theta - start))
        + 0.02 * wavy
    )
    return relief


def make_wall(relief: F32, feet: Sequence[tuple[float, float, float]], rng: np.random.Generator) -> Wall:
    """Raise mounds where polyps stand, and paint everything.

    Args:
        relief: `RELIEF` float32, see `folds`.
        feet: Of each polyp, at most `MAX_POLYPS`: place along the lumen in radii, around it in radians,
            radius in radii.
        rng: Where colours and vessels are drawn from.
    """
    z, theta = _coordinates(RELIEF)
    contact = np.zeros(RELIEF, np.float32)
    for along, around, radius in feet:
        apart = np.hypot(z - np.float32(along), _wrap(theta - np.float32(around))) / np.float32(1.25 * radius)
        mound = np.exp(-(apart**2))
        relief = relief + np.float32(0.35 * radius) * mound
        np.maximum(contact, mound, out=contact)

    hue = rng.uniform(-1, 1)
    base = (104 - 14 * hue, 128 + 6 * hue, 205 + 8 * hue)
    skin = _Paint(SKIN, base, 128)
    skin.add(smooth_noise(rng, SKIN, (72, 68), around=True), (9, 8, 3))
    skin.add(smooth_noise(rng, SKIN, (10, 9), around=True), (4, 4, 2))
    skin.add(rng.standard_normal(SKIN, dtype=np.float32), (5, 5, 5))
    skin.add(_enlarge(np.clip(relief / np.float32(0.4), 0, 1)), (16, 18, 10))
    covered = _enlarge(contact)
    skin.add(_vessels(rng) * (1 - covered), (-52, -62, -42))
    skin.add(covered, (-18, -20, -10))
    # Bile-stained residue: a few yellow smears.
    smear = (smooth_noise(rng, SKIN, (18, 17), around=True) - np.float32(rng.uniform(2.3, 3.2))) / np.float32(
        0.8
    )
    skin.cover(np.float32(0.7) * np.clip(smear, 0, 1), (45, 150, 195))
    skin.add(smooth_noise(rng, SKIN, (5, 4.5), around=True), (0, 0, 0, 26))
    skin.add(smooth_noise(rng, SKIN, (1.6, 1.5), around=True), (0, 0, 0, 16))
    patches = np.concatenate([_patch(base, rng) for _ in range(MAX_POLYPS)], axis=1)
    painted = np.concatenate([skin.finished(), patches])
    return Wall(relief, np.pad(painted, ((0, 0), (MARGIN, MARGIN), (0, 0)), mode="wrap"))


def _patch(base: tuple[float, float, float], rng: np.random.Generator) -> Pixels:
    """The surface of a polyp: redder than the skin, with a pit pattern, `(PATCH, PATCH, 4) uint8`."""
    shape = (PATCH, PATCH)
    patch = _Paint(shape, base, 142)
    patch.add(np.ones(shape, np.float32), tuple(rng.uniform(0.1, 1.0) * np.array([-24.0, -32.0, 6.0])))
    patch.add(smooth_noise(rng, shape, (2.4, 2.4)), (6, 8, 5, 12))
    patch.add(smooth_noise(rng, shape, (18, 18)), (8, 10, 6))
    patch.add(rng.standard_normal(shape, dtype=np.float32), (4, 4, 4))
    patch.add(smooth_noise(rng, shape, (7, 7)), (0, 0, 0, 20))
    return patch.finished()


class _Paint:
    """Blue, green, red and gloss while they are mixed; kept apart, which is what the processor likes."""

    def __init__(self, shape: tuple[int, int], base: tuple[float, float, float], gloss: float) -> None:
        self._layers = [np.full(shape, value, np.float32) for value in (*base, gloss)]

    def add(self, field: F32, weights: tuple[float, ...]) -> None:
        """Add a field, weighted per layer."""
        for layer, weight in zip(self._layers, weights, strict=False):
            if weight:
                cv2.scaleAdd(field, weight, layer, dst=layer)

    def cover(self, opacity: F32, color: tuple[float, float, float]) -> None:
        """Paint over with a colour."""
        for layer, value in zip(self._layers, color, strict=False):
            layer += opacity * (np.float32(value) - layer)

    def finished(self) -> Pixels:
        """`(H, W, 4) uint8`."""
        return np.asarray(
            cv2.merge([np.clip(layer, 0, 255).astype(np.uint8) for layer in self._layers]), np.uint8
        )


def _vessels(rng: np.random.Generator) -> F32:
    """Branching submucosal vessels, 0..1: random walks that divide and thin out."""
    rows, columns = SKIN
    picture = np.zeros(SKIN, np.uint8)
    walkers = [
        (rng.uniform(0, columns), rng.uniform(0, rows), rng.uniform(0, 6.3), rng.uniform(1.8, 3.4))
        for _ in range(26)
    ]
    drawn = 0
    while walkers and drawn < 620:
        x, y, heading, thick = walkers.pop(0)
        turn = rng.normal(0, 0.35, 14)
        headings = heading + np.cumsum(turn)
        steps = 7.0 * np.stack([np.cos(headings), np.sin(headings)], axis=1)
        line = np.vstack([[x, y], np.array([x, y]) + np.cumsum(steps, axis=0)])
        for shift in (-columns, 0, columns):  # around the lumen
            points = np.round((line + np.array([shift, 0.0])) * 8).astype(np.int32)
            weight = max(1, round(thick))
            cv2.polylines(picture, [points], False, int(min(255, 60 + 42 * thick)), weight, cv2.LINE_AA, 3)
        drawn += 1
        if thick > 0.8:
            end = (line[-1, 0] % columns, line[-1, 1])
            walkers.append((*end, headings[-1] + rng.uniform(0.2, 0.5), 0.8 * thick))
            walkers.append((*end, headings[-1] - rng.uniform(0.3, 0.8), 0.66 * thick))
    soft = np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.1), np.float32) / 255
    depth = np.clip(0.55 + 0.45 * smooth_noise(rng, SKIN, (48, 45), around=True), 0.05, 1)  # some run deeper
    return np.asarray(soft * depth, np.float32)


def _coordinates(shape: tuple[int, int]) -> tuple[F32, F32]:
    z = (np.arange(shape[0], dtype=np.float32)[:, None] + 0.5) * np.float32(LENGTH / shape[0])
    theta = (np.arange(shape[1], dtype=np.float32)[None, :] + 0.5) * np.float32(2 * math.pi / shape[1])
    return z, theta


def _enlarge(relief: F32) -> F32:
    return np.asarray(cv2.resize(relief, (SKIN[1], SKIN[0]), interpolation=cv2.INTER_LINEAR), np.float32)


def _wrap(angle: F32) -> F32:
    return np.asarray((angle + math.pi) % (2 * math.pi) - math.pi, np.float32)
