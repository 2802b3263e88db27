from typing import Any

import numpy as np
import pytest

from bedside.export.adopt.endings import Ending, endings
from bedside.export.backend import keras

L = keras.layers
SHAPE = (8, 8, 3)


def sequential(*tail: Any) -> Any:
    return keras.Sequential([keras.Input(SHAPE), L.Flatten(), *tail])


def functional(tail: Any) -> Any:
    pixels = keras.Input(SHAPE)
    return keras.Model(pixels, tail(pixels))


def single(model: Any) -> Ending:
    return endings(model)[""]


@pytest.mark.parametrize(
    ("tail", "kind"),
    [
        ((L.Dense(2, activation="softmax"),), "softmax"),
        ((L.Dense(2),), "linear"),
        ((L.Dense(2, activation="sigmoid"),), "sigmoid"),
        ((L.Dense(2, activation="tanh"),), "tanh"),
        ((L.Dense(2, activation="relu"),), "unknown"),
        ((L.Dense(2), L.Softmax()), "softmax"),
        ((L.Dense(2), L.Activation("softmax"), L.Dropout(0.1)), "softmax"),
        ((L.Dense(2), L.Activation("linear")), "linear"),
        ((L.Dense(2, activation="sigmoid"), L.Activation("linear")), "sigmoid"),
        ((L.Dense(2), L.Reshape((2,))), "linear"),
        ((L.Dense(2), L.BatchNormalization()), "unknown"),
        ((L.Dense(2), L.ReLU()), "unknown"),
        ((L.Dense(4), L.Reshape((2, 2, 1)), L.UpSampling2D(2, interpolation="bilinear")), "linear"),
    ],
)
def test_last_activation(tail: tuple[Any, ...], kind: str) -> None:
    fresh = [type(layer).from_config(layer.get_config()) for layer in tail]
    assert single(sequential(*fresh)).head == kind


def test_operators_and_nested_models() -> None:
    def logits(x: Any) -> Any:
        return L.Dense(2)(L.Flatten()(x))

    assert single(functional(lambda x: keras.ops.softmax(logits(x)))).head == "softmax"
    assert single(functional(lambda x: keras.ops.sigmoid(logits(x)))).head == "sigmoid"
    assert single(functional(lambda x: keras.ops.tanh(logits(x)))).head == "tanh"
    nested = keras.Sequential([L.Dense(4), L.Dense(2, activation="softmax")])
    assert single(sequential(nested)).head == "softmax"


def test_a_nested_model_that_only_reshapes_is_looked_through() -> None:
    reshaping = keras.Sequential([keras.Input((12,)), L.Reshape((2, 2, 3))])
    assert single(sequential(L.Dense(12, activation="sigmoid"), reshaping)).head == "sigmoid"


@pytest.mark.parametrize(
    ("tail", "wanted"),
    [
        (lambda x: keras.ops.sigmoid(x), (0.0, 1.0)),
        (lambda x: keras.ops.tanh(x), (-1.0, 1.0)),
        (lambda x: keras.ops.sigmoid(x) * 255.0, (0.0, 255.0)),
        (lambda x: (keras.ops.tanh(x) + 1) / 2, (0.0, 1.0)),
        (lambda x: L.Rescaling(127.5, offset=127.5)(keras.ops.tanh(x)), (0.0, 255.0)),
        (lambda x: 2.0 * keras.ops.sigmoid(x) - 1.0, (-1.0, 1.0)),
    ],
)
def test_range_behind_the_activation(tail: Any, wanted: tuple[float, float]) -> None:
    found = single(functional(tail))
    assert found.range == pytest.approx(wanted, abs=1e-5)


def test_scaled_means_that_the_activation_s_own_range_is_left() -> None:
    assert not single(functional(keras.ops.sigmoid)).scaled
    assert not single(functional(keras.ops.tanh)).scaled
    assert single(functional(lambda x: keras.ops.sigmoid(x) * 255.0)).scaled
    assert single(functional(lambda x: (keras.ops.tanh(x) + 1) / 2)).scaled


def test_what_has_no_single_range_is_unknown() -> None:
    # Another factor for each channel, a scaled softmax, a negated picture, a square.
    assert single(functional(lambda x: keras.ops.sigmoid(x) * np.float32([1, 2, 3]))).head == "unknown"
    assert single(functional(lambda x: keras.ops.softmax(x) * 2.0)).head == "unknown"
    assert single(functional(lambda x: 1.0 - keras.ops.sigmoid(x))).head == "unknown"
    assert single(functional(lambda x: keras.ops.square(keras.ops.tanh(x)))).head == "unknown"
    assert single(functional(lambda x: keras.ops.sigmoid(x) + x)).head == "unknown"


def test_scaled_logits_stay_logits() -> None:
    assert single(functional(lambda x: L.Dense(2)(x) / 0.5)) == Ending("linear")


def test_joined_heads_have_to_agree() -> None:
    def joined(first: str, second: str) -> Any:
        heads = [L.Conv2D(2, 1, activation=first), L.Conv2D(2, 1, activation=second)]
        return functional(lambda x: L.Concatenate(axis=1)([head(x) for head in heads]))

    assert single(joined("sigmoid", "sigmoid")).head == "sigmoid"
    assert single(joined("sigmoid", "linear")).head == "unknown"


def test_several_outputs_by_path() -> None:
    pixels = keras.Input(SHAPE)
    flat = L.Flatten()(pixels)
    listed = keras.Model(pixels, [L.Dense(2)(flat), L.Dense(3, activation="softmax")(flat)])
    assert {k: v.head for k, v in endings(listed).items()} == {"0": "linear", "1": "softmax"}
    named = keras.Model(
        pixels,
        {"scores": L.Dense(2, activation="softmax")(flat), "boxes": [L.Dense(4)(flat), L.ReLU()(flat)]},
    )
    found = {k: v.head for k, v in endings(named).items()}
    assert found == {"scores": "softmax", "boxes/0": "linear", "boxes/1": "unknown"}


def test_the_second_output_of_a_nested_model() -> None:
    inner_in = keras.Input(SHAPE)
    flat = L.Flatten()(inner_in)
    inner = keras.Model(inner_in, [L.Dense(2)(flat), L.Dense(2, activation="sigmoid")(flat)])
    outer = functional(lambda x: inner(x)[::-1])
    assert [e.head for e in endings(outer).values()] == ["sigmoid", "linear"]


def test_one_layer_used_twice() -> None:
    shared = L.Dense(2, activation="sigmoid")
    reshape = L.Reshape((-1, 2))
    pixels = keras.Input(SHAPE)
    model = keras.Model(pixels, [reshape(shared(pixels)), reshape(L.Dense(2)(pixels))])
    assert [e.head for e in endings(model).values()] == ["sigmoid", "linear"]


class Subclassed(keras.Model):  # type: ignore[misc]
    def call(self, pixels: Any) -> Any:
        return pixels


@keras.saving.register_keras_serializable(package="bedside_tests")
class Block(L.Layer):  # type: ignore[misc]
    """A stranger's layer may have an activation somewhere inside."""

    def __init__(self) -> None:
        super().__init__()
        self.activation = keras.activations.softmax

    def call(self, x: Any) -> Any:
        return self.activation(x) * 7.0


def test_what_cannot_be_read_is_unknown() -> None:
    assert endings(Subclassed()) == {}
    assert single(functional(lambda x: Block()(x))).head == "unknown"
    assert single(functional(lambda x: x)).head == "unknown"
