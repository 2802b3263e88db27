"""Levels of a detector."""

import numpy as np
import pytest

from bedside.export.models.levels import levels
from bedside.runtime.errors import RecipeError


def test_ranges_join_without_a_gap():
    fine, coarse = levels(320, 256, (8, 16))
    assert (fine.columns, fine.rows, coarse.columns, coarse.rows) == (40, 32, 20, 16)
    assert (fine.smallest, fine.largest, fine.bound) == (0.0, 64.0, 8.0)
    assert (coarse.smallest, coarse.largest, coarse.bound) == (64.0, float("inf"), 20.0)
    (only,) = levels(64, 64, (16,))
    assert (only.smallest, only.largest, only.bound) == (0.0, float("inf"), 4.0)


def test_points_lie_at_cell_centres():
    (level,) = levels(32, 16, (8,))
    assert level.centres().shape == (2, 4, 2)
    assert np.array_equal(level.centres()[1, 3], [28.0, 12.0])


@pytest.mark.parametrize("strides", [(), (4,), (16, 8), (8, 32), (8, 8)])
def test_strides_are_neighbours(strides):
    with pytest.raises(RecipeError, match="neighbours"):
        levels(64, 64, strides)


def test_sides_are_multiples():
    with pytest.raises(RecipeError, match="multiples of 16"):
        levels(64, 72, (8, 16))
