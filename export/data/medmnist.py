"""An `.npz` in MedMNIST's layout: `{train,val,test}_images` and `{train,val,test}_labels`.

Layout: MedMNIST v2 (Yang et al., Scientific Data 2023), `(N, S, S) uint8` grey or `(N, S, S, 3) uint8` RGB, labels
`(N, 1)` integers. Its `test` split is the holdout.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.data.files import resolve
from bedside.export.data.recipe import MedMnistData
from bedside.export.data.splitting import to_draw
from bedside.export.data.types import Found, Item, Progress, SplitName
from bedside.runtime.errors import RecipeError
from bedside.runtime.frame import Color, Pixels

_SPLITS: tuple[tuple[str, SplitName], ...] = (("train", "train"), ("val", "validation"), ("test", "holdout"))


class _Part(msgspec.Struct, frozen=True):
    """One split of the file: images `(N, H, W[, 3]) uint8`, labels `(N,) int64`, digests of the images."""

    prefix: str
    split: SplitName
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    digests: list[str]


def find_medmnist(recipe: MedMnistData, *, root: Path | None, progress: Progress | None = None) -> Found:
    """Frames of an `.npz`. A split that the file lacks is drawn from its training split.

    Published sets hold a few identical pictures in two splits. Those are taken out of training (or
    validation), never out of the holdout, and counted in the notes; near-duplicates likewise.

    Raises:
        RecipeError: See `bedside.export.data.loading.load_data`.
    """
    file = resolve(root, recipe.path)
    arrays = _read(file)
    parts = [_part(file, arrays, prefix, split) for prefix, split in _SPLITS if f"{prefix}_images" in arrays]
    if not parts or parts[0].prefix != "train":
        raise RecipeError(
            "has no train_images", where=str(file), hint=f"its arrays: {', '.join(sorted(arrays)) or 'none'}"
        )
    classes = 1 + max(int(part.labels.max()) for part in parts)
    labels = recipe.labels or tuple(f"class {index}" for index in range(max(classes, 2)))
    if classes > len(labels):
        raise RecipeError(
            f"labels go up to {classes - 1}, data.labels names {len(labels)} classes", where=str(file)
        )
    present = {part.split for part in parts}
    draw = to_draw(present, recipe.calibration)
    items: list[Item] = []
    seen: dict[str, SplitName] = {}
    dropped = 0
    total = sum(len(part.digests) for part in parts)
    for part in reversed(parts):
        for index, checksum in enumerate(part.digests):
            if progress is not None:
                progress(len(items) + dropped + 1, total)
            if seen.setdefault(checksum, part.split) != part.split:
                dropped += 1
                continue
            items.append(
                Item(
                    key=f"{file.name}#{part.prefix}/{index:06d}",
                    label=int(part.labels[index]),
                    group=checksum,
                    load=partial(_pixels, part.images, index),
                    sha256=checksum,
                    split=None if part.split == "train" and draw else part.split,
                )
            )
    notes = ["groups: none in the file, identical pictures only"]
    if dropped:
        notes.append(
            f"{dropped} pictures left out of training or validation: identical ones are in a later split"
        )
    return Found(
        labels=labels,
        items=tuple(items),
        draw=draw,
        prune=True,
        sources=recipe.sources,
        notes=tuple(notes),
    )


def _pixels(images: npt.NDArray[np.uint8], index: int) -> tuple[Pixels, Color]:
    picture = images[index]
    return (picture, "rgb") if picture.ndim == 3 else (picture[:, :, np.newaxis], "gray")


def _read(file: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays that matter, without pickle."""
    wanted = {f"{prefix}_{what}" for prefix, _ in _SPLITS for what in ("images", "labels")}
    try:
        if not zipfile.is_zipfile(file):
            size = file.stat().st_size
            raise RecipeError(f"is not an .npz file ({size} bytes, no zip archive)", where=str(file))
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files if name in wanted}
    except FileNotFoundError:
        hint = "data.path is relative to the data root (--data-root)"
        raise RecipeError("no such file", where=str(file), hint=hint) from None
    except (ValueError, OSError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise RecipeError(
            f"cannot be read: {error}", where=str(file), hint="arrays of plain numbers, no pickle"
        ) from None


def _part(file: Path, arrays: dict[str, npt.NDArray[Any]], prefix: str, split: SplitName) -> _Part:
    images, labels = arrays[f"{prefix}_images"], arrays.get(f"{prefix}_labels")
    where = f"{file}: {prefix}_images"
    if labels is None:
        raise RecipeError(f"has no {prefix}_labels", where=str(file))
    if images.dtype != np.uint8:
        raise RecipeError(f"has {images.dtype} pixels, expected uint8", where=where)
    if images.ndim == 4 and images.shape[3] != 3 and len(set(images.shape[1:])) == 1:
        raise RecipeError(f"shape {images.shape}: volumes; frames are (N, H, W) or (N, H, W, 3)", where=where)
    if not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)):
        raise RecipeError(f"shape {images.shape}, expected (N, H, W) or (N, H, W, 3)", where=where)
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise RecipeError(
            f"{prefix}_labels has shape {labels.shape}: several labels per frame",
            where=str(file),
            hint="classification takes one label per frame",
        )
    if labels.dtype.kind not in "iu" or labels.size != len(images):
        raise RecipeError(
            f"{prefix}_labels: {labels.dtype} {labels.shape}, expected {len(images)} integers",
            where=str(file),
        )
    if len(images) == 0:
        raise RecipeError("has no frames", where=where)
    flat = labels.reshape(-1).astype(np.int64)
    if flat.min() < 0 or flat.max() > 4095:
        raise RecipeError(
            f"{prefix}_labels: {flat.min()} to {flat.max()}, expected 0 to 4095", where=str(file)
        )
    shape = repr(images.shape[1:]).encode()
    checksums = [
        hashlib.sha256(shape + np.ascontiguousarray(picture).tobytes()).hexdigest() for picture in images
    ]
    return _Part(prefix, split, images, flat, checksums)
