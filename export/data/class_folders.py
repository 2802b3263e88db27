"""Class folders: `root/CLASS/...` or `root/{train,val,test}/CLASS/...`, of images, videos or DICOM objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from bedside.export.data.files import (
    digests,
    existing_folder,
    image_loader,
    is_dicom_object,
    is_image,
    path_groups,
    visible_files,
    visible_folders,
)
from bedside.export.data.recipe import ClassFoldersData
from bedside.export.data.splitting import to_draw
from bedside.export.data.types import Found, Item, Progress, SplitName
from bedside.runtime.errors import RecipeError

Wanted = Callable[[Path], bool]

#: What split folders are called in the wild.
_SPLIT_FOLDERS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "calibration": "calibration",
    "test": "holdout",
    "testing": "holdout",
    "holdout": "holdout",
}


class ClassFile(msgspec.Struct, frozen=True):
    """One file below a class folder.

    Attributes:
        path: Of the file.
        key: Path relative to the root, forward slashes.
        below: Path relative to its class folder, forward slashes.
        label: Index of its class.
        split: From a split folder, None where there are none.
    """

    path: Path
    key: str
    below: str
    label: int
    split: SplitName | None


class ClassTree(msgspec.Struct, frozen=True):
    """What was found below the root.

    Attributes:
        labels: Class names.
        files: Of all classes and splits.
        draw: Splits that have no folder of their own and have to be drawn.
        notes: What was left aside.
    """

    labels: tuple[str, ...]
    files: tuple[ClassFile, ...]
    draw: tuple[SplitName, ...]
    notes: tuple[str, ...]


def find_class_folders(
    recipe: ClassFoldersData, *, root: Path | None, progress: Progress | None = None
) -> Found:
    """Images in class folders.

    Raises:
        RecipeError: See `bedside.export.data.loading.load_data`.
    """
    folder = existing_folder(root, recipe.path)
    tree = find_classes(folder, recipe.labels, is_image, "images", recipe.calibration)
    checksums = digests([f.path for f in tree.files], progress)
    below = [file.below for file in tree.files]
    groups, how = path_groups(recipe.group, below, checksums, " below the class")
    items = [
        Item(
            key=file.key,
            label=file.label,
            group=group,
            load=image_loader(file.path),
            sha256=checksum,
            split=file.split,
        )
        for file, group, checksum in zip(tree.files, groups, checksums, strict=True)
    ]
    return Found(
        labels=tree.labels,
        items=tuple(items),
        draw=tree.draw,
        sources=recipe.sources,
        notes=(how, *tree.notes),
    )


def find_classes(
    folder: Path, labels: Sequence[str] | None, wanted: Wanted, kind: str, calibration: float = 0.0
) -> ClassTree:
    """Find class folders, and split folders above them where there are.

    Args:
        folder: The root.
        labels: Order of the classes; None: sorted by name.
        wanted: Which files count.
        kind: What they are, for errors.
        calibration: Share that the calibration split is to have where it has no folder.

    Raises:
        RecipeError: Fewer than two classes, a class without files, or a folder that `labels` does not name.
    """
    tops = visible_folders(folder)
    names = {top.name.lower() for top in tops}
    if names and names <= set(_SPLIT_FOLDERS) and any(_SPLIT_FOLDERS[n] == "train" for n in names):
        roots: list[tuple[Path, SplitName | None]] = [(top, _SPLIT_FOLDERS[top.name.lower()]) for top in tops]
        twice = [top.name for top, split in roots if [s for _, s in roots].count(split) > 1]
        if twice:
            raise RecipeError(f"folders {', '.join(twice)} are the same split", where=str(folder))
        draw = to_draw([split for _, split in roots if split is not None], calibration)
    else:
        roots, draw = [(folder, None)], to_draw((), calibration)
    found = sorted({child.name for top, _ in roots for child in visible_folders(top)})
    order = _order(found, labels, folder, kind, wanted)
    files, strays = [], 0
    for top, split in roots:
        for label, name in enumerate(order):
            below = top / name
            listed = visible_files(below) if below.is_dir() else []
            if not below.is_dir():
                raise RecipeError(
                    f"class {name!r} has no samples in {top.name!r}: no such folder", where=str(folder)
                )
            kept = _kept(listed, wanted, kind, name, below)
            strays += len(listed) - len(kept)
            # Of a split that has to be drawn, the training folder's files are free to go there.
            own = None if split == "train" and draw else split
            files += [
                ClassFile(
                    path, path.relative_to(folder).as_posix(), path.relative_to(below).as_posix(), label, own
                )
                for path in kept
            ]
    notes = (f"{strays} files in class folders are no {kind} and were left aside",) if strays else ()
    return ClassTree(order, tuple(files), draw, notes)


def _order(
    found: list[str], labels: Sequence[str] | None, folder: Path, kind: str, wanted: Wanted
) -> tuple[str, ...]:
    if labels is not None:
        for name in (n for n in found if n not in labels):
            raise RecipeError(
                f"folder {name!r} is not in data.labels",
                where=str(folder),
                hint=f"data.labels: {', '.join(labels)}",
            )
        for name in (n for n in labels if n not in found):
            raise RecipeError(f"class {name!r} has no samples: no such folder", where=str(folder))
        return tuple(labels)
    if len(found) < 2:
        loose = sum(wanted(file) for file in visible_files(folder))
        raise RecipeError(
            f"{len(found)} class folder{'s' * (len(found) != 1)}, at least 2 are needed; "
            f"{loose} {kind} below it",
            where=str(folder),
            hint="put the files of each class into a folder with the name of the class",
        )
    return tuple(found)


def _kept(listed: list[Path], wanted: Wanted, kind: str, name: str, below: Path) -> list[Path]:
    kept = [file for file in listed if wanted(file)]
    if kept:
        return kept
    there = sorted({file.suffix.lower() or "no suffix" for file in listed})
    what = f"no {kind}" + (f", only files with {', '.join(there[:6])}" if there else ", the folder is empty")
    hint = ""
    if wanted is is_image and any(is_dicom_object(file) for file in listed):
        hint = 'these are DICOM objects: data.kind = "dicom-folders"'
    elif any(is_image(file) for file in listed):
        hint = 'these are images: data.kind = "class-folders"'
    raise RecipeError(f"class {name!r} has no samples: {what}", where=str(below), hint=hint)
