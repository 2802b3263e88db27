"""Dice and boundary F1 of masks made by hand."""

import numpy as np
import pytest

from bedside.export.metrics.overlap import IGNORED, boundary_f1, dice


def square(x: int, side: int = 20, size: int = 100) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    mask[40 : 40 + side, x : x + side] = 1
    return mask


def test_dice_by_hand() -> None:
    found = np.array([[0, 1, 1, 2]], np.uint8)
    truth = np.array([[0, 1, 0, 1]], np.uint8)
    values = dice(found, truth, 4)
    assert values[:3].tolist() == [2 / 3, 0.5, 0.0]
    assert np.isnan(values[3])


def test_dice_leaves_out_what_is_not_judged() -> None:
    truth = np.array([[1, 1, IGNORED, IGNORED]], np.uint8)
    assert dice(np.array([[1, 1, 1, 0]], np.uint8), truth, 2)[1] == 1.0
    assert dice(np.array([[1, 0, 1, 1]], np.uint8), truth, 2)[1] == pytest.approx(2 / 3)


@pytest.mark.parametrize(("shift", "least", "most"), [(0, 1.0, 1.0), (1, 1.0, 1.0), (3, 0.45, 0.6)])
def test_boundary_f1_of_a_shifted_square(shift: int, least: float, most: float) -> None:
    """The tolerance of 100x100 pixels is one: three to the right leaves most of the upper and lower edge."""
    assert least <= boundary_f1(square(40 + shift), square(40), 2) <= most


def test_boundary_f1_sees_what_dice_does_not() -> None:
    """A hole costs the outline more than the area."""
    holed = square(20, 60)
    holed[60:63, 45:48] = 0
    area, outline = dice(holed, square(20, 60), 2)[1], boundary_f1(holed, square(20, 60), 2)
    assert area > 0.99 > outline


def test_boundary_f1_of_nothing() -> None:
    empty = np.zeros((100, 100), np.uint8)
    assert np.isnan(boundary_f1(empty, empty, 2))
    assert boundary_f1(square(40), empty, 2) == 0.0
    assert boundary_f1(empty, square(40), 2) == 0.0


def test_boundary_f1_leaves_out_what_is_not_judged() -> None:
    truth = square(40)
    truth[:, 70:] = IGNORED
    found = square(40)
    found[10:30, 75:95] = 1
    assert boundary_f1(found, truth, 2) == 1.0
    truth[:, 70:] = 0
    assert boundary_f1(found, truth, 2) < 0.8
