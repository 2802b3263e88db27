"""Outlines along pixel edges, mapped exactly."""

import cv2
import numpy as np
import numpy.typing as npt
from hypothesis import assume, given
from hypothesis import strategies as st

from bedside.runtime.geometry import Point, Rect, Transform, fit
from bedside.runtime.tasks.outlines import MOST_OUTLINES, outlines

SAME = Transform(1.0, 1.0, 0.0, 0.0)


def filled(
    found: tuple[tuple[Point, ...], ...], height: int, width: int, times: int
) -> npt.NDArray[np.bool_]:
    """What even-odd filling covers, sampled at the centres of `times` x `times` parts of each pixel."""
    y, x = (np.mgrid[: height * times, : width * times] + 0.5) / times
    inside = np.zeros(x.shape, bool)
    for outline in found:
        for (x0, y0), (x1, y1) in zip(outline, (*outline[1:], outline[0]), strict=True):
            if y0 == y1:
                continue
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


@given(
    st.integers(1, 900),
    st.integers(1, 900),
    st.integers(1, 64),
    st.integers(1, 64),
    st.sampled_from(["stretch", "letterbox", "crop"]),
    st.integers(0, 50),
)
def test_a_region_that_fills_the_input_fills_the_frame(
    width: int, height: int, wide: int, high: int, mode: str, shift: int
) -> None:
    roi = Rect(shift, 2 * shift, width, height)
    where = fit(roi, wide, high, mode)
    mask = np.ones((where.inner.height, where.inner.width), np.uint8)
    (outline,) = outlines(mask, where.transform, (where.inner.x, where.inner.y))
    crop = where.crop
    corners = {(crop.x, crop.y), (crop.x1, crop.y), (crop.x, crop.y1), (crop.x1, crop.y1)}
    assert set(outline) == corners


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 8), st.integers(1, 8))
def test_a_rectangle_has_four_corners_on_pixel_edges(x: int, y: int, width: int, height: int) -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[y : y + height, x : x + width] = 255
    (outline,) = outlines(mask, Transform(0.5, 0.25, 3.0, -2.0), (7, 5))
    left, top = (x + 7 - 3) / 0.5, (y + 5 + 2) / 0.25
    right, bottom = left + width / 0.5, top + height / 0.25
    assert set(outline) == {(left, top), (right, top), (left, bottom), (right, bottom)}


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(10, 40), st.integers(10, 40))
def test_outlines_stray_less_than_a_pixel_from_the_mask(
    seed: int, blur: int, height: int, width: int
) -> None:
    noise = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    mask = (cv2.GaussianBlur(noise, (0, 0), blur) > 0.5).astype(np.uint8)
    assume(0 < mask.sum() < mask.size)
    times = 4
    fine = np.kron(mask, np.ones((times, times), np.uint8))
    # What lies further than a pixel from the other side is certain; what is beyond the picture is outside.
    padded = np.pad(fine, 1)
    sure_in, sure_out = (
        (cv2.distanceTransform(part, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) > times)[1:-1, 1:-1]
        for part in (padded, 1 - padded)
    )
    covered = filled(outlines(mask, SAME), height, width, times)
    assert covered[sure_in].all()
    assert not covered[sure_out].any()


def test_a_hole_is_an_outline_of_its_own() -> None:
    mask = np.ones((12, 12), np.uint8)
    mask[4:8, 4:8] = 0
    found = outlines(mask, SAME)
    assert len(found) == 2
    covered = filled(found, 12, 12, 1)
    np.testing.assert_array_equal(covered, mask.astype(bool))


def test_noise_does_not_flood_a_result() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[::2, ::2] = 1
    mask[10:40, 10:60] = 1
    found = outlines(mask, SAME)
    assert len(found) == MOST_OUTLINES
    assert max(len(outline) for outline in found) == len(found[0])


def test_an_empty_mask_has_none() -> None:
    assert outlines(np.zeros((5, 5), np.uint8), SAME) == ()
