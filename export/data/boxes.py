"""Pictures with boxes: one JSON file that maps names to boxes, and what all box formats share."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bedside.export.data.files import (
    digests,
    existing_folder,
    image_loader,
    is_image,
    path_groups,
    read_image,
    visible_files,
)
from bedside.export.data.recipe import BoxesData
from bedside.export.data.splitting import to_draw
from bedside.export.data.types import BoxesTarget, Found, Item, Progress
from bedside.runtime.errors import RecipeError

#: What boxes are called where nothing names them.
UNNAMED = "object"
_FORMS = {"boxes_xyxy": "xyxy", "boxes_xywh": "xywh"}
#: An annotation file of this size is something else.
_MOST_BYTES = 2 << 30


class NamedBox(msgspec.Struct, frozen=True):
    """One box as a file has it, half-open `x0, y0, x1, y1` in captured-frame pixels."""

    label: str
    corners: tuple[float, float, float, float]


class Annotated(msgspec.Struct, frozen=True):
    """One picture with its boxes.

    Attributes:
        key: Path of the picture below the folder of pictures.
        boxes: May be empty.
        size: `(width, height)` in pixels as the file has it, None where it does not say.
    """

    key: str
    boxes: tuple[NamedBox, ...]
    size: tuple[int, int] | None = None


def find_boxes(recipe: BoxesData, *, root: Path | None, progress: Progress | None = None) -> Found:
    """Pictures and their boxes.

    Raises:
        RecipeError: See `bedside.export.data.loading.load_data`; also a box outside its picture or of an unknown
            class.
    """
    folder = existing_folder(root, recipe.path)
    images, file = existing_folder(folder, recipe.images), folder / recipe.boxes
    # One class needs no name in the file.
    unnamed = recipe.labels[0] if recipe.labels is not None and len(recipe.labels) == 1 else UNNAMED
    listed = _parse(read_json(file), recipe.coding, unnamed, str(file))
    keys = [p.relative_to(images).as_posix() for p in visible_files(images) if is_image(p)]
    unlisted = [key for key in keys if key not in listed]
    if unlisted and recipe.unlisted == "error":
        raise RecipeError(
            f"names no boxes of {len(unlisted)} of {len(keys)} pictures: {', '.join(unlisted[:3])}",
            where=str(file),
            hint='data.unlisted = "empty" says that they have none, "skip" leaves them out',
        )
    pictures = [listed[key] if key in listed else Annotated(key, ()) for key in keys]
    if recipe.unlisted == "skip":
        pictures = [picture for picture in pictures if picture.key in listed]
    for key in (key for key in listed if not (images / key).is_file()):
        raise RecipeError(f"names {key!r}, which is not there", where=str(file), hint=f"in {images}")
    labels = recipe.labels or tuple(sorted({box.label for p in pictures for box in p.boxes})) or (UNNAMED,)
    found = make_items(pictures, images, labels, where=str(file), group=recipe.group, progress=progress)
    left = f"{len(unlisted)} pictures that the file does not name"
    notes = [f"{left}: {'without boxes' if recipe.unlisted == 'empty' else 'left out'}"] if unlisted else []
    return msgspec.structs.replace(
        found,
        draw=to_draw((), recipe.calibration),
        sources=recipe.sources,
        notes=(*found.notes, *notes),
    )


def make_items(
    pictures: Sequence[Annotated],
    images: Path,
    labels: tuple[str, ...],
    *,
    where: str,
    group: str | None,
    progress: Progress | None,
) -> Found:
    """Items of annotated pictures, boxes clipped to them.

    Args:
        pictures: What the file says.
        images: Folder that their keys start from.
        labels: Class names.
        where: The file, for errors.
        group: See `bedside.export.data.files.path_groups`.
        progress: Told of every picture.

    Raises:
        RecipeError: A class that is not in `labels`, a box that is none, or one that lies outside its picture.
    """
    index_of = {label: index for index, label in enumerate(labels)}
    paths = [images / picture.key for picture in pictures]
    checksums = digests(paths, progress)
    groups, how = path_groups(group, [picture.key for picture in pictures], checksums)
    items: list[Item] = []
    clipped = 0
    for picture, path, own, checksum in zip(pictures, paths, groups, checksums, strict=True):
        for box in picture.boxes:
            if box.label not in index_of:
                hint = f"data.labels: {', '.join(labels)}"
                raise RecipeError(
                    f"{picture.key} has a box of the class {box.label!r}", where=where, hint=hint
                )
        corners, cut = _clipped(picture, path, where)
        clipped += cut
        boxes = np.array(corners, np.float32).reshape(-1, 4)
        stored = json.dumps([corners, [box.label for box in picture.boxes]])
        classes = np.array([index_of[box.label] for box in picture.boxes], np.int64)
        items.append(
            Item(
                key=picture.key,
                label=0,
                group=own,
                load=image_loader(path),
                sha256=checksum,
                target=partial(BoxesTarget, boxes, classes),
                target_sha256=hashlib.sha256(stored.encode()).hexdigest(),
            )
        )
    counts = Counter(box.label for picture in pictures for box in picture.boxes)
    for label in (label for label in labels if not counts[label]):
        raise RecipeError(f"class {label!r} has no boxes", where=where)
    notes = [how, "boxes: " + ", ".join(f"{counts[label]} {label}" for label in labels)]
    if clipped:
        notes.append(f"{clipped} boxes reach beyond their picture and were clipped")
    if empty := sum(not picture.boxes for picture in pictures):
        notes.append(f"{empty} pictures have no box")
    return Found(labels=labels, items=tuple(items), draw=(), labelled=False, notes=tuple(notes))


def read_json(file: Path) -> Any:
    """What a JSON file holds.

    Raises:
        RecipeError: It is missing or no JSON.
    """
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise RecipeError(f"has more than {_MOST_BYTES >> 30} GiB", where=str(file))
        return json.loads(file.read_bytes())
    except FileNotFoundError:
        raise RecipeError("no such file", where=str(file), hint="paths start at data.path") from None
    except OSError as error:
        raise RecipeError(f"cannot be read: {error.strerror}", where=str(file)) from None
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"is no JSON: {error}", where=str(file)) from None


def corners_of(
    numbers: Sequence[Any], coding: str, where: str, key: str
) -> tuple[float, float, float, float]:
    """Half-open corners of four numbers.

    Args:
        numbers: `x0, y0, x1, y1` (`xyxy`) or `x, y, width, height` (`xywh`).
        coding: Which of the two.
        where: The file, for errors.
        key: The picture, for errors.

    Raises:
        RecipeError: They are not four finite numbers, or the box is empty.
    """
    fine = len(numbers) == 4 and all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers)
    if not fine or not np.isfinite(numbers).all():
        raise RecipeError(f"{key}: {json.dumps(numbers)[:80]} are not the four numbers of a box", where=where)
    a, b, c, d = (float(number) for number in numbers)
    corners = (a, b, a + c, b + d) if coding == "xywh" else (a, b, c, d)
    if corners[2] <= corners[0] or corners[3] <= corners[1]:
        raise RecipeError(
            f"{key}: the box {[a, b, c, d]} is empty as {coding}",
            where=where,
            hint='data.coding: "xyxy" or "xywh"',
        )
    return corners


def _parse(raw: Any, coding: str, unnamed: str, where: str) -> dict[str, Annotated]:
    if not isinstance(raw, Mapping):
        raise RecipeError("holds no table of pictures", where=where, hint='{"a.jpg": [[x0, y0, x1, y1]]}')
    return {key: _annotated(key, entry, coding, unnamed, where) for key, entry in raw.items()}


def _annotated(key: str, entry: Any, coding: str, unnamed: str, where: str) -> Annotated:
    size = None
    if isinstance(entry, Mapping):
        forms = [form for form in (*_FORMS, "boxes") if form in entry]
        if len(forms) != 1:
            raise RecipeError(f"{key}: expected one of {', '.join(_FORMS)}, boxes", where=where)
        if isinstance(entry.get("w"), int) and isinstance(entry.get("h"), int):
            size = entry["w"], entry["h"]
        coding, entry = _FORMS.get(forms[0], coding), entry[forms[0]]
    if not isinstance(entry, list):
        raise RecipeError(f"{key}: expected a list of boxes", where=where)
    boxes = []
    for box in entry:
        if not isinstance(box, list):
            raise RecipeError(f"{key}: {json.dumps(box)[:80]} is no box", where=where)
        names = [part for part in box if isinstance(part, str)]
        numbers = [part for part in box if not isinstance(part, str)]
        if len(names) > 1:
            raise RecipeError(f"{key}: {json.dumps(box)[:80]} has two names", where=where)
        boxes.append(NamedBox(names[0] if names else unnamed, corners_of(numbers, coding, where, key)))
    return Annotated(key, tuple(boxes), size)


def _clipped(
    picture: Annotated, path: Path, where: str
) -> tuple[list[tuple[float, float, float, float]], int]:
    if not picture.boxes:
        return [], 0
    size = picture.size
    if size is None:
        pixels, _ = read_image(path)
        size = pixels.shape[1], pixels.shape[0]
    width, height = size
    inside, clipped = [], 0
    for box in picture.boxes:
        x0, y0, x1, y1 = box.corners
        cut = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
        if cut[2] <= cut[0] or cut[3] <= cut[1]:
            raise RecipeError(
                f"{picture.key}: the box [{x0:g}, {y0:g}, {x1:g}, {y1:g}] lies outside its picture of "
                f"{width}x{height} pixels",
                where=where,
                hint='data.coding: "xyxy" or "xywh"',
            )
        clipped += cut != box.corners
        inside.append(cut)
    return inside, clipped
