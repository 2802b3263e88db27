"""Heat maps: where they lie, what they hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.runtime.geometry import Box, Rect
from bedside.runtime.tasks.heatmap import LARGEST, coded, over_input, values
from bedside.runtime.testing.views import make_view

BOX = Box(0.0, 0.0, 8.0, 4.0)


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.floats(-(2.0**100), 2.0**100, width=32),
    st.floats(0, 2.0**100, width=32),
    st.data(),
)
def test_values_come_back_within_half_a_code(
    rows: int, columns: int, low: float, span: float, data: st.DataObject
) -> None:
    part = data.draw(st.lists(st.floats(0, 1, width=32), min_size=rows * columns, max_size=rows * columns))
    array = (np.float32(low) + np.float32(span) * np.array(part, np.float32)).reshape(rows, columns)
    heat = coded(array, BOX)
    assert (heat.height, heat.width, len(heat.codes)) == (rows, columns, rows * columns)
    assert (heat.low, heat.high) == (array.min(), array.max())
    step = (heat.high - heat.low) / 255
    rounding = 1e-6 * max(abs(heat.low), abs(heat.high))
    assert np.abs(values(heat).astype(np.float64) - array).max() <= step / 2 + rounding
    if heat.high > heat.low:
        assert {0, 255} <= set(heat.codes)


def test_a_range_beyond_float32() -> None:
    heat = coded(np.array([[-3e38, 3e38]], np.float32), BOX)
    assert heat.codes == bytes([0, 255])


def test_a_flat_map_is_code_0() -> None:
    heat = coded(np.full((2, 3), 0.25, np.float32), BOX)
    assert heat.codes == bytes(6)
    assert (values(heat) == 0.25).all()


def test_without_padding_the_cells_are_as_they_were() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    view = make_view((40, 30), frame=(640, 480), roi=Rect(100, 50, 400, 300))
    heat = over_input(array, view.fit)
    assert heat.box == Box(100, 50, 500, 350)
    np.testing.assert_allclose(values(heat), array, atol=11 / 510)


def test_padding_that_ends_with_a_cell_is_cut_off() -> None:
    # 200x100 in 16x16: four rows of padding above and below, which are two of eight cells.
    view = make_view((16, 16), frame=(200, 100), resize="letterbox")
    array = np.full((8, 8), -100, np.float32)
    array[2:6] = np.arange(32, dtype=np.float32).reshape(4, 8)
    heat = over_input(array, view.fit)
    assert (heat.height, heat.width, heat.box) == (4, 8, Box(0, 0, 200, 100))
    np.testing.assert_allclose(values(heat), array[2:6], atol=0.1)


def test_padding_within_a_cell_keeps_the_geometry() -> None:
    """A ramp over the input is the same ramp over the frame, wherever the padding ends."""
    view = make_view((64, 64), frame=(300, 171), resize="letterbox")
    rows = 8
    centres = (np.arange(rows) + 0.5) * 64 / rows
    array = np.repeat(centres.astype(np.float32)[:, None], rows, axis=1)
    heat = over_input(array, view.fit)
    assert heat.box == Box(0, 0, 300, 171)
    y = (np.arange(heat.height) + 0.5) / heat.height * 171
    expected = [view.fit.transform.to_model((0.0, float(v)))[1] for v in y]
    # warpAffine places to 1/32 of a cell.
    np.testing.assert_allclose(values(heat)[:, 0], expected, atol=64 / rows / 32 + 0.2)


def test_a_map_of_pixels_is_cut_exactly_and_averaged() -> None:
    view = make_view((96, 96), frame=(200, 100), resize="letterbox")
    array = np.full((96, 96), 1e6, np.float32)
    array[24:72] = 3.0
    heat = over_input(array, view.fit)
    assert heat.width == LARGEST
    assert heat.height == LARGEST
    assert (heat.low, heat.high) == (3.0, 3.0)


@pytest.mark.parametrize("frame", [(1, 1000), (1000, 1)])
def test_a_sliver_still_has_a_cell(frame: tuple[int, int]) -> None:
    heat = over_input(np.ones((4, 4), np.float32), make_view((64, 64), frame=frame, resize="letterbox").fit)
    assert min(heat.width, heat.height) == 1
    assert values(heat).size == heat.width * heat.height
