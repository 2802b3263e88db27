"""Overlap of boxes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bedside.export.backend import keras
from bedside.export.losses.boxes import corners, giou, iou


def boxes(count: int):
    """`(count, 4)` boxes of at least 1 x 1."""
    drawn = arrays(np.float64, (count, 4), elements=st.floats(1, 50, width=32))
    return drawn.map(lambda a: np.concatenate([a[:, :2], a[:, :2] + a[:, 2:]], axis=1))


@pytest.mark.parametrize(
    ("first", "second", "overlap", "generalized"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1, 1),
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7, 1 / 7 - 2 / 9),
        ((0, 0, 1, 1), (1, 0, 2, 1), 0, 0),
        ((0, 0, 1, 1), (9, 0, 10, 1), 0, -0.8),
        ((0, 0, 4, 4), (1, 1, 3, 3), 1 / 4, 1 / 4),
        ((1, 1, 1, 1), (1, 1, 1, 1), 0, 0),
    ],
)
def test_known_values(first, second, overlap, generalized):
    for xp, pair in (
        (np, [np.array(box, np.float64) for box in (first, second)]),
        (keras.ops, [keras.ops.convert_to_tensor(np.array(box, np.float32)) for box in (first, second)]),
    ):
        assert float(iou(*pair, xp)) == pytest.approx(overlap, abs=1e-6)
        assert float(giou(*pair, xp)) == pytest.approx(generalized, abs=1e-6)


@given(boxes(5), boxes(5), st.floats(0.25, 4), st.floats(-9, 9))
def test_symmetric_bounded_and_blind_to_scale_and_shift(first, second, scale, shift):
    value = giou(first, second, np)
    assert np.allclose(value, giou(second, first, np))
    assert ((value > -1) & (value <= iou(first, second, np) + 1e-9)).all()
    assert np.allclose(value, giou(first * scale + shift, second * scale + shift, np), atol=1e-6)
    assert np.allclose(giou(first, first, np), 1)


@given(boxes(4))
def test_centres_become_corners(expected):
    low, high = expected[:, :2], expected[:, 2:]
    centred = np.concatenate([(low + high) / 2, high - low], axis=1)
    assert np.allclose(corners(centred, np), expected)
    assert np.allclose(corners(keras.ops.convert_to_tensor(centred)), expected)
