"""Augmentation in front of a discriminator."""

from __future__ import annotations

import numpy as np
import pytest

from bedside.export.training import gan
from bedside.export.training.same_for_both import CUTOUT, SHIFT, SameForBoth

SIDE = 32


@pytest.fixture
def pictures() -> np.ndarray:
    """Different in every pixel."""
    return np.random.default_rng(1).uniform(-1, 1, (16, SIDE, SIDE, 1)).astype(np.float32)


def test_outside_of_training_nothing_changes(pictures: np.ndarray) -> None:
    assert np.array_equal(SameForBoth(1)(pictures, training=False), pictures)


def test_every_picture_is_varied_for_itself_and_the_seed_decides(pictures: np.ndarray) -> None:
    same = np.repeat(pictures[:1], 16, axis=0)
    one, two = (np.asarray(SameForBoth(1)(same, training=True)) for _ in range(2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, SameForBoth(2)(same, training=True))
    assert len({picture.tobytes() for picture in one}) == 16


def test_a_picture_is_shifted_and_a_square_is_blank(pictures: np.ndarray) -> None:
    varied = np.asarray(SameForBoth(1)(pictures, training=True))
    shifts = set()
    for before, after in zip(pictures[..., 0], varied[..., 0], strict=True):
        blank = after == 0.0
        assert 0 < blank.mean() <= (CUTOUT + 1 / SIDE) ** 2
        # Brightness and contrast keep the correlation, so the shift is where it is 1.
        reach = int(SHIFT * SIDE)
        found = [
            (dy, dx)
            for dy in range(-reach, reach + 1)
            for dx in range(-reach, reach + 1)
            if _correlation(before, after, dy, dx, reach) > 0.999
        ]
        assert len(found) == 1
        shifts.add(found[0])
    assert len(shifts) > 8


def _correlation(before: np.ndarray, after: np.ndarray, dy: int, dx: int, reach: int) -> float:
    inside = slice(reach, SIDE - reach)
    moved = before[reach + dy : SIDE - reach + dy, reach + dx : SIDE - reach + dx]
    seen = after[inside, inside]
    shown = seen != 0.0
    return float(np.corrcoef(moved[shown], seen[shown])[0, 1])


def test_gradients_reach_the_generator_through_it() -> None:
    from bedside.export.models.dcgan import dcgan_discriminator, dcgan_generator

    shape = {"width": 16, "height": 16, "base": 4, "seed": 1}
    generator = dcgan_generator(**shape, latent=8)
    pair = gan.adversaries(generator, dcgan_discriminator(**shape), 2e-3, average=0.9, seed=5)
    before = [w.copy() for w in generator.get_weights()]
    rng = np.random.default_rng(1)
    for _ in range(3):
        pair.fool(rng.standard_normal((8, 8)).astype(np.float32), np.ones((8, 1), np.float32))
    raw = generator.get_weights()
    moved = [not np.array_equal(a, b) for a, b in zip(before, raw, strict=True)]
    assert all(moved)
    with pair.averaged():
        averaged = generator.get_weights()
    assert any(not np.array_equal(a, b) for a, b in zip(averaged, raw, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(generator.get_weights(), raw, strict=True))
