"""Outlines fitted to areas that were drawn from known parameters."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bedside.devices.fitting.shapes import Outline, fit_shape, overlap, rasterized

SHAPE = (270, 480)
# A fit takes a tenth of a second; shrinking a failure takes hundreds.
few = settings(max_examples=6, phases=[Phase.explicit, Phase.generate])


def sector(cx: float, top: float, skin: float, depth: float, half: float) -> Outline:
    angles = np.radians(np.linspace(-half, half, 60))
    cy = top - skin * math.cos(math.radians(half))
    inner = [(cx + skin * math.sin(a), cy + skin * math.cos(a)) for a in angles]
    outer = [(cx + depth * math.sin(a), cy + depth * math.cos(a)) for a in angles[::-1]]
    return tuple(inner + outer)


@few
@given(st.floats(200, 280), st.floats(5, 30), st.floats(0, 60), st.floats(25, 42))
def test_sectors(cx: float, top: float, skin: float, half: float) -> None:
    mask = rasterized(sector(cx, top, skin, skin + 200, half), SHAPE)
    shape = fit_shape(mask)
    assert shape.kind == "sector"
    assert shape.overlap > 0.95


@few
@given(st.floats(150, 300), st.floats(120, 150), st.floats(80, 115), st.booleans())
def test_circles_whole_and_cut(cx: float, cy: float, radius: float, cut: bool) -> None:
    angles = np.linspace(0, 2 * math.pi, 200)
    mask = rasterized(tuple((cx + radius * math.cos(a), cy + radius * math.sin(a)) for a in angles), SHAPE)
    if cut:
        mask[: int(cy - 0.8 * radius)] = False
        mask[int(cy + 0.8 * radius) :] = False
    shape = fit_shape(mask)
    assert shape.kind == "circle"
    assert shape.overlap > 0.96


@few
@given(
    st.integers(10, 100),
    st.integers(5, 40),
    st.integers(200, 340),
    st.integers(150, 220),
    st.integers(25, 60),
)
def test_octagons(x: int, y: int, width: int, height: int, cut: int) -> None:
    mask = np.zeros(SHAPE, np.bool_)
    mask[y : y + height, x : x + width] = True
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for dx in (columns - x, x + width - 1 - columns):
        for dy in (rows - y, y + height - 1 - rows):
            mask &= dx + dy >= cut
    shape = fit_shape(mask)
    assert shape.kind == "octagon"
    assert shape.overlap > 0.98


@few
@given(st.integers(0, 200), st.integers(0, 100), st.integers(60, 270), st.integers(60, 165))
def test_rectangles_are_exact(x: int, y: int, width: int, height: int) -> None:
    mask = np.zeros(SHAPE, np.bool_)
    mask[y : y + height, x : x + width] = True
    shape = fit_shape(mask)
    assert shape.kind == "rectangle"
    assert shape.overlap == 1.0
    assert shape.outline == ((x, y), (x + width, y), (x + width, y + height), (x, y + height))


def test_a_frame_that_is_full_is_the_whole() -> None:
    shape = fit_shape(np.ones(SHAPE, np.bool_))
    assert (shape.kind, shape.overlap) == ("whole", 1.0)


def test_pixels_belong_to_a_polygon_by_their_centres() -> None:
    square = rasterized(((2, 3), (6, 3), (6, 8), (2, 8)), (10, 10))
    assert np.argwhere(square).min(axis=0).tolist() == [3, 2]
    assert np.argwhere(square).max(axis=0).tolist() == [7, 5]
    assert overlap(((2, 3), (6, 3), (6, 8), (2, 8)), square) == 1.0


def test_what_is_nothing_of_them_has_a_small_overlap() -> None:
    mask = np.zeros(SHAPE, np.bool_)
    mask[20:250, 20:60] = mask[210:250, 20:400] = True  # an L
    assert fit_shape(mask).overlap < 0.7


@pytest.mark.parametrize("size", [1, 2, 5])
def test_specks_do_not_fail(size: int) -> None:
    mask = np.zeros(SHAPE, np.bool_)
    mask[10 : 10 + size, 10 : 10 + size] = True
    assert 0 <= fit_shape(mask).overlap <= 1
