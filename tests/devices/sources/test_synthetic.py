"""`synthetic:` sources: what the URI says is what comes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.devices.sources import open_source
from bedside.devices.sources.synthetic import KINDS, LARGEST, SyntheticOptions, SyntheticSource
from bedside.runtime.clock import ManualClock
from bedside.runtime.errors import SourceError, UsageError
from bedside.runtime.frame import Frame
from bedside.runtime.protocols import Source
from bedside.runtime.synthetic import LABELS, UltrasoundScene


def read_all(source: SyntheticSource) -> list[Frame]:
    frames = []
    while (frame := source.read()) is not None:
        frames.append(frame)
    return frames


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_plays(kind: str) -> None:
    source = SyntheticSource.from_uri(f"synthetic:{kind}?size=160x120&frames=3&fps=20&seed=4")
    assert isinstance(source, Source)
    info = source.open()
    assert (info.width, info.height, info.fps, info.frames) == (160, 120, 20.0, 3)
    assert info.color == "bgr" and not info.live
    assert info.details["generator"] == kind
    frames = read_all(source)
    assert [frame.seq for frame in frames] == [0, 1, 2]
    assert [frame.pts_ns for frame in frames] == [0, 50_000_000, 100_000_000]
    for frame in frames:
        assert frame.pixels.shape == (120, 160, 3)
        assert frame.meta is not None
        assert frame.meta["label"] == source.truth(frame.seq).label
    assert source.read() is None
    source.close()


def test_open_source_finds_it() -> None:
    source = open_source("synthetic:bars?frames=1")
    assert isinstance(source, SyntheticSource)
    assert source.options == SyntheticOptions(kind="bars", frames=1)


def test_defaults() -> None:
    assert SyntheticSource.from_uri("synthetic:ultrasound").options == SyntheticOptions(kind="ultrasound")
    info = SyntheticSource.from_uri("synthetic:bars").open()
    assert (info.width, info.height, info.fps, info.frames) == (1280, 720, 30.0, None)
    # Square, as the samples are that a classifier of these classes is trained on.
    classes = SyntheticSource.from_uri("synthetic:classes").options
    assert (classes.width, classes.height) == (480, 480)


def test_pixels_are_the_generators() -> None:
    source = SyntheticSource.from_uri(
        "synthetic:ultrasound?size=200x160&seed=6&fps=25&preset=superficial&frames=3"
    )
    source.open()
    scene = UltrasoundScene(width=200, height=160, seed=6, fps=25, preset="superficial")
    for frame in read_all(source):
        assert np.array_equal(frame.pixels, scene.render(frame.seq))
        assert np.array_equal(source.truth(frame.seq).mask, scene.truth(frame.seq).mask)
        assert frame.spacing_mm == scene.spacing_mm
        (region,) = frame.regions
        assert (region.rect, region.spacing_mm, region.kind) == (scene.box, scene.spacing_mm, "b-mode")


def test_gray() -> None:
    source = SyntheticSource.from_uri("synthetic:ultrasound?size=96x96&color=gray&frames=1")
    assert source.open().color == "gray"
    (frame,) = read_all(source)
    assert frame.color == "gray" and frame.pixels.shape == (96, 96, 1)


def test_buffers_are_lent_and_come_back() -> None:
    source = SyntheticSource.from_uri("synthetic:noise?size=64x64&frames=20")
    source.open()
    addresses = set()
    while (frame := source.read()) is not None:
        assert frame.lease is not None
        addresses.add(frame.pixels.__array_interface__["data"][0])
        frame.release()
    assert len(addresses) == 1


def test_a_held_frame_is_not_drawn_over() -> None:
    source = SyntheticSource.from_uri("synthetic:noise?size=64x64&frames=4")
    source.open()
    first = source.read()
    assert first is not None
    before = first.pixels.copy()
    read_all(source)
    assert np.array_equal(first.pixels, before)


def test_a_loop_is_replayed_without_copies() -> None:
    looped = SyntheticSource.from_uri("synthetic:endoscopy?size=96x96&loop=3&frames=9&seed=2")
    plain = SyntheticSource.from_uri("synthetic:endoscopy?size=96x96&frames=3&seed=2")
    looped.open()
    plain.open()
    frames, drawn = read_all(looped), read_all(plain)
    for frame, shown in zip(frames, [0, 1, 2, 1, 0, 1, 2, 1, 0], strict=True):
        assert np.array_equal(frame.pixels, drawn[shown].pixels)
        assert frame.lease is None and not frame.pixels.flags.writeable
        assert np.array_equal(looped.truth(frame.seq).mask, plain.truth(shown).mask)
    assert frames[0].pixels is frames[4].pixels


def test_classes_are_named_in_the_metadata() -> None:
    source = SyntheticSource.from_uri("synthetic:classes?size=64x64&fps=4&frames=12&seed=1")
    source.open()
    labels = [frame.meta["label"] for frame in read_all(source) if frame.meta is not None]
    assert labels == [label for _ in range(2) for label in LABELS for _ in range(2)]


def test_the_stamp_is_taken_before_the_frame_is_drawn() -> None:
    clock = ManualClock(start_ns=77)
    source = SyntheticSource.from_uri("synthetic:bars?frames=2", clock=clock)
    source.open()
    first = source.read()
    clock.advance(5)
    second = source.read()
    assert first is not None and second is not None
    assert (first.captured_ns, second.captured_ns) == (77, 82)


def test_it_can_be_opened_again_from_the_start() -> None:
    source = SyntheticSource.from_uri("synthetic:noise?size=64x64&frames=2")
    runs = []
    for _ in range(2):
        source.open()
        runs.append([(frame.seq, frame.pixels.tobytes()) for frame in read_all(source)])
        source.close()
    assert runs[0] == runs[1] and len(runs[0]) == 2
    source.close()


def test_cancel_ends_it() -> None:
    source = SyntheticSource.from_uri("synthetic:bars")
    source.open()
    assert source.read() is not None
    source.cancel()
    assert source.read() is None


def test_truth_of_a_closed_source_is_refused() -> None:
    source = SyntheticSource.from_uri("synthetic:bars")
    with pytest.raises(SourceError, match="before open"):
        source.truth(0)


def test_options_of_single_kinds() -> None:
    blank = SyntheticSource.from_uri("synthetic:blank?level=9&size=48x48&frames=1")
    blank.open()
    assert (read_all(blank)[0].pixels == 9).all()
    bare = SyntheticSource.from_uri("synthetic:endoscopy?polyps=0&size=64x64&frames=1")
    bare.open()
    assert bare.truth(0).boxes == ()


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("synthetic:sonogram", r"unknown generator 'sonogram' \(allowed: ultrasound, endoscopy, classes, "),
        ("synthetic:", "unknown generator ''"),
        ("synthetic:ultrasound?speed=3", r"unknown option 'speed' \(allowed here: color, fps, .*preset"),
        ("synthetic:endoscopy?preset=heart", "unknown option 'preset'.*polyps"),
        ("synthetic:bars?level=3", "unknown option 'level'"),
        ("synthetic:ultrasound?fps=0", "fps='0': expected a number above 0"),
        ("synthetic:ultrasound?fps=nan", "expected a number above 0"),
        ("synthetic:ultrasound?size=640", "expected WIDTHxHEIGHT"),
        ("synthetic:ultrasound?size=32x640", "width is 32.*48 to 8192"),
        ("synthetic:ultrasound?size=640x9000", "height is 9000"),
        ("synthetic:ultrasound?frames=-1", "expected a whole number above 0"),
        ("synthetic:ultrasound?frames=0", "expected a whole number above 0"),
        ("synthetic:ultrasound?seed=x", "expected a whole number from 0"),
        ("synthetic:ultrasound?seed=4294967296", "from 0 to 4294967295"),
        ("synthetic:ultrasound?color=rgb", "expected bgr or gray"),
        ("synthetic:ultrasound?preset=liver", "expected abdomen or heart or superficial or phantom"),
        ("synthetic:endoscopy?polyps=5", "from 0 to 4"),
        ("synthetic:blank?level=256", "from 0 to 255"),
        ("synthetic:ultrasound?loop=2000&size=1920x1080", r"11865 MiB \(172 frames of this size fit\)"),
        ("synthetic:ultrasound?fps", "malformed option"),
        ("synthetic:ultrasound?fps=1&fps=2", "given twice"),
    ],
)
def test_wrong_uris_get_one_clear_line(uri: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        SyntheticSource.from_uri(uri)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(uri)


COMMON: dict[str, st.SearchStrategy[Any]] = {
    "fps": st.floats(0.1, 240).map(lambda value: round(value, 3)),
    "frames": st.integers(1, 10**9 - 1),
    "seed": st.integers(0, 2**32 - 1),
    "color": st.sampled_from(["bgr", "gray"]),
    "loop": st.integers(1, 4),
}


@given(
    kind=st.sampled_from(KINDS),
    options=st.fixed_dictionaries({}, optional=COMMON),
    size=st.tuples(st.integers(48, LARGEST), st.integers(48, LARGEST)),
)
@settings(max_examples=60, deadline=None)
def test_options_arrive_unchanged(kind: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    query = "&".join([f"size={size[0]}x{size[1]}", *(f"{key}={value}" for key, value in options.items())])
    source = SyntheticSource.from_uri(f"synthetic:{kind}?{query}")
    expected = SyntheticOptions(kind=kind, width=size[0], height=size[1], **options)  # type: ignore[arg-type]
    assert source.options == expected


@given(kind=st.sampled_from(KINDS), query=st.text(max_size=30))
@settings(max_examples=150, deadline=None)
def test_any_query_is_understood_or_refused(kind: str, query: str) -> None:
    try:
        source = SyntheticSource.from_uri(f"synthetic:{kind}?{query}")
    except UsageError as error:
        assert "\n" not in str(error)
    else:
        assert source.options.kind == kind
