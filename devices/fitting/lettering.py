"""Names, dates, scales and icons that are burned into the frame: rectangles that blank them."""

from __future__ import annotations

import cv2
import numpy as np

from bedside.devices.fitting.area import CHANGES, Mask, lit_pixels
from bedside.devices.fitting.evidence import Evidence
from bedside.runtime.geometry import Rect

MOST = 48
"""Rectangles; a profile takes 64, and the rest is for its owner."""

REACH = (0.012, 0.004)
"""How far letters of a line lie apart, as parts of the frame's width and height: joined they are one rectangle."""

MARGIN = 0.003
"""Around a rectangle, as a part of the longer side: 3 pixels in 1080p."""

LEAST_PIXELS = 6
"""Fewer are noise of compression."""

SPILL = 0.02
"""How much of a rectangle may cover the picture; one that covers more is cut into strips beside it."""

STILL_FRAMES = 8
"""So many frames of a moving picture have to agree before something in it counts as burned in."""

INK = 70
"""Levels by which burned-in letters are brighter than the background, at their darkest moment."""

STROKE = 0.004
"""Half the width of the boldest stroke of a letter, as a part of the longer side: broader, it is glare."""

CONTRAST = 40
"""Levels by which a letter is always brighter than something beside it ever is: glare has no such edge."""

LETTER = (0.008, 0.05)
"""Height of a letter, as parts of the longer side: lower is a piece of a line, such as a probe's cover."""

LETTERS = 3
"""Fewer of them together are no line of text."""

ALIVE = 0.6
"""Part of the neighbourhood that changes around letters in a moving picture."""


def lettering(evidence: Evidence, background: int | None, picture: Mask, roi: Rect) -> tuple[Rect, ...]:
    """Rectangles over what is drawn around and over a picture, those in the region of interest first.

    Args:
        evidence: Of the frames.
        background: Level of the screen.
        picture: Pixels of the picture, `(H, W) bool`, in the captured frame's size.
        roi: Region of interest.
    """
    around = lit_pixels(evidence, background) & ~_grown(picture, max(2, round(0.004 * max(evidence.size))))
    inside = np.zeros_like(around)
    inside[roi.y : roi.y1, roi.x : roi.x1] = True
    over = _burned_in(evidence, background, picture)
    # What is written over the picture is masked as a whole: half a date is a date.
    nothing = np.zeros_like(picture)
    parts = ((around & inside, picture), (over, nothing), (around & ~inside, picture))
    found = [rect for marks, spared in parts for rect in _grouped(marks, spared)]
    return tuple(found[:MOST])


def _burned_in(evidence: Evidence, background: int | None, picture: Mask) -> Mask:
    """Bright and still, in a picture that moves."""
    if evidence.frames < STILL_FRAMES:
        return np.zeros_like(picture)
    still = evidence.change < CHANGES
    ink = still & (evidence.darkest > (background or 0) + INK) & picture
    side = max(evidence.size)
    stroke = max(2, round(STROKE * side))
    ink &= ~_grown(_opened(ink, stroke), 2)
    # What is saturated is still as well: only strokes count that have an edge, in a neighbourhood that lives.
    beside = cv2.erode(evidence.brightest, _disc(2 * stroke)).astype(np.int16)
    ink &= evidence.darkest.astype(np.int16) - beside > CONTRAST
    around = max(3, round(0.03 * side)) | 1
    lives = cv2.blur((~still & picture).astype(np.float32), (around, around))
    room = cv2.blur(picture.astype(np.float32), (around, around))
    return _lines(np.asarray(ink & (lives > ALIVE * room)), side)


def _lines(ink: Mask, side: int) -> Mask:
    """Of the strokes those that are letters, several to a line."""
    count, labels, stats, centres = cv2.connectedComponentsWithStats(ink.astype(np.uint8), connectivity=8)
    low, high = LETTER[0] * side, LETTER[1] * side
    letters = [n for n in range(1, count) if low <= stats[n, cv2.CC_STAT_HEIGHT] <= high]
    kept = []
    for letter in letters:
        apart = np.abs(centres[letters] - centres[letter])
        height = stats[letter, cv2.CC_STAT_HEIGHT]
        if np.count_nonzero((apart[:, 1] < height) & (apart[:, 0] < 8 * height)) >= LETTERS:
            kept.append(letter)
    return np.isin(labels, kept)


def _grouped(marks: Mask, picture: Mask) -> list[Rect]:
    """Boxes of marks that belong together, the largest first; with a larger reach where there are too many."""
    height, width = marks.shape
    for factor in (1, 2, 4, 8):
        reach = (
            2 * max(1, round(factor * REACH[0] * width)) + 1,
            2 * max(1, round(factor * REACH[1] * height)) + 1,
        )
        joined = cv2.dilate(marks.astype(np.uint8), np.ones(reach[::-1], np.uint8))
        _, labels = cv2.connectedComponents(joined)
        labels[~marks] = 0
        boxes = []
        for label in range(1, int(labels.max(initial=0)) + 1):
            own = labels == label
            if np.count_nonzero(own) >= LEAST_PIXELS:
                boxes += _beside(own, picture)
        if len(boxes) <= MOST // 3:
            break
    boxes.sort(key=lambda rect: -rect.width * rect.height)
    return [_padded(rect, picture) for rect in boxes[: MOST // 3]]


def _padded(rect: Rect, picture: Mask) -> Rect:
    """With a margin for the dim edges of letters, where that takes nothing from the picture."""
    height, width = picture.shape
    margin = max(1, round(MARGIN * max(width, height)))
    x, y = max(0, rect.x - margin), max(0, rect.y - margin)
    wide = Rect(x, y, min(width, rect.x1 + margin) - x, min(height, rect.y1 + margin) - y)
    taken = np.count_nonzero(picture[wide.y : wide.y1, wide.x : wide.x1])
    return wide if taken <= np.count_nonzero(picture[rect.y : rect.y1, rect.x : rect.x1]) else rect


def _beside(own: Mask, picture: Mask) -> list[Rect]:
    """The box of one group, cut into strips where it would cover the picture."""
    box = _box(own)
    covered = np.count_nonzero(picture[box.y : box.y1, box.x : box.x1] & ~own[box.y : box.y1, box.x : box.x1])
    if covered <= SPILL * box.width * box.height or box.height < 4:
        return [box]
    strip = max(2, box.height // 6)
    found = []
    for top in range(box.y, box.y1, strip):
        band = np.zeros_like(own)
        band[top : top + strip] = own[top : top + strip]
        columns = np.flatnonzero(band.any(axis=0))
        if not len(columns):
            continue
        # A group may lie on both sides of a fan.
        for run in np.split(columns, np.flatnonzero(np.diff(columns) > 2 * strip) + 1):
            part = np.zeros_like(own)
            part[:, run[0] : run[-1] + 1] = band[:, run[0] : run[-1] + 1]
            found.append(_box(part))
    return found


def _box(mask: Mask) -> Rect:
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return Rect(x, y, width, height)


def _opened(mask: Mask, radius: int) -> Mask:
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _disc(radius)).astype(np.bool_)


def _grown(mask: Mask, radius: int) -> Mask:
    return cv2.dilate(mask.astype(np.uint8), _disc(radius)).astype(np.bool_)


def _disc(radius: int) -> cv2.typing.MatLike:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
