from typing import Any

import numpy as np
import pytest

from bedside.export.adopt.graph import adopt, softmax
from bedside.export.adopt.preprocessing import named, standardized
from bedside.export.backend import keras
from bedside.runtime.errors import UsageError

L = keras.layers
SHAPE = (12, 10, 3)


def classifier(*layers: Any, shape: tuple[Any, ...] = SHAPE, dtype: str = "float32", last: Any = None) -> Any:
    keras.utils.set_random_seed(0)
    tail = last if last is not None else [L.Flatten(), L.Dense(3, activation="softmax")]
    return keras.Sequential([keras.Input(shape, dtype=dtype), *layers, *tail])


def noise(count: int = 4, shape: tuple[int, int, int] = SHAPE) -> Any:
    return np.random.default_rng(1).integers(0, 256, (count, *shape), np.uint8)


def outputs(model: Any, pixels: Any) -> Any:
    return keras.ops.convert_to_numpy(model(pixels, training=False))


class Subclassed(keras.Model):  # type: ignore[misc]
    def __init__(self, activation: str = "softmax") -> None:
        super().__init__()
        self.flatten, self.dense = L.Flatten(), L.Dense(3, activation=activation)

    def call(self, pixels: Any) -> Any:
        return self.dense(self.flatten(pixels / 255.0))


@pytest.mark.parametrize("name", ["none", "unit", "symmetric", "imagenet", "caffe"])
def test_given_preprocessing_is_folded_in(name: str) -> None:
    model = classifier(L.Conv2D(2, 3))
    preprocessing = named(name)
    pixels = noise()
    scale, offset = preprocessing.arrays(3)
    wanted = outputs(model, pixels.astype(np.float32) * scale + offset)
    adopted = adopt(model, preprocessing=preprocessing)
    assert adopted.predict(pixels) == pytest.approx(wanted, abs=1e-5)
    assert adopted.color == preprocessing.color


def test_all_three_graphs_say_the_same() -> None:
    adopted = adopt(classifier(L.Conv2D(2, 3)), preprocessing=standardized([90, 100, 110], [50, 60, 70]))
    pixels = noise(1)
    reference = adopted.predict(pixels)
    assert outputs(adopted.float32, pixels.astype(np.float32)) == pytest.approx(reference, abs=1e-6)
    assert outputs(adopted.uint8, pixels) == pytest.approx(reference, abs=1e-6)
    assert adopted.uint8.input_shape == (1, *SHAPE)
    assert adopted.uint8.inputs[0].dtype == "uint8"
    assert (adopted.shape, adopted.classes, adopted.scores) == (SHAPE, 3, "probabilities")


def test_normalization_in_the_model_takes_raw_pixels() -> None:
    model = classifier(L.Rescaling(1 / 255))
    pixels = noise()
    adopted = adopt(model)
    assert adopted.predict(pixels) == pytest.approx(outputs(model, pixels.astype(np.float32)), abs=1e-6)
    assert "Rescaling" in adopted.normalization


def test_logits_become_probabilities_for_comparison() -> None:
    adopted = adopt(classifier(L.Rescaling(1 / 255), last=[L.Flatten(), L.Dense(3)]))
    assert adopted.scores == "logits"
    assert adopted.predict(noise()).sum(axis=1) == pytest.approx(np.ones(4), abs=1e-6)


def test_softmax_does_not_overflow() -> None:
    assert softmax(np.array([[1e4, 0.0]], np.float32)).tolist() == [[1.0, 0.0]]


def test_an_integer_input_is_rebuilt_so_that_nothing_is_truncated() -> None:
    pixels = noise()
    model = classifier(L.Rescaling(1 / 255), dtype="uint8")
    adopted = adopt(model)
    assert adopted.float32.inputs[0].dtype == "float32"
    assert adopted.predict(pixels) == pytest.approx(outputs(model, pixels), abs=1e-6)
    keras.utils.set_random_seed(0)
    given = adopt(classifier(dtype="uint8"), preprocessing=named("unit"))
    keras.utils.set_random_seed(0)
    plain = adopt(classifier(), preprocessing=named("unit"))
    assert given.predict(pixels) == pytest.approx(plain.predict(pixels), abs=1e-6)


def test_any_size_is_fixed() -> None:
    model = classifier(
        L.Rescaling(1 / 255), L.Conv2D(3, 3), shape=(None, None, 3), last=[L.GlobalAveragePooling2D()]
    )
    assert adopt(model, size=(14, 9)).shape == (9, 14, 3)


def test_subclassed() -> None:
    adopted = adopt(Subclassed(), preprocessing=named("none"), size=(10, 12), channels=3)
    assert (adopted.shape, adopted.classes, adopted.scores) == (SHAPE, 3, "probabilities")
    called = Subclassed()
    called(np.zeros((2, *SHAPE), np.float32))
    assert adopt(called, preprocessing=named("none")).shape == SHAPE
    linear = adopt(
        Subclassed("linear"), preprocessing=named("none"), size=(10, 12), channels=3, scores="logits"
    )
    assert linear.scores == "logits"


def two_inputs() -> Any:
    a, b = keras.Input(SHAPE), keras.Input(SHAPE)
    return keras.Model([a, b], L.Dense(2)(L.Flatten()(a + b)))


def two_outputs() -> Any:
    a = keras.Input(SHAPE)
    flat = L.Flatten()(L.Rescaling(1 / 255)(a))
    return keras.Model(a, [L.Dense(2)(flat), L.Dense(3)(flat)])


REFUSED = {
    "no preprocessing": (lambda: adopt(classifier()), "--preprocessing none|unit|symmetric|imagenet|caffe"),
    "implausible": (lambda: adopt(classifier(L.Rescaling(2.0, offset=-1))), "-1..509"),
    "twice": (
        lambda: adopt(classifier(L.Rescaling(1 / 255)), preprocessing=named("unit")),
        "normalize twice",
    ),
    "two inputs": (lambda: adopt(two_inputs()), "2 inputs"),
    "two outputs": (lambda: adopt(two_outputs()), "2 outputs"),
    "vector input": (lambda: adopt(classifier(shape=(20,), last=[L.Dense(2)])), "rank 2"),
    "channels first": (lambda: adopt(classifier(shape=(3, 12, 12))), "channels come last"),
    "any size": (
        lambda: adopt(classifier(L.Rescaling(1 / 255), L.Conv2D(3, 3), shape=(None, None, 3), last=[])),
        "--size",
    ),
    "wrong size": (lambda: adopt(classifier(L.Rescaling(1 / 255)), size=(9, 9)), "10x12"),
    "wrong channels": (lambda: adopt(classifier(L.Rescaling(1 / 255)), channels=1), "3 channels"),
    "a map": (lambda: adopt(classifier(L.Rescaling(1 / 255), last=[L.Conv2D(2, 1)])), "(None, K)"),
    "one output": (
        lambda: adopt(classifier(L.Rescaling(1 / 255), last=[L.Flatten(), L.Dense(1, activation="sigmoid")])),
        "at least 2",
    ),
    "sigmoid": (
        lambda: adopt(classifier(L.Rescaling(1 / 255), last=[L.Flatten(), L.Dense(2, activation="sigmoid")])),
        "softmax",
    ),
    "neither": (
        lambda: adopt(classifier(L.Rescaling(1 / 255), last=[L.Flatten(), L.Dense(2, activation="relu")])),
        "--scores logits",
    ),
    "softmax over the wrong axis": (
        lambda: adopt(classifier(L.Rescaling(1 / 255), last=[L.Flatten(), L.Dense(3), L.Softmax(axis=0)])),
        "expected 1",
    ),
    "unreadable": (lambda: adopt(Subclassed(), size=(10, 12), channels=3), "cannot be read"),
    "unbuilt": (lambda: adopt(Subclassed(), preprocessing=named("none")), "which frames"),
    "no model": (lambda: adopt(object()), "not a Keras model"),
    "mixed precision": (
        lambda: adopt(classifier(L.Rescaling(1 / 255), L.Conv2D(2, 3, dtype="mixed_float16"))),
        "float16",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises(UsageError) as caught:
        make()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_stranger_s_call_raises_is_one_line() -> None:
    class Broken(keras.Model):  # type: ignore[misc]
        def call(self, pixels: Any) -> Any:
            raise RuntimeError("first line\nsecond line")

    with pytest.raises(UsageError, match="cannot be called on") as caught:
        adopt(Broken(), preprocessing=named("none"), size=(4, 4), channels=3)
    assert "second line" not in str(caught.value)
