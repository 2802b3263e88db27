"""How the pictures without anatomy are drawn, each from its own random numbers.

A painter takes width, height and a generator, and returns `(H, W, 3) uint8`, blue, green, red.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from bedside.runtime.frame import Pixels
from bedside.runtime.synthetic.furniture import BgrColor, text
from bedside.runtime.synthetic.scene import smooth_noise


def blank(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """One colour, most often a gray."""
    draw = rng.random()
    gray = 0 if draw < 0.25 else 255 if draw < 0.4 else int(rng.integers(256))
    color = _color(rng) if draw > 0.7 else (gray, gray, gray)
    return np.full((height, width, 3), color, np.uint8)


def bars(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """75 % bars, the reversed blue bars, and the bottom row with black and white (SMPTE EG 1-1990)."""
    c = int(rng.choice([191, 255]))
    main: list[BgrColor] = [(c, c, c), (0, c, c), (c, c, 0), (0, c, 0), (c, 0, c), (0, 0, c), (c, 0, 0)]
    black = (19, 19, 19)
    back: list[BgrColor] = [(c, 0, 0), black, (c, 0, c), black, (c, c, 0), black, (c, c, c)]
    foot: list[BgrColor] = [(76, 33, 0), (255, 255, 255), (106, 0, 50), black, (9, 9, 9), (29, 29, 29)]
    canvas = np.zeros((height, width, 3), np.uint8)
    full = rng.random() < 0.3
    levels = [0.0, 1.0] if full else [0.0, 0.67, 0.75, 1.0]
    for colors, top, bottom in zip((main, back, foot), levels, levels[1:], strict=False):
        edges = np.linspace(0, width, len(colors) + 1).astype(int)
        for color, x0, x1 in zip(colors, edges, edges[1:], strict=False):
            canvas[int(top * height) : int(bottom * height), x0:x1] = color
    return canvas


def gradient(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """A ramp, straight or round, gray or coloured, sometimes in steps."""
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.asarray((x * np.cos(angle) + y * np.sin(angle)) / 2.83 + 0.5, np.float64)
    if rng.random() < 0.3:
        ramp = np.hypot(x, y) / 1.42
    if rng.random() < 0.3:
        ramp = np.floor(ramp * rng.integers(5, 17)) / 16
    if rng.random() < 0.5:
        return np.repeat(np.clip(ramp * 255, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    a, b = np.array(_color(rng)), np.array(_color(rng))
    return np.asarray(np.clip(a + ramp[:, :, None] * (b - a), 0, 255), np.uint8)


def checkerboard(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """Squares in two colours."""
    size = max(2, int(height / rng.integers(4, 24)))
    odd = (np.arange(height)[:, None] // size + np.arange(width)[None, :] // size) % 2
    gray = rng.random() < 0.6
    colors = np.array([(0, 0, 0), (255, 255, 255)] if gray else [_color(rng), _color(rng)], np.uint8)
    return np.ascontiguousarray(colors[odd])


def noise(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """Larger than the frame by 61 pixels, a prime, each way."""
    rows, columns, channels = height + 61, width + 61, 3 if rng.random() < 0.5 else 1
    grain, spread, middle = rng.uniform(0.0, 1.6), rng.uniform(25, 90), rng.uniform(70, 150)
    layers: list[npt.NDArray[np.floating]] = [
        smooth_noise(rng, (rows, columns), (grain, grain))
        if grain > 0.4
        else rng.standard_normal((rows, columns))
        for _ in range(channels)
    ]
    field = np.clip(np.stack(layers, axis=2) * spread + middle, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(field, (rows, columns, 3)))


def nosignal(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """The ground that a monitor shows its message on."""
    return np.full((height, width, 3), rng.choice([(0, 0, 0), (140, 30, 10), (40, 40, 40)]), np.uint8)


def message(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """A monitor's message box, smaller than the frame."""
    words = [
        "NO SIGNAL",
        "No input detected",
        "HDMI 1: no signal",
        "Check cable",
        "OUT OF RANGE",
        "Input not supported",
    ]
    letter = max(5.0, height * rng.uniform(0.03, 0.05))
    w, h = min(width, int(15 * letter + 0.1 * width)), min(height, int(5 * letter))
    box = np.full((h, w, 3), rng.choice([(0, 0, 0), (90, 60, 30), (60, 60, 60)]), np.uint8)
    cv2.rectangle(box, (1, 1), (w - 2, h - 2), (200, 200, 200), max(1, int(letter / 8)))
    text(box, str(rng.choice(words)), (int(0.05 * w), int(0.6 * h)), letter, (240, 240, 240))
    return box


def pointer(height: int) -> Pixels:
    """A mouse pointer, smaller than the frame."""
    size = max(5, height // 40)
    arrow = np.full((size, size, 3), 20, np.uint8)
    cv2.fillConvexPoly(
        arrow, np.array([(0, 0), (size - 1, size // 2), (size // 2, size - 1)], np.int32), (250, 250, 250)
    )
    return arrow


def screen(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """A scanner's worklist, form or settings: panels, buttons, rows of text; no picture in it."""
    dark = rng.random() < 0.8
    ground, ink = (int(rng.integers(8, 60)), 215) if dark else (int(rng.integers(190, 240)), 30)
    canvas = np.full((height, width, 3), ground, np.uint8)
    letter = max(5.0, height / rng.uniform(45, 65))
    pitch = int(letter * rng.uniform(2.2, 3.4))
    accent = _color(rng, 60, 220)
    ink_color: BgrColor = (ink, ink, ink)
    cv2.rectangle(canvas, (0, 0), (width, 2 * pitch), tuple(int(0.6 * c) for c in accent), -1)
    text(canvas, _sentence(rng, 3).title(), (pitch, int(1.3 * pitch)), 1.2 * letter, (240, 240, 240))
    side = int(width * rng.uniform(0.14, 0.24)) * int(rng.choice([-1, 0, 1]))
    left, right = max(side, 0), width + min(side, 0)
    if side:
        panel = (0, left) if side > 0 else (right, width)
        for y in range(3 * pitch, height - pitch, 2 * pitch):
            shade = tuple(int(v) for v in (accent if rng.random() < 0.15 else (ground + 25,) * 3))
            cv2.rectangle(canvas, (panel[0] + 4, y), (panel[1] - 4, y + int(1.5 * pitch)), shade, -1)
            text(canvas, str(rng.choice(_WORDS)), (panel[0] + 10, y + pitch), letter, ink_color)
    columns = np.linspace(left + pitch, right, int(rng.integers(2, 6))).astype(int)[:-1]
    for row, y in enumerate(range(4 * pitch, int(height * rng.uniform(0.5, 0.97)), pitch)):
        if row % 2:
            cv2.rectangle(canvas, (left + 4, y - pitch + 3), (right - 4, y + 3), (ground + 12,) * 3, -1)
        for x in columns:
            words = (
                str(rng.integers(1, 9999)) if rng.random() < 0.3 else _sentence(rng, int(rng.integers(1, 3)))
            )
            text(canvas, words, (int(x), y), letter, ink_color)
    return canvas


def document(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """A page on a table, or a full page: heading, paragraphs, perhaps a table."""
    paper = int(rng.integers(225, 256))
    canvas = np.full((height, width, 3), (paper - int(rng.integers(0, 18)), paper, paper), np.uint8)
    margin = int(width * rng.uniform(0.03, 0.2))
    if rng.random() < 0.5:
        table = _color(rng, 20, 140)
        canvas[:, : margin // 2] = table
        canvas[:, width - margin // 2 :] = table
    ink = (int(rng.integers(0, 70)),) * 3
    letter = max(4.0, height / rng.uniform(35, 75))
    y, pitch = int(3 * letter), int(letter * rng.uniform(1.9, 2.6))
    text(canvas, _sentence(rng, 3).title(), (margin, y + pitch), 1.7 * letter, ink)
    y += 3 * pitch
    while y < height - pitch:
        if rng.random() < 0.14:
            y += pitch  # a new paragraph
        if rng.random() < 0.05:
            cv2.line(canvas, (margin, y), (width - margin, y), ink, 1)
        reach = 1.0 if rng.random() < 0.8 else rng.uniform(0.2, 0.9)
        count = max(1, int(reach * (width - 2 * margin) / (letter * 6.6)))
        text(canvas, _sentence(rng, count), (margin, y), letter, ink)
        y += pitch
    canvas[:, width - margin // 2 :] = canvas[0, -1]
    return canvas


def desktop(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """Wallpaper, windows with text, icons, a task bar."""
    canvas = gradient(width, height, rng)
    letter = max(5.0, height / 60)
    for column in range(int(rng.integers(1, 3))):
        for row in range(int(rng.integers(2, 7))):
            size = int(0.05 * height)
            x, y = int(0.02 * width) + column * 3 * size, int(0.03 * height) + row * int(2.2 * size)
            cv2.rectangle(canvas, (x, y), (x + size, y + size), _color(rng, 60), -1)
            text(
                canvas, str(rng.choice(_WORDS)), (x - size // 4, y + int(1.5 * size)), letter, (245, 245, 245)
            )
    for _ in range(int(rng.integers(1, 4))):
        w, h = int(width * rng.uniform(0.3, 0.6)), int(height * rng.uniform(0.3, 0.65))
        x, y = int(rng.uniform(0.1, 1) * (width - w)), int(rng.uniform(0, 0.9) * (height - h))
        page = 245 if rng.random() < 0.7 else 35
        cv2.rectangle(canvas, (x, y), (x + w, y + h), (page,) * 3, -1)
        cv2.rectangle(canvas, (x, y), (x + w, y + int(2.4 * letter)), _color(rng, 60, 200), -1)
        text(canvas, _sentence(rng, 2).title(), (x + 8, y + int(1.7 * letter)), letter, (250, 250, 250))
        for line in range(y + int(5 * letter), y + h - int(letter), int(2.3 * letter)):
            words = _sentence(rng, max(1, int(w / (letter * 9))))
            text(canvas, words, (x + 8, line), letter, (255 - page,) * 3)
    bar = int(0.05 * height)
    cv2.rectangle(canvas, (0, height - bar), (width, height), (40, 40, 40), -1)
    clock = f"{rng.integers(24):02d}:{rng.integers(60):02d}"
    text(canvas, clock, (width - int(6 * letter), height - bar // 3), letter, (240, 240, 240))
    return canvas


def _color(rng: np.random.Generator, low: int = 0, high: int = 256) -> BgrColor:
    b, g, r = (int(v) for v in rng.integers(low, high, 3))
    return b, g, r


# fmt: off
_WORDS = [
    "patient", "exam", "date", "study", "report", "device", "frame", "depth", "gain", "probe", "image",
    "notes", "left", "right", "normal", "review", "series", "total", "value", "unit", "page", "section",
    "result", "range", "measured", "within", "follow", "up", "protocol", "operator", "time", "zone",
]
# fmt: on


def _sentence(rng: np.random.Generator, words: int) -> str:
    return " ".join(rng.choice(_WORDS, words))
