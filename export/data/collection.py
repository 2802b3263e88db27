"""A collection: classes put together from files in several places and from drawn frames."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bedside.export.data.dicom_folders import frame_counts, read_frame
from bedside.export.data.drawn import SOURCE, drawn_items
from bedside.export.data.files import (
    digests,
    existing_folder,
    frame_items,
    group_of,
    image_loader,
    is_dicom_object,
    is_image,
)
from bedside.export.data.recipe import CollectionData, CollectionItem
from bedside.export.data.splitting import to_draw
from bedside.export.data.types import Found, Item, Progress
from bedside.runtime.errors import RecipeError


class _Match(msgspec.Struct, frozen=True):
    """One file that an entry matched.

    Attributes:
        entry: The entry.
        path: Of the file.
        key: Path relative to the collection's folder, forward slashes.
    """

    entry: CollectionItem
    path: Path
    key: str


def find_collection(
    recipe: CollectionData, *, seed: int, root: Path | None, progress: Progress | None = None
) -> Found:
    """Files and drawn frames by entry. Drawn frames need no folder.

    Raises:
        RecipeError: See `bedside.export.data.loading.load_data`.
    """
    drawn = any(entry.synthetic is not None for entry in recipe.items)
    label_of = {label: index for index, label in enumerate(recipe.labels)}
    notes: list[str] = []
    matches: list[_Match] = []
    items: list[Item] = []
    for position, entry in enumerate(recipe.items):
        if entry.glob is not None:
            folder = existing_folder(root, recipe.path)
            found, unused = _match(entry, folder, f"data.items[{position}]")
            matches += found
            notes += [f"data.items[{position}].exclude {pattern!r} matched nothing" for pattern in unused]
        elif entry.synthetic is not None and entry.count is not None:
            items += drawn_items(
                entry.synthetic,
                count=entry.count,
                label=label_of[entry.label],
                seed=seed,
                name=f"{position:02d}-{entry.synthetic}",
                split=entry.split,
            )
    checksums = digests([match.path for match in matches], progress)
    objects = [match.path for match in matches if not is_image(match.path)]
    frames = dict(zip(objects, frame_counts(objects), strict=True))
    for match, checksum in zip(matches, checksums, strict=True):
        entry, label = match.entry, label_of[match.entry.label]
        group = group_of(entry.group, match.key, checksum)
        if match.path in frames:
            count = range(frames[match.path])
            items += frame_items(
                read_frame, match.path, match.key, label, group, checksum, count, entry.split, digits=5
            )
        else:
            items.append(Item(match.key, label, group, image_loader(match.path), checksum, entry.split))
    return Found(
        labels=recipe.labels,
        items=tuple(items),
        draw=to_draw((), recipe.calibration),
        sources=(*recipe.sources, SOURCE) if drawn else recipe.sources,
        notes=tuple(notes),
    )


def _match(entry: CollectionItem, folder: Path, where: str) -> tuple[list[_Match], list[str]]:
    """The files of an entry, sorted, and the exclusions that excluded nothing.

    Raises:
        RecipeError: No file is left, or one is neither an image nor a DICOM object.
    """
    matches: list[_Match] = []
    used: set[str] = set()
    for path in sorted(folder.glob(entry.glob or "")):
        key = path.relative_to(folder).as_posix()
        if not path.is_file() or path.name.startswith("."):
            continue
        hits = {pattern for pattern in entry.exclude if fnmatch.fnmatchcase(key, pattern)}
        used |= hits
        if hits:
            continue
        if not is_image(path) and not is_dicom_object(path):
            raise RecipeError(
                f"{where}.glob {entry.glob!r} matches {key}, neither an image nor a DICOM object",
                where=str(folder),
                hint="narrow the pattern, or use exclude",
            )
        matches.append(_Match(entry, path, key))
    if not matches:
        raise RecipeError(
            f"class {entry.label!r} has no samples from {where}.glob {entry.glob!r}: no file matches",
            where=str(folder),
            hint="patterns start at the data root (--data-root)",
        )
    return matches, _unused(entry.exclude, used)


def _unused(patterns: Sequence[str], used: set[str]) -> list[str]:
    return [pattern for pattern in patterns if pattern not in used]
