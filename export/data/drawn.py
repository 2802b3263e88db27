"""Drawn frames: items of the synthetic generators, with a seed of their own for every scene."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from functools import partial
from typing import Literal

import cv2
import numpy as np

from bedside.export.data import textures
from bedside.export.data.drawn_scenes import scene_items, scene_labels
from bedside.export.data.recipe import SyntheticData
from bedside.export.data.splitting import to_draw
from bedside.export.data.types import Found, Item, SplitName
from bedside.runtime.bundle.manifest import DataSource
from bedside.runtime.frame import Color, Pixels
from bedside.runtime.synthetic import (
    LABELS,
    PATTERNS,
    EndoscopyScene,
    PatternKind,
    PatternScene,
    Scene,
    UltrasoundScene,
    labelled_sample,
)
from bedside.runtime.synthetic.anatomy import Preset

Kind = Literal["ultrasound", "endoscopy", "patterns"]

#: Sizes of drawn frames, in pixels: common aspect ratios of screens, upright ones included.
_SIZES = ((320, 240), (400, 225), (256, 256), (360, 270), (240, 320))
_PRESETS: tuple[Preset, ...] = ("abdomen", "heart", "superficial", "phantom")
#: What looks most like a scanner's screen comes up twice as often.
_PATTERNS: tuple[PatternKind, ...] = (*PATTERNS, "nosignal", "screen", "desktop")
#: Frames that are taken from one scene: making an anatomy costs more than looking at it again a second later.
_MOMENTS: dict[Kind, int] = {"ultrasound": 2, "endoscopy": 4, "patterns": 1}
_FRAMES_BETWEEN = 40
#: Seeds of one recipe's scenes. Far from the small ones that demonstrations and golden frames use.
_SEEDS = 1_000_000

#: For model cards.
SOURCE = DataSource(
    name="bedside synthetic generators",
    licence="Apache-2.0",
    note="drawn frames; no patient was imaged",
)


class Stage:
    """Draws frames of one kind. It keeps the scene it drew last, since neighbours share it.

    Args:
        kind: What is drawn.
        seed: Of the recipe.
    """

    def __init__(self, kind: Kind, seed: int) -> None:
        self._kind, self._seed = kind, seed
        self._last: tuple[int, Scene] | None = None

    def draw(self, number: int) -> tuple[Pixels, Color]:
        """Frame `number`, from 0: `(H, W, 3) uint8` BGR, the same in every run."""
        scene, moment = divmod(number, _MOMENTS[self._kind])
        if self._last is None or self._last[0] != scene:
            self._last = (scene, self._make(scene))
        drawn = self._last[1]
        return drawn.render(moment * _FRAMES_BETWEEN), drawn.color

    def group(self, number: int) -> str:
        """Frames of one scene are one group."""
        return f"{self._kind}-{self._seed}-{number // _MOMENTS[self._kind]}"

    def _make(self, scene: int) -> Scene:
        seed = (self._seed + 1) * _SEEDS + scene
        width, height = _SIZES[scene % len(_SIZES)]
        furniture = np.random.default_rng((self._seed, scene)).random() < 0.7
        if self._kind == "ultrasound":
            preset = _PRESETS[scene // len(_SIZES) % len(_PRESETS)]
            return UltrasoundScene(width=width, height=height, seed=seed, preset=preset, furniture=furniture)
        if self._kind == "endoscopy":
            return EndoscopyScene(width=width, height=height, seed=seed, furniture=furniture)
        return PatternScene(_PATTERNS[scene % len(_PATTERNS)], width=width, height=height, seed=seed)


def drawn_items(
    kind: Kind, *, count: int, label: int, seed: int, name: str, split: SplitName | None = None
) -> list[Item]:
    """Items that are drawn when they are loaded.

    Two blank screens are easily the same: patterns are drawn here as well, small, and what was there before
    is passed over. Anatomies are never the same.

    Args:
        kind: What is drawn.
        count: How many different ones.
        label: Of all of them.
        seed: Of the recipe.
        name: Start of their keys.
        split: Where they have to be.
    """
    stage = Stage(kind, seed)
    items: list[Item] = []
    seen: set[bytes] = set()
    for number in itertools.count():
        if len(items) == count:
            return items
        if kind == "patterns":
            look = cv2.resize(stage.draw(number)[0], (64, 64), interpolation=cv2.INTER_AREA).tobytes()
            if look in seen:
                continue
            seen.add(look)
        key = f"{name}/{number:06d}"
        items.append(_item(key, label, stage.group(number), partial(stage.draw, number), split))
    return items


def find_synthetic(recipe: SyntheticData, *, seed: int) -> Found:
    """A set that needs no files."""
    size = (recipe.width, recipe.height)
    note = "every frame is drawn from a scene of its own"
    if recipe.content == "classes":
        first = (seed + 1) * _SEEDS
        labels: tuple[str, ...] = LABELS
        items = [
            _item(
                f"{name}/{number:06d}",
                label,
                f"{name}-{number}",
                partial(_sample, first + number, label, size),
            )
            for label, name in enumerate(LABELS)
            for number in range(recipe.samples)
        ]
    elif recipe.content == "classes-hard":
        labels = textures.LABELS
        items = [
            _item(key, label, key, partial(textures.draw_texture, seed, number, label, size))
            for label in range(textures.CLASSES)
            for number, key in ((n, f"texture-{label}/{n:06d}") for n in range(recipe.samples))
        ]
    else:
        labels, items = scene_labels(recipe), scene_items(recipe, seed)
        if recipe.content != "despeckle":
            note = "every two frames are drawn from a scene of their own"
    return Found(
        labels=labels,
        items=tuple(items),
        draw=to_draw((), recipe.calibration),
        labelled=recipe.content in ("classes", "classes-hard"),
        sources=(*recipe.sources, SOURCE),
        notes=(note,),
    )


def _sample(seed: int, label: int, size: tuple[int, int]) -> tuple[Pixels, Color]:
    return labelled_sample(seed, label, size, "gray"), "gray"


def _item(
    key: str,
    label: int,
    group: str,
    load: Callable[[], tuple[Pixels, Color]],
    split: SplitName | None = None,
) -> Item:
    """What is drawn follows from group and key, so their digest stands for the content."""
    checksum = hashlib.sha256(f"drawn {group} {key}".encode()).hexdigest()
    return Item(key, label, group, load, checksum, split, drawn=True)
