"""Pictures without labels, and pairs of pictures."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from bedside.export.data.files import (
    digests,
    existing_folder,
    image_loader,
    is_image,
    path_groups,
    read_image,
    visible_files,
)
from bedside.export.data.recipe import FramesData
from bedside.export.data.speckled import add_speckle, seed_of
from bedside.export.data.splitting import to_draw
from bedside.export.data.types import Found, Item, PictureTarget, Progress
from bedside.runtime.errors import RecipeError
from bedside.runtime.frame import Color, Pixels

#: The one label of frames that have no class.
LABELS = ("frame",)


def find_frames(
    recipe: FramesData, *, seed: int, root: Path | None, progress: Progress | None = None
) -> Found:
    """Pictures, alone or in pairs.

    Raises:
        RecipeError: See `bedside.export.data.loading.load_data`; also an input without a target.
    """
    folder = existing_folder(root, recipe.path)
    images = folder if recipe.inputs is None else existing_folder(folder, recipe.inputs)
    pictures, unused = _chosen(images, recipe.files, recipe.exclude)
    keys = [picture.relative_to(images).as_posix() for picture in pictures]
    targets: list[Path] = []
    if recipe.targets is not None:
        targets = _partners(keys, existing_folder(folder, recipe.targets))
    checksums = digests([*pictures, *targets], progress)
    groups, how = path_groups(recipe.group, keys, checksums[: len(pictures)])
    items = []
    for at, (key, picture) in enumerate(zip(keys, pictures, strict=True)):
        item = Item(
            key=key,
            label=0,
            group=groups[at],
            load=image_loader(picture),
            sha256=checksums[at],
        )
        if targets:
            digest = checksums[len(pictures) + at]
            item = msgspec.structs.replace(item, target=partial(_picture, targets[at]), target_sha256=digest)
        elif recipe.speckle is not None:
            # Seeded by content: the same picture has the same speckle in every run, whatever it is called.
            load = partial(_speckled, picture, recipe.speckle, seed_of(f"{seed} {checksums[at]}"))
            item = msgspec.structs.replace(
                item,
                load=load,
                target=partial(_picture, picture),
                target_sha256=checksums[at],
                plain=item.load,
            )
        items.append(item)
    notes = [how, *(f"data.exclude {p!r} matched nothing" for p in unused)]
    if recipe.speckle is not None:
        notes.append(f"inputs: the pictures with simulated speckle, {recipe.speckle:g} pixels a cell")
    return Found(
        labels=LABELS,
        items=tuple(items),
        draw=to_draw((), recipe.calibration),
        labelled=False,
        sources=recipe.sources,
        notes=tuple(notes),
    )


def _chosen(
    folder: Path, patterns: Sequence[str] | None, exclude: Sequence[str]
) -> tuple[list[Path], list[str]]:
    """The pictures, sorted, and the exclusions that excluded nothing."""
    pictures = [path for path in visible_files(folder) if is_image(path)]
    if patterns is not None:
        matches: set[Path] = set()
        for pattern in patterns:
            hits = set(folder.glob(pattern)) & set(pictures)
            if not hits:
                raise RecipeError(f"data.files: no picture matches {pattern!r}", where=str(folder))
            matches |= hits
        pictures = [path for path in pictures if path in matches]
    unused = []
    for pattern in exclude:
        left = [p for p in pictures if not fnmatch.fnmatchcase(p.relative_to(folder).as_posix(), pattern)]
        if len(left) == len(pictures):
            unused.append(pattern)
        pictures = left
    if not pictures:
        raise RecipeError("has no images", where=str(folder))
    return pictures, unused


def _partners(keys: Sequence[str], folder: Path) -> list[Path]:
    by_stem: dict[str, Path] = {}
    for path in visible_files(folder):
        if is_image(path):
            stem = path.relative_to(folder).with_suffix("").as_posix()
            if stem in by_stem:
                both = f"{by_stem[stem].name} and {path.name}"
                raise RecipeError(f"{both} are targets of one picture", where=str(folder))
            by_stem[stem] = path
    missing = [key for key in keys if Path(key).with_suffix("").as_posix() not in by_stem]
    if missing:
        raise RecipeError(
            f"{len(missing)} of {len(keys)} pictures have no target: {', '.join(missing[:3])}",
            where=str(folder),
            hint="a target has the path and name of its input",
        )
    return [by_stem[Path(key).with_suffix("").as_posix()] for key in keys]


def _picture(path: Path) -> PictureTarget:
    return PictureTarget(*read_image(path))


def _speckled(path: Path, cell: float, seed: int) -> tuple[Pixels, Color]:
    pixels, color = read_image(path)
    return add_speckle(pixels, cell, seed), color
