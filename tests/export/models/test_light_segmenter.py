"""The light segmenter: its size, its outputs, its int8 file."""

from pathlib import Path

import numpy as np
import pytest

from bedside.export.backend import keras
from bedside.export.models.light_segmenter import light_segmenter
from bedside.runtime.errors import RecipeError

#: What the field calls ultra-light, and what a starter bundle promises.
MOST_PARAMETERS = 300_000


@pytest.mark.parametrize("classes", [2, 8])
def test_it_is_ultra_light(classes: int):
    model = light_segmenter(classes=classes)
    assert 150_000 < model.count_params() < MOST_PARAMETERS
    assert model.input_shape == (None, 256, 256, 3)
    assert model.output_shape == (None, 256, 256, 1 if classes == 2 else classes)


def test_the_encoder_is_mobilenet_v2_at_half_width():
    model = light_segmenter(width=64, height=64)

    def shape(layer: str) -> tuple[int, ...]:
        return tuple(model.get_layer(layer).output.shape[1:])

    assert shape("Conv") == (32, 32, 16)
    assert shape("expanded_conv_project") == (32, 32, 8)
    assert shape("expanded_conv_2_add") == (16, 16, 12)
    assert shape("expanded_conv_5_add") == (8, 8, 16)
    assert shape("expanded_conv_9_add") == (4, 4, 32)
    assert shape("expanded_conv_12_add") == (4, 4, 48)
    assert shape("expanded_conv_13_expand") == (4, 4, 288)
    assert shape("expanded_conv_13_project") == (2, 2, 80)


@pytest.mark.parametrize(("classes", "channels"), [(2, 3), (4, 1)])
def test_it_takes_pixels_and_gives_probabilities(classes: int, channels: int):
    model = light_segmenter(width=64, height=32, channels=channels, classes=classes, seed=1)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 64, channels)).astype(np.float32)
    maps = model.predict(pixels, verbose=0)
    assert maps.dtype == np.float32 and maps.shape == (2, 32, 64, 1 if classes == 2 else classes)
    assert maps.min() >= 0 and maps.max() <= 1 and maps.std() > 0
    if classes > 2:
        assert np.allclose(maps.sum(-1), 1.0, atol=1e-5)
    rescaled = keras.Model(model.input, model.get_layer("rescale").output).predict(pixels, verbose=0)
    assert np.allclose(rescaled, pixels / 128.0 - 1.0, atol=1e-6)


def test_the_seed_decides_the_first_weights():
    def weights(seed: int) -> bytes:
        model = light_segmenter(width=32, height=32, seed=seed)
        return b"".join(w.tobytes() for w in model.get_weights())

    assert weights(1) == weights(1)
    assert weights(1) != weights(2)


def test_it_scales():
    narrow = light_segmenter(width=32, height=32, width_multiplier=0.5)
    assert narrow.get_layer("Conv").filters == 8
    assert narrow.count_params() < light_segmenter(width=32, height=32).count_params() / 2


@pytest.mark.slow
def test_it_learns_from_random_weights_and_int8_follows():
    # A bright disc on noise.
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:64, :64]
    centres = rng.uniform(16, 48, (16, 2))
    masks = np.stack([(x - a) ** 2 + (y - b) ** 2 < 12**2 for a, b in centres])
    pixels = rng.integers(0, 90, (16, 64, 64, 3)) + 120 * masks[..., None]
    keras.utils.set_random_seed(0)
    model = light_segmenter(width=64, height=64, seed=0)
    model.compile(keras.optimizers.Adam(5e-3), "binary_crossentropy")
    targets = masks[..., None].astype(np.float32)
    history = model.fit(pixels.astype(np.float32), targets, batch_size=4, epochs=8, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]
    expected = model.predict(pixels.astype(np.float32), verbose=0)[..., 0]

    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    from bedside.export.convert.quiet import quiet

    with quiet():
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([p[None].astype(np.float32)] for p in pixels)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
        data = converter.convert()
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    found = []
    for p in pixels.astype(np.uint8):
        interpreter.set_tensor(source, p[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(target)[0, ..., 0] / 256.0)
    assert expected.std() > 0.01
    assert np.abs(np.stack(found) - expected).mean() < 0.02
    assert np.corrcoef(np.stack(found).ravel(), expected.ravel())[0, 1] > 0.9


def test_sides_that_do_not_fit_are_refused():
    with pytest.raises(RecipeError, match="multiples of 32"):
        light_segmenter(width=250)
    with pytest.raises(RecipeError, match="at least 2"):
        light_segmenter(width=32, height=32, classes=1)
    with pytest.raises(RecipeError, match="above 0"):
        light_segmenter(width=32, height=32, width_multiplier=0.0)


def test_it_survives_saving(tmp_path: Path):
    model = light_segmenter(width=32, height=32, seed=2)
    path = tmp_path / "light.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    pixels = np.full((1, 32, 32, 3), 90, np.float32)
    assert np.array_equal(loaded.predict(pixels, verbose=0), model.predict(pixels, verbose=0))
