"""DCGAN: the tutorial's layers and numbers, further sizes, conversion of the generator."""

import numpy as np
import pytest

from bedside.export.models.dcgan import dcgan_discriminator, dcgan_generator
from bedside.runtime.errors import RecipeError


def test_28_is_the_tutorials():
    generator, discriminator = dcgan_generator(), dcgan_discriminator()
    assert generator.count_params() == 2_330_944
    assert discriminator.count_params() == 212_865
    kinds = [type(layer).__name__ for layer in generator.layers]
    block = ["BatchNormalization", "LeakyReLU"]
    assert kinds == [
        *["InputLayer", "Dense", *block, "Reshape"],
        *["Conv2DTranspose", *block, "Conv2DTranspose", *block, "Conv2DTranspose"],
    ]
    transposed = [x for x in generator.layers if type(x).__name__ == "Conv2DTranspose"]
    assert [(x.filters, x.kernel_size, x.strides, x.use_bias) for x in transposed] == [
        (128, (5, 5), (1, 1), False),
        (64, (5, 5), (2, 2), False),
        (1, (5, 5), (2, 2), False),
    ]
    slopes = {x.negative_slope for x in generator.layers if type(x).__name__ == "LeakyReLU"}
    slopes |= {x.negative_slope for x in discriminator.layers if type(x).__name__ == "LeakyReLU"}
    assert slopes == {0.2}
    assert {x.rate for x in discriminator.layers if type(x).__name__ == "Dropout"} == {0.3}


@pytest.mark.parametrize(
    ("width", "height", "channels", "start"),
    [
        (28, 28, 1, (7, 7, 8)),
        (56, 56, 3, (7, 7, 16)),
        (64, 64, 1, (8, 8, 16)),
        (64, 48, 3, (6, 8, 16)),
        (16, 16, 1, (8, 8, 4)),
        (224, 224, 3, (7, 7, 16)),
    ],
)
def test_sizes(width, height, channels, start):
    generator = dcgan_generator(width=width, height=height, channels=channels, base=2)
    assert generator.input_shape == (None, 100)
    assert generator.get_layer("unflatten").output.shape == (None, *start)
    assert generator.output_shape == (None, height, width, channels)
    discriminator = dcgan_discriminator(width=width, height=height, channels=channels, base=2)
    assert discriminator.input_shape == generator.output_shape
    assert discriminator.output_shape == (None, 1)
    assert discriminator.get_layer("flatten").input.shape[1:3] == start[:2]


def test_frames_lie_within_the_tanh():
    latent = 3 * np.random.default_rng(0).standard_normal((4, 100)).astype(np.float32)
    frames = np.asarray(dcgan_generator(base=4, seed=1)(latent))
    assert np.abs(frames).max() <= 1
    assert np.ptp(frames, axis=0).max() > 0


@pytest.mark.parametrize("build", [dcgan_generator, dcgan_discriminator])
@pytest.mark.parametrize(
    ("width", "says"), [(30, "no 2 doublings"), (8, "at least 16"), (224, "no 5 doublings|at least")]
)
def test_what_does_not_fit_is_refused(build, width, says):
    with pytest.raises(RecipeError, match=says):
        build(width=width, height=30 if width == 30 else 28 if width == 224 else width)


def test_an_empty_latent_vector_is_refused():
    with pytest.raises(RecipeError, match="is empty"):
        dcgan_generator(latent=0)


@pytest.mark.parametrize("build", [dcgan_generator, dcgan_discriminator])
def test_seeded(build, same_weights):
    same_weights(lambda seed: build(base=2, seed=seed))


def test_the_generator_converts(conversions):
    model = dcgan_generator(base=4, seed=1)
    latent = np.random.default_rng(0).standard_normal((6, 100)).astype(np.float32)
    conversions.settle(model, latent)
    conversions.check_float(model, latent)
    # Transposed convolutions are what int8 hurts most; whether it hurts too much is for the gate to say.
    conversions.check_int8(model, latent, correlation=0.9)
