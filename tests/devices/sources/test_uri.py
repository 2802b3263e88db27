"""Source URIs, parsed strictly."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.devices.sources import (
    CameraSource,
    CaptureOptions,
    DicomSource,
    ImageSource,
    VideoSource,
    echo_cine_path,
    open_source,
)
from bedside.devices.sources.network import NETWORK_SCHEMES
from bedside.devices.sources.uri import (
    SCHEMES,
    SourceUri,
    frame_size,
    parse_query,
    parse_uri,
    positive_integer,
    positive_number,
)
from bedside.runtime.clock import ManualClock
from bedside.runtime.errors import SourceError, UsageError

MakeVideo = Callable[..., Path]

WORDS = st.text(
    st.characters(min_codepoint=48, max_codepoint=122, categories=["L", "N"]), min_size=1, max_size=8
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("camera:0", SourceUri("camera", "0")),
        (
            "CAMERA:/dev/video0?size=640x480&fps=30",
            SourceUri("camera", "/dev/video0", {"size": "640x480", "fps": "30"}),
        ),
        ("synthetic:ultrasound?fps=60", SourceUri("synthetic", "ultrasound", {"fps": "60"})),
        ("sample:echo-cine", SourceUri("sample", "echo-cine")),
        ("clips/a.mp4", SourceUri("path", "clips/a.mp4")),
        ("clips/a.mp4?fps=12.5", SourceUri("path", "clips/a.mp4", {"fps": "12.5"})),
        (r"C:\clips\a.mp4", SourceUri("path", r"C:\clips\a.mp4")),
        ("./camera:0", SourceUri("path", "./camera:0")),
        ("sample:a?b=%26%3D%C3%A9", SourceUri("sample", "a", {"b": "&=é"})),
        ("RTSP://u:p@cart:8554/live?x=1&y", SourceUri("rtsp", "rtsp://u:p@cart:8554/live?x=1&y")),
        (
            "http://cart/a.mjpg?token=A#transport=udp&read_timeout=1",
            SourceUri("http", "http://cart/a.mjpg?token=A", {"transport": "udp", "read_timeout": "1"}),
        ),
        ("udp://@239.0.0.1:1234", SourceUri("udp", "udp://@239.0.0.1:1234")),
    ],
)
def test_uris_taken_apart(text: str, expected: SourceUri) -> None:
    assert parse_uri(text) == expected


@pytest.mark.parametrize(
    "text", ["ftp://host/a.mp4", "file:///a.mp4", "rtsp:cart", "sythetic:ultrasound", "file:a.mp4"]
)
def test_an_unknown_scheme_names_the_allowed_ones(text: str) -> None:
    with pytest.raises(UsageError, match="unknown source scheme") as caught:
        open_source(text)
    assert all(scheme in str(caught.value) for scheme in SCHEMES)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["", "  ", "a?", "a?b", "a?=b", "a?b=", "a?b=1&", "a?&b=1", "a?b=1&b=2"])
def test_malformed_uris(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_uri(text)
    assert "\n" not in str(caught.value)


def test_an_existing_name_is_a_path_whatever_it_looks_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("camera:0", "what?.png", "a:b=c&d"):
        Path(name).touch()
        assert parse_uri(name) == SourceUri("path", name)
    assert parse_uri("a:b=c&d?fps=3") == SourceUri("path", "a:b=c&d", {"fps": "3"})


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parsed = parse_uri(text)
    except UsageError as error:
        assert "\n" not in str(error)
    else:
        assert parsed.scheme in (*SCHEMES, *NETWORK_SCHEMES, "path")


@given(st.sampled_from(SCHEMES), WORDS, st.dictionaries(WORDS, WORDS, max_size=4))
def test_uris_come_back_as_they_were_written(scheme: str, target: str, options: dict[str, str]) -> None:
    query = "&".join(f"{key}={value}" for key, value in options.items())
    text = f"{scheme}:{target}" + (f"?{query}" if query else "")
    assert parse_uri(text) == SourceUri(scheme, target, options)


@given(st.dictionaries(WORDS, WORDS, min_size=1, max_size=4), st.data())
def test_a_key_given_twice_is_refused(options: dict[str, str], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(options)))
    query = "&".join(f"{k}={v}" for k, v in options.items())
    with pytest.raises(UsageError, match="given twice"):
        parse_query(f"{query}&{key}=again", "here")


@given(st.text(max_size=12))
def test_values_convert_or_say_what_was_expected(text: str) -> None:
    for convert in (positive_number, positive_integer, frame_size):
        try:
            value = convert(text)
        except ValueError as error:
            assert "expected" in str(error)
        else:
            assert min(value if isinstance(value, tuple) else (value,)) > 0


@given(st.integers(1, 99999), st.integers(1, 99999))
def test_sizes(width: int, height: int) -> None:
    assert frame_size(f"{width}x{height}") == (width, height)


def test_files_are_known_by_their_content(tmp_path: Path, make_video: MakeVideo) -> None:
    picture = tmp_path / "picture.dat"
    picture.write_bytes(bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1]))
    dicom = tmp_path / "object.mp4"
    shutil.copy(echo_cine_path(), dicom)
    for path, kind in ((make_video(3), VideoSource), (picture, ImageSource), (dicom, DicomSource)):
        source = open_source(str(path), clock=ManualClock(5))
        assert type(source) is kind
        source.open()
        frame = source.read()
        assert frame is not None
        assert frame.captured_ns == 5
        source.close()


def test_folders_are_known_by_what_lies_in_them(tmp_path: Path) -> None:
    pictures, objects, both, deep, empty = (
        tmp_path / n for n in ("pictures", "objects", "both", "deep", "empty")
    )
    for folder in (pictures, objects, both, deep / "inner", empty):
        folder.mkdir(parents=True)
    for folder in (pictures, both):
        assert cv2.imwrite(str(folder / "a.png"), np.zeros((8, 8, 3), np.uint8))
    for folder in (objects, both):
        shutil.copy(echo_cine_path(), folder / "IM0001")
    assert type(open_source(str(pictures))) is ImageSource
    assert type(open_source(str(objects))) is DicomSource
    with pytest.raises(SourceError, match="1 pictures and 1 DICOM files"):
        open_source(str(both))
    with pytest.raises(SourceError, match="1 subfolders"):
        open_source(str(deep))
    with pytest.raises(SourceError, match="neither pictures nor DICOM"):
        open_source(str(empty))


def test_what_is_not_there() -> None:
    for text in ("missing.mp4", "missing.mp4?fps=3", "/dev/null", "x" * 5000, "a\0b"):
        with pytest.raises(SourceError) as caught:
            open_source(text)
        assert caught.value.exit_code == 4
        assert "\n" not in str(caught.value)


def test_options_of_a_recording(make_video: MakeVideo) -> None:
    source = open_source(f"{make_video(2)}?fps=7")
    assert source.open().fps == 7
    source.close()
    for uri, said in (
        ("sample:echo-cine?speed=2", "unknown option 'speed'"),
        ("sample:echo-cine?fps=0", "number above 0"),
        ("sample:echo-cine?fps=nan", "number above 0"),
        ("sample:echo-cine?fps=inf", "number above 0"),
    ):
        with pytest.raises(UsageError, match=said):
            open_source(uri)
    with pytest.raises(UsageError, match="allowed here: fps"):
        open_source("sample:echo-cine?speed=2")


def test_the_sample() -> None:
    source = open_source("sample:echo-cine")
    assert source.open().frames == 30
    source.close()
    with pytest.raises(UsageError, match="allowed: echo-cine"):
        open_source("sample:echo")


def test_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[object, CaptureOptions]] = []
    monkeypatch.setattr(
        CameraSource, "__init__", lambda self, device, options, *, clock: made.append((device, options))
    )
    profile = CaptureOptions(width=800, height=600, fps=25.0)
    open_source("camera:0", capture=profile)
    open_source("camera:/dev/video2?size=1920x1080&fourcc=MJPG&buffers=2", capture=profile)
    assert made == [
        (0, profile),
        ("/dev/video2", CaptureOptions(width=1920, height=1080, fps=25.0, fourcc="MJPG", buffers=2)),
    ]
    for uri, said in (
        ("camera:", "no camera is called"),
        ("camera:front", "no camera is called"),
        ("camera:-1", "no camera is called"),
        ("camera:0?size=640", "WIDTHxHEIGHT"),
        ("camera:0?size=0x480", "WIDTHxHEIGHT"),
        ("camera:0?buffers=1.5", "whole number"),
        ("camera:0?fourcc=MJPEG", "four characters"),
        ("camera:0?frames=3", "allowed here: buffers, fourcc, fps, size"),
    ):
        with pytest.raises(UsageError, match=said):
            open_source(uri)
