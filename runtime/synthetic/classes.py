"""A small labelled set of synthetic ultrasound, for training from scratch: plain tissue, a cyst, a mass."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from bedside.runtime.frame import Color, Pixels
from bedside.runtime.synthetic.scene import Truth, check_frame, generator
from bedside.runtime.synthetic.tissue import Lesion
from bedside.runtime.synthetic.ultrasound import UltrasoundScene

Label = Literal["plain", "cyst", "mass"]
LABELS: tuple[Label, ...] = ("plain", "cyst", "mass")
"""In the order of the class indices."""

_CONTENT: dict[Label, tuple[Lesion, ...]] = {"plain": (), "cyst": ("cyst",), "mass": ("hypoechoic mass",)}
_DETAIL = 192  # samples are drawn at least this tall and shrunk, as a preprocessor does with a real screen


def labelled_sample(
    seed: int, label: Label | int, size: tuple[int, int] = (96, 96), color: Color = "bgr"
) -> Pixels:
    """One still of a class.

    Args:
        seed: At least 0; seed and label decide everything. Split a data set by seed.
        label: Name, or index into `LABELS`.
        size: `(width, height)` in pixels, at least 16 each.
        color: `bgr` (three equal channels) or `gray`.

    Returns:
        `(H, W, 3) uint8`, or `(H, W, 1) uint8` for `gray`.
    """
    name = LABELS[label] if isinstance(label, int) else label
    width, height = size
    larger = max(1, -(-_DETAIL // min(size)))
    scene = _scene(seed, name, width * larger, height * larger, 30.0, color)
    moment = int(generator(seed, "moment").integers(0, 300))
    pixels = cv2.resize(scene.render(moment), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(pixels, np.uint8).reshape(height, width, -1)


class ClassesScene:
    """A cine that shows the classes in turn; `truth(index).label` says which.

    Args:
        width: Of the frame, in pixels, at least 48.
        height: Of the frame, in pixels, at least 48.
        fps: Frames per second.
        seed: At least 0. Cines of other seeds than a data set's show other tissue.
        color: `bgr` or `gray`.
        hold_s: How long each is shown, in seconds.
        variety: Cines per class.
    """

    name = "classes"

    def __init__(
        self,
        *,
        width: int = 480,
        height: int = 480,
        fps: float = 30.0,
        seed: int = 0,
        color: Color = "bgr",
        hold_s: float = 0.5,
        variety: int = 2,
    ) -> None:
        check_frame(width, height, fps, color)
        self.width, self.height, self.fps, self.color = width, height, fps, color
        self._hold = max(1, round(hold_s * fps))
        self._scenes = [
            (label, _scene(seed * variety + number, label, width, height, fps, color))
            for number in range(variety)
            for label in LABELS
        ]

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """None: every cine has its own depth; see `truth`."""
        return None

    def label(self, index: int) -> Label:
        """The class that frame `index` shows."""
        return self._at(index)[0]

    def render(self, index: int, out: Pixels | None = None) -> Pixels:
        """See `Scene`."""
        return self._at(index)[1].render(index, out)

    def truth(self, index: int) -> Truth:
        """See `Scene`."""
        label, scene = self._at(index)
        truth = scene.truth(index)
        return Truth(
            label, truth.classes, truth.labels, truth.boxes, truth.mask, truth.view, truth.spacing_mm
        )

    def _at(self, index: int) -> tuple[Label, UltrasoundScene]:
        return self._scenes[index // self._hold % len(self._scenes)]


def _scene(seed: int, label: Label, width: int, height: int, fps: float, color: Color) -> UltrasoundScene:
    return UltrasoundScene(
        width=width,
        height=height,
        fps=fps,
        seed=3 * seed + LABELS.index(label),
        lesions=_CONTENT[label],
        lesion_size=(0.14, 0.2),
        furniture=False,
        color=color,
    )
