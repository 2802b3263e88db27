"""Targets and loss of the anchor-free detector."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.export.data.types import BoxesTarget
from bedside.export.losses.detection import EMPTY, decode_boxes, detection_loss, encode_boxes, learnable
from bedside.export.models.anchor_free import anchor_free_detector
from bedside.export.models.levels import levels
from bedside.runtime.bundle.decode import DetectionDecode
from bedside.runtime.bundle.manifest import TensorSpec
from bedside.runtime.tasks.detection import DetectionDecoder

WIDTH, HEIGHT = 128, 96
GRID = levels(WIDTH, HEIGHT, (8, 16))


def objects(*boxes, labels=None):
    return BoxesTarget(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array(labels if labels is not None else [0] * len(boxes), np.int64),
    )


@st.composite
def scenes(draw):
    """Up to five boxes in the picture, at least one fine cell wide."""
    boxes = []
    for _ in range(draw(st.integers(0, 5))):
        width, height = draw(st.floats(8.5, WIDTH, width=32)), draw(st.floats(8.5, HEIGHT, width=32))
        x, y = draw(st.floats(0, 1)) * (WIDTH - width), draw(st.floats(0, 1)) * (HEIGHT - height)
        boxes.append((x, y, x + width, y + height))
    labels = [draw(st.integers(0, 2)) for _ in boxes]
    return objects(*boxes, labels=labels)


def perfect(encoded, classes=3):
    """The outputs that the targets ask for."""
    outputs = []
    for level in GRID:
        labels = encoded[f"labels_{level.stride}"]
        scores = np.eye(classes, dtype=np.float32)[np.maximum(labels, 0)] * (labels != EMPTY)[..., None]
        outputs += [encoded[f"boxes_{level.stride}"], scores]
    return outputs


@given(scenes())
@settings(deadline=None)
def test_every_positive_cell_decodes_to_its_box_and_stays_in_bounds(scene):
    encoded = encode_boxes([scene], GRID)
    for level in GRID:
        labels, distances = encoded[f"labels_{level.stride}"][0], encoded[f"boxes_{level.stride}"][0]
        assert distances.min() >= 0 and distances.max() <= level.bound
        decoded = decode_boxes(distances, level)[labels != EMPTY]
        gap = np.abs(decoded[:, None] - scene.boxes[None]).max(-1)
        if len(decoded):
            assert gap.min(1).max() < 1e-4
            assert np.array_equal(scene.labels[gap.argmin(1)], labels[labels != EMPTY]) or len(
                np.unique(scene.boxes, axis=0)
            ) < len(scene.boxes)
        assert not distances[labels == EMPTY].any()


@given(scenes())
@settings(deadline=None)
def test_a_box_alone_that_is_as_wide_as_the_coarsest_cell_is_always_learnable(scene):
    sides = (scene.boxes[:, 2:] - scene.boxes[:, :2]).min(1)
    for index in np.flatnonzero(sides > 16):
        alone = BoxesTarget(boxes=scene.boxes[index : index + 1], labels=scene.labels[index : index + 1])
        assert learnable(alone, GRID).all()


def test_the_device_reads_the_boxes_that_were_encoded():
    scene = objects((10.5, 8, 50, 60.25), (60, 20, 90, 44), (4, 70, 124, 95), labels=[0, 2, 1])
    outputs = tuple(perfect(encode_boxes([scene], GRID)))
    specs = tuple(
        TensorSpec(name=str(index), shape=out.shape, dtype="float32") for index, out in enumerate(outputs)
    )
    decode = DetectionDecode(
        labels=("a", "b", "c"), boxes=(0, 2), scores=(1, 3), coding="ltrb", units="cells", threshold=0.9
    )
    boxes, _, labels = DetectionDecoder(decode).detections(outputs, specs, (HEIGHT, WIDTH))
    order = np.argsort(labels)
    assert labels[order].tolist() == [0, 1, 2]
    assert np.allclose(boxes[order], scene.boxes[[0, 2, 1]], atol=1e-4)


def test_which_cells_and_which_level():
    encoded = encode_boxes([objects((40, 40, 56, 56), labels=[2])], GRID)
    rows, columns = np.nonzero(encoded["labels_8"][0] == 2)
    assert (set(rows), set(columns)) == ({5, 6}, {5, 6})
    assert (encoded["labels_16"] == EMPTY).all()
    assert encoded["boxes_8"][0, 5, 6] == pytest.approx([12 / 8, 4 / 8, 4 / 8, 12 / 8])
    # The farthest side decides the level: beyond 64 pixels it is the coarse one.
    large = encode_boxes([objects((0, 0, 128, 96))], GRID)
    assert (large["labels_8"] == EMPTY).all()
    # Centre sampling: 1.5 strides around (64, 48), in x cells 3 to 4 and in y 2 to 3 of the coarse grid.
    rows, columns = np.nonzero(large["labels_16"][0] != EMPTY)
    assert set(columns) == {3, 4} | ({2, 5} if abs(2.5 * 16 - 64) <= 24 else set())
    assert set(rows) == {2, 3} | ({1, 4} if abs(1.5 * 16 - 48) <= 24 else set())


def test_of_two_boxes_the_smaller_takes_the_cell():
    encoded = encode_boxes([objects((20, 20, 80, 80), (42, 42, 58, 58), labels=[0, 1])], GRID)
    assert encoded["labels_8"][0, 6, 6] == 1
    assert encoded["labels_8"][0, 6, 7] == 0


def test_what_no_cell_can_learn_is_named():
    # Long enough for the coarse level, and between two rows of its cells.
    assert not learnable(objects((0, 43.5, 125, 52.5)), GRID).any()
    scene = objects((1, 1, 3, 3), (40, 40, 60, 60), (200, 10, 240, 40), (41, 41, 61, 61.5))
    assert learnable(scene, GRID).tolist() == [False, True, False, True]
    assert learnable(objects(), GRID).tolist() == []


def test_positives_are_the_mean_of_the_batch_and_never_zero():
    scene = objects((40, 40, 56, 56))
    assert encode_boxes([scene, objects()], GRID)["positives"] == pytest.approx([2, 2])
    assert encode_boxes([objects(), objects()], GRID)["positives"] == pytest.approx([0.5, 0.5])


def test_zero_at_the_perfect_answer():
    scenes = [objects((10, 10, 50, 60), (60, 20, 90, 44), labels=[0, 2]), objects(), objects((0, 0, 128, 96))]
    encoded = encode_boxes(scenes, GRID)
    outputs = perfect(encoded)
    assert float(detection_loss(encoded, outputs)) == pytest.approx(0, abs=1e-4)
    worse = [out * 0.8 for out in outputs]
    assert float(detection_loss(encoded, worse)) > 0.3
    wrong = [out if index % 2 == 0 else out[..., ::-1].copy() for index, out in enumerate(outputs)]
    assert float(detection_loss(encoded, wrong)) > 1


def test_shards_of_a_batch_average_to_the_loss_of_the_whole():
    encoded = encode_boxes([objects((10, 10, 50, 60)), objects(), objects((0, 0, 128, 96)), objects()], GRID)
    rng = np.random.default_rng(0)
    outputs = [
        np.clip(out + rng.uniform(0, 0.5, out.shape), 0, 0.99).astype(np.float32) for out in perfect(encoded)
    ]

    def part(which):
        return float(detection_loss({k: v[which] for k, v in encoded.items()}, [o[which] for o in outputs]))

    assert part(slice(None)) == pytest.approx((part(slice(0, 2)) + part(slice(2, 4))) / 2, rel=1e-5)


def test_outputs_of_another_detector_are_refused():
    encoded = encode_boxes([objects()], GRID)
    with pytest.raises(ValueError, match=r"2 outputs for the strides \[8, 16\]"):
        detection_loss(encoded, perfect(encoded)[:2])


def test_training_brings_it_down(overfit):
    grid = levels(32, 32, (8,))
    scenes = [objects((4, 4, 20, 24)), objects((10, 6, 30, 22))]
    pixels = np.full((2, 32, 32, 3), 40, np.float32)
    pixels[0, 4:24, 4:20], pixels[1, 6:22, 10:30] = 200, 200
    model = anchor_free_detector(
        width=32, height=32, strides=(8,), context=False, width_multiplier=0.25, filters=16, towers=1, seed=1
    )
    history = overfit(model, pixels, encode_boxes(scenes, grid), detection_loss)
    assert history[-1] < 0.5 * history[0]
