from typing import Any

import numpy as np
import pytest

from bedside.export.adopt.graph import adopt
from bedside.export.adopt.pixel_model import PixelModel
from bedside.export.adopt.preprocessing import named
from bedside.export.adopt.whitening import whitened
from bedside.export.backend import keras
from bedside.runtime.errors import UsageError

L = keras.layers
SHAPE = (6, 6, 1)


@pytest.fixture(scope="module")
def autoencoder() -> PixelModel:
    keras.utils.set_random_seed(0)
    pixels = keras.Input(SHAPE)
    code = L.Dense(4)(L.Flatten()(pixels))
    picture = L.Reshape(SHAPE)(L.Dense(36, activation="sigmoid")(code))
    model = keras.Model(pixels, [picture, code])
    return adopt(model, "reconstruction", preprocessing=named("unit")).model


def frames(count: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, *SHAPE), np.uint8)


def fitted(codes: Any) -> tuple[Any, Any]:
    mean = codes.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(codes.T))
    return mean, vectors / np.sqrt(values)


def test_the_code_comes_out_white(autoencoder: PixelModel) -> None:
    pixels = frames(300)
    picture, codes = autoencoder.predict(pixels)
    mean, matrix = fitted(codes)
    model = whitened(autoencoder, mean, matrix)
    same, z = model.predict(pixels)
    assert same == pytest.approx(picture, abs=1e-6)
    assert z == pytest.approx((codes - mean) @ matrix, abs=1e-3)
    assert z.mean(axis=0) == pytest.approx(np.zeros(4), abs=1e-3)
    assert np.cov(z.T) == pytest.approx(np.eye(4), abs=1e-3)
    assert (model.outputs, model.shape) == (("reconstruction", "code"), SHAPE)


def test_every_graph_has_it(autoencoder: PixelModel) -> None:
    pixels = frames(1)
    _, codes = autoencoder.predict(frames(300))
    model = whitened(autoencoder, *fitted(codes))
    wanted = model.predict(pixels)[1]
    assert keras.ops.convert_to_numpy(model.float32(pixels.astype(np.float32))[1]) == pytest.approx(
        wanted, abs=1e-5
    )
    assert keras.ops.convert_to_numpy(model.uint8(pixels)[1]) == pytest.approx(wanted, abs=1e-5)
    assert model.uint8.inputs[0].dtype == "uint8"
    # The first one is as it was.
    assert autoencoder.predict(pixels)[1].shape == (1, 4)


def test_columns_that_say_nothing_are_left_out(autoencoder: PixelModel) -> None:
    matrix = np.zeros((4, 3))
    matrix[1, 0] = matrix[2, 2] = 2.0
    model = whitened(autoencoder, np.ones(4), matrix)
    codes = autoencoder.predict(frames(5))[1]
    assert model.predict(frames(5))[1] == pytest.approx((codes[:, [1, 2]] - 1.0) * 2.0, abs=1e-4)


@pytest.mark.parametrize(
    ("mean", "matrix", "words"),
    [
        (np.zeros(3), np.eye(4), "do not fit a code of 4"),
        (np.zeros(4), np.eye(3), "do not fit a code of 4"),
        (np.zeros(4), np.zeros((4, 4)), "dead"),
        (np.full(4, np.nan), np.eye(4), "NaN"),
    ],
)
def test_refused(autoencoder: PixelModel, mean: Any, matrix: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        whitened(autoencoder, mean, matrix)


def test_no_code() -> None:
    model = keras.Sequential([keras.Input(SHAPE), L.Conv2D(1, 3, padding="same", activation="sigmoid")])
    plain = adopt(model, "reconstruction", preprocessing=named("unit")).model
    with pytest.raises(UsageError, match="no output 'code'"):
        whitened(plain, np.zeros(4), np.eye(4))
