"""U-Net: sizes, options, first weights, conversion."""

import numpy as np
import pytest

from bedside.export.backend import keras
from bedside.export.models.unet import unet
from bedside.runtime.errors import RecipeError


def test_the_default_is_binary_full_size_and_light(count_params):
    model = unet()
    assert model.input_shape == (None, 256, 256, 3)
    assert model.output_shape == (None, 256, 256, 1)
    assert model.get_layer("mask").activation.__name__ == "sigmoid"
    assert count_params(unet) == 265_841


@pytest.mark.parametrize("upsampling", ["bilinear", "transposed"])
@pytest.mark.parametrize("separable", [True, False])
def test_several_classes_any_sides(upsampling, separable):
    model = unet(
        width=24,
        height=16,
        channels=1,
        classes=4,
        base=4,
        depth=3,
        separable_convolutions=separable,
        upsampling=upsampling,
    )
    kinds = {type(layer).__name__ for layer in model.layers}
    assert ("Conv2DTranspose" in kinds) == (upsampling == "transposed")
    assert ("UpSampling2D" in kinds) == (upsampling == "bilinear")
    assert ("DepthwiseConv2D" in kinds) == separable
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 1)).astype(np.float32)
    scores = model.predict(pixels, verbose=0)
    assert scores.shape == (2, 16, 24, 4)
    assert np.allclose(scores.sum(-1), 1.0, atol=1e-5)


def test_filters_double_and_the_paper_is_one_of_the_options():
    model = unet(base=64, depth=4, separable_convolutions=False, upsampling="transposed", width=16, height=16)
    filters = [
        model.get_layer(f"{name}_conv2").filters for name in ("down1", "down4", "bottom", "up4", "up1")
    ]
    assert filters == [64, 512, 1024, 512, 64]
    assert model.get_layer("bottom_conv1").input.shape == (None, 1, 1, 512)
    assert model.get_layer("up4_concat").output.shape == (None, 2, 2, 1024)


def test_dropout_is_at_the_deepest_level_and_only_on_request():
    assert unet(width=16, height=16, base=4, dropout=0.3).get_layer("dropout").input.shape == (None, 1, 1, 64)
    assert not any(
        isinstance(layer, keras.layers.Dropout) for layer in unet(width=16, height=16, base=4).layers
    )


def test_what_does_not_fit_is_refused():
    with pytest.raises(RecipeError, match=r"multiples of 16.*for example 240x256 or 256x256"):
        unet(width=250)
    with pytest.raises(RecipeError, match="at least 2"):
        unet(width=16, height=16, classes=1)
    with pytest.raises(RecipeError, match="at least 1"):
        unet(width=16, height=16, depth=0)


def test_seeded(same_weights):
    same_weights(lambda seed: unet(width=8, height=8, base=4, depth=2, seed=seed))


@pytest.mark.parametrize(("upsampling", "classes"), [("bilinear", 2), ("transposed", 3)])
def test_it_converts(upsampling, classes, conversions, noise):
    model = unet(width=24, height=16, base=8, depth=2, classes=classes, upsampling=upsampling, seed=1)
    frames = noise(16, 24)
    conversions.settle(model, frames)
    conversions.check_float(model, frames)
    (int8,), (float32,) = conversions.int8(model, frames), conversions.keras(model, frames)
    assert float32.std() > 0.05
    assert np.abs(int8 - float32).mean() < 0.05
