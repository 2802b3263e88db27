from __future__ import annotations

from collections.abc import Callable

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.devices.overlay import Overlay, lettering, percent, picture_scale
from bedside.devices.overlay.lettering import Lettering, drawable
from bedside.runtime.answers import Classification, Raw, RawOutput, Score, Smoothing
from bedside.runtime.frame import Color, Frame, Pixels
from bedside.runtime.result import Failed, Outcome, Result, Withheld

MakeResult = Callable[..., Result]


def noise(height: int, width: int, channels: int = 3) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def strip_of(overlay: Overlay, canvas: Pixels) -> Pixels:
    return canvas[overlay.picture.y1 :].copy()


@pytest.mark.parametrize(
    "size", [(320, 240), (640, 480), (1920, 1080), (776, 1080), (28, 28), (1, 1), (99, 501)]
)
@pytest.mark.parametrize("outcome", list(Outcome))
def test_nothing_is_drawn_over_the_picture(
    size: tuple[int, int], outcome: Outcome, make_result: MakeResult
) -> None:
    width, height = size
    pixels = noise(height, width)
    overlay = Overlay(width, height)
    reason = {Outcome.OK: None, Outcome.WITHHELD: Withheld.STALE, Outcome.FAILED: Failed.ENGINE}[outcome]
    canvas = overlay.draw(Frame(pixels, 0, 0), make_result(0, outcome=outcome, reason=reason))
    place = overlay.picture
    shown = canvas[place.y : place.y1, place.x : place.x1]
    expected = cv2.resize(pixels, (place.width, place.height), interpolation=cv2.INTER_LINEAR).reshape(
        shown.shape
    )
    np.testing.assert_array_equal(shown, expected)
    assert (place.width, place.height) == (
        round(width * place.width / width),
        height * (place.width // width),
    )
    assert overlay.size == (canvas.shape[1], canvas.shape[0])
    assert canvas.shape[0] % 2 == canvas.shape[1] % 2 == 0


@pytest.mark.parametrize("color", ["bgr", "rgb", "gray"])
def test_colours_are_those_that_were_captured(color: Color, make_result: MakeResult) -> None:
    pixels = np.zeros((480, 640, 1 if color == "gray" else 3), np.uint8)
    pixels[..., 0] = 200
    before = pixels.copy()
    canvas = Overlay(640, 480).draw(Frame(pixels, 0, 0, color=color), make_result(0))
    expected = {"bgr": (200, 0, 0), "rgb": (0, 0, 200), "gray": (200, 200, 200)}[color]
    assert tuple(int(v) for v in canvas[100, 100]) == expected
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("color", ["bgr", "gray"])
def test_another_size_is_letterboxed(color: Color, make_result: MakeResult) -> None:
    overlay = Overlay(640, 480)
    white = np.full((480, 640, 1 if color == "gray" else 3), 255, np.uint8)
    overlay.draw(Frame(white, 0, 0, color=color), make_result(0))
    tall = np.full((200, 100, white.shape[2]), 255, np.uint8)
    canvas = overlay.draw(Frame(tall, 1, 0, color=color), make_result(1))
    columns = np.flatnonzero((canvas[:480] == 255).all(axis=(0, 2)))
    assert (columns[0], columns[-1]) == (200, 439)
    assert (canvas[:480, :200] == 0).all()
    assert (canvas[:480, 440:] == 0).all()


@pytest.mark.parametrize("size", [(1920, 1080), (3840, 2160), (1001, 2003), (5000, 1), (1, 5000)])
def test_a_smaller_picture_averages_what_was_captured(size: tuple[int, int], make_result: MakeResult) -> None:
    # Stripes of one pixel turn grey; a method that skips pixels would leave stripes, or pick one colour.
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, ::2] = 200
    overlay = Overlay(width, height, max_pixels=width * height // 16)
    shown = overlay.draw(Frame(pixels, 0, 0), make_result(0))[: overlay.picture.height]
    place = shown[:, overlay.picture.x : overlay.picture.x1]
    assert float(place.mean()) == pytest.approx(float(pixels.mean()), abs=12)
    if min(size) > 100:
        assert float(place[2:-2, 2:-2].std()) < 25


def test_the_canvas_is_the_same_every_time(make_result: MakeResult) -> None:
    overlay = Overlay(320, 240)
    first = overlay.draw(Frame(noise(240, 320), 0, 0), make_result(0))
    again = first.copy()
    assert overlay.draw(Frame(noise(240, 320), 1, 0), make_result(1, age_ms=99.0)) is first
    overlay.draw(Frame(noise(240, 320), 0, 0), make_result(0))
    np.testing.assert_array_equal(first, again)


def test_a_result_is_never_drawn_under_another_frame(make_result: MakeResult) -> None:
    with pytest.raises(ValueError, match="the result of frame 7 with the pixels of frame 8"):
        Overlay(320, 240).draw(Frame(noise(240, 320), 8, 0), make_result(7))


@pytest.mark.parametrize("outcome", [Outcome.WITHHELD, Outcome.FAILED])
def test_a_result_that_is_not_ok_shows_no_label_whatever_it_holds(
    outcome: Outcome, make_result: MakeResult
) -> None:
    overlay = Overlay(320, 240)
    frame = Frame(noise(240, 320), 0, 0)
    with_label = make_result(0, outcome=outcome, reason="stale")
    assert with_label.result is not None
    shown = strip_of(overlay, overlay.draw(frame, with_label))
    bare = strip_of(overlay, overlay.draw(frame, msgspec.structs.replace(with_label, result=None)))
    np.testing.assert_array_equal(shown, bare)


def test_each_outcome_has_a_colour_of_its_own(make_result: MakeResult) -> None:
    overlay = Overlay(320, 240)
    edges = set()
    for outcome in Outcome:
        canvas = overlay.draw(Frame(noise(240, 320), 0, 0), make_result(0, outcome=outcome, reason="stale"))
        edges.add(tuple(int(v) for v in canvas[-10, 1]))
    assert len(edges) == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"seq": 123_456},
        {"age_ms": 311.0},
        {"variant": "onnx-int8"},
        {"engine": "openvino"},
        {"bundle": "ef" * 32},
        {"outcome": Outcome.WITHHELD, "reason": "stale"},
        {"outcome": Outcome.WITHHELD, "reason": "not-finite"},
        {"result": Classification("endoscopy", 1, 0.91, (Score(1, "endoscopy", 0.91),))},
        {"result": Raw((RawOutput("scores", (1, 12), -1.0, 4.0, 7),))},
        {"result": Raw(())},
        {"result": None},
    ],
)
def test_everything_that_matters_can_be_seen(fields: dict[str, object], make_result: MakeResult) -> None:
    overlay = Overlay(320, 240)
    plain = make_result(0)
    usual = strip_of(overlay, overlay.draw(Frame(noise(240, 320), 0, 0), plain))
    other = msgspec.structs.replace(plain, **fields)
    shown = strip_of(overlay, overlay.draw(Frame(noise(240, 320), other.seq, 0), other))
    assert (usual != shown).any()


@pytest.mark.parametrize("size", [(640, 480), (320, 240), (300, 480), (1920, 1080), (776, 1080)])
@pytest.mark.parametrize("frames", [3, 999_999])
def test_smoothing_is_named_at_every_size(
    size: tuple[int, int], frames: int, make_result: MakeResult
) -> None:
    overlay = Overlay(*size, max_pixels=960 * 540)
    plain = make_result(0, age_ms=1234.0)
    smoothed = msgspec.structs.replace(plain.result, smoothing=Smoothing("ema", 0.3, frames))
    frame = Frame(noise(size[1], size[0]), 0, 0)
    usual = strip_of(overlay, overlay.draw(frame, plain))
    shown = strip_of(overlay, overlay.draw(frame, msgspec.structs.replace(plain, result=smoothed)))
    changed = np.flatnonzero((usual != shown).any(axis=(0, 2)))
    # It stands in the left half, clear of the bars.
    assert 0 < changed[-1] < overlay.size[0] // 2


def test_bars_are_as_long_as_their_scores(make_result: MakeResult) -> None:
    overlay = Overlay(640, 480)
    lengths = []
    for score in (0.25, 0.5, 1.0):
        shown = Classification("a", 0, score, (Score(0, "a", score),))
        strip = strip_of(overlay, overlay.draw(Frame(noise(480, 640), 0, 0), make_result(0, result=shown)))
        blue = (strip[:, 40:] == (230, 166, 74)).all(axis=2)
        lengths.append(int(blue.sum(axis=1).max()))
    assert lengths[0] == pytest.approx(lengths[2] / 4, abs=1)
    assert lengths[1] == pytest.approx(lengths[2] / 2, abs=1)


@settings(deadline=None, max_examples=60)
@given(
    label=st.text(max_size=200),
    score=st.floats(allow_nan=False, allow_infinity=False),
    age=st.floats(0, 1e9),
    seq=st.integers(0, 2**63 - 1),
)
def test_any_result_can_be_drawn(
    label: str, score: float, age: float, seq: int, make_result: MakeResult
) -> None:
    shown = Classification(label, 0, score, tuple(Score(i, label, score) for i in range(5)))
    overlay = Overlay(100, 60)
    overlay.draw(
        Frame(noise(60, 100), seq, 0), make_result(seq, age_ms=age, result=shown, variant=label[:64])
    )


@pytest.mark.parametrize(
    ("size", "limit", "scale"),
    [
        ((320, 240), None, 2),
        ((640, 480), None, 1),
        ((1920, 1080), None, 1),
        ((28, 28), None, 16),
        ((320, 240), 320 * 240, 1),
        ((1920, 1080), 960 * 540, 0.5),
        ((1, 1), 4, 2),
    ],
)
def test_scale_of_the_picture(size: tuple[int, int], limit: int | None, scale: float) -> None:
    assert picture_scale(*size, limit) == pytest.approx(scale)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 10_000_000))
def test_a_limit_on_pixels_is_kept(width: int, height: int, limit: int) -> None:
    scale = picture_scale(width, height, limit)
    assert width * height * scale * scale <= limit * (1 + 1e-9)


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (1.0, ">99 %"),
        (0.995, ">99 %"),
        (0.99, "99 %"),
        (0.5, "50 %"),
        (0.004, "<1 %"),
        (0.0, "<1 %"),
        (3.5, "3.5"),
    ],
)
def test_a_percentage_never_claims_certainty(score: float, text: str) -> None:
    assert percent(score) == text


class TestLettering:
    BACKGROUND = (10, 20, 30)

    def canvas(self) -> Pixels:
        canvas = np.empty((60, 200, 3), np.uint8)
        canvas[:] = self.BACKGROUND
        return canvas

    @pytest.mark.parametrize("capital", [8, 11, 16, 26, 40])
    @pytest.mark.parametrize("bold", [False, True])
    def test_capitals_are_as_high_as_asked_and_stand_on_the_baseline(self, capital: int, bold: bool) -> None:
        canvas = self.canvas()
        Lettering(self.BACKGROUND).put(canvas, "H", 5, 50, capital, (255, 255, 255), bold=bold)
        rows = np.flatnonzero(canvas.max(axis=(1, 2)) > 140)
        assert rows[-1] - rows[0] + 1 == pytest.approx(capital, abs=1.5)
        assert rows[-1] == pytest.approx(49, abs=1.5)

    def test_text_stays_on_the_canvas(self) -> None:
        letters, canvas = Lettering(self.BACKGROUND), self.canvas()
        for x, baseline in ((-50, 20), (190, 20), (500, 20), (10, -100), (10, 300), (10, 2), (10, 61)):
            letters.put(canvas, "frame", x, baseline, 20, (255, 255, 255))

    def test_numbers_do_not_jump(self) -> None:
        letters = Lettering(self.BACKGROUND)
        assert len({letters.number_width(text, 12) for text in ("111", "888", "470")}) == 1
        ends = {
            letters.put_number(self.canvas(), text, 3, 30, 12, (255, 255, 255)) for text in ("111", "808")
        }
        assert len(ends) == 1

    def test_what_does_not_fit_is_shortened(self) -> None:
        letters = Lettering(self.BACKGROUND)
        text = "vastus lateralis, long axis"
        for width in (0, 10, 50, 100, 500):
            shown = letters.fitted(text, width, 12)
            assert letters.width(shown, 12) <= max(1, width)
            assert shown == text or shown == "" or (shown.endswith("..") and text.startswith(shown[:-2]))

    def test_memory_stays_bounded(self) -> None:
        letters = Lettering(self.BACKGROUND, remember=16)
        for number in range(100):
            letters.put(self.canvas(), str(number), 0, 30, 12, (255, 255, 255))
        assert len(letters._tiles) == 16

    def test_control_characters_are_not_drawn(self) -> None:
        assert drawable("a\nb\x1b[31mc") == "a b [31mc"

    def test_old_opencv_gets_ascii(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lettering, "_OUTLINES", False)
        assert drawable("Ménière 97 % 超声") == "Meniere 97 % ??"
