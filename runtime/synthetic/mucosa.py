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

SKIN = (1280, 1024)
"""Rows and columns of the colour picture."""

PATCH = 256
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
    base = np.array([104 - 14 * hue, 128 + 6 * hue, 205 + 8 * hue], np.float32)
    tone = np.zeros((*SKIN, 3), np.float32) + base
    broad = smooth_noise(rng, SKIN, (90, 90), around=True)[:, :, None]
    fine = smooth_noise(rng, SKIN, (12, 12), around=True)[:, :, None]
    tone += broad * np.array([9, 8, 3], np.float32) + fine * np.array([4, 4, 2], np.float32)
    tone += 5 * rng.standard_normal((*SKIN, 1), dtype=np.float32)
    tone += np.clip(_enlarge(relief) / 0.4, 0, 1)[:, :, None] * np.array([16, 18, 10], np.float32)
    covered = _enlarge(contact)[:, :, None]
    tone -= _vessels(rng)[:, :, None] * (1 - covered) * np.array([52, 62, 42], np.float32)
    tone -= covered * np.array([18, 20, 10], np.float32)
    # Bile-stained residue: a few yellow smears.
    smear = (smooth_noise(rng, SKIN, (22, 22), around=True) - rng.uniform(2.3, 3.2)) / 0.8
    tone += np.clip(smear, 0, 1)[:, :, None] * (np.array([45, 150, 195], np.float32) - tone) * 0.7
    gloss = (
        128
        + 26 * smooth_noise(rng, SKIN, (6, 6), around=True)
        + 16 * smooth_noise(rng, SKIN, (2, 2), around=True)
    )
    skin = np.dstack([tone, gloss])
    patches = np.concatenate([_patch(base, rng) for _ in range(MAX_POLYPS)], axis=1)
    painted = np.clip(np.concatenate([skin, patches]), 0, 255).astype(np.uint8)
    return Wall(relief, np.pad(painted, ((0, 0), (MARGIN, MARGIN), (0, 0)), mode="wrap"))


def _patch(base: F32, rng: np.random.Generator) -> F32:
    """The surface of a polyp: redder than the skin, with a pit pattern, `(PATCH, PATCH, 4) float32`."""
    shape = (PATCH, PATCH)
    pits, blotches = smooth_noise(rng, shape, (3.2, 3.2)), smooth_noise(rng, shape, (24, 24))
    tone = base + rng.uniform(0.1, 1.0) * np.array([-24, -32, 6], np.float32)
    tone = tone + pits[:, :, None] * np.array([6, 8, 5], np.float32)
    tone += blotches[:, :, None] * np.array([8, 10, 6], np.float32)
    tone += 4 * rng.standard_normal((*shape, 1), dtype=np.float32)
    gloss = 142 + 12 * pits + 20 * smooth_noise(rng, shape, (9, 9))
    return np.asarray(np.dstack([tone, gloss]), np.float32)


def _vessels(rng: np.random.Generator) -> F32:
    """Branching submucosal vessels, 0..1: random walks that divide and thin out."""
    rows, columns = SKIN
    picture = np.zeros(SKIN, np.uint8)
    walkers = [
        (rng.uniform(0, columns), rng.uniform(0, rows), rng.uniform(0, 6.3), rng.uniform(2.2, 4.2))
        for _ in range(26)
    ]
    drawn = 0
    while walkers and drawn < 620:
        x, y, heading, thick = walkers.pop(0)
        turn = rng.normal(0, 0.35, 14)
        headings = heading + np.cumsum(turn)
        steps = 9.0 * np.stack([np.cos(headings), np.sin(headings)], axis=1)
        line = np.vstack([[x, y], np.array([x, y]) + np.cumsum(steps, axis=0)])
        for shift in (-columns, 0, columns):  # around the lumen
            points = np.round((line + np.array([shift, 0.0])) * 8).astype(np.int32)
            weight = max(1, round(thick))
            cv2.polylines(picture, [points], False, int(min(255, 60 + 34 * thick)), weight, cv2.LINE_AA, 3)
        drawn += 1
        if thick > 0.9:
            end = (line[-1, 0] % columns, line[-1, 1])
            walkers.append((*end, headings[-1] + rng.uniform(0.2, 0.5), 0.8 * thick))
            walkers.append((*end, headings[-1] - rng.uniform(0.3, 0.8), 0.66 * thick))
    soft = np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.4), np.float32) / 255
    depth = np.clip(0.55 + 0.45 * smooth_noise(rng, SKIN, (60, 60), around=True), 0.05, 1)  # some run deeper
    return np.asarray(soft * depth, np.float32)


def _coordinates(shape: tuple[int, int]) -> tuple[F32, F32]:
    z = (np.arange(shape[0], dtype=np.float32)[:, None] + 0.5) * np.float32(LENGTH / shape[0])
    theta = (np.arange(shape[1], dtype=np.float32)[None, :] + 0.5) * np.float32(2 * math.pi / shape[1])
    return z, theta


def _enlarge(relief: F32) -> F32:
    return np.asarray(cv2.resize(relief, (SKIN[1], SKIN[0]), interpolation=cv2.INTER_LINEAR), np.float32)


def _wrap(angle: F32) -> F32:
    return np.asarray((angle + math.pi) % (2 * math.pi) - math.pi, np.float32)
