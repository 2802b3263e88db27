"""The frames that `foreign_frames.py` scores: what the autoencoder was made for, and every kind of other frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np

from bedside.export.data.types import DataSet
from bedside.runtime.errors import UsageError
from bedside.runtime.frame import Color, Pixels
from bedside.runtime.images import read_image
from bedside.runtime.synthetic import PatternKind, PatternScene, UltrasoundScene

KINDS = ("larynx", "ultrasound", "no signal")

#: Frames of a video that are looked at: neighbours hardly differ.
_EVERY = 10
_DRAWN_SIZE = (640, 480)
#: Drawn frames per kind of pattern, and of drawn ultrasound.
_DRAWN = 40


class Picture(msgspec.Struct, frozen=True):
    """One frame to be scored.

    Attributes:
        kind: `colon`, or one of `KINDS`.
        part: Which of its kind, for example `nerve`.
        group: Frames of one group resemble each other: subject, sequence, video.
        load: Reads or draws it.
    """

    kind: str
    part: str
    group: str
    load: Callable[[], tuple[Pixels, Color]]


def colon(data: DataSet, *, choosing: bool = False) -> list[Picture]:
    """The holdout, or the validation frames where something is being chosen."""
    items = (data.validation if choosing else data.holdout).items
    return [Picture("colon", "colon", item.group, item.load) for item in items]


def foreign(root: Path | None, *, choosing: bool = False) -> list[Picture]:
    """Every kind of foreign frame there is.

    Args:
        root: Of the data; None: drawn ones only.
        choosing: Larynx sequences 1 and 2 only, no ultrasound, and other drawn frames than without.
    """
    seed = 1000 if choosing else 0
    found = [*_no_signal(seed)]
    if root is None:
        return [*_drawn_ultrasound(seed), *found]
    larynx = sorted((root / "endoscopy" / "larynx" / "images").glob("seq*/*.jpg"))
    for path in larynx:
        chooses = path.parent.name in ("seq1", "seq2")
        if chooses or not choosing:
            part = "sequences 1 and 2 (seen while choosing)" if chooses else "sequences 3 and 4"
            found.append(Picture("larynx", part, path.parent.name, _file(path)))
    if not larynx:
        raise UsageError("has no endoscopy/larynx", where=str(root), hint="give the folder with all data")
    return found if choosing else [*found, *_ultrasound(root / "ultrasound")]


def _ultrasound(folder: Path) -> Iterator[Picture]:
    for path in sorted((folder / "nerve" / "images").glob("*.png")):
        # No subject ids: tens of consecutive frames stay together.
        yield Picture("ultrasound", "nerve", f"nerve {path.stem[:-1]}", _file(path))
    for path in sorted((folder / "muscle").glob("**/*.png")):
        yield Picture("ultrasound", "muscle", f"muscle {path.parent.name}", _file(path))
    for path in sorted((folder / "clips").glob("*.mp4")):
        for frame in _video(path):
            yield Picture("ultrasound", "clips", path.stem, lambda frame=frame: (frame, "bgr"))


def _no_signal(seed: int) -> Iterator[Picture]:
    """Black with and without the capture card's offset, bars, noise, and messages that stand still."""
    width, height = _DRAWN_SIZE
    kinds: tuple[tuple[str, PatternKind], ...] = (
        ("colour bars", "bars"),
        ("noise", "noise"),
        ("messages", "nosignal"),
        ("one colour", "blank"),
    )
    for level in (0, 1, 2, 4, 8, 16):
        # 16 is black in limited range (ITU-R BT.601, 2.5.3).
        scene = PatternScene("blank", width=width, height=height, level=level)
        yield Picture("no signal", "black", f"black {level}", _rendered(scene))
    for part, kind in kinds:
        for number in range(_DRAWN):
            scene = PatternScene(kind, width=width, height=height, seed=seed + number)
            yield Picture("no signal", part, f"{kind} {number}", _rendered(scene))


def _drawn_ultrasound(seed: int) -> Iterator[Picture]:
    width, height = _DRAWN_SIZE
    for number in range(_DRAWN):
        scene = UltrasoundScene(width=width, height=height, seed=seed + number)
        yield Picture("ultrasound", "drawn", f"drawn {number}", _rendered(scene))


def _rendered(scene: PatternScene | UltrasoundScene) -> Callable[[], tuple[Pixels, Color]]:
    return lambda: (scene.render(0), scene.color)


def _file(path: Path) -> Callable[[], tuple[Pixels, Color]]:
    return lambda: (read_image(path), "bgr")


def _video(path: Path) -> Iterable[Pixels]:
    capture = cv2.VideoCapture(str(path))
    try:
        number = 0
        while capture.grab():
            if number % _EVERY == 0:
                _, frame = capture.retrieve()
                yield np.asarray(frame, np.uint8)
            number += 1
    finally:
        capture.release()
