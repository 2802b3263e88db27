"""ViT: the published size, tokens and their mean, first weights, conversion, saving."""

import numpy as np
import pytest

from bedside.export.backend import keras
from bedside.export.models.vit import vit
from bedside.runtime.errors import RecipeError

TINY = {"width": 32, "height": 16, "patch": 8, "dim": 16, "depth": 2, "heads": 2, "classes": 3}


def test_base_16_has_the_published_number_of_weights(count_params):
    assert count_params(lambda: vit(classes=1000, dim=768, depth=12, heads=12)) == 86_567_656


def test_tokens_and_their_mean():
    token = vit(**TINY)
    assert token.get_layer("positions").output.shape == (None, 2 * 4 + 1, 16)
    assert token.output_shape == (None, 3)
    mean = vit(**TINY, pooling="mean", maps=True)
    assert mean.get_layer("positions").output.shape == (None, 2 * 4, 16)
    assert mean.output_shape == [(None, 3), (None, 2, 4, 3)]


def test_the_class_token_is_read_and_not_a_patch():
    model = vit(**TINY, seed=1)
    cut = keras.Model(model.get_layer("norm").output, model.get_layer("token").output)
    tokens = np.random.default_rng(0).standard_normal((2, 9, 16)).astype(np.float32)
    assert np.array_equal(np.asarray(cut(tokens)), tokens[:, 0])


def test_positions_tell_patches_apart():
    model = vit(**TINY, pooling="mean", seed=1)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 16, 32, 3)).astype(np.float32)
    moved = np.roll(pixels, 8, axis=2)
    assert np.abs(np.asarray(model(pixels)) - np.asarray(model(moved))).max() > 1e-6


def test_projections_begin_as_glorot_matrices():
    model = vit(**TINY | {"dim": 64, "heads": 4}, seed=1)
    kernels = [w for w in model.get_layer("block1_attention").weights if w.name == "kernel"]
    bound = np.sqrt(6 / (64 + 64))
    for kernel in kernels:
        assert 0.95 * bound < np.abs(np.asarray(kernel)).max() <= bound
    assert len({np.asarray(kernel).tobytes() for kernel in kernels}) == 4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"width": 36}, "multiples of 8"),
        ({"heads": 3}, "do not divide by 3 heads"),
        ({"classes": 1}, "at least 2"),
        ({"maps": True}, "mean of the patches"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, says):
    with pytest.raises(RecipeError, match=says):
        vit(**TINY | arguments)


def test_seeded(same_weights):
    same_weights(lambda seed: vit(**TINY, seed=seed))


@pytest.mark.parametrize("pooling", ["token", "mean"])
def test_it_converts_and_comes_back_from_a_file(pooling, conversions, noise, tmp_path):
    model = vit(**TINY, pooling=pooling, maps=pooling == "mean", seed=1)
    pixels = noise(16, 32)
    conversions.check_float(model, pixels)
    conversions.check_int8(model, pixels, correlation=0.9)
    model.save(tmp_path / "vit.keras")
    again = keras.models.load_model(tmp_path / "vit.keras", safe_mode=True)
    for a, b in zip(conversions.keras(model, pixels), conversions.keras(again, pixels), strict=True):
        assert np.array_equal(a, b)
