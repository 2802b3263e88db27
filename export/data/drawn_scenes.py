"""Drawn scenes with their truth: lesions as masks and boxes, frames alone, frames with and without speckle."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

import numpy as np

from bedside.export.data.recipe import SyntheticData
from bedside.export.data.speckled import drawn_pair
from bedside.export.data.types import BoxesTarget, Item, MaskTarget, PictureTarget, Target, TargetLoader
from bedside.runtime.frame import Color, Pixels
from bedside.runtime.synthetic import EndoscopyScene, Scene, UltrasoundScene
from bedside.runtime.synthetic.anatomy import Preset
from bedside.runtime.synthetic.endoscopy import CLASSES as ENDOSCOPY_CLASSES
from bedside.runtime.synthetic.tissue import CLASSES as ULTRASOUND_CLASSES

#: Anatomies with lesions in them.
_PRESETS: tuple[Preset, ...] = ("abdomen", "superficial", "phantom")
#: Of a lesion, as a part of the depth: large enough to be seen in a small frame.
_LESIONS = (0.1, 0.2)
#: Frames of one scene, which is a group: making a scene costs more than looking at it again a second later.
_MOMENTS = 2
_FRAMES_BETWEEN = 40
_SEEDS = 1_000_000


class DrawnScenes:
    """Frames of many scenes, two of each. It keeps the scene it drew last, since neighbours share it.

    Args:
        recipe: What is drawn.
        seed: Of the recipe.
    """

    def __init__(self, recipe: SyntheticData, seed: int) -> None:
        self._kind, self._size, self._seed = recipe.scene, (recipe.width, recipe.height), seed
        self._last: tuple[int, Scene] | None = None

    def frame(self, number: int) -> tuple[Pixels, Color]:
        """Frame `number`, from 0: `(H, W, C) uint8`, the same in every run."""
        scene, moment = self._at(number)
        return scene.render(moment), scene.color

    def mask(self, number: int) -> MaskTarget:
        """The lesions of a frame, by pixel."""
        scene, moment = self._at(number)
        return MaskTarget(scene.truth(moment).mask)

    def boxes(self, number: int) -> BoxesTarget:
        """The lesions of a frame, by box; none is a fair answer."""
        scene, moment = self._at(number)
        truth = scene.truth(moment)
        corners = [[box.x0, box.y0, box.x1, box.y1] for box in truth.boxes]
        labels = [truth.classes.index(label) - 1 for label in truth.labels]
        return BoxesTarget(np.array(corners, np.float32).reshape(-1, 4), np.array(labels, np.int64))

    def _at(self, number: int) -> tuple[Scene, int]:
        which, moment = divmod(number, _MOMENTS)
        if self._last is None or self._last[0] != which:
            self._last = (which, self._make(which))
        return self._last[1], moment * _FRAMES_BETWEEN

    def _make(self, which: int) -> Scene:
        seed, (width, height) = (self._seed + 1) * _SEEDS + which, self._size
        if self._kind == "endoscopy":
            return EndoscopyScene(width=width, height=height, seed=seed, furniture=which % 2 == 0)
        return UltrasoundScene(
            width=width,
            height=height,
            seed=seed,
            preset=_PRESETS[which % len(_PRESETS)],
            lesion_size=_LESIONS,
            furniture=False,
            color="gray",
        )


def scene_labels(recipe: SyntheticData) -> tuple[str, ...]:
    """Class names: for masks the background first, for boxes without it; one for frames without a class."""
    classes = ENDOSCOPY_CLASSES if recipe.scene == "endoscopy" else ULTRASOUND_CLASSES
    return {"masks": classes, "boxes": classes[1:]}.get(recipe.content, ("frame",))


def scene_items(recipe: SyntheticData, seed: int) -> list[Item]:
    """Items of `masks`, `boxes`, `frames` and `despeckle`, drawn when they are loaded."""
    if recipe.content == "despeckle":
        size = (recipe.width, recipe.height)
        numbers = [(number, (seed + 1) * _SEEDS + number) for number in range(recipe.samples)]
        return [
            _item(
                f"despeckle/{n:06d}",
                f"despeckle-{own}",
                size,
                partial(_speckled, own, size),
                partial(_clean, own, size),
            )
            for n, own in numbers
        ]
    scenes = DrawnScenes(recipe, seed)
    teachers: dict[str, Callable[[int], Target]] = {"masks": scenes.mask, "boxes": scenes.boxes}
    teach = teachers.get(recipe.content)
    return [
        _item(
            f"{recipe.scene}/{number:06d}",
            f"{recipe.scene}-{seed}-{number // _MOMENTS}",
            (recipe.width, recipe.height),
            partial(scenes.frame, number),
            None if teach is None else partial(teach, number),
        )
        for number in range(recipe.samples)
    ]


def _item(
    key: str,
    group: str,
    size: tuple[int, int],
    load: partial[tuple[Pixels, Color]],
    target: TargetLoader | None,
) -> Item:
    """What is drawn follows from group, key and size, so their digest stands for the content."""
    digest = hashlib.sha256(f"drawn {group} {key} {size}".encode()).hexdigest()
    known = "" if target is None else hashlib.sha256(f"truth {digest}".encode()).hexdigest()
    return Item(key, 0, group, load, digest, target=target, target_sha256=known, drawn=True)


def _speckled(seed: int, size: tuple[int, int]) -> tuple[Pixels, Color]:
    return drawn_pair(seed, *size)[0], "gray"


def _clean(seed: int, size: tuple[int, int]) -> PictureTarget:
    return PictureTarget(drawn_pair(seed, *size)[1], "gray")
