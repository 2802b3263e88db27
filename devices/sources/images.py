"""A picture, or a folder of pictures, as a recording."""

from __future__ import annotations

from pathlib import Path

from bedside.runtime.clock import Clock
from bedside.runtime.errors import FrameError, SourceError
from bedside.runtime.frame import Frame, SourceReference
from bedside.runtime.images import IMAGE_SUFFIXES, list_images, read_image
from bedside.runtime.protocols import SourceInfo
from bedside.runtime.source_base import SourceBase


class ImageSource(SourceBase):
    """Pictures from files, BGR, in natural order of their names. Sizes may differ from picture to picture.

    A picture that cannot be decoded costs one `FrameError`, and the stream goes on behind it.

    Args:
        path: A picture or a folder.
        fps: Rate to play them at; gives `pts_ns` as well.
        clock: For the stamps.
    """

    def __init__(self, path: str | Path, *, fps: float | None = None, clock: Clock | None = None) -> None:
        super().__init__(str(path), clock)
        self._path, self._fps = Path(path), fps
        self._files: list[Path] = []

    def _open(self) -> SourceInfo:
        if self._path.is_dir():
            self._files = list_images(self._path)
            if not self._files:
                known = ", ".join(sorted(IMAGE_SUFFIXES))
                raise SourceError("the folder has no pictures", where=self.name, hint=f"looked for {known}")
        elif self._path.is_file():
            self._files = [self._path]
        else:
            raise SourceError("no such file or folder", where=self.name)
        height, width = self._first_size()
        return SourceInfo(
            name=self.name,
            width=width,
            height=height,
            color="bgr",
            fps=self._fps,
            frames=len(self._files),
            details={"kind": "images"},
        )

    def _first_size(self) -> tuple[int, int]:
        """Height and width of the first picture that can be read."""
        first: FrameError | None = None
        for path in self._files:
            try:
                height, width, _ = read_image(path).shape
            except FrameError as error:
                first = first or error
            else:
                return height, width
        what = first.what if first is not None else "no pictures"
        if len(self._files) == 1:
            raise SourceError(what, where=str(self._files[0])) from first
        raise SourceError(
            f"none of {len(self._files)} pictures can be read; the first: {what}", where=self.name
        )

    def _next(self, seq: int, now_ns: int) -> Frame | None:
        if seq >= len(self._files):
            return None
        path = self._files[seq]
        return Frame(
            pixels=read_image(path),
            seq=seq,
            captured_ns=now_ns,
            source=self.name,
            color="bgr",
            pts_ns=None if self._fps is None else round(seq * 1e9 / self._fps),
            reference=SourceReference(frame_index=seq),
            meta={"file": path.name},
        )

    def _close(self) -> None:
        self._files = []
