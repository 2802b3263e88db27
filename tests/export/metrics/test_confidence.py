"""Calibration and prediction sets, on draws whose truth is known."""

import numpy as np
import pytest

from bedside.export.metrics.confidence import (
    conformal_rank,
    coverage_interval,
    expected_calibration_error,
    fit_conformal,
    fit_temperature,
    heated,
    reliability,
)


def draws(count: int, seed: int, classes: int = 6, heat: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are true at a temperature of `heat`, and truths drawn from them: hard and overlapping."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.2, (count, classes))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (true.cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)
    stated = np.exp(logits * heat)
    return (stated / stated.sum(axis=1, keepdims=True)).astype(np.float32), truth.astype(np.int64)


def covered(scores: np.ndarray, truth: np.ndarray, threshold: float) -> float:
    return float((scores[np.arange(len(truth)), truth] >= np.float32(threshold)).mean())


@pytest.mark.parametrize("heat", [0.4, 1.0, 3.0])
def test_a_known_temperature_is_found(heat: float) -> None:
    scores, truth = draws(20_000, 1, heat=heat)
    found = fit_temperature(scores, truth)
    assert found == pytest.approx(heat, rel=0.05)
    after = heated(scores, found)
    right = after.argmax(axis=1) == truth
    assert expected_calibration_error(after.max(axis=1), right) < 0.02
    assert np.array_equal(after.argmax(axis=1), scores.argmax(axis=1))


def test_calibration_halves_the_error_or_it_was_small() -> None:
    scores, truth = draws(2000, 2, heat=3.0)
    fresh, answers = draws(2000, 3, heat=3.0)
    temperature = fit_temperature(scores, truth)
    right = fresh.argmax(axis=1) == answers
    before = expected_calibration_error(fresh.max(axis=1), right)
    after = expected_calibration_error(heated(fresh, temperature).max(axis=1), right)
    assert before > 0.2
    assert after <= before / 2


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.65, 0.65], np.float32)
    right = np.array([True, False, True, True])
    # One bin 0.45 too high with half of the weight, one 0.35 too low.
    assert expected_calibration_error(confidence, right) == pytest.approx(0.45 / 2 + 0.35 / 2, abs=1e-6)
    assert [(round(b[1], 2), b[2], b[3]) for b in reliability(confidence, right)] == [
        (0.65, 1.0, 2),
        (0.95, 0.5, 2),
    ]
    assert reliability(np.array([0.0, 1.0], np.float32), np.array([False, True]))[-1][3] == 1


def test_exact_zeros_of_an_int8_softmax_are_bearable() -> None:
    scores = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], np.float32)
    truth = np.array([0, 1, 1])
    assert np.isfinite(fit_temperature(scores, truth))
    assert np.isfinite(heated(scores, 0.05)).all()


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_coverage_is_beta_binomial(coverage: float) -> None:
    """Of 40 independent splits of 300 and 500, hardly any lies outside of the 99 % interval."""
    low, high = coverage_interval(300, 500, coverage)
    inside, seen = 0, []
    for seed in range(40):
        scores, truth = draws(800, 100 + seed, heat=2.0)
        conformal = fit_conformal(scores[:300], truth[:300], coverage)
        assert conformal is not None and conformal.samples == 300
        seen.append(covered(scores[300:], truth[300:], conformal.threshold))
        inside += low <= seen[-1] <= high
    assert inside >= 37
    assert np.mean(seen) == pytest.approx(coverage, abs=0.012)
    assert high - low < 0.2


def test_coverage_with_5000_of_each_is_within_one_point() -> None:
    scores, truth = draws(10_000, 8, classes=10, heat=1.7)
    assert (scores.argmax(axis=1) == truth).mean() < 0.6, "a hard task"
    conformal = fit_conformal(scores[:5000], truth[:5000], 0.9)
    assert conformal is not None
    assert abs(covered(scores[5000:], truth[5000:], conformal.threshold) - 0.9) <= 0.01


def test_too_few_samples_promise_nothing() -> None:
    scores, truth = draws(8, 1)
    assert fit_conformal(scores, truth, 0.9) is None
    assert fit_conformal(*draws(9, 1), 0.9) is not None


def test_a_tie_belongs_into_the_set() -> None:
    scores = np.full((20, 2), 0.5, np.float32)
    conformal = fit_conformal(scores, np.zeros(20, np.int64), 0.9)
    assert conformal is not None
    assert (scores >= np.float32(conformal.threshold)).all()


@pytest.mark.parametrize(
    ("samples", "coverage", "rank"),
    [(9, 0.9, 9), (999, 0.9, 900), (99, 0.55, 55), (99, 0.57, 57), (8, 0.9, 9)],
)
def test_ranks_do_not_suffer_from_rounding(samples: int, coverage: float, rank: int) -> None:
    """100 * 0.55 is 55.00000000000001 in binary."""
    assert conformal_rank(samples, coverage) == rank
