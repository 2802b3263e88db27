from typing import Any

import numpy as np
import pytest

from bedside.export.adopt.graph import Adopted
from bedside.export.adopt.graph import adopt as adopt_any
from bedside.export.adopt.options import AdoptOptions
from bedside.export.adopt.preprocessing import named
from bedside.export.backend import keras
from bedside.runtime.bundle.decode import GenerationDecode, ReconstructionDecode, TranslationDecode
from bedside.runtime.bundle.manifest import Task
from bedside.runtime.errors import UsageError

L = keras.layers
SHAPE = (8, 6, 3)


def network(*layers: Any, shape: tuple[Any, ...] = SHAPE) -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input(shape), *layers])


def with_code(rank: int = 1) -> Any:
    pixels = keras.Input(SHAPE)
    code = L.Dense(5, name="bottleneck")(L.Flatten()(pixels))
    picture = L.Reshape(SHAPE)(L.Dense(144, activation="sigmoid")(code))
    return keras.Model(pixels, [L.Reshape((1, 1, 5))(code) if rank == 3 else code, picture])


def adopt(
    model: Any, task: Task = "reconstruction", preprocessing: str | None = "unit", **said: Any
) -> Adopted:
    given = None if preprocessing is None else named(preprocessing)
    return adopt_any(model, task, preprocessing=given, options=AdoptOptions(**said))


def conv(activation: str | None, channels: int = 3) -> Any:
    return L.Conv2D(channels, 3, padding="same", activation=activation)


@pytest.mark.parametrize(
    ("tail", "preprocessing", "bounds"),
    [
        ((conv("sigmoid"),), "unit", (0.0, 1.0)),
        ((conv("sigmoid"),), "symmetric", (0.0, 1.0)),
        ((conv("tanh"),), "symmetric", (-1.0, 1.0)),
        ((conv("tanh"),), "imagenet", (-1.0, 1.0)),
        ((conv("sigmoid"), L.Rescaling(255)), "unit", (0.0, 255.0)),
        ((conv("tanh"), L.Rescaling(0.5, offset=0.5)), "unit", (0.0, 1.0)),
        ((L.Rescaling(1 / 127.5, offset=-1), conv("tanh")), None, (-1.0, 1.0)),
        ((L.Rescaling(1 / 255), conv("sigmoid")), None, (0.0, 1.0)),
    ],
)
def test_range_is_read_from_the_end(
    tail: tuple[Any, ...], preprocessing: str | None, bounds: tuple[float, float]
) -> None:
    for task, decode in (
        ("reconstruction", ReconstructionDecode(low=bounds[0], high=bounds[1])),
        ("translation", TranslationDecode(low=bounds[0], high=bounds[1])),
    ):
        fresh = [type(layer).from_config(layer.get_config()) for layer in tail]
        adopted = adopt(network(*fresh), task, preprocessing)  # type: ignore[arg-type]
        assert adopted.decode == decode


def test_a_stated_range() -> None:
    linear = adopt(network(conv(None)), low=0.0, high=1.0)
    assert linear.decode == ReconstructionDecode()
    narrow = adopt(network(conv("tanh")), "translation", low=0.0, high=1.0)
    assert narrow.decode == TranslationDecode()


def test_a_code_is_found_beside_the_picture() -> None:
    model = with_code()
    adopted = adopt(model)
    assert adopted.decode == ReconstructionDecode(code=1)
    assert adopted.model.outputs == ("reconstruction", "code")
    assert not adopted.notes
    pixels = np.random.default_rng(0).integers(0, 256, (2, *SHAPE), np.uint8)
    code, picture = model((pixels / 255).astype(np.float32))
    found = adopted.model.predict(pixels)
    assert found[0] == pytest.approx(keras.ops.convert_to_numpy(picture), abs=1e-5)
    assert found[1] == pytest.approx(keras.ops.convert_to_numpy(code), abs=1e-4)


def test_without_a_code_the_report_says_so() -> None:
    assert any("no code" in note for note in adopt(network(conv("sigmoid"))).notes)


def test_a_variational_one_needs_its_outputs_named() -> None:
    pixels = keras.Input(SHAPE)
    flat = L.Flatten()(pixels)
    mean, variance = L.Dense(5, name="z_mean")(flat), L.Dense(5, name="z_log_var")(flat)
    picture = L.Reshape(SHAPE, name="picture")(L.Dense(144, activation="sigmoid")(mean))
    model = keras.Model(pixels, [picture, mean, variance])
    assert adopt(model).decode == ReconstructionDecode()
    adopted = adopt(model, code="z_mean")
    assert adopted.decode == ReconstructionDecode(code=1)
    assert adopted.notes == ("not exported: the outputs 'z_log_var' (None, 5)",)


def test_a_flat_picture_gets_its_shape_back() -> None:
    model = network(L.Flatten(), L.Dense(144, activation="sigmoid"))
    adopted = adopt(model)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *SHAPE), np.uint8)
    wanted = keras.ops.convert_to_numpy(model((pixels / 255).astype(np.float32)))
    assert adopted.model.predict(pixels)[0] == pytest.approx(wanted.reshape(2, *SHAPE), abs=1e-5)


def test_a_translation_of_another_size() -> None:
    larger = adopt(network(L.UpSampling2D(2), conv("sigmoid", 1)), "translation")
    assert larger.decode == TranslationDecode(color="gray")
    assert larger.model.uint8.outputs[0].shape == (1, 16, 12, 1)


def test_colours_of_a_picture() -> None:
    assert adopt(network(conv("tanh")), "translation", "caffe").decode == TranslationDecode(
        low=-1.0, high=1.0, color="bgr"
    )
    assert adopt(network(conv("sigmoid")), "translation", color="bgr").decode == TranslationDecode(
        color="bgr"
    )


def generator(*tail: Any, shape: tuple[Any, ...] = (7,)) -> Any:
    return network(L.Dense(4 * 4 * 3), L.Reshape((4, 4, 3)), *tail, shape=shape)


def test_a_latent_goes_in_as_it_is() -> None:
    model = generator(conv("tanh"))
    adopted = adopt(model, "generation", None)
    assert adopted.decode == GenerationDecode()
    assert (adopted.model.shape, adopted.model.latent) == ((7,), True)
    assert adopted.model.uint8 is adopted.model.float32
    assert adopted.model.uint8.inputs[0].shape == (1, 7)
    assert adopted.model.uint8.inputs[0].dtype == "float32"
    z = np.random.default_rng(0).standard_normal((3, 7)).astype(np.float32)
    assert adopted.model.predict(z)[0] == pytest.approx(keras.ops.convert_to_numpy(model(z)), abs=1e-5)


REFUSED = {
    "linear": (lambda: adopt(network(conv(None))), "--range LOW,HIGH"),
    "relu": (lambda: adopt(network(conv("relu")), "translation"), "--range LOW,HIGH"),
    "tanh of 0..1": (lambda: adopt(network(conv("tanh"))), "0..1 or -1..1"),
    "out of reach": (lambda: adopt(network(conv("sigmoid")), low=0.0, high=255.0), "leave --range out"),
    "half a range": (lambda: adopt(network(conv(None)), low=0.0), "two ends"),
    "another size": (lambda: adopt(network(L.UpSampling2D(2), conv("sigmoid"))), "none of the outputs"),
    "two pictures": (
        lambda: adopt(with_two_pictures()),
        "more than one of the outputs",
    ),
    "a code of another rank": (lambda: adopt(with_code(3)), "flatten it"),
    "five channels": (lambda: adopt(network(conv("sigmoid", 5)), "translation"), "1 or 3"),
    "a flat translation": (
        lambda: adopt(network(L.Flatten(), L.Dense(144, activation="sigmoid")), "translation"),
        "reshape a flat picture",
    ),
    "gray that is not": (lambda: adopt(network(conv("sigmoid")), "translation", color="gray"), "3 channels"),
    "a frame for a latent": (lambda: adopt(network(conv("tanh")), "generation", None), "needs a latent"),
    "a latent of any length": (
        lambda: adopt(network(L.Activation("tanh"), shape=(None,)), "generation", None),
        "needs a latent",
    ),
    "a latent with preprocessing": (
        lambda: adopt(generator(conv("tanh")), "generation", "unit"),
        "a latent has no preprocessing",
    ),
    "a generator of vectors": (
        lambda: adopt(network(L.Dense(5, activation="tanh"), shape=(7,)), "generation", None),
        "a picture is (None, h, w, 1 or 3)",
    ),
    "a latent for a frame": (lambda: adopt(generator(conv("tanh")), "translation"), "rank 2"),
}


def with_two_pictures() -> Any:
    pixels = keras.Input(SHAPE)
    return keras.Model(pixels, [conv("sigmoid")(pixels), conv("sigmoid")(pixels)])


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises(UsageError) as caught:
        make()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
