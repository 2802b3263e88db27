"""Geometry: what a fit promises, for any frame, region and model size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.runtime.geometry import Box, Fit, Rect, fit

sides = st.integers(1, 3000)
modes = st.sampled_from(["stretch", "letterbox", "crop"])


@st.composite
def fits(draw: st.DrawFn) -> tuple[Rect, int, int, str, Fit]:
    roi = Rect(draw(st.integers(0, 500)), draw(st.integers(0, 500)), draw(sides), draw(sides))
    width, height, mode = draw(st.integers(1, 640)), draw(st.integers(1, 640)), draw(modes)
    return roi, width, height, mode, fit(roi, width, height, mode)


@given(fits())
def test_crop_lies_in_the_region_and_inner_in_the_model(case: tuple[Rect, int, int, str, Fit]) -> None:
    roi, width, height, mode, made = case
    assert made.inner.inside(width, height)
    crop = made.crop
    assert roi.x <= crop.x < crop.x1 <= roi.x1
    assert roi.y <= crop.y < crop.y1 <= roi.y1
    if mode != "letterbox":
        assert made.inner == Rect(0, 0, width, height)
    if mode != "crop":
        assert crop == roi


@given(fits())
def test_the_transform_maps_crop_corners_to_inner_corners(case: tuple[Rect, int, int, str, Fit]) -> None:
    made = case[-1]
    mapped = made.transform.box_to_model(Box(made.crop.x, made.crop.y, made.crop.x1, made.crop.y1))
    expected = Box(made.inner.x, made.inner.y, made.inner.x1, made.inner.y1)
    for got, want in zip(
        (mapped.x0, mapped.y0, mapped.x1, mapped.y1), expected.__struct_fields__, strict=True
    ):
        assert got == pytest.approx(getattr(expected, want), abs=1e-6)


@given(fits(), st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_there_and_back(case: tuple[Rect, int, int, str, Fit], x: float, y: float) -> None:
    transform = case[-1].transform
    back = transform.to_frame(transform.to_model((x, y)))
    assert back == pytest.approx((x, y), rel=1e-9, abs=1e-6)


@given(fits())
def test_letterbox_and_crop_are_centred_and_keep_the_aspect(case: tuple[Rect, int, int, str, Fit]) -> None:
    roi, width, height, mode, made = case
    if mode == "letterbox":
        left, right = made.inner.x, width - made.inner.x1
        top, bottom = made.inner.y, height - made.inner.y1
        assert abs(left - right) <= 1
        assert abs(top - bottom) <= 1
        assert made.inner.width == width or made.inner.height == height
        # Half a model pixel of rounding, or the one pixel that is always there.
        scale = min(width / roi.width, height / roi.height)
        assert abs(made.inner.width - roi.width * scale) <= 1
        assert abs(made.inner.height - roi.height * scale) <= 1
    elif mode == "crop":
        assert abs((made.crop.x - roi.x) - (roi.x1 - made.crop.x1)) <= 1
        assert abs((made.crop.y - roi.y) - (roi.y1 - made.crop.y1)) <= 1
        assert made.crop.width == roi.width or made.crop.height == roi.height


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(0, 80), st.floats(0, 80))
def test_a_clipped_box_lies_in_the_frame(x: float, y: float, width: float, height: float) -> None:
    box = Box(x, y, x + width, y + height).clipped(20, 30)
    assert 0 <= box.x0 <= box.x1 <= 20
    assert 0 <= box.y0 <= box.y1 <= 30


@pytest.mark.parametrize(
    ("rect", "inside"),
    [
        (Rect(0, 0, 4, 3), True),
        (Rect(3, 2, 1, 1), True),
        (Rect(0, 0, 5, 3), False),
        (Rect(0, 0, 4, 4), False),
        (Rect(-1, 0, 2, 2), False),
        (Rect(0, -1, 2, 2), False),
        (Rect(1, 1, 0, 1), False),
        (Rect(1, 1, 1, 0), False),
    ],
)
def test_inside(rect: Rect, inside: bool) -> None:
    assert rect.inside(4, 3) is inside
