"""U-Net."""

from __future__ import annotations

from typing import Any, Literal

from bedside.export.backend import keras
from bedside.export.models.blocks import Seeds, check_size, class_map, convolution, separable
from bedside.runtime.errors import RecipeError

Upsampling = Literal["bilinear", "transposed"]


def unet(
    *,
    width: int = 256,
    height: int = 256,
    channels: int = 3,
    classes: int = 2,
    base: int = 16,
    depth: int = 4,
    separable_convolutions: bool = True,
    upsampling: Upsampling = "bilinear",
    dropout: float = 0.0,
    seed: int | None = None,
) -> Any:
    """U-Net (Ronneberger et al., 2015), with same padding in place of its valid one, and batch norm.

    Input `(N, height, width, channels) float32`, pixels 0 to 255. Output `(N, height, width, 1) float32`, a
    sigmoid, where there are two classes, else `(N, height, width, classes) float32`, a softmax.

    Each of `depth` levels has two 3x3 convolutions and halves the sides; the filters double from `base`. On
    the way up the filters are halved and the sides doubled, by a 1x1 convolution and bilinear interpolation, or
    by the paper's 2x2 transposed convolution. Transposed convolutions are what int8 breaks most often.

    Args:
        width: Of the input, in pixels; a multiple of `2**depth`.
        height: Of the input, in pixels; a multiple of `2**depth`.
        channels: 1 or 3.
        classes: At least 2, the background among them.
        base: Filters of the first level; the paper has 64.
        depth: How often the sides are halved; the paper has 4.
        separable_convolutions: Depthwise and 1x1 in place of full 3x3 convolutions: about an eighth of the
            weights and of the arithmetic.
        upsampling: `bilinear` or `transposed`.
        dropout: Fraction at the deepest level, where the paper has it too.
        seed: Makes the initial weights the same in every process; None: drawn anew.

    Returns:
        A functional `keras.Model`, not compiled.

    Raises:
        RecipeError: The sides do not fit the depth, or there are fewer than two classes.
    """
    if depth < 1 or base < 1:
        raise RecipeError(f"depth {depth} and base {base}: both have to be at least 1", where="model")
    check_size(width, height, 2**depth)
    layers, seeds = keras.layers, Seeds(seed)

    def double(x: Any, filters: int, name: str) -> Any:
        for index in (1, 2):
            if separable_convolutions and int(x.shape[-1]) > 3:  # pixels have too few channels to separate
                x = separable(x, filters, seeds, f"{name}_conv{index}")
            else:
                x = convolution(x, filters, 3, seeds, f"{name}_conv{index}")
        return x

    inputs = keras.Input((height, width, channels), dtype="float32", name="pixels")
    x = layers.Rescaling(1.0 / 255.0, name="rescale")(inputs)
    skips = []
    for level in range(depth):
        x = double(x, base * 2**level, f"down{level + 1}")
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"down{level + 1}_pool")(x)
    x = double(x, base * 2**depth, "bottom")
    if dropout > 0:
        x = layers.Dropout(dropout, seed=seed, name="dropout")(x)
    for level in reversed(range(depth)):
        filters, name = base * 2**level, f"up{level + 1}"
        if upsampling == "transposed":
            x = layers.Conv2DTranspose(
                filters, 2, strides=2, kernel_initializer=seeds.he(), name=f"{name}_transposed"
            )(x)
        else:
            # A 1x1 convolution commutes with interpolation, and costs a quarter before it.
            x = convolution(x, filters, 1, seeds, f"{name}_reduce")
            x = layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_upsampled")(x)
        x = layers.Concatenate(name=f"{name}_concat")([skips[level], x])
        x = double(x, filters, name)
    return keras.Model(inputs, class_map(x, classes, seeds), name="unet")
