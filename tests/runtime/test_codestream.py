"""Headers of JPEG and JPEG 2000 codestreams."""

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.runtime.codestream import Codestream, parse_jpeg, parse_jpeg2000


def jpeg(height: int, width: int, channels: int = 3) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    return bytes(cv2.imencode(".jpg", pixels)[1])


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def bare(*before: bytes, ids: bytes = b"\x01\x02\x03") -> bytes:
    """A three-component JPEG of 6x4 pixels without entropy-coded data."""
    frame = struct.pack(">BHHB", 8, 4, 6, 3) + b"".join(bytes((i, 0x11, 0)) for i in ids)
    return b"\xff\xd8" + b"".join(before) + segment(0xC0, frame) + segment(0xDA, b"\3") + b"\0\xff\xd9"


JFIF = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")


def adobe(transform: int) -> bytes:
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes((transform,)))


@pytest.mark.parametrize(("height", "width", "channels"), [(1, 1, 3), (37, 500, 3), (64, 8, 1)])
def test_what_opencv_writes(height: int, width: int, channels: int) -> None:
    found = parse_jpeg(jpeg(height, width, channels))
    assert found == Codestream(width, height, channels, 8, complete=True, colors="jfif")


def test_a_cut_jpeg_is_not_complete() -> None:
    data = jpeg(16, 16)
    for end in range(len(data)):
        found = parse_jpeg(data[:end])
        assert found is None or not found.complete
    padded = parse_jpeg(data + b"\0" * 99)
    assert padded is not None
    assert padded.complete


@pytest.mark.parametrize(
    ("data", "colors"),
    [
        (bare(JFIF), "jfif"),
        (bare(adobe(1)), "ycc"),
        (bare(adobe(0)), "rgb"),
        (bare(ids=b"RGB"), "rgb"),
        (bare(), "unmarked"),
        (bare(JFIF, adobe(0)), "contradiction"),
        (bare(JFIF, ids=b"rgb"), "contradiction"),
        (bare(segment(0xEE, b"Other")), "unmarked"),
    ],
)
def test_what_a_jpeg_says_of_its_colours(data: bytes, colors: str) -> None:
    found = parse_jpeg(data)
    assert found is not None
    assert (found.width, found.height, found.colors) == (6, 4, colors)


@pytest.mark.parametrize(
    ("data", "sound"),
    [
        (bare(JFIF, adobe(0)), True),
        (bare(adobe(2)), False),
        (bare(adobe(64)), False),
        (bare(segment(0xE0, b"JFIF\0\2\1\0\0\1\0\1\0\0")), False),
    ],
)
def test_markers_with_unknown_values(data: bytes, sound: bool) -> None:
    found = parse_jpeg(data)
    assert found is not None
    assert found.sound is sound


def test_a_thumbnail_is_not_taken_for_the_picture() -> None:
    found = parse_jpeg(bare(segment(0xE1, b"Exif\0\0" + jpeg(8, 8))))
    assert found is not None
    assert (found.width, found.height) == (6, 4)


@pytest.mark.parametrize("box", [False, True])
def test_jpeg_2000(box: bool) -> None:
    pixels = np.zeros((300, 200, 3), np.uint8)
    data = bytes(cv2.imencode(".jp2", pixels)[1])
    if not box:
        data = data[data.index(b"\xff\x4f\xff\x51") :]
    assert parse_jpeg2000(data) == Codestream(200, 300, 3, 8, complete=True)
    for end in range(len(data) - 2):
        found = parse_jpeg2000(data[:end])
        assert found is None or not found.complete
    assert parse_jpeg(data) is None


def test_other_things_are_neither() -> None:
    for data in (b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff\xe0\0\0", b"\xff\xd8\0\0\0\0", b"BM" + b"\0" * 50):
        assert parse_jpeg(data) is None
        assert parse_jpeg2000(data) is None


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"\xff\xd8", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "]))
def test_any_bytes_are_parsed_or_not(data: bytes, start: bytes) -> None:
    for parse in (parse_jpeg, parse_jpeg2000):
        found = parse(start + data)
        assert found is None or isinstance(found, Codestream)
