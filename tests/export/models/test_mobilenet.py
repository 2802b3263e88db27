"""MobileNetV2: the reference implementation's sizes, output strides, maps."""

import pytest

from bedside.export.backend import keras
from bedside.export.models.mobilenet import mobilenet
from bedside.runtime.errors import RecipeError


@pytest.mark.parametrize("multiplier", [0.35, 1.0, 1.4])
def test_weights_are_those_of_the_reference_implementation(multiplier, count_params):
    ours = count_params(lambda: mobilenet(classes=1000, width_multiplier=multiplier))
    theirs = count_params(lambda: keras.applications.MobileNetV2(weights=None, alpha=multiplier))
    assert ours == theirs
    if multiplier == 1.0:
        assert ours == 3_538_984


@pytest.mark.parametrize(("stride", "side"), [(32, 2), (16, 4), (8, 8)])
def test_output_stride_decides_the_size_of_the_map(stride, side):
    model = mobilenet(width=64, height=64, classes=3, width_multiplier=0.1, output_stride=stride, maps=True)
    assert model.output_shape == [(None, 3), (None, side, side, 3)]


def test_features_are_configurable_and_not_shrunk_by_the_multiplier():
    assert mobilenet(width=32, height=32, width_multiplier=0.1).get_layer("features").filters == 1280
    small = mobilenet(width=32, height=32, width_multiplier=0.1, features=48)
    assert small.get_layer("features").filters == 48
    assert small.output_shape == (None, 10)


@pytest.mark.parametrize(
    ("arguments", "says"), [({"width": 31}, "at least 32"), ({"classes": 1}, "at least 2")]
)
def test_what_does_not_fit_is_refused(arguments, says):
    with pytest.raises(RecipeError, match=says):
        mobilenet(**{"width": 32, "height": 32, "width_multiplier": 0.1} | arguments)


def test_seeded(same_weights):
    same_weights(lambda seed: mobilenet(width=32, height=32, width_multiplier=0.1, features=16, seed=seed))


def test_it_converts(conversions, noise):
    model = mobilenet(
        width=32, height=32, classes=4, width_multiplier=0.2, output_stride=8, features=64, maps=True, seed=1
    )
    # Fifty random layers in a row enlarge every rounding; residuals that add little (Goyal et al., 2017, section
    # 5.1) make of them what training makes.
    for layer in model.layers:
        if layer.name.endswith("project_bn") and "_1_" not in layer.name:
            layer.gamma.assign(0.1 * keras.ops.ones_like(layer.gamma))
    conversions.settle(model, noise(32, 32))
    conversions.check_float(model, noise(32, 32))
    conversions.check_int8(model, noise(32, 32), correlation=0.8)
