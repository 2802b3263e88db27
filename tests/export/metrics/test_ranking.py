"""Rankings by hand."""

import numpy as np
import pytest

from bedside.export.metrics.ranking import auroc, rank_correlation


def test_auroc_by_hand() -> None:
    known = np.array([1.0, 2.0, 3.0])
    assert auroc(known, np.array([4.0, 5.0])) == 1.0
    assert auroc(known, np.array([0.0])) == 0.0
    assert auroc(known, known) == 0.5
    # 2.5 beats two of three, 3 beats two and ties with one.
    assert auroc(known, np.array([2.5, 3.0])) == pytest.approx((2 + 2.5) / 6)


def test_rank_correlation() -> None:
    a = np.array([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(a, np.exp(a)) == pytest.approx(1.0)
    assert rank_correlation(a, -a) == pytest.approx(-1.0)
    assert rank_correlation(a, np.ones(4)) == 0.0
    assert rank_correlation(np.ones(4), np.ones(4)) == 1.0
