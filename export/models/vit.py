"""Vision transformer (Dosovitskiy et al., An image is worth 16x16 words, 2021)."""

from __future__ import annotations

from typing import Any, Literal

from bedside.export.backend import keras
from bedside.export.models.activation_maps import pooled_head
from bedside.export.models.blocks import Seeds, check_size
from bedside.export.models.limits import check_classes, check_dropout
from bedside.runtime.errors import RecipeError

_EPSILON = 1e-6
#: Spread of the first positions, as in the reference implementation.
_POSITION_STDDEV = 0.02


def vit(
    *,
    width: int = 224,
    height: int = 224,
    channels: int = 3,
    classes: int = 10,
    patch: int = 16,
    dim: int = 192,
    depth: int = 12,
    heads: int = 3,
    mlp: int | None = None,
    pooling: Literal["token", "mean"] = "token",
    dropout: float = 0.0,
    maps: bool = False,
    seed: int | None = None,
) -> Any:
    """Patches, learned positions, pre-norm transformer blocks, softmax.

    Input `(N, height, width, channels) float32`, pixels 0 to 255, brought to -1..1 by the first layer. Output
    `(N, classes) float32`; with `maps` also `map (N, height / patch, width / patch, classes) float32`. The
    default is ViT-Ti/16 (Touvron et al., DeiT, 2021, table 1); ViT-B/16 has dim 768, depth 12, heads 12. GELU
    is the tanh form (Hendrycks & Gimpel, 2016, section 2), since the exact one needs an operator that ONNX
    does not have.

    Args:
        width: Of the input, in pixels.
        height: Of the input, in pixels.
        channels: 1 or 3.
        classes: At least 2.
        patch: Side of a patch, in pixels; both sides of the input are multiples of it.
        dim: Size of a token, a multiple of `heads`.
        depth: Blocks.
        heads: Of the attention.
        mlp: Hidden units of a block's MLP; None: four times `dim`.
        pooling: `token`: a class token, as in the paper; `mean`: the mean of all patches, equally good with
            another learning rate (appendix D.3), and what maps are computed of.
        dropout: Rate behind the positions, the attention and both layers of the MLP.
        maps: Class activation maps as a second output.
        seed: Makes the initial weights the same in every process; None: drawn anew.

    Returns:
        A functional `keras.Model`, not compiled.

    Raises:
        RecipeError: Patches do not fill the input, heads do not divide the tokens, there are fewer than two
            classes, or maps are asked of the class token.
    """
    check_size(width, height, patch)
    check_classes(classes)
    check_dropout(dropout)
    if dim % heads:
        raise RecipeError(
            f"tokens of {dim} do not divide by {heads} heads", where="model", hint="make dim a multiple"
        )
    if maps and pooling != "mean":
        raise RecipeError("maps need the mean of the patches", where="model", hint='pooling = "mean"')
    layers, seeds = keras.layers, Seeds(seed)
    rows, columns = height // patch, width // patch

    inputs = keras.Input((height, width, channels), dtype="float32", name="pixels")
    x = layers.Rescaling(1.0 / 127.5, offset=-1.0, name="rescale")(inputs)
    x = layers.Conv2D(dim, patch, strides=patch, kernel_initializer=seeds.glorot(), name="patches")(x)
    x = layers.Reshape((rows * columns, dim), name="tokens")(x)
    x = LearnedPositions(class_token=pooling == "token", seed=seeds.take(), name="positions")(x)
    x = layers.Dropout(dropout, seed=seeds.take(), name="positions_dropout")(x)
    for index in range(1, depth + 1):
        x = _block(x, heads, mlp if mlp is not None else 4 * dim, dropout, f"block{index}", seeds)
    x = layers.LayerNormalization(epsilon=_EPSILON, name="norm")(x)
    if pooling == "token":
        x = layers.Cropping1D((0, rows * columns), name="take_token")(x)
        x = layers.Reshape((dim,), name="token")(x)
        outputs = layers.Dense(
            classes,
            activation="softmax",
            kernel_initializer=seeds.glorot(),
            dtype="float32",
            name="probabilities",
        )(x)
        return keras.Model(inputs, outputs, name="vit")
    x = layers.Reshape((rows, columns, dim), name="grid")(x)
    both = pooled_head(x, classes, dropout=0.0, maps=maps, kernel_initializer=seeds.glorot())
    return keras.Model(inputs, both if maps else both[0], name="vit")


@keras.saving.register_keras_serializable(package="bedside")
class LearnedPositions(keras.layers.Layer):  # type: ignore[misc]
    """Add a learned vector to every token, and put a learned class token in front (equation 1).

    Takes `(N, T, D)`, gives `(N, T, D)`, or `(N, T + 1, D)` with a class token.
    """

    def __init__(self, *, class_token: bool = False, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.class_token = class_token
        self.seed = seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the positions, and the class token."""
        _, count, dim = input_shape
        if count is None or dim is None:
            raise ValueError(f"positions need a fixed number of tokens, got {input_shape}")
        if self.class_token:
            self.token = self.add_weight(shape=(1, 1, dim), initializer="zeros", name="class_token")
        self.positions = self.add_weight(
            shape=(1, count + self.class_token, dim),
            initializer=keras.initializers.TruncatedNormal(stddev=_POSITION_STDDEV, seed=self.seed),
            name="positions",
        )
        self.built = True

    def call(self, tokens: Any) -> Any:
        """Tokens with their positions."""
        ops = keras.ops
        if self.class_token:
            first = ops.broadcast_to(self.token, (ops.shape(tokens)[0], 1, tokens.shape[-1]))
            tokens = ops.concatenate([ops.cast(first, tokens.dtype), tokens], axis=1)
        return ops.add(tokens, self.positions)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """One token more with a class token."""
        batch, count, dim = input_shape
        return batch, None if count is None else count + self.class_token, dim

    def get_config(self) -> dict[str, Any]:
        """What `__init__` takes."""
        config: dict[str, Any] = super().get_config()
        return config | {"class_token": self.class_token, "seed": self.seed}


def _block(x: Any, heads: int, hidden: int, dropout: float, name: str, seeds: Seeds) -> Any:
    """Attention and MLP, each behind a layer normalization and around a shortcut (equations 2 and 3)."""
    layers = keras.layers
    dim = int(x.shape[-1])
    shortcut = x
    x = layers.LayerNormalization(epsilon=_EPSILON, name=f"{name}_norm1")(x)
    attention = layers.MultiHeadAttention(
        heads, dim // heads, dropout=dropout, seed=seeds.take(), name=f"{name}_attention"
    )
    x = attention(x, x)
    _initialize(attention, dim, seeds)
    x = layers.Dropout(dropout, seed=seeds.take(), name=f"{name}_dropout1")(x)
    x = shortcut = layers.Add(name=f"{name}_add1")([shortcut, x])
    x = layers.LayerNormalization(epsilon=_EPSILON, name=f"{name}_norm2")(x)
    x = layers.Dense(hidden, kernel_initializer=seeds.glorot(), name=f"{name}_mlp1")(x)
    x = GeluTanh(name=f"{name}_gelu")(x)
    x = layers.Dropout(dropout, seed=seeds.take(), name=f"{name}_dropout2")(x)
    x = layers.Dense(dim, kernel_initializer=seeds.glorot(), name=f"{name}_mlp2")(x)
    x = layers.Dropout(dropout, seed=seeds.take(), name=f"{name}_dropout3")(x)
    return layers.Add(name=f"{name}_add2")([shortcut, x])


def _initialize(attention: Any, dim: int, seeds: Seeds) -> None:
    """Draw the four projections as the `(dim, dim)` matrices that they are.

    Keras clones one initializer for all of them, so that a seed would make queries, keys and values equal;
    and it takes the `(dim, heads, key)` kernels for convolutions, which makes their numbers too small.
    """
    for weight in attention.weights:
        if weight.name == "kernel":
            weight.assign(keras.ops.reshape(seeds.glorot()((dim, dim)), weight.shape))


@keras.saving.register_keras_serializable(package="bedside")
class GeluTanh(keras.layers.Layer):  # type: ignore[misc]
    """GELU in its tanh form."""

    def call(self, x: Any) -> Any:
        """Of any shape."""
        return keras.activations.gelu(x, approximate=True)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Unchanged."""
        return input_shape
