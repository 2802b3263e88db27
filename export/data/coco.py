"""Instances in COCO's JSON: `images`, `annotations` with `bbox` as `[x, y, width, height]`, `categories`.

Format: https://cocodataset.org/#format-data, "Object Detection". `iscrowd` regions are left out, as COCO's own
evaluation neither rewards nor punishes detections in them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bedside.export.data.boxes import Annotated, NamedBox, corners_of, make_items, read_json
from bedside.export.data.files import existing_folder
from bedside.export.data.recipe import CocoData
from bedside.export.data.splitting import to_draw
from bedside.export.data.types import Found, Progress
from bedside.runtime.errors import RecipeError


def find_coco(recipe: CocoData, *, root: Path | None, progress: Progress | None = None) -> Found:
    """Pictures and their boxes; a picture without annotations has no box.

    Raises:
        RecipeError: See `bedside.export.data.loading.load_data`; also an annotation of an unknown picture or
            category, or a box outside its picture.
    """
    folder = existing_folder(root, recipe.path)
    images, file = existing_folder(folder, recipe.images), folder / recipe.annotations
    where = str(file)
    raw = read_json(file)
    categories = {
        entry["id"]: str(entry["name"]) for entry in _rows(raw, "categories", ("id", "name"), where)
    }
    ordered = tuple(
        categories[key] for key in sorted(categories, key=lambda key: (isinstance(key, str), key))
    )
    if len(set(ordered)) != len(ordered):
        raise RecipeError(f"two categories have one name: {', '.join(ordered)}", where=where)
    labels = recipe.labels or ordered
    for label in (label for label in labels if label not in ordered):
        raise RecipeError(
            f"data.labels names {label!r}, which is no category", where=where, hint=", ".join(ordered)
        )
    rows = _rows(raw, "images", ("id", "file_name"), where)
    known = {row["id"] for row in rows}
    boxes: dict[Any, list[NamedBox]] = defaultdict(list)
    crowds = others = 0
    for row in _rows(raw, "annotations", ("image_id", "category_id", "bbox"), where):
        if row["image_id"] not in known:
            raise RecipeError(f"an annotation names the unknown picture {row['image_id']!r}", where=where)
        if row["category_id"] not in categories:
            raise RecipeError(f"an annotation has the unknown category {row['category_id']!r}", where=where)
        label = categories[row["category_id"]]
        if row.get("iscrowd"):
            crowds += 1
        elif label not in labels:
            others += 1
        else:
            numbers = row["bbox"] if isinstance(row["bbox"], list) else []
            corners = corners_of(numbers, "xywh", where, f"picture {row['image_id']}")
            boxes[row["image_id"]].append(NamedBox(label, corners))
    pictures = [
        Annotated(str(row["file_name"]), tuple(boxes[row["id"]]), _size(row))
        for row in sorted(rows, key=lambda row: str(row["file_name"]))
    ]
    for picture in pictures:
        if not (images / picture.key).resolve().is_relative_to(images.resolve()):
            raise RecipeError(f"{picture.key!r} lies outside the folder of pictures", where=where)
    found = make_items(pictures, images, labels, where=where, group=recipe.group, progress=progress)
    notes = [f"{crowds} crowd regions were left out"] if crowds else []
    notes += [f"{others} boxes of other categories were left out"] if others else []
    return msgspec.structs.replace(
        found,
        draw=to_draw((), recipe.calibration),
        sources=recipe.sources,
        notes=(*found.notes, *notes),
    )


def _rows(raw: Any, table: str, needed: tuple[str, ...], where: str) -> list[Mapping[str, Any]]:
    rows = raw.get(table) if isinstance(raw, Mapping) else None
    if not isinstance(rows, list):
        raise RecipeError(
            f"has no list {table!r}", where=where, hint="expected COCO's images, annotations, categories"
        )
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise RecipeError(f"{table}[{index}] is no table", where=where)
        for key in needed:
            if not isinstance(row.get(key), list if key == "bbox" else int | str):
                raise RecipeError(f"{table}[{index}] has no {key}", where=where)
    ids = [row["id"] for row in rows if "id" in needed]
    if len(set(ids)) != len(ids):
        raise RecipeError(f"{table} has an id twice", where=where)
    return rows


def _size(row: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = row.get("width"), row.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None
