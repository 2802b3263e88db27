"""Whitening and thresholds: properties, not examples."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.export.data.types import DataSet, Split
from bedside.export.guarding import _notes, fit_guard
from bedside.export.metrics.confidence import fit_conformal, heated
from bedside.export.recipe import GuardRecipe
from bedside.export.steps import Silent
from bedside.export.trust import measured_confidence, quantile_threshold, whitening
from bedside.runtime.bundle.decode import ClassificationDecode
from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.errors import GateError, RecipeError


@given(seed=st.integers(0, 10_000), size=st.integers(1, 8))
def test_whitened_codes_are_uncorrelated_with_unit_variance(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.normal(0, 1, (400, size)) @ (rng.normal(0, 1, (size, size)) + 2 * np.eye(size)) + rng.normal(
        0, 5, size
    )
    mean, matrix = whitening(codes)
    white = (codes - mean) @ matrix
    kept = matrix.shape[1]
    assert 1 <= kept <= size
    assert np.allclose(np.cov(white, rowvar=False).reshape(kept, kept), np.eye(kept), atol=1e-6)
    assert np.allclose(white.mean(axis=0), 0, atol=1e-9)


def test_directions_without_variance_are_left_out() -> None:
    rng = np.random.default_rng(1)
    codes = np.zeros((300, 6))
    codes[:, :2] = rng.normal(0, [3.0, 1.0], (300, 2))
    codes[:, 2] = rng.normal(0, 1e-3, 300)  # noise that whitening would make as large as the rest
    mean, matrix = whitening(codes)
    assert matrix.shape == (6, 2)
    far = codes[0] + [0, 0, 0.1, 0, 0, 0]
    assert np.allclose((far - mean) @ matrix, (codes[0] - mean) @ matrix, atol=0.01)


def test_a_code_that_says_nothing_is_refused() -> None:
    with pytest.raises(GateError, match="the same for every frame"):
        whitening(np.ones((50, 4)))


@given(
    seed=st.integers(0, 10_000), samples=st.integers(20, 400), rate=st.sampled_from([0.01, 0.05, 0.1, 0.3])
)
def test_a_threshold_is_exceeded_by_no_more_than_the_rate(seed: int, samples: int, rate: float) -> None:
    scores = np.random.default_rng(seed).exponential(1.0, samples)
    threshold, stated = quantile_threshold(scores, rate)
    above = (scores > threshold).sum()
    # The frame that is to come is one of n + 1 alike.
    assert above <= rate * (samples + 1)
    if stated > rate:
        assert threshold == scores.max()
        assert stated == 1 / (samples + 1)
    else:
        assert above + 2 > rate * (samples + 1), "no higher than it has to be"


def test_false_alarms_on_new_frames_are_what_is_stated() -> None:
    rng = np.random.default_rng(3)
    rates = []
    for _ in range(200):
        threshold, _ = quantile_threshold(rng.normal(0, 1, 99), 0.05)
        rates.append((rng.normal(0, 1, 2000) > threshold).mean())
    assert np.mean(rates) == pytest.approx(0.05, abs=0.005)


def test_confidence_is_told_before_and_after() -> None:
    rng = np.random.default_rng(1)
    true = rng.dirichlet(np.ones(3), 4000)
    truth = (true.cumsum(axis=1) > rng.random((4000, 1))).argmax(axis=1)
    calibrated = true.astype(np.float32)
    conformal = fit_conformal(calibrated[:2000], truth[:2000], 0.9)
    decode = ClassificationDecode(labels=("a", "b", "c"), temperature=2.5, conformal=conformal)
    found = measured_confidence(decode, calibrated[2000:], truth[2000:])
    assert found is not None and found.coverage is not None and found.set_size is not None
    assert found.before > 5 * found.after
    assert found.coverage == pytest.approx(0.9, abs=0.03)
    assert 1.0 <= found.set_size <= 3.0
    # What the network said, before the device's temperature.
    raw = heated(calibrated, 1 / 2.5)
    assert np.allclose(heated(raw, 2.5), calibrated, atol=2e-3)
    assert measured_confidence(ClassificationDecode(labels=("a", "b")), calibrated, truth) is None


def test_a_guard_that_is_not_there_is_refused(data: DataSet, tmp_path: Any) -> None:
    with pytest.raises(RecipeError, match=r"no such bundle: none\.bedside") as caught:
        fit_guard(
            GuardRecipe(bundle="none.bedside"), InputSpec(width=16, height=16), data, (tmp_path,), Silent()
        )
    assert "make it first" in str(caught.value.hint)


def test_a_guard_has_to_be_an_autoencoder(tiny_bundle: Any, data: DataSet) -> None:
    with pytest.raises(RecipeError, match="is a classification bundle, a guard is an autoencoder"):
        fit_guard(
            GuardRecipe(bundle=tiny_bundle.name),
            InputSpec(width=16, height=16),
            data,
            (tiny_bundle.parent,),
            Silent(),
        )


def test_a_guard_of_other_data_and_too_few_frames_are_said() -> None:
    def told(trained_on: str, alarm: float) -> str:
        split = SimpleNamespace(name="train", sha256=trained_on)
        manifest = SimpleNamespace(name="colon", version="1", provenance=SimpleNamespace(splits=(split,)))
        own = SimpleNamespace(train=Split(name="train", items=(), sha256="aa", groups=0))
        return " ".join(
            _notes(cast(Any, manifest), cast(Any, own), alarm, GuardRecipe(bundle="x", false_alarm=0.01))
        )

    assert "trained on another split" not in told("aa", 0.01)
    assert "trained on another split" in told("bb", 0.01)
    assert "carries a false-alarm rate of 5.00% at best; 1.00% was asked for" in told("aa", 0.05)
