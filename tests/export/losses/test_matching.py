"""Bipartite matching against every possible one."""

from itertools import permutations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.export.losses.matching import (
    EMPTY,
    match,
    match_eager,
    match_in_graph,
    match_targets,
    matching_costs,
)


def draw(seed, queries, objects, classes=2, slots=4):
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(0.2, 0.8, (1, queries, 4))
    scores = rng.uniform(0.01, 0.99, (1, queries, classes))
    truth = np.zeros((1, slots, 4))
    labels = np.full((1, slots), EMPTY)
    where = rng.permutation(slots)[:objects]
    truth[0, where] = rng.uniform(0.2, 0.8, (objects, 4))
    labels[0, where] = rng.integers(0, classes, objects)
    return boxes, scores, truth, labels


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(0, 4))
@settings(deadline=None)
def test_no_other_matching_is_cheaper(seed, queries, objects):
    boxes, scores, truth, labels = draw(seed, queries, objects)
    found = match(boxes, scores, truth, labels)
    (slots,) = np.nonzero(labels[0] != EMPTY)
    costs = matching_costs(boxes[0], scores[0], truth[0, slots], labels[0, slots])
    assert costs.shape == (queries, objects)
    pairs = [
        (query, int(np.flatnonzero(slots == slot)[0])) for query, slot in enumerate(found[0]) if slot != EMPTY
    ]
    assert len({column for _, column in pairs}) == len(pairs) == min(queries, objects)
    if queries >= objects:
        every = (
            sum(costs[q, c] for c, q in enumerate(chosen)) for chosen in permutations(range(queries), objects)
        )
    else:
        every = (
            sum(costs[q, c] for q, c in enumerate(chosen)) for chosen in permutations(range(objects), queries)
        )
    assert sum(costs[pair] for pair in pairs) == pytest.approx(min(every))


def test_box_and_class_both_count():
    truth = np.array([[[0.3, 0.3, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2]]])
    even = np.full((1, 2, 2), 0.5)
    assert match(truth[:, ::-1], even, truth, np.array([[0, 1]])).tolist() == [[1, 0]]
    same = np.full((1, 2, 4), 0.5)
    scores = np.array([[[0.1, 0.9], [0.9, 0.1]]])
    assert match(same, scores, same, np.array([[0, 1]])).tolist() == [[1, 0]]


def test_outputs_that_are_not_finite_do_not_stop_it():
    boxes, scores, truth, labels = draw(0, 3, 2)
    assert (match(boxes * np.nan, scores * np.nan, truth, labels) != EMPTY).sum() == 2


def test_targets_per_query_for_every_decoder_layer():
    boxes, scores, truth, labels = draw(1, 5, 3)
    targets = {"boxes": truth, "labels": labels, "positives": np.array([3.0])}
    matched = match_targets(targets, [boxes, scores, boxes[:, ::-1], scores[:, ::-1]])
    assert set(matched) == {"boxes", "labels", "boxes_1", "labels_1", "positives"}
    assert np.array_equal(matched["labels_1"], matched["labels"][:, ::-1])
    index = match(boxes, scores, truth, labels)[0]
    for query, slot in enumerate(index):
        assert matched["labels"][0, query] == (labels[0, slot] if slot != EMPTY else EMPTY)
        assert np.allclose(matched["boxes"][0, query], truth[0, slot] if slot != EMPTY else 0)


def test_eager_and_in_a_graph_it_is_the_same():
    boxes, scores, truth, labels = (a.astype(np.float32) for a in draw(2, 4, 2))
    targets = {"boxes": truth, "labels": labels.astype(np.int32), "positives": np.array([2.0], np.float32)}
    expected = match_targets(targets, [boxes, scores])
    tensors = {name: tf.convert_to_tensor(value) for name, value in targets.items()}
    outputs = [tf.convert_to_tensor(boxes), tf.convert_to_tensor(scores)]
    eager = match_eager(tensors, outputs)
    graph = tf.function(match_in_graph)(tensors, outputs)
    for name, value in expected.items():
        assert np.array_equal(eager[name], value)
        assert np.array_equal(graph[name], value)
        assert graph[name].dtype.as_numpy_dtype == value.dtype
