"""EchoNet-Dynamic's folder: apical four-chamber videos with the left ventricle traced in two frames.

Ouyang et al., Video-based AI for beat-to-beat assessment of cardiac function, Nature 580, 2020. `FileList.csv` has
one row per video (`FileName`, without the suffix, and `Split` among its columns), `VolumeTracings.csv` one per
line of a tracing: `FileName, X1, Y1, X2, Y2, Frame`. The first line of a tracing is the long axis, the others are
chords across the ventricle; its outline goes down one end of them and up the other (`echonet/datasets/echo.py`
of github.com/echonet/dynamic).
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.data.files import digests, existing_folder, frame_items
from bedside.export.data.recipe import EchoNetData
from bedside.export.data.splitting import to_draw
from bedside.export.data.types import Found, Item, MaskTarget, Progress, SplitName
from bedside.export.data.videos import VideoReader
from bedside.runtime.errors import RecipeError

LABELS = ("background", "left ventricle")
_SPLITS: dict[str, SplitName] = {"TRAIN": "train", "VAL": "validation", "TEST": "holdout"}
#: A tracing with fewer lines than this has no outline: the long axis and two chords.
_FEWEST_LINES = 3


class _Line(msgspec.Struct, frozen=True):
    """One line of a tracing, in pixels."""

    x1: float
    y1: float
    x2: float
    y2: float


def find_echonet(recipe: EchoNetData, *, root: Path | None, progress: Progress | None = None) -> Found:
    """The traced frames.

    Raises:
        RecipeError: See `bedside.export.data.loading.load_data`; also a video that is missing, a tracing that is
            none, or a split that is unknown.
    """
    folder = existing_folder(root, recipe.path)
    splits = _splits(folder / "FileList.csv")
    tracings = _tracings(folder / "VolumeTracings.csv")
    traced = sorted(name for name in splits if name in tracings)
    if not traced:
        raise RecipeError("no video of FileList.csv has a tracing in VolumeTracings.csv", where=str(folder))
    paths = [folder / "Videos" / f"{name}.avi" for name in traced]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise RecipeError(
            f"{len(missing)} of {len(paths)} videos are missing: {', '.join(missing[:3])}",
            where=str(folder / "Videos"),
        )
    checksums = digests(paths, progress)
    draw = to_draw(sorted({splits[name] for name in traced}), recipe.calibration)
    reader = VideoReader()
    items: list[Item] = []
    for name, path, checksum in zip(traced, paths, checksums, strict=True):
        # Of a split that has to be drawn, training videos are free to go there.
        split = None if splits[name] == "train" and draw else splits[name]
        frames = tracings[name]
        for item, index in zip(
            frame_items(reader.frame, path, path.name, 0, checksum, checksum, sorted(frames), split),
            sorted(frames),
            strict=True,
        ):
            outline = _outline(frames[index])
            target = partial(_target, reader, path, index, outline)
            digest = hashlib.sha256(outline.tobytes()).hexdigest()
            items.append(msgspec.structs.replace(item, target=target, target_sha256=digest))
    notes = ["groups: a video"]
    if untraced := len(splits) - len(traced):
        notes.append(f"{untraced} videos have no tracing and were left aside")
    return Found(
        labels=LABELS,
        items=tuple(items),
        draw=draw,
        labelled=False,
        sources=recipe.sources,
        notes=tuple(notes),
    )


def _target(reader: VideoReader, path: Path, index: int, outline: npt.NDArray[np.int32]) -> MaskTarget:
    pixels, _ = reader.frame(path, index)
    mask = np.zeros(pixels.shape[:2], np.uint8)
    cv2.fillPoly(mask, [outline], 1)
    return MaskTarget(mask)


def _outline(lines: Sequence[_Line]) -> npt.NDArray[np.int32]:
    """Corners of the ventricle, `(N, 2) int32`, rounded to pixels as the data set's authors do."""
    chords = lines[1:]
    points = [(line.x1, line.y1) for line in chords] + [(line.x2, line.y2) for line in reversed(chords)]
    return np.rint(points).astype(np.int32)


def _splits(file: Path) -> dict[str, SplitName]:
    splits: dict[str, SplitName] = {}
    for number, row in enumerate(_rows(file, ("FileName", "Split")), 2):
        name, split = row["FileName"].removesuffix(".avi"), row["Split"].upper()
        if split not in _SPLITS:
            raise RecipeError(
                f"line {number}: the split {row['Split']!r} is none of TRAIN, VAL, TEST", where=str(file)
            )
        if splits.setdefault(name, _SPLITS[split]) != _SPLITS[split]:
            raise RecipeError(f"line {number}: {name} is in two splits", where=str(file))
    return splits


def _tracings(file: Path) -> dict[str, dict[int, list[_Line]]]:
    found: dict[str, dict[int, list[_Line]]] = defaultdict(lambda: defaultdict(list))
    for number, row in enumerate(_rows(file, ("FileName", "X1", "Y1", "X2", "Y2", "Frame")), 2):
        try:
            x1, y1, x2, y2 = (float(row[key]) for key in ("X1", "Y1", "X2", "Y2"))
            frame = int(row["Frame"])
        except ValueError:
            raise RecipeError(f"line {number} is no line of a tracing", where=str(file)) from None
        if frame < 0 or not all(math.isfinite(v) and abs(v) < 1e5 for v in (x1, y1, x2, y2)):
            raise RecipeError(f"line {number} is no line of a tracing", where=str(file))
        found[row["FileName"].removesuffix(".avi")][frame].append(_Line(x1, y1, x2, y2))
    for name, frames in found.items():
        for frame in (frame for frame, lines in frames.items() if len(lines) < _FEWEST_LINES):
            raise RecipeError(
                f"the tracing of {name}, frame {frame}, has {len(frames[frame])} lines, "
                f"at least {_FEWEST_LINES} make an outline",
                where=str(file),
            )
    return found


def _rows(file: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            absent = [key for key in needed if key not in (reader.fieldnames or ())]
            if absent:
                raise RecipeError(f"has no column {', '.join(absent)}", where=str(file))
            rows = [{key: row[key] for key in needed} for row in reader]
    except FileNotFoundError:
        raise RecipeError(
            "no such file", where=str(file), hint="data.path names EchoNet-Dynamic's folder"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecipeError(f"cannot be read: {error}", where=str(file)) from None
    for number, row in enumerate(rows, 2):
        for key in (key for key in needed if not row[key]):
            raise RecipeError(f"line {number} has no {key}", where=str(file))
    return rows
