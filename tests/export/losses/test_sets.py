"""Targets and loss of DETR."""

import numpy as np
import pytest

from bedside.export.backend import keras
from bedside.export.data.types import BoxesTarget
from bedside.export.losses.matching import EMPTY, match_in_graph, match_targets
from bedside.export.losses.sets import detr_loss, encode_sets
from bedside.export.models.detr import detr
from bedside.runtime.errors import RecipeError

SCENES = [
    BoxesTarget(
        boxes=np.array([[8, 4, 24, 20], [30, 10, 60, 30]], np.float32), labels=np.array([1, 0], np.int64)
    ),
    BoxesTarget(boxes=np.zeros((0, 4), np.float32), labels=np.zeros(0, np.int64)),
]


def encoded(slots=3):
    return encode_sets(SCENES, width=64, height=32, slots=slots)


def perfect(queries=5, classes=2):
    """What a model would say that finds everything, in an order of its own."""
    targets = encoded()
    boxes = np.full((2, queries, 4), 0.5, np.float32)
    scores = np.zeros((2, queries, classes), np.float32)
    boxes[0, 3], boxes[0, 1] = targets["boxes"][0, :2]
    scores[0, 3, 1] = scores[0, 1, 0] = 1
    return [boxes, scores]


def test_boxes_become_fractions_of_the_sides():
    targets = encoded()
    assert targets["boxes"].shape == (2, 3, 4)
    assert targets["boxes"][0, 0] == pytest.approx([0.25, 0.375, 0.25, 0.5])
    assert targets["labels"].tolist() == [[1, 0, EMPTY], [EMPTY] * 3]
    assert targets["positives"] == pytest.approx([1, 1])
    assert encode_sets(SCENES[1:], width=64, height=32, slots=1)["positives"] == pytest.approx([1])


def test_more_objects_than_slots_are_refused():
    with pytest.raises(RecipeError, match=r"2 objects.*at least 2 queries"):
        encoded(slots=1)


def test_zero_at_the_perfect_answer_in_any_order():
    outputs = perfect()
    assert float(detr_loss(match_targets(encoded(), outputs), outputs)) == pytest.approx(0, abs=1e-5)
    worse = [outputs[0] * 0.9, outputs[1]]
    assert float(detr_loss(match_targets(encoded(), worse), worse)) > 0.3
    blind = [outputs[0], outputs[1] * 0]
    assert float(detr_loss(match_targets(encoded(), blind), blind)) > 1


def test_auxiliary_outputs_add_their_own_loss():
    outputs = [perfect()[0] * 0.9, perfect()[1] * 0.8]
    once = float(detr_loss(match_targets(encoded(), outputs), outputs))
    twice = float(detr_loss(match_targets(encoded(), outputs * 2), outputs * 2))
    assert twice == pytest.approx(2 * once, rel=1e-5)


def test_targets_that_nobody_matched_are_refused():
    with pytest.raises(ValueError, match="match the targets first"):
        detr_loss(encoded(), perfect())


def test_descending_it_finds_the_objects(overfit):
    queries = keras.Input((5, 8))
    head = keras.layers.Dense
    model = keras.Model(
        queries, [head(4, activation="sigmoid")(queries), head(2, activation="sigmoid")(queries)]
    )
    inputs = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)
    history = overfit(model, inputs, encoded(), detr_loss, match=match_in_graph, rate=0.05, steps=60)
    assert history[-1] < 0.2 * history[0]


@pytest.mark.slow
def test_training_brings_it_down(overfit):
    pixels = np.full((2, 32, 64, 3), 40, np.float32)
    pixels[0, 4:20, 8:24, 0], pixels[0, 10:30, 30:60, 1] = 200, 200
    model = detr(
        width=64,
        height=32,
        classes=2,
        queries=5,
        stride=16,
        width_multiplier=0.1,
        heads=2,
        dimension=32,
        hidden=32,
        encoder_layers=1,
        decoder_layers=1,
        seed=1,
    )
    history = overfit(model, pixels, encoded(), detr_loss, match=match_in_graph, rate=2e-3)
    assert history[-1] < 0.5 * history[0]
