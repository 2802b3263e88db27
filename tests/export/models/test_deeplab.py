"""DeepLab v3+: strides, atrous rates, sizes, conversion."""

import numpy as np
import pytest

from bedside.export.backend import keras
from bedside.export.models.deeplab import atrous_rates, deeplab_v3_plus
from bedside.runtime.errors import RecipeError


def test_sizes_and_strides(count_params):
    model = deeplab_v3_plus()
    assert model.output_shape == (None, 256, 256, 1)
    assert model.get_layer("aspp_project").output.shape == (None, 16, 16, 64)
    assert model.get_layer("decoder_low_level").input.shape == (None, 64, 64, 8)
    assert model.get_layer("decoder_concat").output.shape == (None, 64, 64, 64 + 16)
    assert count_params(deeplab_v3_plus) < 300_000


def test_the_stage_behind_stride_16_is_atrous_in_place_of_strided():
    model = deeplab_v3_plus(width=64, height=64)
    depthwise = [layer for layer in model.layers if isinstance(layer, keras.layers.DepthwiseConv2D)]
    dilated = {layer.name: layer.dilation_rate for layer in depthwise if layer.dilation_rate != (1, 1)}
    assert {name for name in dilated if name.startswith("stage")} == {
        f"stage6_{repeat}_depthwise" for repeat in (1, 2, 3)
    }
    assert model.get_layer("stage6_3_project").output.shape == (None, 4, 4, 56)


def test_rates_follow_the_map():
    assert atrous_rates(33, 33) == (6, 12, 18)
    assert atrous_rates(16, 20) == (3, 6, 9)
    assert atrous_rates(2, 2) == (1, 2, 3)
    names = [layer.name for layer in deeplab_v3_plus().layers]
    assert all(f"aspp_rate{rate}_depthwise" in names for rate in (3, 6, 9))


def test_several_classes_of_a_picture_that_is_not_square():
    model = deeplab_v3_plus(width=48, height=32, channels=1, classes=7, width_multiplier=0.1, filters=8)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 1)).astype(np.float32)
    scores = model.predict(pixels, verbose=0)
    assert scores.shape == (2, 32, 48, 7)
    assert np.allclose(scores.sum(-1), 1.0, atol=1e-5)


def test_what_does_not_fit_is_refused():
    with pytest.raises(RecipeError, match="multiples of 16"):
        deeplab_v3_plus(width=250)
    with pytest.raises(RecipeError, match="at least 2"):
        deeplab_v3_plus(width=32, height=32, classes=1)


def test_seeded(same_weights):
    same_weights(
        lambda seed: deeplab_v3_plus(width=16, height=16, width_multiplier=0.1, filters=8, seed=seed)
    )


@pytest.mark.slow
def test_it_converts(conversions, noise):
    model = deeplab_v3_plus(width=48, height=32, classes=3, width_multiplier=0.25, filters=16, seed=1)
    frames = noise(32, 48, count=6)
    frames[0], frames[1] = frames[0] * 0.2, 255.0  # or all means are alike, and batch norm magnifies rounding
    conversions.settle(model, frames)
    conversions.check_float(model, frames, tolerance=5e-4)
    # Untrained, nothing holds int8's rounding down over 30 layers: it follows Keras, loosely.
    (int8,), (float32,) = conversions.int8(model, frames), conversions.keras(model, frames)
    assert float32.std() > 0.05
    assert np.corrcoef(int8.ravel(), float32.ravel())[0, 1] > 0.45
