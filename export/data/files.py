"""Image files: found, digested, decoded. Nothing is skipped silently."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from bedside.export.data.types import Item, Loader, Progress, SplitName
from bedside.runtime.dicom import is_dicom
from bedside.runtime.errors import RecipeError
from bedside.runtime.frame import Color, Pixels
from bedside.runtime.opencv import quiet_opencv

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
#: Folders that operating systems and archivers leave behind.
_IGNORED_FOLDERS = frozenset({"__MACOSX"})
_CHUNK = 1 << 20


def visible_files(folder: Path) -> list[Path]:
    """Every file below a folder, sorted by path; hidden ones and archivers' litter are left out."""
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if not any(part.startswith(".") or part in _IGNORED_FOLDERS for part in parts) and path.is_file():
            found.append(path)
    return found


def visible_folders(folder: Path) -> list[Path]:
    """The folders directly in a folder, sorted by name; hidden ones are left out."""
    return sorted(
        p
        for p in folder.iterdir()
        if p.is_dir() and not p.name.startswith(".") and p.name not in _IGNORED_FOLDERS
    )


def existing_folder(root: Path | None, path: str) -> Path:
    """A folder that a recipe names.

    Raises:
        RecipeError: It is missing, or no folder; or relative, and nobody said relative to what.
    """
    folder = resolve(root, path)
    if not folder.exists():
        raise RecipeError(
            "no such folder", where=str(folder), hint="data.path is relative to the data root (--data-root)"
        )
    if not folder.is_dir():
        raise RecipeError("is not a folder", where=str(folder))
    return folder


def resolve(root: Path | None, path: str) -> Path:
    """A path below the data root; an absolute one stays as it is."""
    given = Path(path).expanduser()
    if given.is_absolute():
        return given
    if root is None:
        raise RecipeError(
            f"data.path {path!r} is relative, and the recipe is not a file of yours",
            where="data",
            hint="say where the data is with --data-root FOLDER",
        )
    return root / given


def digests(files: Sequence[Path], progress: Progress | None = None) -> list[str]:
    """The sha256 of each file.

    Raises:
        RecipeError: Files that are empty or cannot be read, with their count.
    """
    found, bad = [], []
    for index, path in enumerate(files):
        digest, size = hashlib.sha256(), 0
        try:
            with path.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
        except OSError as error:
            bad.append(f"{path}: {error.strerror}")
        else:
            if size == 0:
                bad.append(f"{path}: empty file")
        found.append(digest.hexdigest())
        if progress is not None:
            progress(index + 1, len(files))
    if bad:
        raise RecipeError(
            f"{len(bad)} of {len(files)} files cannot be read: {'; '.join(bad[:3])}",
            where="data",
            hint="repair or remove them; nothing is skipped silently",
        )
    return found


def read_image(path: Path) -> tuple[Pixels, Color]:
    """Decode one 8-bit image, orientation tag applied, alpha dropped.

    Returns:
        `(H, W, 3) uint8` BGR, or `(H, W, 1) uint8` grey.

    Raises:
        RecipeError: It cannot be read, is no image, or has more than 8 bits.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecipeError(f"{error.strerror}", where=str(path)) from None
    try:
        with quiet_opencv():
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise RecipeError("is not an image that can be decoded", where=str(path))
    if pixels.dtype != np.uint8:
        raise RecipeError(
            f"has {pixels.dtype} pixels, frames have uint8",
            where=str(path),
            hint="convert it to 8 bits with the window that a reader would use, or give the DICOM object",
        )
    if pixels.ndim == 2:
        return pixels[:, :, np.newaxis].astype(np.uint8, copy=False), "gray"
    return pixels.astype(np.uint8, copy=False), "bgr"


def image_loader(path: Path) -> Loader:
    """A loader of one image file."""
    return partial(read_image, path)


def group_of(pattern: str | None, relative: str, fallback: str) -> str:
    """The group that a regular expression finds in a path.

    Args:
        pattern: Searched in `relative`; its first group (or whole match) is the group.
        relative: Path with forward slashes.
        fallback: Where there is no pattern.

    Raises:
        RecipeError: The pattern does not match: a frame without its subject must not be guessed at.
    """
    if pattern is None:
        return fallback
    match = re.search(pattern, relative)
    if match is None:
        raise RecipeError(
            f"data.group {pattern!r} does not match {relative!r}",
            where="data",
            hint="every file needs a group; widen the pattern",
        )
    return (match.group(1) if match.re.groups else match.group(0)) or match.group(0)


def path_groups(
    pattern: str | None, paths: Sequence[str], fallbacks: Sequence[str], above: str = ""
) -> tuple[list[str], str]:
    """The group of every file: what the pattern finds in its path, else its first folder, else its fallback.

    Args:
        pattern: See `group_of`.
        paths: With forward slashes. Folders that all of them are in say nothing and are passed over.
        fallbacks: The groups of files that are in no folder, parallel to `paths`.
        above: What the paths start below, for the note.

    Returns:
        The groups, and how they were found, for the report.

    Raises:
        RecipeError: The pattern does not match.
    """
    if pattern is not None:
        groups = [group_of(pattern, path, "") for path in paths]
        return groups, f"groups: the match of {pattern!r} in the path"
    common = posixpath.commonpath([posixpath.dirname(path) or "." for path in paths]) if paths else ""
    start = len(common) + 1 if common not in ("", ".") else 0
    rests = [path[start:] for path in paths]
    if not any("/" in rest for rest in rests):
        return (
            list(fallbacks),
            "groups: none known, every picture by itself; frames of one patient may be in two splits",
        )
    groups = [
        path[: start + rest.index("/")] if "/" in rest else fallback
        for path, rest, fallback in zip(paths, rests, fallbacks, strict=True)
    ]
    return groups, f"groups: the first folder{above}"


def is_image(path: Path) -> bool:
    """Whether a file is an image by its name."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def is_dicom_object(path: Path) -> bool:
    """Whether a file is a DICOM object: by its name, or by its preamble where it has no suffix of its own."""
    if path.name.upper() == "DICOMDIR" or is_image(path):
        return False
    return path.suffix.lower() in DICOM_SUFFIXES or is_dicom(path)


def frame_items(
    read: Callable[[Path, int], tuple[Pixels, Color]],
    path: Path,
    key: str,
    label: int,
    group: str,
    checksum: str,
    frames: Sequence[int],
    split: SplitName | None,
    *,
    digits: int = 6,
) -> list[Item]:
    """Items of a file with several frames. The content digest is that of file digest and frame number.

    Args:
        read: Reads the frame with this number.
        path: Of the file.
        key: Of the file.
        label: Of all its frames.
        group: Of all its frames.
        checksum: Of the file.
        frames: Their numbers.
        split: The split they have to be in, None where it may be drawn.
        digits: Of the frame number in the key; keys are part of the digest of a split.
    """
    return [
        Item(
            key=f"{key}#{index:0{digits}d}",
            label=label,
            group=group,
            load=partial(read, path, index),
            sha256=hashlib.sha256(f"{checksum}#{index}".encode()).hexdigest(),
            split=split,
        )
        for index in frames
    ]
