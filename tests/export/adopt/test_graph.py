from typing import Any

import numpy as np
import pytest

from bedside.export.adopt.graph import Adopted
from bedside.export.adopt.graph import adopt as adopt_any
from bedside.export.adopt.options import AdoptOptions
from bedside.export.adopt.pixel_model import PixelModel
from bedside.export.adopt.preprocessing import named, standardized
from bedside.export.backend import keras
from bedside.runtime.bundle.decode import ClassificationDecode
from bedside.runtime.errors import UsageError

L = keras.layers
SHAPE = (12, 10, 3)
LABELS = ("a", "b", "c")


def adopt(model: Any, labels: tuple[str, ...] = LABELS, **words: Any) -> Adopted:
    return adopt_any(model, "classification", labels, **words)


def predict(adopted: Adopted, pixels: Any) -> Any:
    return adopted.model.predict(pixels)[0]


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
    assert predict(adopted, pixels) == pytest.approx(wanted, abs=1e-5)
    assert adopted.model.color == preprocessing.color


def test_all_three_graphs_say_the_same() -> None:
    adopted = adopt(classifier(L.Conv2D(2, 3)), preprocessing=standardized([90, 100, 110], [50, 60, 70]))
    model: PixelModel = adopted.model
    pixels = noise(1)
    reference = predict(adopted, pixels)
    assert outputs(model.float32, pixels.astype(np.float32)) == pytest.approx(reference, abs=1e-6)
    assert outputs(model.uint8, pixels) == pytest.approx(reference, abs=1e-6)
    assert model.uint8.input_shape == (1, *SHAPE)
    assert model.uint8.inputs[0].dtype == "uint8"
    assert (model.shape, model.outputs, model.latent) == (SHAPE, ("scores",), False)
    assert model.uint8.output_names == ["output_scores"]
    assert adopted.decode == ClassificationDecode(labels=LABELS)


def test_normalization_in_the_model_takes_raw_pixels() -> None:
    model = classifier(L.Rescaling(1 / 255))
    pixels = noise()
    adopted = adopt(model)
    assert predict(adopted, pixels) == pytest.approx(outputs(model, pixels.astype(np.float32)), abs=1e-6)
    assert "Rescaling" in adopted.model.normalization


def test_logits_are_left_to_the_decoder() -> None:
    model = classifier(L.Rescaling(1 / 255), last=[L.Flatten(), L.Dense(3)])
    adopted = adopt(model)
    assert adopted.decode == ClassificationDecode(labels=LABELS, scores="logits")
    wanted = outputs(model, noise().astype(np.float32))
    assert predict(adopted, noise()) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", "linear"])
def test_a_single_sigmoid_becomes_two_scores(activation: str) -> None:
    model = classifier(L.Rescaling(1 / 255), last=[L.Flatten(), L.Dense(1, activation=activation)])
    adopted = adopt(model, ("no", "yes"))
    p = outputs(model, noise().astype(np.float32))
    if activation == "linear":
        p = 1 / (1 + np.exp(-p))
    assert predict(adopted, noise()) == pytest.approx(np.concatenate([1 - p, p], axis=1), abs=1e-5)
    assert adopted.decode == ClassificationDecode(labels=("no", "yes"))
    assert any("'yes'" in note for note in adopted.notes)


def pooled() -> Any:
    tail = [L.GlobalAveragePooling2D(), L.Dropout(0.2), L.Dense(3, activation="softmax")]
    return classifier(L.Rescaling(1 / 255), L.Conv2D(4, 3), last=tail)


def test_maps_are_added_where_the_model_allows_it() -> None:
    model = pooled()
    adopted = adopt(model)
    assert isinstance(adopted.decode, ClassificationDecode)
    assert adopted.decode.map == 1
    assert adopted.model.outputs == ("scores", "map")
    assert not adopted.notes
    scores, maps = adopted.model.predict(noise())
    assert scores == pytest.approx(outputs(model, noise().astype(np.float32)), abs=1e-6)
    # The mean of a class's map is its logit, up to the bias.
    kernel, bias = model.layers[-1].get_weights()
    logits = maps.mean(axis=(1, 2)) + bias
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    assert exponents / exponents.sum(axis=1, keepdims=True) == pytest.approx(scores, abs=1e-5)
    assert kernel.shape == (4, 3)


def test_maps_can_be_left_out_and_are_missed_in_words() -> None:
    without = adopt(pooled(), options=AdoptOptions(maps=False))
    assert (without.model.outputs, without.notes) == (("scores",), ())
    assert any("no class activation maps" in note for note in adopt(classifier(L.Rescaling(1 / 255))).notes)


def test_maps_that_the_model_brings_are_taken() -> None:
    pixels = keras.Input(SHAPE)
    x = L.Conv2D(4, 3)(L.Rescaling(1 / 255)(pixels))
    maps = L.Conv2D(3, 1, name="where")(x)
    model = keras.Model(pixels, [maps, L.Softmax()(L.GlobalAveragePooling2D()(maps))])
    adopted = adopt(model)
    assert adopted.model.outputs == ("scores", "map")
    assert isinstance(adopted.decode, ClassificationDecode)
    assert adopted.decode.map == 1
    wanted = [keras.ops.convert_to_numpy(part) for part in model(noise().astype(np.float32))]
    scores, found = adopted.model.predict(noise())
    assert scores == pytest.approx(wanted[1], abs=1e-6)
    assert found == pytest.approx(wanted[0], abs=1e-6)


def test_flat_frames() -> None:
    tail = [L.Dense(3, activation="softmax")]
    model = classifier(shape=(360,), last=tail)
    adopted = adopt(model, preprocessing=named("imagenet"), size=(10, 12), channels=3)
    assert adopted.model.shape == SHAPE
    scale, offset = named("imagenet").arrays(3)
    wanted = outputs(model, (noise() * scale + offset).reshape(4, -1).astype(np.float32))
    assert predict(adopted, noise()) == pytest.approx(wanted, abs=1e-5)
    assert adopted.model.uint8.input_shape == (1, *SHAPE)


def test_an_integer_input_is_rebuilt_so_that_nothing_is_truncated() -> None:
    pixels = noise()
    model = classifier(L.Rescaling(1 / 255), dtype="uint8")
    adopted = adopt(model)
    assert adopted.model.float32.inputs[0].dtype == "float32"
    assert predict(adopted, pixels) == pytest.approx(outputs(model, pixels), abs=1e-6)
    keras.utils.set_random_seed(0)
    given = adopt(classifier(dtype="uint8"), preprocessing=named("unit"))
    keras.utils.set_random_seed(0)
    plain = adopt(classifier(), preprocessing=named("unit"))
    assert predict(given, pixels) == pytest.approx(predict(plain, pixels), abs=1e-6)


def test_any_size_is_fixed() -> None:
    model = classifier(
        L.Rescaling(1 / 255), L.Conv2D(3, 3), shape=(None, None, 3), last=[L.GlobalAveragePooling2D()]
    )
    assert adopt(model, size=(14, 9), options=AdoptOptions(scores="logits")).model.shape == (9, 14, 3)


def test_subclassed() -> None:
    adopted = adopt(Subclassed(), preprocessing=named("none"), size=(10, 12), channels=3)
    assert adopted.model.shape == SHAPE
    assert adopted.decode == ClassificationDecode(labels=LABELS)
    called = Subclassed()
    called(np.zeros((2, *SHAPE), np.float32))
    assert adopt(called, preprocessing=named("none")).model.shape == SHAPE
    linear = adopt(
        Subclassed("linear"),
        preprocessing=named("none"),
        size=(10, 12),
        channels=3,
        options=AdoptOptions(scores="logits"),
    )
    assert linear.decode == ClassificationDecode(labels=LABELS, scores="logits")


def test_one_of_several_outputs() -> None:
    pixels = keras.Input(SHAPE)
    flat = L.Flatten()(L.Rescaling(1 / 255)(pixels))
    heads = [L.Dense(5, name="aux")(flat), L.Dense(3, activation="softmax", name="main")(flat)]
    model = keras.Model(pixels, heads)
    wanted = keras.ops.convert_to_numpy(model(noise().astype(np.float32))[1])
    for which in (1, "main"):
        adopted = adopt(model, options=AdoptOptions(output=which))
        assert predict(adopted, noise()) == pytest.approx(wanted, abs=1e-6)
        assert any("'aux' (None, 5)" in note for note in adopted.notes)


def two_inputs() -> Any:
    a, b = keras.Input(SHAPE), keras.Input(SHAPE)
    return keras.Model([a, b], L.Dense(2)(L.Flatten()(a + b)))


def two_outputs() -> Any:
    a = keras.Input(SHAPE)
    flat = L.Flatten()(L.Rescaling(1 / 255)(a))
    return keras.Model(a, [L.Dense(2)(flat), L.Dense(3)(flat)])


@keras.saving.register_keras_serializable(package="bedside_tests")
class Jitter(keras.layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return x + keras.random.normal((1,))


class Selecting(keras.Model):  # type: ignore[misc]
    """Gives as many rows as pass, as non-maximum suppression in a graph does."""

    def call(self, pixels: Any) -> Any:
        import tensorflow as tf

        flat = tf.reshape(pixels, (-1, 3))
        return tf.boolean_mask(flat, flat[:, 0] > 100.0)


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
    "colours for gray": (
        lambda: adopt(classifier(shape=(12, 10, 1)), preprocessing=named("imagenet")),
        "imagenet preprocessing has 3 values of scale for 1 channels",
    ),
    "several inputs at once": (lambda: adopt(two_inputs(), preprocessing=named("unit")), "2 inputs"),
    "wrong labels": (lambda: adopt(classifier(L.Rescaling(1 / 255)), ("a", "b")), "3 scores, the data has 2"),
    "flat, of another size": (
        lambda: adopt(
            classifier(shape=(20,), last=[L.Dense(3)]), preprocessing=named("unit"), size=(4, 4), channels=1
        ),
        "takes 20 numbers, 4x4 with 1 channels are 16",
    ),
    "channels first inside": (
        lambda: adopt(
            classifier(L.Rescaling(1 / 255), last=[L.Flatten(data_format="channels_first"), L.Dense(3)])
        ),
        "channels first",
    ),
    "random": (
        lambda: adopt(classifier(L.Rescaling(1 / 255), Jitter())),
        "differs when the same input comes again",
    ),
    "dynamic": (
        lambda: adopt(Selecting(), preprocessing=named("none"), size=(10, 12), channels=3),
        "batch",
    ),
    "no such output": (
        lambda: adopt(two_outputs(), options=AdoptOptions(output="scores")),
        "--output-is names 'scores', none of the outputs",
    ),
    "one sigmoid for three labels": (
        lambda: adopt(classifier(L.Rescaling(1 / 255), last=[L.Flatten(), L.Dense(1, activation="sigmoid")])),
        "tells two classes apart",
    ),
    "one output of which nothing is known": (
        lambda: adopt(
            classifier(L.Rescaling(1 / 255), last=[L.Flatten(), L.Dense(1, activation="relu")]), ("a", "b")
        ),
        "--scores probabilities|logits",
    ),
    "logits that are called probabilities": (
        lambda: adopt(
            classifier(L.Rescaling(1 / 255), L.Rescaling(100), last=[L.Flatten(), L.Dense(1)]),
            ("a", "b"),
            preprocessing=named("none"),
            options=AdoptOptions(scores="probabilities"),
        ),
        "expected 0..1",
    ),
    "wrong channels": (lambda: adopt(classifier(L.Rescaling(1 / 255)), channels=1), "3 channels"),
    "a map": (lambda: adopt(classifier(L.Rescaling(1 / 255), last=[L.Conv2D(2, 1)])), "(None, K)"),
    "sigmoid": (
        lambda: adopt(classifier(L.Rescaling(1 / 255), last=[L.Flatten(), L.Dense(3, activation="sigmoid")])),
        "softmax",
    ),
    "neither": (
        lambda: adopt(classifier(L.Rescaling(1 / 255), last=[L.Flatten(), L.Dense(3, activation="relu")])),
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


def test_tasks_that_are_not_exported() -> None:
    with pytest.raises(UsageError, match=r"'embedding'.*segmentation"):
        adopt_any(classifier(), "embedding")


def test_what_a_stranger_s_call_raises_is_one_line() -> None:
    class Broken(keras.Model):  # type: ignore[misc]
        def call(self, pixels: Any) -> Any:
            raise RuntimeError("first line\nsecond line")

    with pytest.raises(UsageError, match=r"cannot be called on \(1, 4, 4, 3\): first line") as caught:
        adopt(Broken(), preprocessing=named("none"), size=(4, 4), channels=3)
    assert "second line" not in str(caught.value)
