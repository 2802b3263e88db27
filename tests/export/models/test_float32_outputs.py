"""Outputs are float32 under mixed precision too."""

import numpy as np
import pytest

from bedside.export.backend import keras
from bedside.export.models.activation_maps import with_maps
from bedside.export.models.alexnet import alexnet
from bedside.export.models.autoencoders import conv_autoencoder, dense_autoencoder
from bedside.export.models.dcgan import dcgan_discriminator, dcgan_generator
from bedside.export.models.mobilenet import mobilenet
from bedside.export.models.pix2pix import patch_discriminator, pix2pix_generator
from bedside.export.models.vgg import vgg
from bedside.export.models.vit import vit
from bedside.runtime.errors import RecipeError

SIDE = {"width": 32, "height": 32}
VIT = SIDE | {"patch": 8, "dim": 8, "depth": 1, "heads": 2}
NETWORKS = {
    "alexnet": lambda: alexnet(width=64, height=64, width_multiplier=0.05),
    "vgg": lambda: vgg(**SIDE, configuration="A", width_multiplier=0.05),
    "vgg with maps": lambda: vgg(**SIDE, configuration="A", width_multiplier=0.05, head="gap", maps=True),
    "vgg, maps added": lambda: with_maps(vgg(**SIDE, configuration="A", width_multiplier=0.05, head="gap")),
    "mobilenet": lambda: mobilenet(**SIDE, width_multiplier=0.1, features=8),
    "vit": lambda: vit(**VIT),
    "vit with maps": lambda: vit(**VIT, pooling="mean", maps=True),
    "conv autoencoder": lambda: conv_autoencoder(**SIDE, base=2),
    "dense autoencoder": lambda: dense_autoencoder(width=8, height=8),
    "generator": lambda: dcgan_generator(base=2),
    "discriminator": lambda: dcgan_discriminator(base=2),
    "pix2pix": lambda: pix2pix_generator(**SIDE, base=2),
    "patches": lambda: patch_discriminator(**SIDE, base=2),
}


@pytest.fixture
def mixed():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.usefixtures("mixed")
@pytest.mark.parametrize("network", NETWORKS)
def test_outputs_are_float32(network):
    model = NETWORKS[network]()
    assert {layer.compute_dtype for layer in model.layers} >= {"bfloat16", "float32"}
    inputs = [np.zeros((1, *x.shape[1:]), np.float32) for x in model.inputs]
    outputs = model(inputs[0] if len(inputs) == 1 else inputs)
    for output in outputs if isinstance(outputs, list) else [outputs]:
        assert keras.backend.standardize_dtype(output.dtype) == "float32"


@pytest.mark.parametrize(
    "build",
    [
        lambda: vgg(**SIDE, dropout=1.0),
        lambda: mobilenet(**SIDE, dropout=-0.1),
        lambda: vit(**VIT, dropout=1.5),
        lambda: alexnet(width=64, height=64, dropout=1.0),
    ],
    ids=["vgg", "mobilenet", "vit", "alexnet"],
)
def test_a_dropout_that_is_no_rate_is_refused(build):
    with pytest.raises(RecipeError, match="not within"):
        build()
