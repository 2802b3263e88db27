"""VGG: table 1 of the paper, both heads."""

import numpy as np
import pytest

from bedside.export.models.vgg import CONFIGURATIONS, vgg
from bedside.runtime.errors import RecipeError


@pytest.mark.parametrize(
    ("configuration", "millions"), [("A", 133), ("B", 133), ("C", 134), ("D", 138), ("E", 144)]
)
def test_weights_of_the_configurations_are_those_of_table_2(configuration, millions, count_params):
    count = count_params(lambda: vgg(configuration=configuration, classes=1000))
    assert round(count / 1e6) == millions
    if configuration == "D":
        assert count == 138_357_544


@pytest.mark.parametrize(("configuration", "layers"), [("A", 11), ("B", 13), ("C", 16), ("D", 16), ("E", 19)])
def test_weight_layers_are_those_of_table_1(configuration, layers):
    assert sum(len(kernels) for _, kernels in CONFIGURATIONS[configuration]) + 3 == layers


def test_batch_norm_stands_between_convolution_and_relu():
    model = vgg(configuration="A", width=32, height=32, width_multiplier=1 / 32, batch_norm=True)
    kinds = [type(layer).__name__ for layer in model.layers[2:5]]
    assert kinds == ["Conv2D", "BatchNormalization", "ReLU"]
    assert not model.get_layer("block1_conv1").use_bias


def test_heads():
    flat = vgg(configuration="A", width=64, height=32, classes=3, width_multiplier=1 / 32)
    assert flat.get_layer("flatten").output.shape == (None, 1 * 2 * 16)
    assert flat.get_layer("dense1").units == 128
    pooled = vgg(configuration="A", width=64, height=32, classes=3, width_multiplier=1 / 32, head="gap")
    assert pooled.output_shape == (None, 3)
    maps = vgg(
        configuration="A", width=64, height=32, classes=3, width_multiplier=1 / 32, head="gap", maps=True
    )
    assert maps.output_shape == [(None, 3), (None, 1, 2, 3)]
    assert maps.output_names == ["probabilities", "map"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [({"height": 31}, "at least 32"), ({"classes": 1}, "at least 2"), ({"maps": True}, 'head = "gap"')],
)
def test_what_does_not_fit_is_refused(arguments, says):
    with pytest.raises(RecipeError) as refused:
        vgg(**{"width": 32, "height": 32, "width_multiplier": 1 / 32} | arguments)
    assert says in str(refused.value) or says in str(refused.value.hint)


def test_seeded(same_weights):
    same_weights(lambda s: vgg(configuration="C", width=32, height=32, width_multiplier=1 / 32, seed=s))


@pytest.mark.parametrize("head", ["flatten", "gap"])
def test_it_converts(head, conversions, noise):
    model = vgg(
        configuration="C",
        width=32,
        height=32,
        classes=4,
        width_multiplier=1 / 16,
        head=head,
        batch_norm=head == "gap",
        maps=head == "gap",
        seed=1,
    )
    pixels = noise(32, 32)
    conversions.settle(model, pixels)
    assert np.allclose(conversions.keras(model, pixels)[0].sum(1), 1.0, atol=1e-5)
    conversions.check_float(model, pixels)
    conversions.check_int8(model, pixels, correlation=0.9)
