"""Autoencoders: the textbook's layers, codes, sizes that fit, conversion."""

import numpy as np
import pytest

from bedside.export.backend import keras
from bedside.export.models.autoencoders import conv_autoencoder, dense_autoencoder
from bedside.runtime.errors import RecipeError


def test_the_dense_default_is_the_one_from_the_textbook(count_params):
    pixels = 224 * 224 * 3
    assert count_params(dense_autoencoder) == (pixels * 64 + 64) + (64 * pixels + pixels) == 19_418_176
    model = dense_autoencoder(width=12, height=8)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["InputLayer", "Rescaling", "Flatten", "Dense", "Dense", "Reshape"]
    assert (model.get_layer("code").units, model.get_layer("code").activation.__name__) == (64, "relu")
    assert model.get_layer("decoder").activation.__name__ == "sigmoid"


@pytest.mark.parametrize("build", [dense_autoencoder, conv_autoencoder])
def test_both_give_a_reconstruction_in_0_to_1_and_a_code(build, noise):
    model = build(width=24, height=16, channels=1, code=5, seed=1)
    assert model.output_names == ["reconstruction", "code"]
    reconstruction, code = (np.asarray(out) for out in model(noise(16, 24, 1)))
    assert reconstruction.shape == (6, 16, 24, 1)
    assert code.shape == (6, 5)
    assert reconstruction.min() >= 0
    assert reconstruction.max() <= 1
    assert np.ptp(code, axis=0).max() > 0


@pytest.mark.parametrize(
    ("width", "height", "depth", "neck"),
    [(224, 224, None, (7, 7)), (28, 28, None, (7, 7)), (256, 192, None, (6, 8)), (48, 32, 2, (8, 12))],
)
def test_the_depth_fits_the_frame(width, height, depth, neck):
    model = conv_autoencoder(width=width, height=height, depth=depth, base=2, bottleneck=3)
    assert model.get_layer("unflatten").output.shape == (None, *neck, 3)


def test_the_decoder_has_no_transposed_convolution():
    kinds = {type(layer) for layer in conv_autoencoder(width=32, height=32).layers}
    assert keras.layers.UpSampling2D in kinds
    assert keras.layers.Conv2DTranspose not in kinds


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"width": 30, "depth": 2}, "multiples of 4"),
        ({"width": 31}, "multiples of 2"),
        ({"depth": 0}, "does not halve"),
        ({"code": 0}, "is empty"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, says):
    with pytest.raises(RecipeError, match=says):
        conv_autoencoder(**{"width": 32, "height": 32} | arguments)


def test_an_empty_dense_code_is_refused():
    with pytest.raises(RecipeError, match="is empty"):
        dense_autoencoder(width=8, height=8, code=0)


@pytest.mark.parametrize("build", [dense_autoencoder, conv_autoencoder])
def test_seeded(build, same_weights):
    same_weights(lambda seed: build(width=16, height=16, code=8, seed=seed))


@pytest.mark.parametrize(
    ("build", "arguments"),
    [
        (dense_autoencoder, {}),
        (conv_autoencoder, {"base": 4, "interpolation": "bilinear"}),
        (conv_autoencoder, {"base": 4, "interpolation": "nearest"}),
    ],
)
def test_it_converts(build, arguments, conversions, noise):
    model = build(width=16, height=16, code=6, seed=1, **arguments)
    pixels = noise(16, 16)
    conversions.settle(model, pixels)
    conversions.check_float(model, pixels)
    conversions.check_int8(model, pixels)
