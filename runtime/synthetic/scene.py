"""What every synthetic generator offers: frames that move with time, and the truth about each of them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Protocol

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from bedside.runtime.frame import Color, Pixels
from bedside.runtime.geometry import Box

F32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SMALLEST = 48
"""The least width and height of a frame, in pixels."""


class Truth(msgspec.Struct, frozen=True):
    """What is in one synthetic frame, exactly, in captured-frame pixels.

    Attributes:
        label: The class of the whole picture, for example `ultrasound` or `cyst`.
        classes: Names of the class ids in `mask`; id 0 is `background`.
        labels: Class name of every visible lesion.
        boxes: Half-open box of every visible lesion, tight around its pixels; parallel to `labels`.
        mask: Class id per pixel, `(H, W) uint8`.
        view: Pixels that show anatomy (the fan, the endoscope's field of view), `(H, W) bool`. All false
            where the picture is no medical one.
        spacing_mm: `(mm per row, mm per column)` inside the view, None where the picture has no scale.
    """

    label: str
    classes: tuple[str, ...]
    labels: tuple[str, ...]
    boxes: tuple[Box, ...]
    mask: Pixels
    view: Mask
    spacing_mm: tuple[float, float] | None = None


class SyntheticFrame(msgspec.Struct, frozen=True):
    """One synthetic picture with its truth.

    Attributes:
        pixels: `(H, W, C) uint8`; C is 3, or 1 for `gray`.
        color: Channel order of `pixels`.
        truth: What is in it.
    """

    pixels: Pixels
    color: Color
    truth: Truth


class Scene(Protocol):
    """A seeded generator of frames. The same arguments give the same pixels for the same index, in any order.

    Attributes:
        name: The kind of picture.
        width: Of every frame, in pixels.
        height: Of every frame, in pixels.
        color: Channel order of every frame.
    """

    @property
    def name(self) -> str:
        """The kind of picture."""
        ...

    @property
    def width(self) -> int:
        """Of every frame, in pixels."""
        ...

    @property
    def height(self) -> int:
        """Of every frame, in pixels."""
        ...

    @property
    def color(self) -> Color:
        """Channel order of every frame."""
        ...

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """`(mm per row, mm per column)`, None where the picture has no scale."""
        ...

    def render(self, index: int, out: Pixels | None = None) -> Pixels:
        """Draw frame `index`, from 0 up.

        Args:
            index: Frame count; time is `index / fps`.
            out: `(H, W, C) uint8` to draw into, every pixel of it; a new array when None.

        Returns:
            `out`, or the new array.
        """
        ...

    def label(self, index: int) -> str:
        """The class of the whole picture `index`; costs nothing."""
        ...

    def truth(self, index: int) -> Truth:
        """What frame `index` shows. Costs more than the frame; ask only where it is wanted."""
        ...


def frame(scene: Scene, index: int, out: Pixels | None = None) -> SyntheticFrame:
    """Picture and truth of frame `index` together."""
    return SyntheticFrame(scene.render(index, out), scene.color, scene.truth(index))


class LoopedScene:
    """A scene drawn once, `count` frames of it, and replayed to and fro at no cost.

    To and fro (0, 1, ... n-1, n-2, ... 1, 0, ...), so that nothing jumps where the loop closes and no frame
    follows itself.

    Args:
        scene: What to draw.
        count: How many frames are kept, at least 1; 1 is a still.
    """

    def __init__(self, scene: Scene, count: int) -> None:
        if count < 1:
            raise ValueError(f"a loop needs at least 1 frame, got {count}")
        self._scene = scene
        self._frames = [scene.render(index) for index in range(count)]
        for pixels in self._frames:
            pixels.flags.writeable = False

    @property
    def name(self) -> str:
        """See `Scene`."""
        return self._scene.name

    @property
    def width(self) -> int:
        """See `Scene`."""
        return self._scene.width

    @property
    def height(self) -> int:
        """See `Scene`."""
        return self._scene.height

    @property
    def color(self) -> Color:
        """See `Scene`."""
        return self._scene.color

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """See `Scene`."""
        return self._scene.spacing_mm

    def position(self, index: int) -> int:
        """Which frame of the looped scene frame `index` is."""
        last = len(self._frames) - 1
        return last - abs(last - index % (2 * last)) if last else 0

    def render(self, index: int, out: Pixels | None = None) -> Pixels:
        """See `Scene`. Without `out`: the kept frame itself, read-only, not copied."""
        pixels = self._frames[self.position(index)]
        if out is None:
            return pixels
        np.copyto(out, pixels)
        return out

    def label(self, index: int) -> str:
        """See `Scene`."""
        return self._scene.label(self.position(index))

    def truth(self, index: int) -> Truth:
        """See `Scene`."""
        return self._scene.truth(self.position(index))


def check_frame(width: int, height: int, fps: float, color: Color) -> None:
    """Refuse frames that cannot be drawn.

    Raises:
        ValueError: A side below 48 pixels, no positive rate, or a colour other than `bgr` and `gray`.
    """
    if min(width, height) < SMALLEST:
        raise ValueError(f"the frame is {width}x{height}; each side has to be at least {SMALLEST} pixels")
    if not fps > 0:
        raise ValueError(f"fps is {fps}, expected a number above 0")
    if color not in ("bgr", "gray"):
        raise ValueError(f"color is {color!r}, expected 'bgr' or 'gray'")


def generator(seed: int, purpose: str) -> np.random.Generator:
    """A PCG64 stream of its own for each purpose, so that a change in one part leaves the others' draws
    alone.

    Args:
        seed: At least 0.
        purpose: Any name; the same one gives the same stream.
    """
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(purpose.encode())]))


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], sigma: tuple[float, float], *, around: bool = False
) -> F32:
    """Zero-mean, unit-variance Gaussian noise, low-passed by a Gaussian.

    Args:
        rng: Where it is drawn from.
        shape: `(H, W)`.
        sigma: Of the low-pass, `(rows, columns)`, in samples. Above 4 samples the noise is drawn on a coarser
            grid and interpolated, which looks the same and costs a fraction.
        around: Whether the last column continues in the first.

    Returns:
        `(H, W) float32`.
    """
    coarse = [max(4, round(n / max(1, int(s / 2)))) for n, s in zip(shape, sigma, strict=True)]
    steps = [n / few for n, few in zip(shape, coarse, strict=True)]
    field = rng.standard_normal((coarse[0], coarse[1]), dtype=np.float32)
    low = [max(s / step, 0.01) for s, step in zip(sigma, steps, strict=True)]
    pad = [math.ceil(4 * s) + 2 for s in low]
    padded = cv2.copyMakeBorder(field, pad[0], pad[0], 0, 0, cv2.BORDER_REFLECT)
    sides = cv2.BORDER_WRAP if around else cv2.BORDER_REFLECT
    padded = cv2.copyMakeBorder(padded, 0, 0, pad[1], pad[1], sides)
    field = np.asarray(cv2.GaussianBlur(padded, (0, 0), sigmaX=low[1], sigmaY=low[0]), np.float32)
    # Enlarged with its margin, so that both ends are interpolated alike.
    rows = ((np.arange(shape[0], dtype=np.float32) + 0.5) / steps[0] - 0.5 + pad[0]).astype(np.float32)
    columns = ((np.arange(shape[1], dtype=np.float32) + 0.5) / steps[1] - 0.5 + pad[1]).astype(np.float32)
    if coarse != list(shape):
        map_x, map_y = np.meshgrid(columns, rows)
        field = np.asarray(cv2.remap(field, map_x, map_y, cv2.INTER_CUBIC), np.float32)
    else:
        field = field[pad[0] : pad[0] + shape[0], pad[1] : pad[1] + shape[1]]
    spread = float(field.std())
    return np.ascontiguousarray((field - field.mean()) / (spread if spread > 0 else 1.0), np.float32)


def lesion_truth(
    *,
    label: str,
    classes: tuple[str, ...],
    instances: Sequence[tuple[int, Mask]],
    view: Mask,
    spacing_mm: tuple[float, float] | None,
) -> Truth:
    """Put the pixels of single lesions together into a `Truth`.

    Args:
        label: Class of the whole picture.
        classes: Names of the class ids, `background` first.
        instances: `(class id, (H, W) bool)` per lesion; the later one is in front.
        view: `(H, W) bool`; lesions end where it ends.
        spacing_mm: Scale of the view.

    Returns:
        Lesions without a visible pixel are left out.
    """
    owner = np.zeros(view.shape, np.uint8)
    for number, (_, pixels) in enumerate(instances, 1):
        owner[pixels & view] = number
    mask = np.zeros(view.shape, np.uint8)
    labels, boxes = [], []
    for number, (class_id, _) in enumerate(instances, 1):
        own = owner == number
        x, y, w, h = cv2.boundingRect(own.astype(np.uint8))
        if w and h:
            mask[own] = class_id
            labels.append(classes[class_id])
            boxes.append(Box(float(x), float(y), float(x + w), float(y + h)))
    return Truth(label, classes, tuple(labels), tuple(boxes), mask, view, spacing_mm)
