"""DETR, small: detection as set prediction."""

from __future__ import annotations

from typing import Any

from bedside.export.backend import keras
from bedside.export.models.anchor_free import prior_bias
from bedside.export.models.attention import (
    AddSinePositions,
    LearnedQueries,
    PlainLayerNormalization,
    attention,
    feed_forward,
)
from bedside.export.models.blocks import Seeds, check_size, convolution, inverted_residuals
from bedside.runtime.errors import RecipeError


def detr(
    *,
    width: int = 256,
    height: int = 256,
    channels: int = 3,
    classes: int = 1,
    queries: int = 20,
    stride: int = 32,
    width_multiplier: float = 0.5,
    dimension: int = 128,
    heads: int = 4,
    encoder_layers: int = 2,
    decoder_layers: int = 3,
    hidden: int = 256,
    auxiliary: bool = False,
    seed: int | None = None,
) -> Any:
    """DETR (Carion et al., 2020): a convolutional backbone, a transformer, and one box per learned query.

    Input `(N, height, width, channels) float32`, pixels 0 to 255. Outputs, with Q queries:

    - `boxes (N, Q, 4) float32`: centre x, centre y, width, height, as fractions of the input's sides.
    - `scores (N, Q, classes) float32`: sigmoid, one per class, no background class. The paper has a softmax with
      a class for "no object"; focal scores with their prior converge in a tenth of the epochs (Zhu et al.,
      Deformable DETR, 2021, appendix A.4) and need no weight for the empty queries.

    Norms come first in each block, which trains without a long warm-up (Xiong et al., 2020; the paper's code
    calls it `pre_norm`). Queries are added at each attention of the decoder, positions at each of the encoder and
    to the keys of the decoder (paper, figure 10). The decoder starts at the queries, where the paper starts at
    zero, and looks at the picture first (Cheng et al., Mask2Former, 2022, section 3.2.2).

    Args:
        width: Of the input, in pixels; a multiple of `stride`.
        height: The same.
        channels: 1 or 3.
        classes: At least 1, no background.
        queries: Q, the most boxes that a picture can get.
        stride: Of the backbone's features, 16 or 32. Attention grows with the fourth power of their side.
        width_multiplier: Of the MobileNetV2 backbone.
        dimension: Of the transformer; a multiple of `heads` and of 4. The paper has 256.
        heads: Of each attention; the paper has 8.
        encoder_layers: The paper has 6.
        decoder_layers: The paper has 6.
        hidden: Of the feed-forward layers; the paper has 2048.
        auxiliary: For training: also give the boxes and scores of the earlier decoder layers, from the
            same heads, as `boxes_1, scores_1` (last but one) and so on (paper, section 3.2). Take them off with
            `without_auxiliary` before export.
        seed: Makes the initial weights the same in every process; None: drawn anew.

    Returns:
        A functional `keras.Model` with a list of outputs, not compiled. Train it with
        `bedside.export.losses.sets`.

    Raises:
        RecipeError: The numbers do not fit together.
    """
    if classes < 1 or queries < 1 or decoder_layers < 1:
        raise RecipeError(
            f"{classes} classes, {queries} queries, {decoder_layers} decoder layers: at least 1 of each",
            where="model",
        )
    if stride not in (16, 32):
        raise RecipeError(f"stride {stride}, expected 16 or 32", where="model.stride")
    if dimension % heads or dimension % 4:
        raise RecipeError(
            f"dimension {dimension} has to be a multiple of {heads} heads and of 4", where="model.dimension"
        )
    check_size(width, height, stride)
    layers, seeds = keras.layers, Seeds(seed)
    inputs = keras.Input((height, width, channels), dtype="float32", name="pixels")
    x = layers.Rescaling(1.0 / 255.0, name="rescale")(inputs)
    features = inverted_residuals(x, seeds, width_multiplier=width_multiplier, deepest=stride)[stride]
    x = convolution(features, dimension, 1, seeds, "project", activation=None)
    x = layers.Reshape((-1, dimension), name="tokens")(x)

    positions = AddSinePositions(height // stride, width // stride, name="positions")
    for index in range(1, encoder_layers + 1):
        x = _encoder_layer(x, positions, heads, hidden, seeds, f"encoder{index}")
    memory = _norm("encoder_norm")(x)
    asked = LearnedQueries(queries, seeds.normal(1.0), name="queries")(memory)
    keys = positions(memory)
    target, decoded = None, []
    for index in range(1, decoder_layers + 1):
        target = _decoder_layer(target, asked, memory, keys, heads, hidden, seeds, f"decoder{index}")
        decoded.append(target)
    outputs = _heads(decoded if auxiliary else decoded[-1:], classes, dimension, seeds)
    return keras.Model(inputs, outputs, name="detr")


def without_auxiliary(model: Any) -> Any:
    """The model with `boxes` and `scores` alone; the weights are shared."""
    return keras.Model(model.input, model.outputs[:2], name=model.name)


def _norm(name: str) -> Any:
    return PlainLayerNormalization(epsilon=1e-5, name=name)


def _encoder_layer(x: Any, positions: Any, heads: int, hidden: int, seeds: Seeds, name: str) -> Any:
    y = _norm(f"{name}_attention_norm")(x)
    placed = positions(y)
    y = attention(placed, placed, y, heads=heads, seeds=seeds, name=f"{name}_attention")
    x = keras.layers.Add(name=f"{name}_attention_sum")([x, y])
    y = feed_forward(_norm(f"{name}_ffn_norm")(x), hidden, seeds=seeds, name=f"{name}_ffn")
    return keras.layers.Add(name=f"{name}_ffn_sum")([x, y])


def _decoder_layer(
    target: Any, asked: Any, memory: Any, keys: Any, heads: int, hidden: int, seeds: Seeds, name: str
) -> Any:
    """`target` is None in the first layer: queries have seen nothing yet that they could tell each other."""
    add = keras.layers.Add
    if target is None:
        x = attention(asked, keys, memory, heads=heads, seeds=seeds, name=f"{name}_cross")
        x = add(name=f"{name}_cross_sum")([asked, x])
    else:
        y = _norm(f"{name}_self_norm")(target)
        placed = add(name=f"{name}_self_placed")([y, asked])
        y = attention(placed, placed, y, heads=heads, seeds=seeds, name=f"{name}_self")
        x = add(name=f"{name}_self_sum")([target, y])
        placed = add(name=f"{name}_cross_placed")([_norm(f"{name}_cross_norm")(x), asked])
        y = attention(placed, keys, memory, heads=heads, seeds=seeds, name=f"{name}_cross")
        x = add(name=f"{name}_cross_sum")([x, y])
    y = feed_forward(_norm(f"{name}_ffn_norm")(x), hidden, seeds=seeds, name=f"{name}_ffn")
    return add(name=f"{name}_ffn_sum")([x, y])


def _heads(decoded: list[Any], classes: int, dimension: int, seeds: Seeds) -> list[Any]:
    """Boxes and scores, last decoder layer first, by the same norm and the same heads for all."""
    layers = keras.layers
    norm = _norm("decoder_norm")
    mlp = [
        layers.Dense(dimension, activation="relu", kernel_initializer=seeds.he(), name=f"boxes_hidden{index}")
        for index in (1, 2)
    ]
    box = layers.Dense(4, kernel_initializer=seeds.glorot(), dtype="float32", name="boxes_raw")
    score = layers.Dense(
        classes,
        kernel_initializer=seeds.normal(0.01),
        bias_initializer=keras.initializers.Constant(prior_bias()),
        dtype="float32",
        name="scores_raw",
    )
    outputs = []
    for index, target in enumerate(reversed(decoded)):
        x = norm(target)
        y = mlp[1](mlp[0](x))
        suffix = f"_{index}" if index else ""
        outputs.append(layers.Activation("sigmoid", dtype="float32", name=f"boxes{suffix}")(box(y)))
        outputs.append(layers.Activation("sigmoid", dtype="float32", name=f"scores{suffix}")(score(x)))
    return outputs
