"""Drawings over the picture: where they are, what they leave alone, and when there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.devices.overlay import Overlay
from bedside.devices.overlay.palette import CLASSES
from bedside.runtime.answers import (
    Classification,
    DetectedBox,
    Detections,
    Generation,
    HeatMap,
    Picture,
    PredictionSet,
    Reconstruction,
    Region,
    Score,
    Segmentation,
    TaskResult,
    Translation,
)
from bedside.runtime.frame import Frame, Pixels
from bedside.runtime.geometry import Box, Point
from bedside.runtime.result import GuardScore, Outcome, Result

MakeResult = Callable[..., Result]
WIDTH, HEIGHT = 320, 240  # on the canvas twice as large

WHOLE = Box(0.0, 0.0, float(WIDTH), float(HEIGHT))


def square(x0: float, y0: float, x1: float, y1: float) -> tuple[Point, ...]:
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def regions(*contours: tuple[Point, ...], index: int = 1) -> Segmentation:
    return Segmentation((Region(index, "polyp", 0.9, 6400.0, 0.1, WHOLE, contours),))


def heat(codes: Any, low: float, high: float) -> HeatMap:
    codes = np.array(codes, np.uint8)
    return HeatMap(codes.shape[1], codes.shape[0], WHOLE, low, high, codes.tobytes())


HALF = heat([[0, 255]], 0.0, 1.0)
TASKS: dict[str, TaskResult] = {
    "segmentation": regions(square(80, 60, 240, 180)),
    "detection": Detections((DetectedBox(0, "polyp", 0.87, Box(80, 60, 240, 180)),)),
    "map": Classification("a", 0, 0.9, (Score(0, "a", 0.9),), map=HALF),
    "reconstruction": Reconstruction(4.0, 0.5, 0.4, 1.0, heat([[0, 255]], 0.0, 80.0)),
    "translation": Translation(WHOLE, 3.0, Picture(2, 1, "gray", bytes((50, 200)))),
    "generation": Generation(100.0, 20.0, Picture(1, 1, "rgb", bytes((10, 20, 200)))),
}


def grey(level: int = 90) -> Pixels:
    return np.full((HEIGHT, WIDTH, 3), level, np.uint8)


def drawn(
    make_result: MakeResult, shown: TaskResult | None, task: str = "", **fields: Any
) -> tuple[Overlay, Pixels]:
    overlay = Overlay(WIDTH, HEIGHT, task=task)
    result = make_result(0, result=shown, task=task or "classification", **fields)
    canvas = overlay.draw(Frame(grey(), 0, 0), result).copy()
    return overlay, canvas


def picture(overlay: Overlay, canvas: Pixels) -> Pixels:
    place = overlay.picture
    return canvas[place.y : place.y1, place.x : place.x1]


@pytest.mark.parametrize("outcome", [Outcome.WITHHELD, Outcome.FAILED])
@pytest.mark.parametrize("kind", TASKS)
def test_what_is_not_ok_draws_nothing(kind: str, outcome: Outcome, make_result: MakeResult) -> None:
    task = kind if kind in ("translation", "generation") else ""
    fields = {"outcome": outcome, "reason": "out-of-distribution", "guard": GuardScore(2.4, 1.0)}
    overlay, canvas = drawn(make_result, TASKS[kind], task, **fields)
    assert (picture(overlay, canvas) == 90).all()
    if overlay.beside is not None:
        assert not canvas[: overlay.beside.height, overlay.beside.x : overlay.beside.x1].any()
    _, bare = drawn(make_result, None, task, **fields)
    np.testing.assert_array_equal(canvas, bare)


@pytest.mark.parametrize("kind", TASKS)
def test_what_is_ok_is_seen(kind: str, make_result: MakeResult) -> None:
    task = kind if kind in ("translation", "generation") else ""
    overlay, canvas = drawn(make_result, TASKS[kind], task)
    _, bare = drawn(make_result, None, task)
    high = overlay.picture.height
    assert (canvas[:high] != bare[:high]).any()
    assert (canvas[high:] != bare[high:]).any()


def test_an_outline_lies_where_the_region_ends(make_result: MakeResult) -> None:
    shown = picture(*drawn(make_result, regions(square(80, 60, 240, 180))))
    coloured = (shown == CLASSES[0]).all(axis=2)
    rows, columns = np.flatnonzero(coloured.any(axis=1)), np.flatnonzero(coloured.any(axis=0))
    assert abs(rows[0] - 119.5) <= 1.5 and abs(rows[-1] - 359.5) <= 1.5
    assert abs(columns[0] - 159.5) <= 1.5 and abs(columns[-1] - 479.5) <= 1.5
    assert (shown[:110] == 90).all() and (shown[370:] == 90).all()
    assert (shown[:, :150] == 90).all() and (shown[:, 490:] == 90).all()


def test_the_anatomy_is_seen_through_a_region_and_untouched_in_its_hole(make_result: MakeResult) -> None:
    shown = picture(*drawn(make_result, regions(square(20, 20, 300, 220), square(120, 80, 200, 160))))
    assert (shown[200:280, 280:360] == 90).all()
    inside = shown[60:120, 60:120].astype(int)
    assert 0 < np.abs(inside - 90).max() < 25


@pytest.mark.parametrize("level", [0, 255])
def test_a_line_has_a_dark_edge_on_any_ground(level: int, make_result: MakeResult) -> None:
    overlay = Overlay(WIDTH, HEIGHT)
    shown = make_result(0, result=regions(square(80, 60, 240, 180)))
    row = overlay.draw(Frame(grey(level), 0, 0), shown)[240, 140:175].astype(int)
    assert row.max() >= 180
    assert row.mean(axis=1).min() < 100


def test_classes_have_colours_of_their_own(make_result: MakeResult) -> None:
    for index in (1, 2, 7):
        shown = picture(*drawn(make_result, regions(square(80, 60, 240, 180), index=index)))
        assert (shown == CLASSES[index - 1]).all(axis=2).any()


@given(
    x=st.floats(-50, 400, width=32),
    y=st.floats(-50, 300, width=32),
    width=st.floats(0, 400, width=32),
    height=st.floats(0, 300, width=32),
)
def test_any_box_can_be_drawn(
    x: float, y: float, width: float, height: float, make_result: MakeResult
) -> None:
    found = DetectedBox(0, "a label of some length that goes on", 0.5, Box(x, y, x + width, y + height))
    drawn(make_result, Detections((found,)))


@pytest.mark.parametrize("at", [(80, 60), (0, 0), (300, 0), (300, 220), (0, 200)])
def test_a_tag_stands_outside_its_box_and_inside_the_picture(
    at: tuple[int, int], make_result: MakeResult
) -> None:
    x, y = at
    box = Box(x, y, x + 20.0, y + 20.0)
    shown = picture(*drawn(make_result, Detections((DetectedBox(0, "polyp", 0.87, box),))))
    inner = shown[2 * y + 5 : 2 * y + 35, 2 * x + 5 : 2 * x + 35]
    assert (inner == 90).all()
    assert (shown[:, :, 0] > 200).any(), "the tag's letters"


def test_a_map_is_clear_below_its_floor(make_result: MakeResult) -> None:
    for kind in ("map", "reconstruction"):
        shown = picture(*drawn(make_result, TASKS[kind]))
        assert (shown[:, :200] == 90).all()
        strongest = shown[:, 600].astype(int)
        assert 20 < np.abs(strongest - 90).max() <= 0.4 * 255


def test_small_errors_and_flat_maps_draw_nothing(make_result: MakeResult) -> None:
    small = Reconstruction(2.0, 0.5, map=heat([[0, 255]], 0.0, 20.0))
    flat = Classification("a", 0, 0.9, (), map=heat([[0, 0]], 0.3, 0.3))
    for shown in (small, flat):
        assert (picture(*drawn(make_result, shown)) == 90).all()


def test_a_translation_stands_beside_the_frame_where_the_frame_has_it(make_result: MakeResult) -> None:
    part = Box(160.0, 0.0, 320.0, 120.0)
    shown = Translation(part, 3.0, Picture(2, 1, "rgb", bytes((200, 0, 0, 200, 0, 0))))
    overlay, canvas = drawn(make_result, shown, "translation")
    assert (picture(overlay, canvas) == 90).all()
    place = overlay.beside
    assert place is not None
    beside = canvas[place.y : place.y1, place.x : place.x1]
    high, wide = place.height // 2, place.width // 2
    assert (beside[:high, wide:] == (0, 0, 200)).all()
    assert not beside[high:].any() and not beside[:, :wide].any()


def test_a_result_without_its_picture_leaves_the_other_half_black(make_result: MakeResult) -> None:
    overlay, canvas = drawn(make_result, Translation(WHOLE, 3.0), "translation")
    assert overlay.beside is not None
    assert not canvas[: overlay.beside.height, overlay.beside.x :].any()


def test_drawings_follow_a_frame_of_another_size(make_result: MakeResult) -> None:
    overlay = Overlay(WIDTH, HEIGHT)
    overlay.draw(Frame(grey(), 0, 0), make_result(0))
    tall = np.full((200, 100, 3), 90, np.uint8)
    found = Detections((DetectedBox(0, "a", 0.9, Box(0, 0, 100, 200)),))
    canvas = overlay.draw(Frame(tall, 1, 0), make_result(1, result=found))
    columns = np.flatnonzero((canvas[200:280] == CLASSES[0]).all(axis=2).any(axis=0))
    assert (columns[0], columns[-1]) == (200, 439)


def test_halves_share_the_limit_of_pixels() -> None:
    overlay = Overlay(1920, 1080, max_pixels=800 * 450, task="translation")
    assert overlay.beside is not None
    assert overlay.picture.width * overlay.picture.height * 2 <= 800 * 450 * 1.01
    assert overlay.beside.x >= overlay.picture.x1
    assert overlay.beside.x1 <= overlay.size[0]


@pytest.mark.parametrize("size", [(320, 240), (640, 480), (1920, 1080)])
def test_guard_and_prediction_set_can_be_read(size: tuple[int, int], make_result: MakeResult) -> None:
    overlay = Overlay(*size, max_pixels=800 * 450)
    frame = Frame(np.zeros((size[1], size[0], 3), np.uint8), 0, 0)
    plain = make_result(0)
    with_set = msgspec.structs.replace(plain.result, set=PredictionSet(0.9, ("ultrasound", "endoscopy")))
    results = (
        plain,
        make_result(0, guard=GuardScore(0.4, 1.0)),
        make_result(0, guard=GuardScore(0.5, 1.0)),
        make_result(0, result=with_set),
    )
    seen = [overlay.draw(frame, result)[overlay.picture.y1 :].tobytes() for result in results]
    assert len(set(seen)) == 4
