"""From the recipe's `[model]` to a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from bedside.export.models.alexnet import alexnet
from bedside.export.models.anchor_free import anchor_free_detector
from bedside.export.models.autoencoders import conv_autoencoder, dense_autoencoder
from bedside.export.models.cnn import textbook_cnn
from bedside.export.models.dcgan import dcgan_generator
from bedside.export.models.deeplab import deeplab_v3_plus
from bedside.export.models.detr import detr
from bedside.export.models.light_segmenter import light_segmenter
from bedside.export.models.mobilenet import mobilenet
from bedside.export.models.pix2pix import pix2pix_generator
from bedside.export.models.recipe import (
    AlexNet,
    AnchorFree,
    Cnn,
    ConvolutionalAutoencoder,
    Dcgan,
    DeepLab,
    DenseAutoencoder,
    Detr,
    LightSegmenter,
    MobileNet,
    Pix2Pix,
    UNet,
    Vgg,
    ViT,
    task_of,
)
from bedside.export.models.unet import unet
from bedside.export.models.vgg import vgg
from bedside.export.models.vit import vit
from bedside.export.recipe import Recipe

_BUILDERS: dict[type[msgspec.Struct], Callable[..., Any]] = {
    Cnn: textbook_cnn,
    AlexNet: alexnet,
    Vgg: vgg,
    MobileNet: mobilenet,
    ViT: vit,
    ConvolutionalAutoencoder: conv_autoencoder,
    DenseAutoencoder: dense_autoencoder,
    Dcgan: dcgan_generator,
    Pix2Pix: pix2pix_generator,
    UNet: unet,
    DeepLab: deeplab_v3_plus,
    LightSegmenter: light_segmenter,
    AnchorFree: anchor_free_detector,
    Detr: detr,
}
#: Tasks whose networks do not depend on classes.
_CLASSLESS = frozenset({"reconstruction", "translation", "generation"})
#: Keys of a recipe that say how a network is trained, not how it is built.
_OF_TRAINING = frozenset({"initialize", "adversarial", "vary_both"})


def build_network(recipe: Recipe, labels: tuple[str, ...]) -> Any:
    """The network that a recipe asks for, with initial weights that depend on its seed alone.

    Args:
        recipe: `[model]` and `seed` count.
        labels: From the data.

    Returns:
        A functional `keras.Model`, not compiled; what it takes and gives is said in its module.

    Raises:
        RecipeError: The numbers do not fit together.
    """
    model = recipe.model
    settings = {k: v for k, v in msgspec.structs.asdict(model).items() if k not in _OF_TRAINING}
    if task_of(model) not in _CLASSLESS:
        settings["classes"] = len(labels)
    return _BUILDERS[type(model)](**settings, seed=recipe.seed)
