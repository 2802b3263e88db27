"""AlexNet: the published sizes, and how it fits smaller frames."""

import pytest

from bedside.export.models.alexnet import alexnet
from bedside.runtime.errors import RecipeError


def test_one_tower_has_the_weights_that_the_paper_implies(count_params):
    assert count_params(lambda: alexnet(classes=1000)) == 62_378_344


def test_feature_maps_have_the_sides_of_the_paper(count_params):
    model = alexnet(width_multiplier=1 / 32, classes=1000)
    sides = {
        name: model.get_layer(name).output.shape[1]
        for name in ("conv1", "pool1", "conv2", "pool2", "conv5", "pool5")
    }
    assert sides == {"conv1": 55, "pool1": 27, "conv2": 27, "pool2": 13, "conv5": 13, "pool5": 6}
    assert model.get_layer("conv1").filters == 3
    assert model.output_shape == (None, 1000)


def test_the_smallest_frame_ends_in_one_pixel():
    model = alexnet(width=64, height=64, width_multiplier=1 / 32)
    assert model.get_layer("pool5").output.shape == (None, 1, 1, 8)
    assert alexnet(width=96, height=64, channels=1, width_multiplier=1 / 32).input_shape == (None, 64, 96, 1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [({"width": 63}, "at least 64"), ({"classes": 1}, "at least 2"), ({"dropout": 1.0}, "not within")],
)
def test_what_does_not_fit_is_refused(arguments, says):
    with pytest.raises(RecipeError, match=says):
        alexnet(**{"width": 64, "height": 64, "width_multiplier": 1 / 32} | arguments)


def test_seeded(same_weights):
    same_weights(lambda seed: alexnet(width=64, height=64, width_multiplier=1 / 32, seed=seed))


def test_it_converts(conversions, noise):
    model = alexnet(width=64, height=64, classes=4, width_multiplier=1 / 8, seed=1)
    conversions.check_float(model, noise(64, 64))
    conversions.check_int8(model, noise(64, 64))
