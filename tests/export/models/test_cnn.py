"""The textbook CNN: its layers, its sizes, its first weights."""

import numpy as np
import pytest

from bedside.export.backend import keras
from bedside.export.data.recipe import SyntheticData
from bedside.export.models.building import build_network
from bedside.export.models.cnn import textbook_cnn
from bedside.export.models.recipe import Cnn
from bedside.export.recipe import Recipe
from bedside.runtime.errors import RecipeError


def test_the_default_is_the_one_from_the_textbook():
    model = textbook_cnn()
    assert model.input_shape == (None, 224, 224, 3)
    assert model.output_shape == (None, 10)
    kinds = [type(layer).__name__ for layer in model.layers[1:]]
    assert kinds == ["Rescaling", *["Conv2D", "MaxPooling2D"] * 3, "Flatten", "Dense", "Dense"]
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [(c.filters, c.kernel_size, c.padding, c.activation.__name__) for c in convolutions] == [
        (32, (3, 3), "valid", "relu"),
        (64, (3, 3), "valid", "relu"),
        (128, (3, 3), "valid", "relu"),
    ]
    assert model.get_layer("flatten").output.shape == (None, 86_528)
    assert (model.get_layer("dense").units, model.get_layer("dense").activation.__name__) == (128, "relu")
    assert model.get_layer("probabilities").activation.__name__ == "softmax"


def test_width_and_dense_are_configurable():
    model = textbook_cnn(width=64, height=48, channels=1, classes=3, width_multiplier=0.25)
    assert model.get_layer("conv3").filters == 32
    assert model.get_layer("dense").units == 32
    assert model.input_shape == (None, 48, 64, 1)
    assert textbook_cnn(width=32, height=32, width_multiplier=0.25, dense=7).get_layer("dense").units == 7


def test_it_takes_pixels_and_gives_probabilities():
    model = textbook_cnn(width=32, height=32, classes=4, width_multiplier=0.25, seed=1)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    scores = model.predict(pixels, verbose=0)
    assert np.allclose(scores.sum(1), 1.0, atol=1e-5)
    rescaled = keras.Model(model.input, model.get_layer("rescale").output).predict(pixels, verbose=0)
    assert np.allclose(rescaled, pixels / 255.0, atol=1e-6)


def test_the_seed_of_the_recipe_decides_the_first_weights():
    def weights(seed: int) -> bytes:
        recipe = Recipe(name="x", data=SyntheticData(), seed=seed, model=Cnn(width=32, height=32))
        return b"".join(w.tobytes() for w in build_network(recipe, ("a", "b", "c")).get_weights())

    assert weights(1) == weights(1)
    assert weights(1) != weights(2)


def test_the_smallest_input_that_leaves_a_pixel():
    assert textbook_cnn(width=22, height=22).get_layer("pool3").output.shape == (None, 1, 1, 128)
    with pytest.raises(RecipeError, match="at least 22"):
        textbook_cnn(width=22, height=21)
    with pytest.raises(RecipeError, match="at least 2"):
        textbook_cnn(classes=1)
