"""Frames of a report: enlarged, with outlines, boxes and maps on them. Pictures are `(H, W, 3) uint8` BGR."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from bedside.runtime.frame import Color, Pixels

Mask = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float32]

#: Pictures are shown about this wide, in pixels.
WIDTH = 320
#: Two of these are told apart on tissue and on ultrasound, with colour vision deficiency as well (Okabe & Ito,
#: 2008): what is true, what the model says, and what it says wrongly.
TRUE, SAID, WRONG = "#56b4e9", "#f0e442", "#ff5fd2"
#: Of classes.
PALETTE = ("#f0e442", "#56b4e9", "#ff8c42", "#4fd1a5", "#e58fd0", "#f25c5c", "#a5a5ff", "#d0f06b")
_GAP = 4
_MAP_OPACITY = 0.6
#: Size of letters: a picture is shown at two thirds of its width.
_TEXT = 0.6


def bgr_of(css: str) -> tuple[int, int, int]:
    """`#rrggbb` for OpenCV."""
    red, green, blue = (int(css[i : i + 2], 16) for i in (1, 3, 5))
    return blue, green, red


def class_color(index: int) -> str:
    """Of a class; the background is 0 and is not drawn."""
    return PALETTE[(index - 1) % len(PALETTE)]


def picture(pixels: Pixels, color: Color) -> Pixels:
    """Pixels of a model input as a picture of about `WIDTH`.

    Small ones are enlarged without smoothing, so that a pixel stays a pixel; large ones are averaged.

    Args:
        pixels: `(H, W, 1 or 3) uint8`.
        color: Their channel order.
    """
    if pixels.shape[2] == 1:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)
    elif color == "rgb":
        pixels = np.ascontiguousarray(pixels[:, :, ::-1])
    return resized(pixels)


def resized(pixels: Pixels, width: int = WIDTH) -> Pixels:
    """See `picture`."""
    own = pixels.shape[1]
    factor = max(1, round(width / own)) if own < width else width / own
    how = cv2.INTER_NEAREST if factor >= 1 else cv2.INTER_AREA
    if factor == 1:
        return np.array(pixels, np.uint8)
    size = (round(own * factor), max(1, round(pixels.shape[0] * factor)))
    return np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)


def outline(canvas: Pixels, inside: npt.NDArray[np.bool_], css: str, thickness: int = 2) -> None:
    """Draw the outline of a region onto a picture.

    Args:
        canvas: The picture, changed.
        inside: `(h, w)`, of any size.
        css: Colour.
        thickness: In pixels of the canvas.
    """
    size = (canvas.shape[1], canvas.shape[0])
    mask = cv2.resize(inside.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    found, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(canvas, found, -1, bgr_of(css), thickness, cv2.LINE_AA)


def regions(canvas: Pixels, classes: Mask, count: int) -> None:
    """Draw every foreground class, tinted and outlined in its colour.

    Args:
        canvas: The picture, changed.
        classes: `(h, w)` class indices; 255 is not judged and drawn grey.
        count: Classes, the background included.
    """
    size = (canvas.shape[1], canvas.shape[0])
    large = cv2.resize(classes, size, interpolation=cv2.INTER_NEAREST)
    for k in (*range(1, count), 255):
        inside = large == k
        if inside.any():
            css = "#808080" if k == 255 else class_color(k)
            canvas[inside] = (0.65 * canvas[inside] + 0.35 * np.array(bgr_of(css))).astype(np.uint8)
            outline(canvas, inside, css, 1)


def box(canvas: Pixels, corners: Sequence[float], scale: float, css: str, text: str = "") -> None:
    """Draw one box.

    Args:
        canvas: The picture, changed.
        corners: `x0, y0, x1, y1` in pixels before enlargement.
        scale: Enlargement.
        css: Colour.
        text: At its upper left corner.
    """
    x0, y0, x1, y1 = (round(float(v) * scale) for v in corners)
    cv2.rectangle(canvas, (x0, y0), (max(x0, x1 - 1), max(y0, y1 - 1)), bgr_of(css), 2)
    if not text:
        return
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, _TEXT, 1)
    x = min(max(0, x0), max(0, canvas.shape[1] - width - 4))
    # Above the box, or inside it where there is no room.
    y = y0 if y0 >= height + below + 2 else y0 + height + below + 2
    cv2.rectangle(canvas, (x, y - height - below - 2), (x + width + 4, y), bgr_of(css), cv2.FILLED)
    cv2.putText(
        canvas, text, (x + 2, y - below), cv2.FONT_HERSHEY_SIMPLEX, _TEXT, (20, 20, 20), 1, cv2.LINE_AA
    )


def heated(canvas: Pixels, evidence: Map) -> Pixels:
    """A picture with a class activation map: opaque where the evidence is strongest, clear where there is none.

    Args:
        canvas: The picture.
        evidence: `(h, w)`; what is negative speaks against the class and is not shown.
    """
    positive = np.maximum(evidence, 0.0)
    top = float(positive.max())
    share = positive / top if top > 0 else positive
    size = (canvas.shape[1], canvas.shape[0])
    large = np.clip(cv2.resize(share, size, interpolation=cv2.INTER_LINEAR), 0, 1)
    colors = cv2.applyColorMap((255 * large).astype(np.uint8), cv2.COLORMAP_INFERNO)
    weight = (_MAP_OPACITY * large)[:, :, None]
    return np.asarray((1 - weight) * canvas + weight * colors, np.uint8)


def error_map(error: Map, top: float) -> Pixels:
    """An error per pixel as a picture: black for none, bright for `top` grey levels or more.

    Args:
        error: `(h, w)`, in grey levels.
        top: Of the scale.
    """
    codes = np.clip(255 * error / max(top, 1e-6), 0, 255).astype(np.uint8)
    return resized(np.asarray(cv2.applyColorMap(codes, cv2.COLORMAP_INFERNO), np.uint8))


def beside(pictures: Sequence[Pixels]) -> Pixels:
    """Pictures side by side, all as high as the first."""
    height = pictures[0].shape[0]
    parts: list[Pixels] = []
    for one in pictures:
        if parts:
            parts.append(np.full((height, _GAP, 3), 128, np.uint8))
        if one.shape[0] != height:
            width = max(1, round(one.shape[1] * height / one.shape[0]))
            one = np.asarray(cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        parts.append(one)
    return np.concatenate(parts, axis=1)


def grid(pictures: Sequence[Pixels], columns: int) -> Pixels:
    """Pictures of one size in rows; an unfinished row ends in grey."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 128, np.uint8)
    for index, one in enumerate(pictures):
        y, x = (index // columns) * (height + _GAP), (index % columns) * (width + _GAP)
        sheet[y : y + height, x : x + width] = one
    return sheet
