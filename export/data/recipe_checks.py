"""What `[data]` says, checked for contradictions before any file is looked for."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from pathlib import PurePosixPath, PureWindowsPath

from bedside.export.data.recipe import (
    BoxesData,
    ClassFoldersData,
    CocoData,
    CollectionData,
    CollectionItem,
    DataRecipe,
    EchoNetData,
    FramesData,
    MaskFoldersData,
    SyntheticData,
    VideosData,
)
from bedside.runtime.bundle.manifest import Task
from bedside.runtime.errors import RecipeError
from bedside.runtime.synthetic.scene import SMALLEST


def check_data(data: DataRecipe, *, where: str = "recipe") -> None:
    """Check what the schema alone cannot.

    Args:
        data: `[data]`.
        where: Named in errors.

    Raises:
        RecipeError: Keys that contradict each other, both named.
    """
    kept = {"holdout": data.holdout, "validation": data.validation, "calibration": data.calibration}
    if sum(kept.values()) >= 0.95:
        shares = " and ".join(f"data.{key} {share}" for key, share in kept.items() if share)
        raise RecipeError(f"{shares} leave nothing", where=where)
    labels = labels_of(data)
    if labels is not None and len(set(labels)) != len(labels):
        raise RecipeError(f"data.labels has a label twice: {', '.join(labels)}", where=where)
    match data:
        case CollectionData():
            for index, item in enumerate(data.items):
                _check_item(item, data.labels, f"data.items[{index}]", where)
        case ClassFoldersData():
            _check_pattern(data.group, "data.group", where)
        case MaskFoldersData():
            _check_masks(data, where)
        case BoxesData():
            _check_inside({"boxes": data.boxes, "images": data.images}, where)
            _check_pattern(data.group, "data.group", where)
        case CocoData():
            _check_inside({"annotations": data.annotations, "images": data.images}, where)
            _check_pattern(data.group, "data.group", where)
        case VideosData():
            if data.files is not None and data.labels is not None:
                raise RecipeError("data.files names frames without a class, data.labels classes", where=where)
            _check_globs(data.files or (), "files", where)
            _check_pattern(data.group, "data.group", where)
        case FramesData():
            _check_frames(data, where)
        case SyntheticData():
            _check_drawn(data, where)
        case _:
            pass


def labels_of(data: DataRecipe) -> tuple[str, ...] | None:
    """The class names that a recipe states; None where they come from the data or there are none."""
    if isinstance(data, MaskFoldersData) and data.classes is not None:
        return tuple(entry.label for entry in data.classes)
    labels: tuple[str, ...] | None = getattr(data, "labels", None)
    return labels


def tasks_of(data: DataRecipe) -> tuple[Task, ...]:
    """What can be learned from such data; the first is what it is for."""
    pictures: tuple[Task, ...] = ("reconstruction", "generation")
    match data:
        case MaskFoldersData() | EchoNetData() | SyntheticData(content="masks"):
            return "segmentation", *pictures
        case BoxesData() | CocoData() | SyntheticData(content="boxes"):
            return "detection", *pictures
        case SyntheticData(content="despeckle"):
            return ("translation",)
        case FramesData():
            paired = data.targets is not None or data.speckle is not None
            return ("translation",) if paired else pictures
        case VideosData(files=tuple()) | SyntheticData(content="frames"):
            return pictures
        case _:
            return "classification", *pictures


def _check_masks(data: MaskFoldersData, where: str) -> None:
    if (data.images is None) != (data.masks is None):
        raise RecipeError("data.images and data.masks go together", where=where)
    _check_inside({"images": data.images, "masks": data.masks}, where)
    if data.group is not None and data.sequence is not None:
        raise RecipeError(
            "data.group and data.sequence both name groups", where=where, hint="keep one of them"
        )
    _check_pattern(data.group, "data.group", where)
    if data.sequence is not None and any(a >= b for a, b in itertools.pairwise(data.sequence)):
        raise RecipeError("data.sequence does not ascend", where=where)
    if data.labels is not None and data.classes is not None:
        raise RecipeError(
            "data.labels and data.classes both name classes", where=where, hint="keep one of them"
        )
    coding, entries = data.coding, data.classes or ()
    if coding == "binary" and data.classes is not None:
        hint = "data.threshold says where the second class begins; name both in data.labels"
        raise RecipeError('data.classes does not fit data.coding "binary"', where=where, hint=hint)
    if coding == "binary" and len(data.labels or ("", "")) != 2:
        raise RecipeError('data.coding "binary" has two classes', where=where, hint='"index" has more')
    if coding == "index" and data.classes is None and data.labels is None:
        raise RecipeError('data.coding "index" needs data.labels or data.classes', where=where)
    if coding == "colour" and data.classes is None:
        raise RecipeError(
            'data.coding "colour" needs data.classes', where=where, hint="label and colours of every class"
        )
    for index, entry in enumerate(entries):
        given, other = (entry.values, entry.colours) if coding == "index" else (entry.colours, entry.values)
        if not given or other:
            key = "values" if coding == "index" else "colours"
            raise RecipeError(
                f"data.classes[{index}] needs {key}, and nothing else beside its label", where=where
            )
    named: list[object] = [value for entry in entries for value in entry.values]
    named += [colour.lower() for entry in entries for colour in entry.colours]
    named += [*data.unjudged, *(colour.lower() for colour in data.unjudged_colours)]
    for twice in (value for value in named if named.count(value) > 1):
        raise RecipeError(f"{twice} means two things in a mask", where=where)
    if (data.unjudged and coding != "index") or (data.unjudged_colours and coding != "colour"):
        raise RecipeError(
            f'data.unjudged is for "index", data.unjudged_colours for "colour", not for "{coding}"',
            where=where,
        )
    if data.tolerance and coding != "colour":
        raise RecipeError(f'data.tolerance is for data.coding "colour", not for "{coding}"', where=where)


def _check_frames(data: FramesData, where: str) -> None:
    if (data.inputs is None) != (data.targets is None):
        raise RecipeError("data.inputs and data.targets go together", where=where)
    if data.speckle is not None and data.inputs is not None:
        hint = "speckle makes the inputs out of the pictures"
        raise RecipeError("data.speckle and data.inputs contradict each other", where=where, hint=hint)
    _check_inside({"inputs": data.inputs, "targets": data.targets}, where)
    _check_globs((*(data.files or ()), *data.exclude), "files", where)
    _check_pattern(data.group, "data.group", where)


def _check_drawn(data: SyntheticData, where: str) -> None:
    scenes = ("masks", "boxes", "frames")
    if data.content not in scenes and data.scene != "ultrasound":
        raise RecipeError(
            f"data.scene {data.scene!r} does not fit data.content {data.content!r}",
            where=where,
            hint=f"it is for {', '.join(scenes)}",
        )
    for key, side in (("width", data.width), ("height", data.height)):
        if data.content not in ("classes", "classes-hard") and side < SMALLEST:
            raise RecipeError(f"data.{key} is {side}, a drawn scene has at least {SMALLEST}", where=where)


def _check_item(item: CollectionItem, labels: tuple[str, ...], key: str, where: str) -> None:
    if item.label not in labels:
        raise RecipeError(
            f"{key}.label {item.label!r} is not in data.labels", where=where, hint=", ".join(labels)
        )
    if (item.glob is None) == (item.synthetic is None):
        raise RecipeError(f"{key} needs either glob or synthetic, not both or neither", where=where)
    if (item.synthetic is None) != (item.count is None):
        raise RecipeError(f"{key}: synthetic and count go together", where=where)
    if item.glob is not None and _leaves(item.glob):
        raise RecipeError(
            f"{key}.glob {item.glob!r} leaves the data root", where=where, hint="use a path below it"
        )
    _check_pattern(item.group, f"{key}.group", where)


def _check_globs(patterns: Iterable[str], key: str, where: str) -> None:
    for pattern in patterns:
        if not pattern or _leaves(pattern):
            raise RecipeError(
                f"data.{key}: {pattern!r} is no pattern below data.path",
                where=where,
                hint="use a path below it",
            )


def _check_inside(paths: dict[str, str | None], where: str) -> None:
    for key, path in paths.items():
        if path is not None and (not path or _leaves(path)):
            raise RecipeError(
                f"data.{key} {path!r} does not lie below data.path", where=where, hint="use a path below it"
            )


def _leaves(path: str) -> bool:
    pure = PurePosixPath(path)
    return pure.is_absolute() or PureWindowsPath(path).is_absolute() or ".." in pure.parts


def _check_pattern(pattern: str | None, key: str, where: str) -> None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise RecipeError(f"{key} {pattern!r} is not a regular expression: {error}", where=where) from None
