"""A fit, drawn on a frame of the source, for a person to judge."""

from __future__ import annotations

import cv2
import numpy as np

from bedside.devices.fitting.evidence import Evidence
from bedside.devices.fitting.screen import ScreenFit
from bedside.devices.overlay.lettering import Bgr, Lettering
from bedside.devices.overlay.palette import CLASSES, STRIP, TEXT, UNDER
from bedside.runtime.frame import Pixels
from bedside.runtime.geometry import Rect

REGION, OUTLINE, MASK = CLASSES[1], CLASSES[0], CLASSES[3]
"""Yellow for the region of interest, sky blue for the image's outline, purple for the masks."""

LEAST_WIDTH = 720
"""Smaller frames are enlarged by whole factors, so that lines and letters stay readable."""

_DIMMED = 0.35  # what the model will not see stays recognizable


def draw_fit(evidence: Evidence, fit: ScreenFit) -> Pixels:
    """The frame with outline, region and masks, and a legend below it.

    Args:
        evidence: What was looked at.
        fit: What was found.

    Returns:
        `(H, W, 3) uint8`, BGR.
    """
    width, height = evidence.size
    factor = max(1, -(-LEAST_WIDTH // width))
    size = width * factor, height * factor
    picture = np.asarray(cv2.resize(evidence.example, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    line = max(2, round(picture.shape[1] / 500))
    if fit.sure:
        _dim(picture, fit, factor)
    if fit.outline:
        corners = np.rint(np.asarray(fit.outline) * factor * 16).astype(np.int32)
        for thick, colour in ((line + 2, UNDER), (line, OUTLINE)):
            cv2.polylines(picture, [corners], True, colour, thick, cv2.LINE_AA, shift=4)
    if fit.sure:
        _box(picture, fit.roi or Rect(0, 0, width, height), factor, line, REGION)
        for mask in fit.masks:
            _box(picture, mask, factor, max(1, line // 2), MASK)
    return np.vstack([picture, _legend(fit, picture.shape[1])])


def _dim(picture: Pixels, fit: ScreenFit, factor: int) -> None:
    roi = fit.roi or Rect(0, 0, fit.width, fit.height)
    seen = np.zeros((fit.height, fit.width), np.uint8)
    seen[roi.y : roi.y1, roi.x : roi.x1] = 1
    for mask in fit.masks:
        seen[mask.y : mask.y1, mask.x : mask.x1] = 0
    large = cv2.resize(seen, (picture.shape[1], picture.shape[0]), interpolation=cv2.INTER_NEAREST)
    unseen = large == 0
    picture[unseen] = (picture[unseen] * _DIMMED).astype(np.uint8)


def _box(picture: Pixels, rect: Rect, factor: int, line: int, colour: Bgr) -> None:
    # Just inside the rectangle: a line on the frame's edge would be half of one.
    first = rect.x * factor + line // 2, rect.y * factor + line // 2
    last = rect.x1 * factor - 1 - line // 2, rect.y1 * factor - 1 - line // 2
    for thick, shade in ((line + 2, UNDER), (line, colour)):
        cv2.rectangle(picture, first, last, shade, thick)


def _legend(fit: ScreenFit, width: int) -> Pixels:
    capital = max(9, round(width / 95))
    rows: list[tuple[Bgr, str]] = []
    if fit.shape is not None:
        rows.append((OUTLINE, f"image: {describe(fit)}"))
    if fit.sure:
        roi = fit.roi
        said = "the whole frame" if roi is None else f"[{roi.x}, {roi.y}, {roi.width}, {roi.height}]"
        rows.append((REGION, f"region of interest: {said} of {fit.width} x {fit.height}"))
        rows.append((MASK, f"masks: {len(fit.masks)}; what the model does not see is dimmed"))
    rows += [(TEXT, f"unsure: {doubt}") for doubt in fit.doubts]
    step = round(2.2 * capital)
    strip = np.full((step * len(rows) + capital, width, 3), STRIP, np.uint8)
    letters = Lettering(STRIP)
    for number, (colour, text) in enumerate(rows):
        baseline = step * (number + 1)
        cv2.rectangle(strip, (capital, baseline - capital), (2 * capital, baseline), colour, cv2.FILLED)
        letters.put(
            strip, letters.fitted(text, width - 4 * capital, capital), 3 * capital, baseline, capital, TEXT
        )
    return strip


def describe(fit: ScreenFit) -> str:
    """The image in a few words: `sector, overlap 0.97, 83 % of it moves`."""
    moves = "one frame" if fit.frames == 1 else f"{fit.moving:.0%} of it changes over {fit.frames} frames"
    names = {"whole": "the whole frame", "sector": "sector (fan)"}
    return f"{names.get(str(fit.shape), str(fit.shape))}, overlap {fit.overlap:.2f}, {moves}"
