"""Still pictures from files."""

import random
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.runtime import images
from bedside.runtime.errors import FrameError, SourceError
from bedside.runtime.images import is_image, list_images, natural_key, read_image

SUFFIXES = [".bmp", ".png", ".jpg", ".tif", ".webp"]
PICTURE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (33, 47, 3), np.uint8), (5, 5), 0)


def write(path: Path, pixels: np.ndarray = PICTURE) -> Path:
    ok, data = cv2.imencode(path.suffix, pixels)
    assert ok
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pictures_come_back(tmp_path: Path, suffix: str) -> None:
    read = read_image(write(tmp_path / f"a{suffix}"))
    assert (read.shape, read.dtype) == (PICTURE.shape, np.uint8)
    worst = np.abs(read.astype(int) - PICTURE).max()
    assert worst <= (40 if suffix in (".jpg", ".webp") else 0)


def test_gray_deep_and_transparent_pictures_become_bgr(tmp_path: Path) -> None:
    gray = PICTURE[..., 0]
    np.testing.assert_array_equal(
        read_image(write(tmp_path / "g.png", gray)), np.repeat(gray[..., None], 3, 2)
    )
    deep = write(tmp_path / "d.png", gray.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(deep)[..., 1], gray)
    transparent = np.dstack([PICTURE, np.full(gray.shape, 9, np.uint8)])
    np.testing.assert_array_equal(read_image(write(tmp_path / "t.png", transparent)), PICTURE)


@pytest.mark.fault("S3")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_picture_cut_short_is_refused_in_silence(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / f"a{suffix}")
    data = path.read_bytes()
    for part in (0.0, 0.02, 0.3, 0.7, 0.9):
        path.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(FrameError) as caught:
            read_image(path)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.fault("S3")
def test_a_png_with_a_wrong_checksum_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.png")
    data = bytearray(path.read_bytes())
    for position in range(8, len(data) - 12, 97):
        data[position] ^= 1
        path.write_bytes(data)
        with pytest.raises(FrameError):
            read_image(path)
        data[position] ^= 1
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match="No such file"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(FrameError, match="cannot read"):
        read_image(tmp_path)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(FrameError, match="cannot be decoded"):
        read_image(tmp_path / "text.png")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("kind", ["png", "bmp", "jpg", "tif"])
def test_an_absurd_size_is_refused_before_it_is_allocated(tmp_path: Path, kind: str) -> None:
    side = 60_000
    path = tmp_path / f"huge.{kind}"
    if kind == "png":
        body = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", body) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
        )
    elif kind == "bmp":
        path.write_bytes(b"BM" + struct.pack("<IIIIii", 99, 0, 54, 40, side, -side) + b"\0" * 40)
    elif kind == "tif":
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, side) for tag in (256, 257))
        path.write_bytes(b"II*\0" + struct.pack("<IH", 8, 2) + entries + b"\0" * 4)
    else:
        data = write(path).read_bytes()
        at = data.index(b"\xff\xc0") + 5
        path.write_bytes(data[:at] + struct.pack(">HH", side, side) + data[at + 4 :])
    with pytest.raises(FrameError, match="60000x60000 pixels are beyond the limit"):
        read_image(path)


def test_a_huge_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_IMAGE_FILE_BYTES", 100)
    with pytest.raises(FrameError, match="beyond the limit of 100"):
        read_image(write(tmp_path / "a.bmp"))


def test_folders_are_listed_in_natural_order(tmp_path: Path) -> None:
    for name in ("frame10.png", "frame9.PNG", "frame1.jpg", "notes.txt", ".hidden.png", "b2.tif"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in list_images(tmp_path)] == ["b2.tif", "frame1.jpg", "frame9.PNG", "frame10.png"]
    with pytest.raises(SourceError, match="cannot list"):
        list_images(tmp_path / "missing")


@given(st.lists(st.integers(0, 10**6), unique=True))
def test_numbers_sort_as_numbers(numbers: list[int]) -> None:
    paths = [Path(f"img_{number}_x.png") for number in numbers]
    assert sorted(paths, key=natural_key) == [Path(f"img_{number}_x.png") for number in sorted(numbers)]


@given(st.lists(st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1)))
def test_any_names_can_be_sorted(names: list[str]) -> None:
    paths = [Path(name) for name in names]
    shuffled = random.Random(0).sample(paths, len(paths))
    assert sorted(paths, key=natural_key) == sorted(shuffled, key=natural_key)


def test_pictures_are_known_by_suffix_or_content(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        path = write(tmp_path / f"a{suffix}")
        bare = tmp_path / f"bare_{suffix[1:]}"
        bare.write_bytes(path.read_bytes())
        assert is_image(bare)
    (tmp_path / "text").write_text("no picture")
    assert not is_image(tmp_path / "text")
    assert not is_image(tmp_path / "missing")
    assert is_image(tmp_path / "missing.jpeg")
