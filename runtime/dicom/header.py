"""The header of a DICOM object, read with hard limits and without its pixels (PS3.5 and 3.10, section 7)."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from bedside.runtime.dicom.limits import MAX_FRAME_BYTES, MAX_FRAMES, MAX_ITEMS, Budget, inflate
from bedside.runtime.dicom.vendor import vendor
from bedside.runtime.errors import SourceError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.uid import UID

_PREAMBLE = 128
_UNDEFINED = 0xFFFFFFFF
_ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
_DEFLATED = "1.2.840.10008.1.2.1.99"
_PIXEL_KEYWORDS = {
    (0x7FE0, 0x0008): "FloatPixelData",
    (0x7FE0, 0x0009): "DoubleFloatPixelData",
    (0x7FE0, 0x0010): "PixelData",
}

# Nothing that names a patient, a physician or a day is ever read.
# fmt: off
_KEYWORDS = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "Modality",
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames",
    "FrameIncrementPointer", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "PixelPresentation",
    "PixelSpacing", "WindowCenter", "WindowWidth", "VOILUTFunction", "RescaleIntercept", "RescaleSlope",
    "ModalityLUTSequence", "VOILUTSequence", "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData",
    "FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate",
    "SequenceOfUltrasoundRegions", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)
# fmt: on


class NoPixelData(SourceError):
    """The object is sound but holds no frames: a report, a waveform, a DICOMDIR."""


class Header(msgspec.Struct, frozen=True):
    """What a DICOM object says of its pixels, checked against the file.

    Attributes:
        path: The file.
        dataset: pydicom's dataset of the elements that matter here.
        syntax: Transfer syntax.
        frames: How many frames the pixel data must hold.
        rows: Height in pixels.
        columns: Width in pixels.
        samples: Samples per pixel, 1 or 3.
        photometric: Photometric interpretation as stored.
        bits_allocated: Per sample.
        bits_stored: Per sample.
        signed: Whether samples are two's complement.
        keyword: Which element holds the pixels.
        pixel_vr: Its value representation, "" where implicit.
        value_at: Offset of its value in the stream, in bytes.
        value_length: Its length in bytes, None for encapsulated pixels.
    """

    path: str
    dataset: Any
    syntax: Any
    frames: int
    rows: int
    columns: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    signed: bool
    keyword: str
    pixel_vr: str
    value_at: int
    value_length: int | None

    @property
    def frame_bytes(self) -> int:
        """Decoded size of one frame as stored, in bytes."""
        return self.rows * self.columns * self.samples * max(1, self.bits_allocated // 8)


def is_dicom(path: Path) -> bool:
    """Whether a file carries the DICOM mark behind its preamble (PS3.10 section 7.1)."""
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"
    except OSError:
        return False


def read_header(path: Path, notes: list[str]) -> tuple[Header, BinaryIO]:
    """Open a DICOM file and read all but its pixels.

    Args:
        path: The file.
        notes: Receives pydicom's warnings.

    Returns:
        The header, and the open stream it refers to: the file, or its inflated content in memory.

    Raises:
        SourceError: Not a DICOM file, no pixel data, truncated, or declared sizes beyond the limits.
    """
    where = str(path)
    try:
        stream: BinaryIO = path.open("rb")
        size = path.stat().st_size
    except OSError as error:
        raise SourceError(f"cannot open: {error.strerror or error}", where=where) from error
    try:
        if stream.read(_PREAMBLE + 4)[_PREAMBLE:] != b"DICM":
            raise SourceError(
                "not a DICOM file: no DICM mark at byte 128",
                where=where,
                hint="bedside reads DICOM Part 10 files",
            )
        with vendor("cannot read the DICOM header", where, notes):
            dataset, syntax, stream, size = _read_dataset(stream, size, where)
            header = _interpret(dataset, syntax, stream, size, where, notes)
    except BaseException:
        stream.close()
        raise
    return header, stream


def _read_dataset(stream: BinaryIO, size: int, where: str) -> tuple[Dataset, UID, BinaryIO, int]:
    """File meta, then the data set up to the pixels, out of a stream positioned behind the mark."""
    from pydicom.filereader import read_dataset
    from pydicom.tag import Tag

    guarded: Any = Budget(stream, size, where)
    meta = read_dataset(guarded, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    syntax = meta.get("TransferSyntaxUID")
    if syntax is None:
        raise SourceError("the file meta group has no transfer syntax", where=where)
    if not syntax.is_transfer_syntax:
        raise SourceError(f"unknown transfer syntax {syntax}", where=where, hint="transcode the file")
    if syntax == _DEFLATED:
        content = inflate(stream, where)
        stream.close()
        stream, size = io.BytesIO(content), len(content)
        guarded = Budget(stream, size, where)
    dataset = read_dataset(
        guarded,
        syntax.is_implicit_VR,
        syntax.is_little_endian,
        stop_when=lambda tag, vr, length: (tag.group, tag.element) in _PIXEL_KEYWORDS,
        specific_tags=[Tag(keyword) for keyword in _KEYWORDS],
    )
    for element in dataset.values():
        # Sequences are parsed when they are looked at: a tiny item costs a hundred times its bytes then.
        value = element.value
        if isinstance(value, bytes) and any(value.count(tag) > MAX_ITEMS for tag in _ITEM_TAGS):
            raise SourceError(f"a sequence of more than {MAX_ITEMS} items in the DICOM header", where=where)
    return dataset, syntax, stream, size


def _interpret(
    dataset: Dataset, syntax: UID, stream: BinaryIO, size: int, where: str, notes: list[str]
) -> Header:
    """The pixel description, checked against the limits and against what the stream holds."""
    keyword, pixel_vr, length = _pixel_element(dataset, syntax, stream, where)
    value_at = stream.tell()
    rows, columns = _number(dataset, "Rows", where), _number(dataset, "Columns", where)
    samples = _number(dataset, "SamplesPerPixel", where, 1)
    bits_allocated = _number(dataset, "BitsAllocated", where)
    frames = dataset.get("NumberOfFrames") or 1
    header = Header(
        path=where,
        dataset=dataset,
        syntax=syntax,
        frames=int(frames),
        rows=rows,
        columns=columns,
        samples=samples,
        photometric=str(dataset.get("PhotometricInterpretation") or "").strip(),
        bits_allocated=bits_allocated,
        bits_stored=_number(dataset, "BitsStored", where, bits_allocated),
        signed=bool(dataset.get("PixelRepresentation") or 0),
        keyword=keyword,
        pixel_vr=pixel_vr,
        value_at=value_at,
        value_length=length,
    )
    _check_sizes(header)
    if length is not None:
        _check_native_length(header, min(length, size - value_at), notes)
    return header


def _pixel_element(
    dataset: Dataset, syntax: UID, stream: BinaryIO, where: str
) -> tuple[str, str, int | None]:
    """Read the head of the pixel data element; leaves the stream at its value."""
    order = "<" if syntax.is_little_endian else ">"
    head = stream.read(8)
    if len(head) < 8:
        modality = dataset.get("Modality") or "no modality given"
        raise NoPixelData(
            f"the DICOM object has no pixel data ({modality})",
            where=where,
            hint="reports, waveforms and plans hold no frames",
        )
    group, element = struct.unpack(f"{order}HH", head[:4])
    if syntax.is_implicit_VR:
        vr, raw = "", head[4:]
    else:
        vr, raw = head[4:6].decode("latin-1"), stream.read(4)
    if len(raw) < 4:
        raise SourceError("truncated: the file ends inside the pixel data element", where=where)
    length = struct.unpack(f"{order}L", raw)[0]
    if syntax.is_encapsulated != (length == _UNDEFINED):
        raise SourceError(
            f"the length of the pixel data does not fit transfer syntax {syntax.name}",
            where=where,
            hint="the file is damaged, or its transfer syntax is wrong",
        )
    return _PIXEL_KEYWORDS[group, element], vr, None if length == _UNDEFINED else length


def _number(dataset: Dataset, keyword: str, where: str, default: int | None = None) -> int:
    value = dataset.get(keyword)
    if value is None or value == "":
        if default is None:
            raise SourceError(f"the DICOM object has no {keyword}", where=where)
        return default
    return int(value)


def _check_sizes(header: Header) -> None:
    where = header.path
    if header.rows < 1 or header.columns < 1:
        raise SourceError(f"empty picture: {header.columns}x{header.rows} pixels", where=where)
    if header.samples not in (1, 3):
        raise SourceError(f"{header.samples} samples per pixel, expected 1 or 3", where=where)
    bits = header.bits_allocated
    if bits != 1 and (bits % 8 or not 8 <= bits <= 64):
        raise SourceError(f"{bits} bits allocated, expected 1 or a multiple of 8 up to 64", where=where)
    if not 1 <= header.bits_stored <= bits:
        raise SourceError(f"{header.bits_stored} bits stored in {bits} allocated", where=where)
    if not 1 <= header.frames <= MAX_FRAMES:
        raise SourceError(
            f"{header.frames} frames declared, at most {MAX_FRAMES} are read",
            where=where,
            hint="the file is damaged or hostile",
        )
    if header.frame_bytes > MAX_FRAME_BYTES:
        raise SourceError(
            f"one frame of {header.columns}x{header.rows}x{header.samples} at {bits} bits takes "
            f"{header.frame_bytes >> 20} MiB, at most {MAX_FRAME_BYTES >> 20} are read",
            where=where,
            hint="the file is damaged or hostile",
        )


def _check_native_length(header: Header, available: int, notes: list[str]) -> None:
    bits = header.rows * header.columns * header.samples * header.bits_allocated
    if header.photometric == "YBR_FULL_422":
        bits = bits * 2 // 3
    needed = (bits * header.frames + 7) // 8
    if available < needed:
        raise SourceError(
            f"truncated pixel data: {available * 8 // bits} of {header.frames} frames, "
            f"{available} of {needed} bytes",
            where=header.path,
            hint="copy the file again",
        )
    if available > needed + 1 and available // max(1, bits // 8) > header.frames:
        notes.append(f"pixel data is longer than {header.frames} frames; the rest is left alone")
