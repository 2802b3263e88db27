from typing import Any

import numpy as np
import pytest

from bedside.export.adopt.graph import Adopted
from bedside.export.adopt.graph import adopt as adopt_any
from bedside.export.adopt.options import AdoptOptions
from bedside.export.adopt.preprocessing import named
from bedside.export.backend import keras
from bedside.runtime.bundle.decode import SegmentationDecode
from bedside.runtime.errors import UsageError

L = keras.layers
SHAPE = (12, 8, 3)
TWO, THREE = ("background", "polyp"), ("background", "nerve", "vessel")


def network(*tail: Any, shape: tuple[Any, ...] = SHAPE) -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input(shape), L.Conv2D(4, 3, padding="same"), *tail])


def adopt(model: Any, labels: tuple[str, ...] = TWO, size: Any = None, **said: Any) -> Adopted:
    options = AdoptOptions(**said)
    return adopt_any(model, "segmentation", labels, preprocessing=named("unit"), size=size, options=options)


@pytest.mark.parametrize(
    ("tail", "labels", "scores"),
    [
        (L.Conv2D(1, 1, activation="sigmoid"), TWO, "probabilities"),
        (L.Conv2D(1, 1), TWO, "logits"),
        (L.Conv2D(2, 1, activation="softmax"), TWO, "probabilities"),
        (L.Conv2D(3, 1, activation="softmax"), THREE, "probabilities"),
        (L.Conv2D(3, 1), THREE, "logits"),
        (L.Conv2DTranspose(3, 3, padding="same"), THREE, "logits"),
    ],
)
def test_forms(tail: Any, labels: tuple[str, ...], scores: Any) -> None:
    model = network(type(tail).from_config(tail.get_config()))
    adopted = adopt(model, labels)
    assert adopted.decode == SegmentationDecode(labels=labels, scores=scores)
    assert adopted.model.outputs == ("mask",)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *SHAPE), np.uint8)
    wanted = keras.ops.convert_to_numpy(model((pixels / 255).astype(np.float32)))
    assert adopted.model.predict(pixels)[0] == pytest.approx(wanted, abs=1e-5)


def test_softmax_that_is_upsampled_stays_one() -> None:
    tail = (
        L.MaxPooling2D(2),
        L.Conv2D(3, 1, activation="softmax"),
        L.UpSampling2D(2, interpolation="bilinear"),
    )
    decode = adopt(network(*tail), THREE).decode
    assert decode == SegmentationDecode(labels=THREE)


def test_a_whole_fraction_of_both_sides_is_fine() -> None:
    adopted = adopt(network(L.MaxPooling2D(4), L.Conv2D(1, 1)))
    assert adopted.model.uint8.outputs[0].shape == (1, 3, 2, 1)


def test_any_size_is_fixed() -> None:
    adopted = adopt(network(L.Conv2D(1, 1), shape=(None, None, 3)), size=(10, 6))
    assert adopted.model.uint8.outputs[0].shape == (1, 6, 10, 1)


def test_what_the_author_says() -> None:
    relu = network(L.Conv2D(1, 1, activation="relu"))
    said = adopt(relu, scores="logits", threshold=0.3, min_area=0.01).decode
    assert said == SegmentationDecode(labels=TWO, scores="logits", threshold=0.3, min_area=0.01)


def test_one_of_the_outputs_of_deep_supervision() -> None:
    pixels = keras.Input(SHAPE)
    features = L.Conv2D(2, 3, padding="same")(pixels)
    heads = [L.Conv2D(1, 1, activation="sigmoid", name=f"side{i}")(features) for i in range(3)]
    adopted = adopt(keras.Model(pixels, heads), output="side2")
    assert adopted.model.outputs == ("mask",)
    assert any("'side0' (None, 12, 8, 1), 'side1'" in note for note in adopted.notes)
    with pytest.raises(UsageError, match=r"has 3 outputs .*--output-is says which"):
        adopt(keras.Model(pixels, heads))


REFUSED = {
    "unknown, one channel": (
        lambda: adopt(network(L.Conv2D(1, 1, activation="relu"))),
        "--scores probabilities|",
    ),
    "unknown, three channels": (
        lambda: adopt(network(L.Conv2D(3, 1, activation="relu")), THREE),
        "--scores logits",
    ),
    "sigmoid over classes": (
        lambda: adopt(network(L.Conv2D(3, 1, activation="sigmoid")), THREE),
        "ends in a sigmoid over 3 outputs",
    ),
    "softmax over one": (
        lambda: adopt(network(L.Conv2D(1, 1, activation="softmax"))),
        "always 1",
    ),
    "softmax over rows": (
        lambda: adopt(network(L.Conv2D(3, 1), L.Softmax(axis=1)), THREE),
        "expected 1",
    ),
    "one channel, three labels": (lambda: adopt(network(L.Conv2D(1, 1)), THREE), "tells two classes apart"),
    "too few channels": (lambda: adopt(network(L.Conv2D(2, 1)), THREE), "2 scores, the data has 3 classes"),
    "valid padding": (lambda: adopt(network(L.Conv2D(1, 3))), "map of 6x10 for frames of 8x12"),
    "stretched": (lambda: adopt(network(L.MaxPooling2D((2, 1)), L.Conv2D(1, 1))), "both sides"),
    "flattened": (lambda: adopt(network(L.Conv2D(1, 1), L.Reshape((96, 1)))), "not flattened pixels"),
    "classes first": (
        lambda: adopt(network(L.Conv2D(3, 1), L.Permute((3, 1, 2))), THREE),
        "classes first",
    ),
    "contradicted": (
        lambda: adopt(network(L.Conv2D(1, 1, activation="sigmoid")), scores="logits"),
        "leave --scores out",
    ),
    "contradicted, softmax": (
        lambda: adopt(network(L.Conv2D(3, 1, activation="softmax")), THREE, scores="logits"),
        "leave --scores out",
    ),
    "a vector": (lambda: adopt(network(L.Flatten(), L.Dense(2))), "(None, h, w, K)"),
    "scaled sigmoid": (
        lambda: adopt(network(L.Conv2D(1, 1, activation="sigmoid"), L.Rescaling(255))),
        "neither a sigmoid nor linear",
    ),
}


@pytest.mark.filterwarnings("ignore:You are using a softmax:UserWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises(UsageError) as caught:
        make()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
