"""Temperature and prediction sets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.runtime.tasks.calibration import prediction_set, softmax, temper

TEMPERATURES = st.floats(0.05, 20.0)


def exact(logits: np.ndarray, temperature: float) -> np.ndarray:
    e = np.exp((logits - logits.max(axis=-1, keepdims=True)).astype(np.float64) / temperature)
    return e / e.sum(axis=-1, keepdims=True)


@given(st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=9), TEMPERATURES)
def test_both_ways_are_the_formula(values: list[float], temperature: float) -> None:
    logits = np.array(values, np.float32)
    wanted = exact(logits, temperature)
    np.testing.assert_allclose(softmax(logits.copy(), temperature), wanted, atol=2e-5)
    np.testing.assert_allclose(temper(softmax(logits.copy()), temperature), wanted, atol=2e-4)


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=9), TEMPERATURES)
def test_the_order_stays_and_the_sum_is_1(values: list[float], temperature: float) -> None:
    before = np.array(values, np.float32)
    after = temper(before.copy(), temperature)
    assert np.isfinite(after).all()
    assert after.sum() == pytest.approx(1.0, abs=1e-5)
    order = np.argsort(before, kind="stable")
    assert (np.diff(after[order]) >= 0).all()


def test_int8_zeros_stay_zero() -> None:
    after = temper(np.array([0.0, 64 / 256, 192 / 256], np.float32), 2.0)
    assert after[0] == 0.0
    assert after[2] / after[1] == pytest.approx(np.sqrt(3.0), rel=1e-5)


def test_what_int8_rounded_away_is_all_equal() -> None:
    assert temper(np.zeros(4, np.float32), 1.5).tolist() == [0.25] * 4
    assert temper(np.array([-1e-9, 0.5, 0.5], np.float32), 0.5).tolist() == [0.0, 0.5, 0.5]


def test_batches_are_rows() -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(5), 7).astype(np.float32)
    rows[3] = 0
    together = temper(rows.copy(), 1.7)
    for one, row in zip(together, rows, strict=True):
        np.testing.assert_array_equal(one, temper(row.copy(), 1.7))


def test_a_low_temperature_does_not_underflow() -> None:
    after = temper(np.array([0.011, 0.010, 0.009], np.float32), 0.01)
    assert np.isfinite(after).all()
    assert after[0] > 0.99


@pytest.mark.parametrize(
    ("threshold", "indices"), [(0.0, [1, 2, 0]), (0.2, [1, 2]), (0.3, [1, 2]), (0.4, [1]), (0.6, [1])]
)
def test_a_prediction_set(threshold: float, indices: list[int]) -> None:
    probabilities = np.array([0.1, 0.5, 0.4], np.float32)
    probabilities[2] = 0.3
    assert prediction_set(probabilities, threshold) == indices


def test_the_threshold_itself_is_inside() -> None:
    probabilities = np.array([0.7, 0.1, 0.2], np.float32)
    assert prediction_set(probabilities, float(probabilities[1])) == [0, 2, 1]
