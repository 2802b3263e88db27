"""Broken, truncated and hostile objects: one clear error, and no more memory than the limits allow (S10)."""

import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.sequence import Sequence
from pydicom.uid import (
    HTJ2K,
    JPEG2000MC,
    MPEG4HP41,
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    RLELossless,
)

from bedside.runtime.dicom import NoPixelData, header, open_dicom
from bedside.runtime.errors import BedsideError, FrameError, SourceError

MakeDicom = Callable[..., Path]
Find = Callable[[str], Path]

pytestmark = pytest.mark.fault("S10")


def jpeg(pixels: np.ndarray[Any, Any]) -> bytes:
    ok, data = cv2.imencode(".jpg", pixels)
    assert ok
    return data.tobytes()


def jpeg_cine(make_dicom: MakeDicom, count: int = 3, **attributes: Any) -> Path:
    frames = [jpeg(np.full((24, 32, 3), 60 * i, np.uint8)) for i in range(count)]
    return encoded(make_dicom, frames, 24, 32, NumberOfFrames=count, **attributes)


def encoded(make_dicom: MakeDicom, frames: list[bytes], rows: int, columns: int, **attributes: Any) -> Path:
    samples = attributes.get("SamplesPerPixel", 3)
    return make_dicom(
        frames,
        **{
            "syntax": JPEGBaseline8Bit,
            "Rows": rows,
            "Columns": columns,
            "SamplesPerPixel": samples,
            "BitsAllocated": 8,
            "BitsStored": 8,
            "PixelRepresentation": 0,
            "PhotometricInterpretation": "YBR_FULL_422" if samples == 3 else "MONOCHROME2",
            **attributes,
        },
    )


def message(path: Path) -> str:
    """The error of opening and reading a file, which must be one line that names it."""
    with pytest.raises(SourceError) as caught:
        decode_all(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    assert caught.value.exit_code == 4
    return text


def decode_all(path: Path) -> list[Any]:
    with open_dicom(path) as frames:
        return [frames.frame(i) for i in range(len(frames))]


def overwrite(path: Path, tag: bytes, value: bytes) -> Path:
    """Replace the value of a short explicit-VR element in a file, same length."""
    data = path.read_bytes()
    at = data.index(tag) + 8
    path.write_bytes(data[:at] + value + data[at + len(value) :])
    return path


def test_what_is_no_dicom_file(tmp_path: Path, shipped: Find) -> None:
    for name, content in (("empty", b""), ("short", b"DICM"), ("text", b"hello " * 99)):
        path = tmp_path / name
        path.write_bytes(content)
        assert "not a DICOM file" in message(path)
    assert "No such file" in message(tmp_path / "missing.dcm")
    assert "cannot open" in message(tmp_path)
    assert "not a DICOM file" in message(shipped("no_meta.dcm"))
    assert "no transfer syntax" in message(shipped("meta_missing_tsyntax.dcm"))


def test_no_pixels(shipped: Find) -> None:
    for name in ("test-SR.dcm", "rtplan.dcm", "waveform_ecg.dcm"):
        with pytest.raises(NoPixelData, match="no pixel data"):
            open_dicom(shipped(name))


@pytest.mark.parametrize(
    ("syntax", "said"),
    [
        (HTJ2K, ("High-Throughput JPEG 2000", "pip install pylibjpeg pylibjpeg-openjpeg")),
        (MPEG4HP41, ("MPEG-4 AVC/H.264 High Profile", "export the video stream")),
        (JPEG2000MC, ("JPEG 2000 Part 2", "store it uncompressed")),
    ],
    ids=["HTJ2K", "H.264", "multi-component"],
)
def test_a_missing_codec_is_named_with_what_to_do(
    make_dicom: MakeDicom, syntax: UID, said: tuple[str, str]
) -> None:
    text = message(encoded(make_dicom, [b"\xff\xd8\xff\xd9"], 8, 8, syntax=syntax))
    assert all(part in text for part in said)


def test_a_codec_that_is_not_installed(make_dicom: MakeDicom, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.pixels.decoders.base import JPEG2000LosslessDecoder

    path = encoded(make_dicom, [b"\xff\x4f\xff\x51"], 8, 8, syntax=JPEG2000Lossless)
    monkeypatch.setattr(JPEG2000LosslessDecoder, "_available", {})
    text = message(path)
    assert "JPEG 2000" in text
    assert "pip install python-gdcm" in text


def test_twelve_bit_jpeg(shipped: Find, make_dicom: MakeDicom) -> None:
    assert "at 12 bits" in message(shipped("JPGExtended.dcm"))
    eight = np.tile(np.arange(0, 240, 8, dtype=np.uint8), (24, 1))
    path = encoded(make_dicom, [jpeg(eight)], 24, 30, syntax=JPEGExtended12Bit, SamplesPerPixel=1)
    assert np.abs(decode_all(path)[0][..., 0].astype(int) - eight).max() <= 3


def test_unknown_and_mistaken_transfer_syntaxes(make_dicom: MakeDicom, shipped: Find) -> None:
    path = make_dicom(np.zeros((4, 4), np.uint8))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4\0"))
    assert "transfer syntax" in message(path)
    path.write_bytes(data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"))
    assert "does not fit transfer syntax RLE" in message(path)
    assert "does not fit" in message(shipped("SC_rgb_jpeg.dcm"))


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "BitsAllocated"])
def test_missing_descriptions_are_named(make_dicom: MakeDicom, keyword: str) -> None:
    def drop(dataset: Dataset) -> None:
        del dataset[keyword]

    assert f"no {keyword}" in message(make_dicom(np.zeros((4, 4), np.uint8), tags=drop))


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"Rows": 0}, "empty picture"),
        ({"SamplesPerPixel": 4}, "4 samples"),
        ({"BitsAllocated": 12}, "12 bits allocated"),
        ({"BitsStored": 9}, "9 bits stored in 8"),
        ({"NumberOfFrames": -3}, "-3 frames"),
        ({"NumberOfFrames": 2**31 - 1}, "2147483647 frames declared"),
        ({"Rows": 65535, "Columns": 65535}, "MiB"),
    ],
)
def test_senseless_descriptions(make_dicom: MakeDicom, attributes: dict[str, Any], said: str) -> None:
    path = make_dicom(
        np.zeros((4, 4), np.uint8), tags=lambda d: [setattr(d, k, v) for k, v in attributes.items()]
    )
    assert said in message(path)


def test_huge_declarations_cost_nothing(make_dicom: MakeDicom) -> None:
    """Declared sizes are refused before anything of that size is allocated."""
    cases = [
        ({"Rows": 60000, "Columns": 60000}, "limit|MiB"),
        ({"Rows": 16000, "Columns": 16000}, "truncated pixel data: 0 of 1"),
        ({"NumberOfFrames": 999_999}, "truncated pixel data: 1 of 999999"),
    ]
    for attributes, said in cases:
        path = make_dicom(
            np.zeros((8, 8), np.uint8), tags=lambda d, a=attributes: [setattr(d, k, v) for k, v in a.items()]
        )
        tracemalloc.start()
        with pytest.raises(SourceError, match=said):
            open_dicom(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 << 20


def test_truncated_uncompressed_pixels(make_dicom: MakeDicom, shipped: Find) -> None:
    assert "truncated pixel data: 0 of 1 frames, 8130 of 8192 bytes" in message(shipped("MR_truncated.dcm"))
    path = make_dicom(np.zeros((5, 8, 8), np.uint8), NumberOfFrames=5)
    data = path.read_bytes()
    path.write_bytes(data[: -64 * 2])
    assert "3 of 5 frames" in message(path)


@pytest.mark.parametrize("kind", ["native", "jpeg", "rle"])
def test_a_file_cut_anywhere(make_dicom: MakeDicom, kind: str) -> None:
    """Cut at any byte, a file is refused; never an exception of somebody else's, never a wrong picture."""
    if kind == "native":
        path = make_dicom(np.arange(128, dtype=np.uint8).reshape(2, 8, 8), NumberOfFrames=2)
    elif kind == "jpeg":
        path = jpeg_cine(make_dicom, 2)
    else:
        plane = np.tile(np.arange(8, dtype=np.uint8), (8, 1))
        options = {
            "rows": 8,
            "columns": 8,
            "samples_per_pixel": 1,
            "number_of_frames": 1,
            "bits_allocated": 8,
            "bits_stored": 8,
            "pixel_representation": 0,
            "photometric_interpretation": "MONOCHROME2",
        }
        frame = RLELosslessEncoder.encode(plane, **options)
        path = encoded(make_dicom, [frame], 8, 8, syntax=RLELossless, SamplesPerPixel=1)
    whole = decode_all(path)
    data = path.read_bytes()
    delimiter = 8 if kind != "native" else 0
    for end in range(len(data)):
        path.write_bytes(data[:end])
        if end == len(data) - delimiter:
            # Only the sequence delimiter is missing: every frame is there.
            for frame, expected in zip(decode_all(path), whole, strict=True):
                np.testing.assert_array_equal(frame, expected)
        else:
            message(path)


def test_fewer_fragments_than_frames(make_dicom: MakeDicom) -> None:
    path = jpeg_cine(make_dicom, 3)
    overwrite(path, b"\x28\x00\x08\x00IS", b"9 ")
    assert "3 of 9 declared frames" in message(path)


@pytest.mark.parametrize("has_bot", [True, False])
def test_frames_of_several_fragments(make_dicom: MakeDicom, has_bot: bool) -> None:
    path = jpeg_cine(make_dicom, 3, fragments=2, has_bot=has_bot)
    assert [round(frame.mean()) for frame in decode_all(path)] == [0, 60, 120]


def test_a_lying_offset_table_does_not_lead_astray(make_dicom: MakeDicom) -> None:
    path = jpeg_cine(make_dicom, 3, fragments=2, has_bot=True)
    data = bytearray(path.read_bytes())
    table = data.index(b"\xfe\xff\x00\xe0\x0c\x00\x00\x00") + 8
    data[table + 4 : table + 8] = struct.pack("<L", 12345)
    path.write_bytes(data)
    assert [round(frame.mean()) for frame in decode_all(path)] == [0, 60, 120]


def test_more_fragments_than_can_be_right(make_dicom: MakeDicom) -> None:
    path = encoded(make_dicom, [b"\0\0"] * 9000, 8, 8, NumberOfFrames=1)
    assert "fragments for 1 frames" in message(path)


@pytest.mark.fault("S3")
def test_one_bad_frame_costs_one_frame(make_dicom: MakeDicom) -> None:
    good = jpeg(np.full((24, 32, 3), 90, np.uint8))
    bad = [good, good[:-2], b"\0" * 40, good[: len(good) // 2] + b"\xff\xd9", good]
    with open_dicom(encoded(make_dicom, bad, 24, 32, NumberOfFrames=5)) as frames:
        assert round(frames.frame(0).mean()) == 90
        for index, said in ((1, "no end marker"), (2, "not a JPEG Baseline")):
            with pytest.raises(FrameError, match=said):
                frames.frame(index)
        assert round(frames.frame(4).mean()) == 90


def test_a_picture_in_a_picture_of_another_size(make_dicom: MakeDicom) -> None:
    """A decompression bomb: a codestream that is larger than the header says."""
    bomb = jpeg(np.zeros((4000, 5000, 3), np.uint8))
    path = encoded(make_dicom, [bomb], 24, 32)
    with open_dicom(path) as frames:
        tracemalloc.start()
        with pytest.raises(FrameError, match="5000x4000x3, the DICOM header says 32x24x3"):
            frames.frame(0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8 << 20


def test_an_rle_bomb(make_dicom: MakeDicom) -> None:
    runs = b"\x81\x00" * 200_000  # each pair expands to 128 bytes
    frame = struct.pack("<16L", 1, 64, *[0] * 14) + runs
    path = encoded(make_dicom, [frame], 8, 8, syntax=RLELossless, SamplesPerPixel=1)
    with open_dicom(path) as frames:
        tracemalloc.start()
        with pytest.raises(FrameError, match="RLE segment expands"):
            frames.frame(0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize("offsets", [(64, 10**9), (10**9, 64), (0, 0)])
def test_rle_offsets_that_lead_nowhere(make_dicom: MakeDicom, offsets: tuple[int, int]) -> None:
    frame = struct.pack("<16L", 2, *offsets, *[0] * 13) + b"\x81\x00" * 4
    path = encoded(
        make_dicom, [frame], 8, 8, syntax=RLELossless, SamplesPerPixel=1, BitsAllocated=16, BitsStored=16
    )
    with open_dicom(path) as frames, pytest.raises(FrameError, match="RLE"):
        frames.frame(0)


def test_a_deflated_bomb(make_dicom: MakeDicom, monkeypatch: pytest.MonkeyPatch) -> None:
    from bedside.runtime.dicom import limits

    path = make_dicom(np.zeros((4, 4), np.uint8), syntax=DeflatedExplicitVRLittleEndian)
    data = path.read_bytes()
    start = data.index(b"1.2.840.10008.1.2.1.99") + len("1.2.840.10008.1.2.1.99")
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    path.write_bytes(data[:start] + deflater.compress(b"\0" * (64 << 20)) + deflater.flush())
    monkeypatch.setattr(limits, "MAX_INFLATED_BYTES", 1 << 20)
    tracemalloc.start()
    assert "deflated data set is larger" in message(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_header_that_never_ends(make_dicom: MakeDicom, monkeypatch: pytest.MonkeyPatch) -> None:
    from bedside.runtime.dicom import limits

    monkeypatch.setattr(limits, "MAX_HEADER_BYTES", 2000)
    text = message(make_dicom(np.zeros((4, 4), np.uint8), WindowCenter=[1] * 2000, WindowWidth=[2] * 2000))
    assert "header takes more than" in text


def test_a_nest_of_sequences(make_dicom: MakeDicom) -> None:
    """Undefined lengths, nested deeper than the interpreter's stack."""
    path = make_dicom(np.zeros((4, 4), np.uint8))
    data = path.read_bytes()
    at = data.index(b"\xe0\x7f\x10\x00")
    sequence = b"\x00\x52\x29\x92SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    path.write_bytes(data[:at] + sequence * 20_000 + data[at:])
    assert "cannot read the DICOM header" in message(path)


def test_too_many_items(make_dicom: MakeDicom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header, "MAX_ITEMS", 10)
    path = make_dicom(
        np.zeros((4, 4), np.uint8),
        tags=lambda d: setattr(d, "SequenceOfUltrasoundRegions", Sequence([Dataset() for _ in range(20)])),
    )
    assert "more than 10 items" in message(path)


def test_broken_values(shipped: Find) -> None:
    assert "cannot read the DICOM header" in message(shipped("badVR.dcm"))


def mutate(path: Path, target: Path, rounds: int, seed: int) -> None:
    """Flip bits, cut and repeat: whatever comes out opens and decodes, or is refused by us."""
    rng = random.Random(seed)
    original = path.read_bytes()
    for _ in range(rounds):
        data = bytearray(original)
        for _ in range(rng.choice((1, 1, 2, 8))):
            # Headers, where the structure is, as often as pixels.
            at = rng.randrange(128, min(len(data), 3000)) if rng.random() < 0.7 else rng.randrange(len(data))
            data[at] ^= 1 << rng.randrange(8)
        if rng.random() < 0.1:
            data = data[: rng.randrange(len(data))]
        target.write_bytes(data)
        try:
            with open_dicom(target) as frames:
                for index in range(min(2, len(frames))):
                    try:
                        frames.frame(index)
                    except FrameError:
                        continue
                    frames.meta()
                    frames.pts_ns(index)
                    frames.spacing_mm(index)
        except BedsideError as error:
            assert "\n" not in str(error)


MUTATED = [
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_jp2klossless.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_small_odd_jpeg.dcm",
    "examples_palette.dcm",
    "examples_ybr_color.dcm",
    "image_dfl.dcm",
]


def test_headers_that_would_end_the_process_in_gdcm(make_dicom: MakeDicom) -> None:
    """Found by the mutations below: GDCM 3.2 aborts on the first and writes past its buffer on the second."""
    good = jpeg(np.zeros((24, 32, 3), np.uint8)).replace(b"JFIF\0\1", b"JFIF\0\7")
    sof = good.index(b"\xff\xc0") + 4
    deep = good[:sof] + b"\x88" + good[sof + 1 :]
    for frame, said in ((good, "unknown value"), (deep, "136 bits per sample")):
        path = encoded(make_dicom, [frame], 24, 32, PhotometricInterpretation="YBR_ICT")
        with open_dicom(path) as frames, pytest.raises(FrameError, match=said):
            frames.frame(0)


@pytest.mark.parametrize("name", MUTATED)
def test_damaged_objects_are_refused_or_read(shipped: Find, tmp_path: Path, name: str) -> None:
    mutate(shipped(name), tmp_path / "damaged.dcm", 40, seed=len(name))


@pytest.mark.fuzz
@pytest.mark.parametrize("name", MUTATED)
def test_many_damaged_objects(shipped: Find, tmp_path: Path, name: str) -> None:
    mutate(shipped(name), tmp_path / "damaged.dcm", 1500, seed=len(name) + 1)


def test_errors_are_silent_on_the_terminal(make_dicom: MakeDicom, capfd: pytest.CaptureFixture[str]) -> None:
    """GDCM and OpenCV write to the terminal by themselves unless told not to."""
    good = jpeg(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    broken = good[:400] + b"\xff\xd9"
    for syntax in (JPEGBaseline8Bit, JPEGExtended12Bit):
        with open_dicom(
            encoded(make_dicom, [broken, good], 64, 64, syntax=syntax, NumberOfFrames=2)
        ) as frames:
            for index in (0, 1):
                try:
                    frames.frame(index)
                except FrameError as error:
                    assert "\n" not in str(error)
    assert capfd.readouterr() == ("", "")


def test_the_encapsulation_helper_is_what_it_seems() -> None:
    """The tests above rely on it: one item of offsets, one item per frame, a delimiter."""
    data = encapsulate([b"\x01\x02", b"\x03\x04"], has_bot=False)
    assert data.count(b"\xfe\xff\x00\xe0") == 3
