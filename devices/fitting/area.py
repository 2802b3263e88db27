"""Which pixels belong to the moving or textured picture, and which to the screen around it.

A picture is dense: nearly every pixel of it differs from the background at some moment. Letters, scales and icons
are strokes with background between them. So strokes are taken away by a morphological opening that no stroke
survives (Serra, Image Analysis and Mathematical Morphology, 1982), after dark speckle was closed.
"""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from bedside.devices.fitting.evidence import Evidence
from bedside.runtime.frame import Pixels

Mask = npt.NDArray[np.bool_]
F32 = npt.NDArray[np.float32]

WORKING = 480
"""Longer side of the picture that shapes are found in, in pixels: a fan's edge is then known to 2 pixels in 1080p,
and a fit takes milliseconds. Edges of the region are found anew in the captured frame."""

BACKGROUND_LEVELS = 72
"""Backgrounds of screens are darker than this: black, or a dark gray."""

BACKGROUND_PART = 0.02
"""Part of the frame that has one of these levels where there is a background at all; corners cut off an
endoscope's picture make 3 % and more."""

STANDS_OUT = 14
"""Levels above the background that are no noise of it: JPEG at quality 90 and H.264 stay within 8 on flat black."""

CHANGES = 6
"""Levels by which a pixel changes that lives: receiver noise in the dark of a fan does, the screen does not."""

CLOSING, OPENING = 0.012, 0.016
"""Radii of the two steps, as parts of the longer side: speckle gaps are below 1 %, lines of text are 1 to 2.5 %
high."""

TWIN = 0.5
"""A further area of this part of the largest one is a picture as well: split views."""

STRIP, ALIGNED = 0.12, 0.7
"""A smaller one belongs to it from the first part of its size on where, along one axis, both cover at least the
second part of each other: what lies above and below a vessel or an eye that is black from side to side."""

DENSE = 0.6
"""Part of such an area that is lit: lines of text that were joined are so to less than half."""

STILL, LIVING = 0.2, 0.5
"""An area of which less than the first part changes is no part of a picture of which the second part does."""

FLAT_STD = 0.7
"""Standard deviation, in levels over 7x7 working pixels, below which nothing is drawn: speckle and mucosa have 3
and more."""


class Area(msgspec.Struct, frozen=True):
    """The picture's pixels, in the working size.

    Attributes:
        mask: `(h, w) bool`, holes filled.
        scale: Working pixels per captured pixel.
        background: Level of the screen around it; None where the picture leaves none.
        moving: Part of the mask whose pixels change.
        flat: Part of the mask that has one colour: menus and messages have much of it.
    """

    mask: Mask
    scale: float
    background: int | None
    moving: float
    flat: float

    @property
    def hull(self) -> Mask:
        """The area with everything between its parts: echoes at a fan's edges are often too weak to be seen."""
        points = cv2.findNonZero(self.mask.astype(np.uint8))
        canvas = np.zeros(self.mask.shape, np.uint8)
        return cv2.fillConvexPoly(canvas, cv2.convexHull(points), 1).astype(np.bool_)


def find_area(evidence: Evidence) -> Area:
    """Find the picture; the mask is empty where there is none."""
    width, height = evidence.size
    scale = min(1.0, WORKING / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    background = background_level(evidence.brightest)
    lit = lit_pixels(evidence, background)
    change = evidence.change >= CHANGES
    share = np.asarray(cv2.resize(lit.astype(np.float32), size, interpolation=cv2.INTER_AREA), np.float32)
    side = max(size)
    # A margin, so that the frame's own edge neither closes nor opens anything.
    margin = max(2, round(CLOSING * side) + 1)
    wide = cv2.copyMakeBorder(
        (share > 0.5).astype(np.uint8), margin, margin, margin, margin, cv2.BORDER_REPLICATE
    )
    closed = cv2.morphologyEx(wide, cv2.MORPH_CLOSE, _disc(CLOSING * side))
    opened = cv2.morphologyEx(_filled(closed), cv2.MORPH_OPEN, _disc(OPENING * side))
    moving = cv2.resize(change.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    found = np.asarray(opened, np.uint8)[margin:-margin, margin:-margin]
    inside = _largest(np.ascontiguousarray(found), share, np.asarray(moving, np.float32))
    if not inside.any():
        return Area(inside, scale, background, 0.0, 0.0)
    return Area(inside, scale, background, float(moving[inside].mean()), _flat(evidence, size, inside))


def _flat(evidence: Evidence, size: tuple[int, int], inside: Mask) -> float:
    level = cv2.resize(evidence.example.max(axis=2), size, interpolation=cv2.INTER_AREA).astype(np.float32)
    mean, square = cv2.blur(level, (7, 7)), cv2.blur(level * level, (7, 7))
    return float((square - mean * mean < FLAT_STD**2)[inside].mean())


def background_level(brightest: Pixels) -> int | None:
    """The level of the screen where nothing is drawn; None where there is no such place."""
    counts = np.bincount(brightest.ravel(), minlength=256)[:BACKGROUND_LEVELS].astype(np.float64)
    # Compression spreads a flat level over its neighbours.
    spread = np.convolve(counts, np.ones(5), mode="same")
    level = int(spread.argmax())
    return level if spread[level] >= BACKGROUND_PART * brightest.size else None


def lit_pixels(evidence: Evidence, background: int | None) -> Mask:
    """Pixels that are no background at some moment, `(H, W) bool`."""
    if background is None:
        return np.ones(evidence.brightest.shape, np.bool_)
    apart = np.abs(evidence.brightest.astype(np.int16) - background) > STANDS_OUT
    return np.asarray(apart | (evidence.change >= CHANGES))


def _disc(radius: float) -> npt.NDArray[np.uint8]:
    size = 2 * max(1, round(radius)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def _filled(mask: cv2.typing.MatLike) -> Pixels:
    """Every outline with what it encloses: cysts, chambers and the eye are dark inside."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros_like(mask), outlines, -1, 1, cv2.FILLED), np.uint8)


def _largest(mask: Pixels, share: F32, moving: F32) -> Mask:
    """The largest connected area, with those that belong to it; `share` is lit, and `moving`, of each pixel."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count < 2:
        return np.zeros(mask.shape, np.bool_)
    boxes = stats[1:]
    main = boxes[boxes[:, cv2.CC_STAT_AREA].argmax()]
    largest: Mask = np.asarray(labels == 1 + int(boxes[:, cv2.CC_STAT_AREA].argmax()))
    lives = moving[largest].mean() >= LIVING
    whole = largest.copy()
    for label, box in enumerate(boxes, 1):
        own = labels == label
        if _belongs(box, main) and share[own].mean() >= DENSE and not (lives and moving[own].mean() < STILL):
            whole |= np.asarray(own)
    return whole


def _belongs(box: npt.NDArray[np.int32], main: npt.NDArray[np.int32]) -> bool:
    part = box[cv2.CC_STAT_AREA] / main[cv2.CC_STAT_AREA]
    if part >= TWIN:
        return True
    for low, length in ((cv2.CC_STAT_LEFT, cv2.CC_STAT_WIDTH), (cv2.CC_STAT_TOP, cv2.CC_STAT_HEIGHT)):
        first, last = max(box[low], main[low]), min(box[low] + box[length], main[low] + main[length])
        if part >= STRIP and last - first >= ALIGNED * max(box[length], main[length]):
            return True
    return False
