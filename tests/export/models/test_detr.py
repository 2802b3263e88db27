"""DETR: outputs, auxiliary outputs, conversion."""

import numpy as np
import pytest

from bedside.export.models.detr import detr, without_auxiliary
from bedside.runtime.errors import RecipeError

PIXELS = np.random.default_rng(0).integers(0, 256, (1, 32, 64, 3)).astype(np.float32)


def small(**changes):
    sizes = {
        "width": 64,
        "height": 32,
        "width_multiplier": 0.1,
        "stride": 16,
        "dimension": 16,
        "hidden": 16,
        "heads": 2,
        "queries": 5,
        "encoder_layers": 1,
        "decoder_layers": 2,
    }
    return detr(**sizes | changes)


def test_one_box_and_one_score_vector_per_query(count_params):
    model = detr(classes=3)
    assert model.output_names == ["boxes", "scores"]
    assert model.output_shape == [(None, 20, 4), (None, 20, 3)]
    assert count_params(detr) < 1_300_000


def test_before_training():
    boxes, scores = (np.asarray(out) for out in small(classes=2, seed=1)(PIXELS))
    assert np.allclose(scores, 0.01, atol=0.005)
    assert boxes.min() > 0 and boxes.max() < 1
    assert np.abs(boxes[0, 0] - boxes[0, 1]).max() > 0.05  # queries differ from the start


def test_auxiliary_outputs_come_from_the_same_heads_and_can_be_taken_off():
    model = small(decoder_layers=3, auxiliary=True, seed=1)
    assert model.output_names == ["boxes", "scores", "boxes_1", "scores_1", "boxes_2", "scores_2"]
    plain = small(decoder_layers=3, seed=1)
    assert model.count_params() == plain.count_params()
    outputs, exported = model(PIXELS), without_auxiliary(model)(PIXELS)
    assert len(exported) == 2
    for first, second, third in zip(outputs[:2], exported, plain(PIXELS), strict=True):
        assert np.array_equal(first, second)
        assert np.allclose(first, third, atol=1e-6)
    assert without_auxiliary(model).output_names == ["boxes", "scores"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"classes": 0}, "at least 1 of each"),
        ({"queries": 0}, "at least 1 of each"),
        ({"stride": 8}, "16 or 32"),
        ({"dimension": 18}, "of 4"),
        ({"heads": 3}, "multiple of 3 heads"),
        ({"width": 40}, "multiples of 16"),
    ],
)
def test_what_does_not_fit_is_refused(changes, says):
    with pytest.raises(RecipeError, match=says):
        small(**changes)


def test_seeded(same_weights):
    same_weights(lambda seed: small(seed=seed))


@pytest.mark.slow
def test_it_converts(conversions, noise):
    model = small(width_multiplier=0.25, dimension=32, hidden=32, queries=3, classes=2, seed=1)
    frames = noise(32, 64, count=6)
    frames[0], frames[1] = frames[0] * 0.2, 255.0  # or all means are alike, and batch norm magnifies rounding
    conversions.settle(model, frames)
    conversions.check_float(model, frames)
    # Untrained, nothing holds int8's rounding down over 30 layers: it follows Keras, loosely.
    int8, float32 = conversions.int8(model, frames), conversions.keras(model, frames)
    assert np.corrcoef(int8[0].ravel(), float32[0].ravel())[0, 1] > 0.6
    assert np.abs(int8[1] - float32[1]).max() < 0.01
