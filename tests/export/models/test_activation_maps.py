"""Class activation maps: what they add up to, which models have them, conversion."""

import numpy as np
import pytest

from bedside.export.backend import keras
from bedside.export.models.activation_maps import ClassActivationHead, with_maps
from bedside.export.models.mobilenet import mobilenet
from bedside.export.models.vgg import vgg
from bedside.export.models.vit import vit

layers = keras.layers


def stranger(*tail, features=None):
    """A Sequential as anybody would write it, up to the features."""
    keras.utils.set_random_seed(1)
    body = features or [
        layers.Rescaling(1 / 255),
        layers.Conv2D(6, 3, strides=2, activation="relu"),
        layers.Conv2D(8, 3, activation="relu"),
    ]
    return keras.Sequential([keras.Input((24, 16, 3)), *body, *tail])


def check(model, mapped, pixels):
    """Same scores, and maps whose mean plus the bias is the logit."""
    assert mapped is not None
    assert mapped.output_names == ["probabilities", "map"]
    scores, maps = (np.asarray(out) for out in mapped(pixels))
    expected = np.asarray(model(pixels))
    assert np.allclose(scores, expected, atol=1e-6)
    head = mapped.get_layer("activation_maps")
    logits = maps.mean(axis=(1, 2)) + np.asarray(head.bias)
    if head.activation is keras.activations.softmax:
        logits = np.exp(logits - logits.max(1, keepdims=True))
        logits /= logits.sum(1, keepdims=True)
    assert np.allclose(logits, expected, atol=1e-5)
    assert np.ptp(maps, axis=(1, 2)).max() > 0
    assert maps.shape[-1] == expected.shape[-1]


TAILS = {
    "softmax": lambda: [layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")],
    "dropout": lambda: [
        layers.GlobalAveragePooling2D(),
        layers.Dropout(0.3),
        layers.Dense(3, activation="softmax", bias_initializer="normal"),
    ],
    "logits": lambda: [layers.GlobalAveragePooling2D(), layers.Dense(3, bias_initializer="normal")],
    "softmax layer": lambda: [layers.GlobalAveragePooling2D(), layers.Dense(3), layers.Softmax()],
    "activation layer": lambda: [
        layers.GlobalAveragePooling2D(),
        layers.Dense(3, use_bias=False),
        layers.Activation("softmax"),
    ],
    "nested": lambda: [
        keras.Sequential([layers.GlobalAveragePooling2D(), layers.Dropout(0.1), layers.Dense(3)]),
        layers.Softmax(),
    ],
}


@pytest.mark.parametrize("tail", TAILS)
def test_a_strangers_sequential_gets_maps(tail, noise):
    model = stranger(*TAILS[tail]())
    check(model, with_maps(model), noise(24, 16))


def test_keras_own_mobilenet_gets_maps(conversions, noise):
    model = keras.applications.MobileNetV2(input_shape=(64, 64, 3), weights=None, alpha=0.35, classes=5)
    pixels = noise(64, 64) / 127.5 - 1
    conversions.settle(model, pixels)
    check(model, with_maps(model), pixels)


@pytest.mark.parametrize("pooling", [None, "avg"])
def test_transfer_learning_gets_maps(pooling, conversions, noise):
    base = keras.applications.MobileNetV2(
        input_shape=(64, 64, 3), weights=None, alpha=0.35, include_top=False, pooling=pooling
    )
    pool = [] if pooling else [layers.GlobalAveragePooling2D()]
    model = keras.Sequential(
        [keras.Input((64, 64, 3)), layers.Rescaling(1 / 127.5, -1), base, *pool, layers.Dense(3)]
    )
    conversions.settle(model, noise(64, 64))
    check(model, with_maps(model), noise(64, 64))


def test_a_model_within_a_model_gets_maps(noise):
    inner = stranger(*TAILS["dropout"]())
    pixels = keras.Input((24, 16, 3))
    model = keras.Model(pixels, inner(layers.Rescaling(0.5)(pixels)))
    check(model, with_maps(model), noise(24, 16))


def test_training_the_mapped_model_drops_what_the_plain_one_drops():
    features = keras.Input((4, 4, 50))
    model = keras.Model(features, TAILS["dropout"]()[2](layers.Dropout(0.5)(TAILS["dropout"]()[0](features))))
    mapped = with_maps(model)
    x = np.ones((1, 4, 4, 50), np.float32)
    maps = np.asarray(mapped(x, training=True)[1])
    assert np.allclose(maps, maps[:, :1, :1], atol=1e-5), "whole feature maps are dropped, not pixels"
    assert not np.allclose(maps, np.asarray(mapped(x)[1]))


OTHERS = {
    "flatten": lambda: stranger(layers.Flatten(), layers.Dense(3, activation="softmax")),
    "maximum": lambda: stranger(layers.GlobalMaxPooling2D(), layers.Dense(3, activation="softmax")),
    "two dense layers": lambda: stranger(
        layers.GlobalAveragePooling2D(),
        layers.Dense(8, activation="relu"),
        layers.Dense(3, activation="softmax"),
    ),
    "sigmoid": lambda: stranger(layers.GlobalAveragePooling2D(), layers.Dense(1, activation="sigmoid")),
    "softmax twice": lambda: stranger(*TAILS["softmax"](), layers.Softmax()),
    "kept dimensions": lambda: stranger(
        layers.GlobalAveragePooling2D(keepdims=True), layers.Dense(3, activation="softmax")
    ),
    "not built": lambda: keras.Sequential(TAILS["softmax"]()),
    "several outputs": lambda: mobilenet(width=32, height=32, width_multiplier=0.1, maps=True),
    "no layers": lambda: keras.Sequential([keras.Input((8, 8, 3))]),
}


@pytest.mark.parametrize("other", OTHERS)
def test_other_models_have_none(other):
    assert with_maps(OTHERS[other]()) is None


@pytest.mark.parametrize(
    "build",
    [
        lambda **k: mobilenet(width=32, height=32, classes=3, width_multiplier=0.1, **k),
        lambda **k: vgg(
            configuration="A", width=32, height=32, classes=3, width_multiplier=0.1, head="gap", **k
        ),
        lambda **k: vit(
            width=16, height=16, patch=8, dim=8, depth=1, heads=1, classes=3, pooling="mean", **k
        ),
    ],
    ids=["mobilenet", "vgg", "vit"],
)
def test_our_networks_have_the_same_weights_with_and_without(build, noise):
    plain, mapped = build(seed=1), build(seed=1, maps=True)
    for a, b in zip(plain.get_weights(), mapped.get_weights(), strict=True):
        assert np.array_equal(a, b)
    pixels = noise(*plain.input_shape[1:3])
    expected = np.asarray(plain(pixels))
    assert np.allclose(np.asarray(mapped(pixels)[0]), expected, atol=1e-6)
    derived = with_maps(plain)
    assert derived is not None
    for a, b in zip(derived(pixels), mapped(pixels), strict=True):
        assert np.allclose(np.asarray(a), np.asarray(b), atol=1e-6)


def test_it_converts_and_comes_back_from_a_file(conversions, noise, tmp_path):
    model = with_maps(stranger(*TAILS["dropout"]()))
    pixels = noise(24, 16)
    conversions.check_float(model, pixels)
    conversions.check_int8(model, pixels)
    model.save(tmp_path / "maps.keras")
    again = keras.models.load_model(tmp_path / "maps.keras", safe_mode=True)
    assert isinstance(again.get_layer("activation_maps"), ClassActivationHead)
    for a, b in zip(model(pixels), again(pixels), strict=True):
        assert np.array_equal(np.asarray(a), np.asarray(b))


def test_maps_leave_the_scores_of_the_int8_form_alone(conversions, noise):
    model = stranger(*TAILS["softmax"]())
    pixels = noise(24, 16)
    assert np.array_equal(conversions.int8(model, pixels)[0], conversions.int8(with_maps(model), pixels)[0])
