"""Pictures with masks in a folder beside them: binary, index or colour masks."""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.data.files import (
    digests,
    existing_folder,
    image_loader,
    is_image,
    path_groups,
    read_image,
    visible_files,
)
from bedside.export.data.recipe import MaskFoldersData
from bedside.export.data.splitting import to_draw
from bedside.export.data.types import UNJUDGED, Found, Item, MaskTarget, Progress
from bedside.runtime.errors import RecipeError

#: Folders of pictures and masks: Kvasir-SEG, a common one, CVC-ClinicDB.
LAYOUTS = (("images", "masks"), ("images", "labels"), ("Original", "Ground Truth"))
_UNKNOWN = -1


class Coding(msgspec.Struct, frozen=True):
    """What the pixels of a mask mean.

    Attributes:
        values: Class of every pixel value, `(256,) int16`, -1 where it has none; None where colours count.
        colours: `(K, 3) int32` BGR.
        classes: Class of each of the colours, `(K,) int16`.
        tolerance: How far each channel may be from a colour.
    """

    values: npt.NDArray[np.int16] | None
    colours: npt.NDArray[np.int32]
    classes: npt.NDArray[np.int16]
    tolerance: int = 0


def find_masks(recipe: MaskFoldersData, *, root: Path | None, progress: Progress | None = None) -> Found:
    """Pictures and their masks.

    Raises:
        RecipeError: See `bedside.export.data.loading.load_data`; also a picture without a mask.
    """
    folder = existing_folder(root, recipe.path)
    images, masks = _folders(recipe, folder)
    pictures = [file for file in visible_files(images) if is_image(file)]
    if not pictures:
        raise RecipeError("has no images", where=str(images))
    by_name, strays = _pair(pictures, images, masks, recipe.mask_suffix)
    checksums = digests([*pictures, *by_name.values()], progress)
    coding = make_coding(recipe)
    keys = [picture.relative_to(images).as_posix() for picture in pictures]
    groups, how = _groups(recipe, keys, checksums[: len(pictures)])
    items = []
    for at, (key, picture) in enumerate(zip(keys, pictures, strict=True)):
        items.append(
            Item(
                key=key,
                label=0,
                group=groups[at],
                load=image_loader(picture),
                sha256=checksums[at],
                target=partial(_target, by_name[key], coding),
                target_sha256=checksums[len(pictures) + at],
            )
        )
    notes = [how]
    if strays:
        notes.append(f"{strays} masks have no picture and were left aside")
    return Found(
        labels=mask_labels(recipe),
        items=tuple(items),
        draw=to_draw((), recipe.calibration),
        labelled=False,
        sources=recipe.sources,
        notes=tuple(notes),
    )


def mask_labels(recipe: MaskFoldersData) -> tuple[str, ...]:
    """Class names, background first."""
    if recipe.classes is not None:
        return tuple(entry.label for entry in recipe.classes)
    return recipe.labels or ("background", "foreground")


def make_coding(recipe: MaskFoldersData) -> Coding:
    """The tables that a recipe describes."""
    no_colours = np.empty((0, 3), np.int32), np.empty(0, np.int16)
    if recipe.coding == "binary":
        return Coding((np.arange(256) > recipe.threshold).astype(np.int16), *no_colours)
    if recipe.coding == "index":
        values = np.full(256, _UNKNOWN, np.int16)
        if recipe.classes is None:
            values[: len(mask_labels(recipe))] = np.arange(len(mask_labels(recipe)))
        for index, entry in enumerate(recipe.classes or ()):
            values[list(entry.values)] = index
        values[list(recipe.unjudged)] = UNJUDGED
        return Coding(values, *no_colours)
    named = [(c, index) for index, entry in enumerate(recipe.classes or ()) for c in entry.colours]
    named += [(c, UNJUDGED) for c in recipe.unjudged_colours]
    colours = np.array([_bgr(colour) for colour, _ in named], np.int32).reshape(-1, 3)
    return Coding(None, colours, np.array([index for _, index in named], np.int16), recipe.tolerance)


def read_mask(path: Path, coding: Coding) -> npt.NDArray[np.uint8]:
    """The class of every pixel, `(H, W) uint8`.

    Raises:
        RecipeError: It cannot be read, or has a pixel whose value or colour has no class.
    """
    pixels, color = read_image(path)
    if coding.values is None:
        return _by_colour(pixels if color == "bgr" else np.repeat(pixels, 3, 2), coding, path)
    gray = pixels[:, :, 0]
    if color == "bgr" and not (np.ptp(pixels, axis=2) <= 8).all():
        raise RecipeError(
            "is a mask with colours, expected one of grey levels",
            where=str(path),
            hint='data.coding = "colour", with the colours in data.classes (a palette becomes its colours)',
        )
    classes = coding.values[gray]
    if (unknown := classes == _UNKNOWN).any():
        value = int(gray[unknown][0])
        raise RecipeError(
            f"has {int(unknown.sum())} pixels of the value {value} and others without a class",
            where=str(path),
            hint="name it in data.classes or data.unjudged",
        )
    return classes.astype(np.uint8)


def _target(path: Path, coding: Coding) -> MaskTarget:
    return MaskTarget(read_mask(path, coding))


def _by_colour(pixels: npt.NDArray[np.uint8], coding: Coding, path: Path) -> npt.NDArray[np.uint8]:
    values = pixels.astype(np.int32)
    classes = np.full(pixels.shape[:2], _UNKNOWN, np.int16)
    nearest = np.full(pixels.shape[:2], np.iinfo(np.int32).max, np.int32)
    for colour, index in zip(coding.colours, coding.classes, strict=True):
        low, high = (np.clip(colour + sign * coding.tolerance, 0, 255).astype(np.uint8) for sign in (-1, 1))
        close = cv2.inRange(pixels, low, high) > 0
        distance = np.square(values[close] - colour).sum(1)
        better = distance < nearest[close]
        nearest[close] = np.where(better, distance, nearest[close])
        classes[close] = np.where(better, index, classes[close])
    if (unknown := classes == _UNKNOWN).any():
        strays, counts = np.unique(pixels[unknown], axis=0, return_counts=True)
        stray = strays[counts.argmax()].astype(int)
        far = int(np.abs(stray - coding.colours).max(1).min())
        raise RecipeError(
            f"has {int(unknown.sum())} pixels of colours without a class, most often "
            f"#{stray[2]:02x}{stray[1]:02x}{stray[0]:02x}, {far} from the nearest",
            where=str(path),
            hint="name it in data.classes or data.unjudged_colours, or raise data.tolerance (JPEG: about 60)",
        )
    return np.asarray(classes, np.uint8)


def _bgr(colour: str) -> tuple[int, int, int]:
    value = int(colour[1:], 16)
    return value & 255, value >> 8 & 255, value >> 16


def _folders(recipe: MaskFoldersData, folder: Path) -> tuple[Path, Path]:
    if recipe.images is not None and recipe.masks is not None:
        return existing_folder(folder, recipe.images), existing_folder(folder, recipe.masks)
    found = [(folder / a, folder / b) for a, b in LAYOUTS if (folder / a).is_dir() and (folder / b).is_dir()]
    if len(found) != 1:
        named = ", ".join(f"{a}/ with {b}/" for a, b in LAYOUTS)
        raise RecipeError(
            f"has {'none' if not found else 'more than one'} of the layouts {named}",
            where=str(folder),
            hint="name both folders: data.images, data.masks",
        )
    return found[0]


def _pair(pictures: Sequence[Path], images: Path, masks: Path, suffix: str) -> tuple[Mapping[str, Path], int]:
    """The mask of every picture, by the picture's key and in its order, and how many masks are left."""
    by_stem: dict[str, Path] = {}
    for file in visible_files(masks):
        if is_image(file):
            stem = file.relative_to(masks).with_suffix("").as_posix()
            if stem in by_stem:
                raise RecipeError(
                    f"{by_stem[stem].name} and {file.name} are masks of one picture", where=str(masks)
                )
            by_stem[stem] = file
    found: dict[str, Path] = {}
    missing: list[str] = []
    taken: dict[str, str] = {}
    for picture in pictures:
        key = picture.relative_to(images).as_posix()
        stem = picture.relative_to(images).with_suffix("").as_posix() + suffix
        if stem in taken:
            raise RecipeError(f"{taken[stem]} and {key} are pictures of one mask", where=str(images))
        taken[stem] = key
        if stem in by_stem:
            found[key] = by_stem[stem]
        else:
            missing.append(key)
    if missing:
        raise RecipeError(
            f"{len(missing)} of {len(pictures)} pictures have no mask: {', '.join(missing[:3])}",
            where=str(masks),
            hint="a mask has the path and name of its picture; data.mask_suffix says what its name has more",
        )
    return found, len(by_stem) - len(found)


def _groups(recipe: MaskFoldersData, keys: Sequence[str], checksums: Sequence[str]) -> tuple[list[str], str]:
    if recipe.sequence is None:
        return path_groups(recipe.group, keys, checksums)
    groups = []
    for key in keys:
        numbers = re.findall(r"\d+", Path(key).stem)
        if not numbers or int(numbers[-1]) < recipe.sequence[0]:
            raise RecipeError(
                f"data.sequence: {key} has no number from {recipe.sequence[0]} up", where="data"
            )
        groups.append(f"sequence {bisect.bisect_right(recipe.sequence, int(numbers[-1]))}")
    return groups, f"groups: {len(recipe.sequence)} sequences of numbered frames"
