"""Frames of videos, decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from bedside.export.data.class_folders import find_classes
from bedside.export.data.files import digests, existing_folder, frame_items, group_of, visible_files
from bedside.export.data.recipe import VideosData
from bedside.export.data.splitting import to_draw
from bedside.export.data.types import Found, Item, Progress
from bedside.runtime.errors import RecipeError
from bedside.runtime.frame import Color, Pixels
from bedside.runtime.opencv import quiet_opencv

VIDEO_SUFFIXES = frozenset({".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv"})


class VideoReader:
    """Reads frames by index; in ascending order, each is decoded once. One thread owns it.

    Seeking is left alone: containers are often wrong about where a frame is, and a mask must not move to its
    neighbour.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._capture: cv2.VideoCapture | None = None
        self._next = 0
        self._last: tuple[Path, int, Pixels] | None = None

    def frame(self, path: Path, index: int) -> tuple[Pixels, Color]:
        """Frame `index`, from 0: `(H, W, 3) uint8` BGR.

        Raises:
            RecipeError: The video cannot be opened, or ends before the frame.
        """
        if self._last is not None and self._last[:2] == (path, index):
            return self._last[2], "bgr"
        if self._path != path or self._capture is None or index < self._next:
            self._open(path)
        capture = self._capture
        assert capture is not None
        while self._next < index and capture.grab():
            self._next += 1
        fine, pixels = capture.read() if self._next == index else (False, None)
        if not fine or pixels is None:
            self.close()
            raise RecipeError(f"frame {index} cannot be decoded", where=str(path))
        self._next = index + 1
        frame = np.asarray(pixels, np.uint8)
        frame.flags.writeable = False  # it is handed out again
        self._last = path, index, frame
        return frame, "bgr"

    def count(self, path: Path) -> int:
        """How many frames can be decoded; what the container says may be wrong.

        Raises:
            RecipeError: The video cannot be opened or has no frame.
        """
        self._open(path)
        assert self._capture is not None
        count = 0
        while self._capture.grab():
            count += 1
        self.close()
        if count == 0:
            raise RecipeError("has no frame that can be decoded", where=str(path))
        return count

    def close(self) -> None:
        """Let go of the file."""
        if self._capture is not None:
            self._capture.release()
        self._capture = self._path = self._last = None
        self._next = 0

    def _open(self, path: Path) -> None:
        self.close()
        with quiet_opencv():
            capture = cv2.VideoCapture(str(path))
        if not capture.isOpened():
            raise RecipeError("is not a video that can be opened", where=str(path))
        self._path, self._capture = path, capture


def find_videos(recipe: VideosData, *, root: Path | None, progress: Progress | None = None) -> Found:
    """Every n-th frame of the videos.

    Raises:
        RecipeError: See `bedside.export.data.loading.load_data`.
    """
    folder = existing_folder(root, recipe.path)
    notes: tuple[str, ...] = ()
    if recipe.files is None:
        tree = find_classes(folder, recipe.labels, is_video, "videos", recipe.calibration)
        labels, draw, notes = tree.labels, tree.draw, tree.notes
        found = [(file.path, file.key, file.below, file.label, file.split) for file in tree.files]
    else:
        labels, draw = ("frame",), to_draw((), recipe.calibration)
        paths = _matches(folder, recipe.files)
        keys = [path.relative_to(folder).as_posix() for path in paths]
        found = [(path, key, key, 0, None) for path, key in zip(paths, keys, strict=True)]
    checksums = digests([path for path, *_ in found], progress)
    reader = VideoReader()
    items: list[Item] = []
    for (path, key, below, label, split), checksum in zip(found, checksums, strict=True):
        group = group_of(recipe.group, below, checksum)
        numbers = range(0, reader.count(path), recipe.every)
        items += frame_items(reader.frame, path, key, label, group, checksum, numbers, split)
    how = "a video" if recipe.group is None else f"the match of {recipe.group!r} in the path of a video"
    return Found(
        labels=labels,
        items=tuple(items),
        draw=draw,
        labelled=recipe.files is None,
        sources=recipe.sources,
        notes=(f"groups: {how}", *notes),
    )


def is_video(path: Path) -> bool:
    """Whether a file is a video by its name."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def _matches(folder: Path, patterns: Sequence[str]) -> list[Path]:
    visible = set(visible_files(folder))
    chosen: set[Path] = set()
    for pattern in patterns:
        hits = {path for path in folder.glob(pattern) if path in visible and is_video(path)}
        if not hits:
            raise RecipeError(f"data.files: no video matches {pattern!r}", where=str(folder))
        chosen |= hits
    return sorted(chosen)
