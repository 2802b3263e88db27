"""Focal losses."""

import math

import numpy as np
import pytest

from bedside.export.losses.focal import focal, quality_focal


def of(loss, truth, score):
    value = loss(np.array([truth], np.float32), np.array([score], np.float32))
    return float(np.asarray(value)[0])


def test_known_values():
    # Lin et al., equation 5: alpha (1 - p)^2 (-log p), and (1 - alpha) p^2 (-log(1 - p)).
    assert of(focal, 1, 0.9) == pytest.approx(0.25 * 0.01 * -math.log(0.9), rel=1e-4)
    assert of(focal, 0, 0.9) == pytest.approx(0.75 * 0.81 * -math.log(0.1), rel=1e-4)
    # Li et al., equation 2: |q - p|^2 times the cross-entropy.
    entropy = -(0.6 * math.log(0.2) + 0.4 * math.log(0.8))
    assert of(quality_focal, 0.6, 0.2) == pytest.approx(0.16 * entropy, rel=1e-4)


@pytest.mark.parametrize("loss", [focal, quality_focal])
def test_certainty_costs_nothing_where_right_and_a_finite_amount_where_wrong(loss):
    assert of(loss, 1, 1) == of(loss, 0, 0) == pytest.approx(0, abs=1e-6)
    assert 1 < of(loss, 1, 0) < 50 and 1 < of(loss, 0, 1) < 50


def test_a_quality_that_is_met_costs_nothing():
    assert of(quality_focal, 0.7, 0.7) == pytest.approx(0, abs=1e-9)
    assert of(quality_focal, 0.7, 0.9) > 1e-3 < of(quality_focal, 0.7, 0.5)
