"""`[training.augment]` of a recipe."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from bedside.runtime.bundle.fields import Fraction, Line


class AugmentRecipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[training.augment]`: how training frames are varied; the defaults vary nothing.

    Ranges are half-widths around "unchanged"; probabilities are per frame. See `bedside.export.training.augment`.

    Attributes:
        flip_horizontal: Probability.
        flip_vertical: Probability.
        rotate: Largest angle, in degrees.
        scale: Largest relative change of size.
        stretch: Largest relative change of the aspect ratio.
        shift: Largest shift, as a fraction of the side.
        crop: Smallest kept side as a fraction is `1 - crop`; what is kept fills the frame.
        brightness: Largest added fraction of 255.
        contrast: Largest relative change of contrast about the mean.
        gamma: Largest `|log2(gamma)|`.
        saturation: Largest relative change of saturation (3 channels only).
        hue: Largest turn of the hue, in degrees (3 channels only).
        gray: Probability of taking all colour away (3 channels only).
        tint: Largest gain or loss of one channel, relative (3 channels only).
        blur: Largest Gaussian sigma, in pixels of the model's input.
        noise: Largest Gaussian sigma, in grey levels.
        jpeg: Probability of a JPEG round trip, quality 25 to 90.
        depth: Largest relative change of the imaging depth (ultrasound): the picture grows or shrinks about the
            middle of its upper edge, where a fan has its apex.
        gain: Largest `|log2(gain)|` at a depth (ultrasound): six sliders of time-gain compensation, with straight
            lines between them.
        speckle: Largest strength of multiplicative speckle (ultrasound); 1: fully developed, Rayleigh distributed.
        shadow: Probability of acoustic shadows (ultrasound): one or two dark wedges away from the transducer.
        highlights: Probability of specular highlights (endoscopy): spots of white with a soft rim.
        pad: Probability of shrinking the frame into a black or grey screen with furniture around it.
        furniture: Probability of scanner furniture (text, scale bars, grey wedge) drawn over the frame.
        screen_labels: Classes that `pad` and `furniture` apply to; None: all. A test pattern does not become
            another one inside a scanner's screen, but it may come to look like a scanner's picture.
    """

    flip_horizontal: Fraction = 0.0
    flip_vertical: Fraction = 0.0
    rotate: Annotated[float, Meta(ge=0.0, le=180.0)] = 0.0
    scale: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.0
    stretch: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.0
    shift: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.0
    crop: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.0
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    gamma: Annotated[float, Meta(ge=0.0, le=3.0)] = 0.0
    saturation: Fraction = 0.0
    hue: Annotated[float, Meta(ge=0.0, le=180.0)] = 0.0
    gray: Fraction = 0.0
    tint: Fraction = 0.0
    blur: Annotated[float, Meta(ge=0.0, le=16.0)] = 0.0
    noise: Annotated[float, Meta(ge=0.0, le=128.0)] = 0.0
    jpeg: Fraction = 0.0
    depth: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.0
    gain: Annotated[float, Meta(ge=0.0, le=3.0)] = 0.0
    speckle: Fraction = 0.0
    shadow: Fraction = 0.0
    highlights: Fraction = 0.0
    pad: Fraction = 0.0
    furniture: Fraction = 0.0
    screen_labels: tuple[Line, ...] | None = None
