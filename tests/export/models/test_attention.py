"""Transformer layers: attention against Keras' own, positions, norm, saving."""

import numpy as np
import pytest

from bedside.export.backend import keras
from bedside.export.models.attention import (
    AddSinePositions,
    LearnedQueries,
    PlainLayerNormalization,
    attention,
    sine_positions,
)
from bedside.export.models.blocks import Seeds

RNG = np.random.default_rng(0)


def test_attention_is_that_of_keras_with_the_same_weights():
    query, memory = keras.Input((3, 8)), keras.Input((5, 8))
    ours = keras.Model([query, memory], attention(query, memory, memory, heads=2, seeds=Seeds(1), name="a"))
    theirs = keras.layers.MultiHeadAttention(num_heads=2, key_dim=4)
    q, m = RNG.normal(size=(2, 3, 8)).astype(np.float32), RNG.normal(size=(2, 5, 8)).astype(np.float32)
    theirs(q, m)
    weights = []
    for part in ("query", "key", "value"):
        kernel, bias = ours.get_layer(f"a_{part}").get_weights()
        weights += [kernel.reshape(8, 2, 4), bias.reshape(2, 4)]
    kernel, bias = ours.get_layer("a_out").get_weights()
    theirs.set_weights([*weights, kernel.reshape(2, 4, 8), bias])
    assert np.allclose(ours([q, m]), theirs(q, m), atol=1e-5)


def test_layer_norm_is_that_of_keras():
    x = RNG.normal(3, 2, (2, 5, 16)).astype(np.float32)
    ours, theirs = PlainLayerNormalization(epsilon=1e-5), keras.layers.LayerNormalization(epsilon=1e-5)
    ours.build(x.shape)
    theirs.build(x.shape)
    weights = [RNG.normal(size=16), RNG.normal(size=16)]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    assert np.allclose(ours(x), theirs(x), atol=1e-5)


def test_positions_tell_all_cells_apart_and_rows_from_columns():
    table = sine_positions(3, 4, 16)
    assert table.shape == (12, 16)
    distances = np.linalg.norm(table[:, None] - table[None], axis=-1)
    assert distances[~np.eye(12, dtype=bool)].min() > 0.5
    grid = table.reshape(3, 4, 16)
    assert np.array_equal(grid[:, 0, :8], grid[:, 3, :8])
    assert np.array_equal(grid[0, :, 8:], grid[2, :, 8:])
    # Row 0 of 3 lies a sixth of the way down; the first pair turns once over the whole.
    assert table[0, :2] == pytest.approx([np.sin(np.pi / 3), np.cos(np.pi / 3)], abs=1e-6)


def test_own_layers_survive_saving(tmp_path):
    tokens = keras.Input((6, 8))
    x = PlainLayerNormalization(epsilon=1e-5)(AddSinePositions(2, 3)(tokens))
    x = keras.layers.Add()([LearnedQueries(6, Seeds(3).normal(1.0))(x), x])
    model = keras.Model(tokens, x)
    assert model.output_shape == (None, 6, 8)
    path = tmp_path / "model.keras"
    model.save(path)
    again = keras.saving.load_model(path, safe_mode=True)
    inputs = RNG.normal(size=(2, 6, 8)).astype(np.float32)
    assert np.array_equal(model(inputs), again(inputs))
