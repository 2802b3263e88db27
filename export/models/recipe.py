"""`[model]` of a recipe: one structure per architecture. Field names are those of the function that builds it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bedside.runtime.bundle.fields import Fraction
from bedside.runtime.bundle.manifest import Task

#: Largest input side a recipe may ask for, in pixels.
_Side = Annotated[int, Meta(ge=8, le=2048)]
_Multiplier = Annotated[float, Meta(gt=0.0, le=8.0)]
_Units = Annotated[int, Meta(ge=1, le=8192)]
_Depth = Annotated[int, Meta(ge=1, le=64)]


class _Network(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="architecture"
):
    """What every network has.

    Attributes:
        width: Input width in pixels.
        height: Input height in pixels.
        channels: 1 or 3.
    """

    width: _Side = 224
    height: _Side = 224
    channels: Literal[1, 3] = 3


class Cnn(_Network, frozen=True, kw_only=True, tag="cnn"):
    """See `bedside.export.models.cnn`."""

    width_multiplier: _Multiplier = 1.0
    dense: _Units | None = None


class AlexNet(_Network, frozen=True, kw_only=True, tag="alexnet"):
    """See `bedside.export.models.alexnet`."""

    width_multiplier: _Multiplier = 1.0
    dropout: Fraction = 0.5


class Vgg(_Network, frozen=True, kw_only=True, tag="vgg"):
    """See `bedside.export.models.vgg`."""

    configuration: Literal["A", "B", "C", "D", "E"] = "A"
    width_multiplier: _Multiplier = 1.0
    batch_norm: bool = True
    head: Literal["flatten", "gap"] = "gap"
    dropout: Fraction = 0.5


class MobileNet(_Network, frozen=True, kw_only=True, tag="mobilenet"):
    """See `bedside.export.models.mobilenet`."""

    width_multiplier: _Multiplier = 0.5
    output_stride: Literal[8, 16, 32] = 32
    features: _Units | None = None
    dropout: Fraction = 0.2


class ViT(_Network, frozen=True, kw_only=True, tag="vit"):
    """See `bedside.export.models.vit`."""

    patch: Annotated[int, Meta(ge=2, le=64)] = 16
    dim: _Units = 192
    depth: _Depth = 6
    heads: Annotated[int, Meta(ge=1, le=64)] = 3
    mlp: _Units | None = None
    pooling: Literal["token", "mean"] = "mean"
    dropout: Fraction = 0.1


class ConvolutionalAutoencoder(_Network, frozen=True, kw_only=True, tag="autoencoder"):
    """See `bedside.export.models.autoencoders`."""

    code: _Units = 64
    base: _Units = 16
    depth: _Depth | None = None
    bottleneck: _Units = 16
    interpolation: Literal["nearest", "bilinear"] = "bilinear"


class DenseAutoencoder(_Network, frozen=True, kw_only=True, tag="dense-autoencoder"):
    """See `bedside.export.models.autoencoders`."""

    code: _Units = 64


class Dcgan(_Network, frozen=True, kw_only=True, tag="dcgan"):
    """See `bedside.export.models.dcgan`. Width and height are those of the picture.

    Attributes:
        vary_both: Vary real and drawn pictures alike in front of the discriminator, which helps small data sets
            (`bedside.export.training.same_for_both`).
    """

    width: _Side = 64
    height: _Side = 64
    latent: _Units = 100
    base: _Units = 64
    vary_both: bool = False


class Pix2Pix(_Network, frozen=True, kw_only=True, tag="pix2pix"):
    """See `bedside.export.models.pix2pix`.

    Attributes:
        adversarial: Weight of the discriminator beside the absolute error, which counts 100 (Isola et al.,
            2017); 0 trains the generator by itself.
    """

    base: _Units = 16
    depth: _Depth | None = None
    upsampling: Literal["bilinear", "transposed"] = "bilinear"
    dropout: Fraction = 0.0
    adversarial: Annotated[float, Meta(ge=0.0, le=100.0)] = 1.0


class UNet(_Network, frozen=True, kw_only=True, tag="unet"):
    """See `bedside.export.models.unet`."""

    base: _Units = 16
    depth: _Depth = 4
    separable_convolutions: bool = True
    upsampling: Literal["bilinear", "transposed"] = "bilinear"
    dropout: Fraction = 0.0


class DeepLab(_Network, frozen=True, kw_only=True, tag="deeplab"):
    """See `bedside.export.models.deeplab`."""

    width_multiplier: _Multiplier = 0.35
    filters: _Units = 64
    dropout: Fraction = 0.1


class LightSegmenter(_Network, frozen=True, kw_only=True, tag="light-segmenter"):
    """See `bedside.export.models.light_segmenter`.

    Attributes:
        initialize: A TFLite file whose encoder weights the training starts from, relative to the data root; see
            `bedside.export.models.pretrained`. None: random weights.
    """

    width_multiplier: _Multiplier = 1.0
    initialize: str | None = None


class AnchorFree(_Network, frozen=True, kw_only=True, tag="anchor-free"):
    """See `bedside.export.models.anchor_free`.

    Attributes:
        initialize: As in `LightSegmenter`; for the backbone `half-mobilenet` at a multiplier of 1.
    """

    backbone: Literal["mobilenet", "half-mobilenet"] = "mobilenet"
    width_multiplier: _Multiplier = 0.5
    strides: Annotated[tuple[Literal[8, 16, 32], ...], Meta(min_length=1, max_length=3)] = (8, 16)
    filters: _Units = 64
    towers: Annotated[int, Meta(ge=0, le=8)] = 2
    context: bool = True
    initialize: str | None = None


class Detr(_Network, frozen=True, kw_only=True, tag="detr"):
    """See `bedside.export.models.detr`."""

    queries: Annotated[int, Meta(ge=1, le=500)] = 20
    stride: Literal[16, 32] = 32
    width_multiplier: _Multiplier = 0.5
    dimension: _Units = 128
    heads: Annotated[int, Meta(ge=1, le=64)] = 4
    encoder_layers: _Depth = 2
    decoder_layers: _Depth = 3
    hidden: _Units = 256
    auxiliary: bool = True


ModelRecipe = (
    Cnn
    | AlexNet
    | Vgg
    | MobileNet
    | ViT
    | ConvolutionalAutoencoder
    | DenseAutoencoder
    | Dcgan
    | Pix2Pix
    | UNet
    | DeepLab
    | LightSegmenter
    | AnchorFree
    | Detr
)


def task_of(model: ModelRecipe) -> Task:
    """The task that an architecture is for."""
    match model:
        case Cnn() | AlexNet() | Vgg() | MobileNet() | ViT():
            return "classification"
        case ConvolutionalAutoencoder() | DenseAutoencoder():
            return "reconstruction"
        case Dcgan():
            return "generation"
        case Pix2Pix():
            return "translation"
        case UNet() | DeepLab() | LightSegmenter():
            return "segmentation"
        case AnchorFree() | Detr():
            return "detection"
