from typing import Any

import pytest

from bedside.export.adopt.topology import leading, walk
from bedside.export.backend import keras

L = keras.layers
SHAPE = (20, 20, 3)


def sequential(*layers: Any, tail: tuple[Any, ...] = ()) -> Any:
    return keras.Sequential(
        [keras.Input(SHAPE), *layers, L.Flatten(), *(tail or (L.Dense(2, activation="softmax"),))]
    )


def functional(body: Any) -> Any:
    pixels = keras.Input(SHAPE)
    return keras.Model(pixels, L.Dense(2, activation="softmax")(L.Flatten()(body(pixels))))


def nested(*layers: Any) -> Any:
    return keras.Sequential(list(layers))


LEADING = {
    "rescaling": (lambda: sequential(L.Rescaling(1 / 255)), (0, 1)),
    "rescaling with offset": (lambda: sequential(L.Rescaling(1 / 127.5, offset=-1)), (-1, 1)),
    "functional": (lambda: functional(L.Rescaling(1 / 255)), (0, 1)),
    "normalization": (
        lambda: sequential(L.Normalization(mean=[100.0] * 3, variance=[2500.0] * 3)),
        (-2, 3.1),
    ),
    "augmentation first": (
        lambda: sequential(L.RandomFlip(), L.RandomRotation(0.1), L.Rescaling(1 / 255)),
        (0, 1),
    ),
    "both": (lambda: sequential(L.Rescaling(1 / 255), L.Rescaling(2.0, offset=-1)), (-1, 1)),
    "resized, in a nested model": (
        lambda: sequential(nested(L.Resizing(8, 8), L.Rescaling(1 / 255))),
        (0, 1),
    ),
    "first layer of a nested model": (
        lambda: sequential(nested(L.RandomFlip()), nested(L.Rescaling(1 / 255), L.Conv2D(2, 3))),
        (0, 1),
    ),
    "operators": (lambda: functional(lambda x: L.Conv2D(2, 3)(x / 127.5 - 1.0)), (-1, 1)),
    "tf mode": (
        lambda: functional(lambda x: L.Conv2D(2, 3)(keras.applications.mobilenet_v2.preprocess_input(x))),
        (-1, 1),
    ),
    "caffe mode": (
        lambda: functional(lambda x: L.Conv2D(2, 3)(keras.applications.resnet.preprocess_input(x))),
        (-123.68, 151.061),
    ),
    "residual around the first convolution": (
        lambda: functional(
            lambda x: (lambda s: L.Add()([s, L.Conv2D(3, 3, padding="same")(s)]))(L.Rescaling(1 / 255)(x))
        ),
        (0, 1),
    ),
}


@pytest.mark.parametrize("name", LEADING)
def test_normalization_is_found(name: str) -> None:
    make, (low, high) = LEADING[name]
    found = leading(make(), SHAPE)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)
    assert found.plausible


def test_none_is_found_where_there_is_none() -> None:
    assert leading(sequential(L.Conv2D(2, 3)), SHAPE) is None
    assert leading(sequential(L.BatchNormalization()), SHAPE) is None
    # Behind the first convolution it says nothing of pixels.
    assert leading(sequential(L.Conv2D(2, 3), L.Rescaling(1 / 255)), SHAPE) is None


def test_a_layer_that_is_used_again_later() -> None:
    """Layers are listed by their first call, before what feeds the second one."""

    def body(x: Any) -> Any:
        shared, between = L.Conv2D(3, 3, padding="same"), L.Conv2D(3, 1)
        return shared(between(shared(L.Rescaling(1 / 255)(x))))

    found = leading(functional(body), SHAPE)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0, 1), abs=1e-5)
    twice = L.Rescaling(0.5)
    assert leading(functional(lambda x: L.Conv2D(2, 3)(twice(twice(x)))), SHAPE) is None


def test_two_differently_scaled_pictures_are_not_judged() -> None:
    two = functional(lambda x: L.Concatenate()([L.Conv2D(1, 3)(x / 255.0), L.Conv2D(1, 3)(x - 1.0)]))
    assert leading(two, SHAPE) is None


@pytest.mark.parametrize("layer", [(2.0, -1.0), (1 / 65535, 0.0)])
def test_ranges_that_are_none_for_pixels(layer: tuple[float, float]) -> None:
    found = leading(sequential(L.Rescaling(layer[0], offset=layer[1])), SHAPE)
    assert found is not None
    assert not found.plausible


class Subclassed(keras.Model):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.flatten, self.dense = L.Flatten(), L.Dense(2)

    def call(self, pixels: Any) -> Any:
        return self.dense(self.flatten(pixels))


def test_subclassed_models_are_not_looked_into() -> None:
    assert leading(Subclassed(), SHAPE) is None


def test_walk_reaches_nested_layers() -> None:
    inner = L.Rescaling(1 / 255, name="inner")
    assert "inner" in [layer.name for layer in walk(sequential(nested(inner)))]
