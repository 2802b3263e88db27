"""A DICOM object as frames: opened without its pixels, decoded one frame at a time."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np

from bedside.runtime.dicom.decode import FrameDecoder
from bedside.runtime.dicom.display import make_rendering
from bedside.runtime.dicom.geometry import picture_spacing, read_regions
from bedside.runtime.dicom.header import read_header
from bedside.runtime.dicom.tables import Stored
from bedside.runtime.dicom.timing import read_timing
from bedside.runtime.dicom.vendor import vendor
from bedside.runtime.frame import Color, Pixels, Region, SourceReference


class DicomInfo(msgspec.Struct, frozen=True):
    """What a DICOM object is, as far as frames go. Nothing in it names a patient or a day.

    Attributes:
        path: The file.
        sop_instance_uid: Identity of the object, None where the file has none.
        series_uid: Of the series, likewise.
        series_number: For sorting, likewise.
        instance_number: For sorting, likewise.
        modality: For example `US`, "" where unknown.
        transfer_syntax: Its name.
        decoder: What decodes it: `native`, a pydicom plugin or `opencv`; `DicomFrames.meta` has it per frame.
        photometric: Photometric interpretation as stored.
        frames: How many frames there are.
        width: In pixels.
        height: In pixels.
        color: `gray` or `rgb`: channel order of decoded frames.
        bits: Stored bits per sample.
        fps: Frames per second, None where the file does not say.
        fps_origin: The attribute it comes from.
        regions: Calibrated regions.
        notes: What was odd about the file, one line each.
    """

    path: str
    sop_instance_uid: str | None
    series_uid: str | None
    series_number: int | None
    instance_number: int | None
    modality: str
    transfer_syntax: str
    decoder: str
    photometric: str
    frames: int
    width: int
    height: int
    color: Color
    bits: int
    fps: float | None
    fps_origin: str | None
    regions: tuple[Region, ...]
    notes: tuple[str, ...]


class DicomFrames:
    """The frames of one DICOM object. One thread uses it; close it, or use it as a context manager.

    Args:
        path: A DICOM Part 10 file.

    Raises:
        SourceError: Not DICOM, no pixel data, truncated, beyond the limits, or nothing here decodes it.
    """

    def __init__(self, path: str | Path) -> None:
        self._notes: list[str] = []
        self._header, self._stream = read_header(Path(path), self._notes)
        try:
            with self._vendor("cannot read the DICOM object"):
                self._prepare()
        except BaseException:
            self._stream.close()
            raise

    def _prepare(self) -> None:
        header, dataset = self._header, self._header.dataset
        self._decoder = FrameDecoder(header, self._stream, self._notes)
        self._rendering = make_rendering(header, self._first_stored, self._notes)
        self._timing = read_timing(header, self._notes)
        self._regions = read_regions(header, self._notes)
        self._spacing_varies = "PerFrameFunctionalGroupsSequence" in dataset
        self._spacing = picture_spacing(header, self._regions, 0)
        self._sop_instance_uid = str(dataset.get("SOPInstanceUID") or "") or None
        self._series_uid = str(dataset.get("SeriesInstanceUID") or "") or None
        self._series_number = _integer(dataset.get("SeriesNumber"))
        self._instance_number = _integer(dataset.get("InstanceNumber"))
        self._modality = str(dataset.get("Modality") or "")

    def _first_stored(self) -> Stored:
        with self._vendor("cannot decode frame 0", frame=True):
            return self._decoder.stored(0)[0]

    @property
    def info(self) -> DicomInfo:
        """What the object is."""
        header = self._header
        return DicomInfo(
            path=header.path,
            sop_instance_uid=self._sop_instance_uid,
            series_uid=self._series_uid,
            series_number=self._series_number,
            instance_number=self._instance_number,
            modality=self._modality,
            transfer_syntax=header.syntax.name,
            decoder=self._decoder.used,
            photometric=header.photometric,
            frames=header.frames,
            width=header.columns,
            height=header.rows,
            color=self._rendering.color,
            bits=header.bits_stored,
            fps=self._timing.fps,
            fps_origin=self._timing.origin,
            regions=self._regions,
            notes=tuple(self._notes),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(H, W, C)` of every frame."""
        return self._header.rows, self._header.columns, 1 if self._rendering.color == "gray" else 3

    def __len__(self) -> int:
        """How many frames there are."""
        return self._header.frames

    def frame(self, index: int, out: Pixels | None = None) -> Pixels:
        """Decode one frame.

        Args:
            index: Zero-based frame number.
            out: `(H, W, C) uint8`, C-contiguous, written in place; None allocates.

        Returns:
            `(H, W, C) uint8` in the order `info.color`.

        Raises:
            FrameError: This frame cannot be decoded; others may.
            IndexError: No such frame.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        if out is None:
            out = np.empty(self.shape, np.uint8)
        elif out.shape != self.shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise ValueError(f"out is {out.shape} {out.dtype}, expected contiguous {self.shape} uint8")
        with self._vendor(f"cannot decode frame {index}", frame=True):
            stored, photometric = self._decoder.stored(index)
            self._rendering.render(stored, photometric, index, out)
        return out

    def pts_ns(self, index: int) -> int | None:
        """Time of a frame from the first one in ns, None where the file does not say."""
        return self._timing.pts_ns(index)

    def spacing_mm(self, index: int) -> tuple[float, float] | None:
        """`(mm per row, mm per column)` of a frame, None where unknown or not the same all over it."""
        if not self._spacing_varies or index == 0:
            return self._spacing
        with self._vendor("cannot read the pixel spacing", frame=True):
            return picture_spacing(self._header, self._regions, index)

    def reference(self, index: int) -> SourceReference:
        """Where a frame comes from."""
        return SourceReference(self._sop_instance_uid, index)

    def meta(self) -> dict[str, Any]:
        """What was done to the pixels of the frame decoded last, for the record."""
        header = self._header
        kept = {
            "transfer_syntax": header.syntax.name,
            "photometric": header.photometric,
            "decoder": self._decoder.used,
            "bits": header.bits_stored,
            **self._rendering.meta,
        }
        return {**kept, "notes": list(self._notes)} if self._notes else kept

    def close(self) -> None:
        """Close the file. May be called more than once."""
        self._stream.close()

    def __enter__(self) -> DicomFrames:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _vendor(self, what: str, *, frame: bool = False) -> AbstractContextManager[None]:
        return vendor(what, self._header.path, self._notes, frame=frame)


def open_dicom(path: str | Path) -> DicomFrames:
    """Open a DICOM file for its frames; see `DicomFrames`."""
    return DicomFrames(path)


def _integer(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
