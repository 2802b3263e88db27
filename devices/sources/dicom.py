"""A DICOM file, or a folder of them, as a recording."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bedside.runtime.clock import Clock
from bedside.runtime.dicom import DicomFrames, DicomInfo, NoPixelData, is_dicom, open_dicom
from bedside.runtime.errors import FrameError, SourceError
from bedside.runtime.frame import Frame, FramePool
from bedside.runtime.images import natural_key
from bedside.runtime.protocols import SourceInfo
from bedside.runtime.source_base import SourceBase

MAX_NAMES = 8
"""How many files are named in `SourceInfo.details` before the rest is only counted."""


class _Part(msgspec.Struct, frozen=True):
    """One file of the recording: what it is, or why it is refused."""

    path: Path
    info: DicomInfo | None = None
    refused: str = ""

    @property
    def frames(self) -> int:
        return 1 if self.info is None else self.info.frames

    @property
    def order(self) -> tuple[object, ...]:
        """By series, then by instance number, then by name; refused files last."""
        info = self.info
        if info is None:
            return (1, 0, "", 0, natural_key(self.path))
        number = (info.series_number or 0, info.series_uid or "", info.instance_number or 0)
        return (0, *number, natural_key(self.path))


class DicomSource(SourceBase):
    """The frames of DICOM objects; RGB, or gray where they are monochrome.

    In a folder, objects without pixels (reports, DICOMDIR) are left out and named in the details; an object
    that is refused costs one `FrameError`. Sizes and colours may differ from object to object.

    Args:
        path: A DICOM file, or a folder of them.
        fps: Overrides the rate in the files.
        clock: For the stamps.
    """

    def __init__(self, path: str | Path, *, fps: float | None = None, clock: Clock | None = None) -> None:
        super().__init__(str(path), clock)
        self._path, self._fps = Path(path), fps
        self._parts: list[_Part] = []
        self._part = self._index = 0
        self._object: DicomFrames | None = None
        self._pool: FramePool | None = None

    def _open(self) -> SourceInfo:
        self._part = self._index = 0
        skipped: list[str] = []
        if self._path.is_dir():
            self._parts = self._scan(skipped)
        else:
            with open_dicom(self._path) as opened:
                self._parts = [_Part(self._path, opened.info)]
        known = [part.info for part in self._parts if part.info is not None]
        if not known:
            refused = next((part.refused for part in self._parts), "")
            raise SourceError(
                f"none of {len(self._parts)} DICOM files can be read; the first: {refused}"
                if refused
                else "the folder has no DICOM files with pixels",
                where=self.name,
            )
        rates = {info.fps for info in known}
        return SourceInfo(
            name=self.name,
            width=known[0].width,
            height=known[0].height,
            color=known[0].color,
            fps=self._fps or (rates.pop() if len(rates) == 1 else None),
            frames=sum(part.frames for part in self._parts),
            details=_details(known, self._parts, skipped),
        )

    def _scan(self, skipped: list[str]) -> list[_Part]:
        try:
            files = sorted((path for path in self._path.iterdir() if path.is_file()), key=natural_key)
        except OSError as error:
            raise SourceError(f"cannot list: {error.strerror or error}", where=self.name) from error
        parts: list[_Part] = []
        for path in files:
            if path.name.startswith(".") or not is_dicom(path):
                continue
            try:
                with open_dicom(path) as opened:
                    parts.append(_Part(path, opened.info))
            except NoPixelData:
                skipped.append(path.name)
            except SourceError as error:
                parts.append(_Part(path, refused=str(error)))
        return sorted(parts, key=lambda part: part.order)

    def _next(self, seq: int, now_ns: int) -> Frame | None:
        while self._part < len(self._parts) and self._index >= self._parts[self._part].frames:
            self._leave()
        if self._part >= len(self._parts):
            return None
        index, self._index = self._index, self._index + 1
        opened = self._enter(self._parts[self._part])
        if self._pool is None or self._pool.shape != opened.shape:
            self._pool = FramePool(opened.shape)
        lease = self._pool.lease()
        try:
            pixels = opened.frame(index, lease.buffer)
            spacing_mm = opened.spacing_mm(index)
        except BaseException:
            lease.release()
            raise
        pts_ns = opened.pts_ns(index)
        if pts_ns is None and self._fps is not None:
            pts_ns = round(seq * 1e9 / self._fps)
        info = opened.info
        return Frame(
            pixels=pixels,
            seq=seq,
            captured_ns=now_ns,
            source=self.name,
            color=info.color,
            pts_ns=pts_ns,
            spacing_mm=spacing_mm,
            regions=info.regions,
            reference=opened.reference(index),
            meta=opened.meta(),
            lease=lease,
        )

    def _enter(self, part: _Part) -> DicomFrames:
        """The open object of a part.

        Raises:
            FrameError: It is refused: the whole object counts as one frame.
        """
        if part.info is None:
            raise FrameError(part.refused)
        if self._object is None:
            try:
                self._object = open_dicom(part.path)
            except SourceError as error:  # it changed since it was listed
                self._leave()
                raise FrameError(error.what, where=error.where, hint=error.hint) from error
            if len(self._object) != part.frames:
                self._leave()
                raise FrameError("changed while it was being read", where=str(part.path))
        return self._object

    def _leave(self) -> None:
        if self._object is not None:
            self._object.close()
        self._object = None
        self._part, self._index = self._part + 1, 0

    def _close(self) -> None:
        if self._object is not None:
            self._object.close()
        self._object = self._pool = None
        self._parts = []


def _details(known: list[DicomInfo], parts: list[_Part], skipped: list[str]) -> dict[str, object]:
    details: dict[str, object] = {
        "kind": "dicom",
        "files": len(parts),
        "modality": sorted({info.modality for info in known}),
        "transfer_syntax": sorted({info.transfer_syntax for info in known}),
        "decoder": sorted({info.decoder for info in known}),
    }
    origins = sorted({info.fps_origin for info in known if info.fps_origin is not None})
    if origins:
        details["fps_from"] = origins
    notes = list(dict.fromkeys(note for info in known for note in info.notes))
    refused = [part.refused for part in parts if part.info is None]
    for key, lines in (("notes", notes), ("without_pixels", skipped), ("refused", refused)):
        if lines:
            more = [f"and {len(lines) - MAX_NAMES} more"] if len(lines) > MAX_NAMES else []
            details[key] = lines[:MAX_NAMES] + more
    return details
