"""Transformer layers of plain operations, with seeded weights, for the converters and for int8.

`keras.layers.MultiHeadAttention` draws all its projections from one seed, which makes queries equal keys at
first; and its einsum equations convert less directly than these matrix products.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bedside.export.backend import keras
from bedside.export.models.blocks import Seeds


def attention(query: Any, key: Any, value: Any, *, heads: int, seeds: Seeds, name: str) -> Any:
    """Multi-head attention (Vaswani et al., 2017, section 3.2).

    Args:
        query: `(N, Q, D)`.
        key: `(N, T, D)`.
        value: `(N, T, D)`.
        heads: Divides D.
        seeds: Of the initial weights.
        name: Of the layers.

    Returns:
        `(N, Q, D)`.
    """
    layers, ops = keras.layers, keras.ops
    dimension = int(query.shape[-1])
    per_head = dimension // heads

    def split(x: Any, part: str) -> Any:
        x = layers.Dense(dimension, kernel_initializer=seeds.glorot(), name=f"{name}_{part}")(x)
        x = layers.Reshape((-1, heads, per_head), name=f"{name}_{part}_split")(x)
        # Keys are wanted as columns.
        order = (2, 3, 1) if part == "key" else (2, 1, 3)
        return layers.Permute(order, name=f"{name}_{part}_heads")(x)

    similarity = ops.matmul(split(query, "query") * per_head**-0.5, split(key, "key"))
    weights = layers.Softmax(name=f"{name}_weights")(similarity)
    x = layers.Permute((2, 1, 3), name=f"{name}_tokens")(ops.matmul(weights, split(value, "value")))
    x = layers.Reshape((-1, dimension), name=f"{name}_merge")(x)
    return layers.Dense(dimension, kernel_initializer=seeds.glorot(), name=f"{name}_out")(x)


def feed_forward(x: Any, hidden: int, *, seeds: Seeds, name: str) -> Any:
    """Two dense layers with ReLU between them, at each position by itself (section 3.3)."""
    layers = keras.layers
    dimension = int(x.shape[-1])
    x = layers.Dense(hidden, activation="relu", kernel_initializer=seeds.he(), name=f"{name}_hidden")(x)
    return layers.Dense(dimension, kernel_initializer=seeds.glorot(), name=f"{name}_out")(x)


def sine_positions(rows: int, columns: int, dimension: int) -> npt.NDArray[np.float32]:
    """2-d sine positions `(rows * columns, dimension) float32`, y first (Carion et al., 2020, appendix A.4).

    Half the channels hold sines and cosines of the row, half of the column, both scaled to one turn, with
    wavelengths in a geometric series up to 10,000 turns.
    """
    frequencies = 10_000.0 ** (-np.arange(0, dimension // 2, 2) / (dimension // 2))
    parts = []
    for axis, count in ((0, rows), (1, columns)):
        turn = (np.arange(count) + 0.5) / count * 2 * np.pi
        angles = turn[:, None] * frequencies
        waves = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(count, dimension // 2)
        parts.append(np.broadcast_to(np.expand_dims(waves, 1 - axis), (rows, columns, dimension // 2)))
    return np.concatenate(parts, axis=-1).reshape(rows * columns, dimension).astype(np.float32)


@keras.saving.register_keras_serializable(package="bedside")
class PlainLayerNormalization(keras.layers.LayerNormalization):  # type: ignore[misc]
    """Layer norm over the last axis (Ba et al., 2016), written so that integer kernels exist for all of it.

    Keras computes `x * s - mean * s`, whose negation has no int8 or int16 kernel in TFLite: an int8 file leaves
    the integers for it, and int16x8 is refused.
    """

    def call(self, inputs: Any) -> Any:
        """`(x - mean) / sqrt(variance + epsilon) * gamma + beta`, in float32 at least."""
        ops = keras.ops
        x = ops.cast(inputs, "float32") if inputs.dtype in ("float16", "bfloat16") else inputs
        centred = x - ops.mean(x, axis=-1, keepdims=True)
        variance = ops.mean(centred * centred, axis=-1, keepdims=True)
        x = centred * ops.rsqrt(variance + self.epsilon)
        x = x * ops.cast(self.gamma, x.dtype) + ops.cast(self.beta, x.dtype)
        return ops.cast(x, inputs.dtype)


@keras.saving.register_keras_serializable(package="bedside")
class AddSinePositions(keras.layers.Layer):  # type: ignore[misc]
    """Adds `sine_positions` to `(N, rows * columns, D)`. D is a multiple of 4."""

    def __init__(self, rows: int, columns: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rows, self.columns = rows, columns

    def call(self, inputs: Any) -> Any:
        """Inputs plus positions."""
        table = sine_positions(self.rows, self.columns, int(inputs.shape[-1]))
        return inputs + keras.ops.cast(keras.ops.convert_to_tensor(table), inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """For saving."""
        return {**super().get_config(), "rows": self.rows, "columns": self.columns}


@keras.saving.register_keras_serializable(package="bedside")
class LearnedQueries(keras.layers.Layer):  # type: ignore[misc]
    """Learned vectors, the same for every picture: `(N, T, D)` in, for its N and D; `(N, count, D)` out."""

    def __init__(self, count: int, initializer: Any = "random_normal", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = count
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the vectors."""
        self.queries = self.add_weight(
            shape=(self.count, input_shape[-1]), initializer=self.initializer, name="queries"
        )

    def call(self, inputs: Any) -> Any:
        """The vectors, once per picture."""
        batch = keras.ops.shape(inputs)[0]
        vectors = keras.ops.cast(keras.ops.expand_dims(self.queries, 0), inputs.dtype)
        return keras.ops.tile(vectors, (batch, 1, 1))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """`(N, count, D)`."""
        return input_shape[0], self.count, input_shape[-1]

    def get_config(self) -> dict[str, Any]:
        """For saving."""
        initializer = keras.initializers.serialize(self.initializer)
        return {**super().get_config(), "count": self.count, "initializer": initializer}
