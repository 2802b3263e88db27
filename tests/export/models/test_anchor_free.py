"""The anchor-free detector: outputs, ranges, conversion."""

import numpy as np
import pytest

from bedside.export.models.anchor_free import PRIOR, anchor_free_detector
from bedside.runtime.errors import RecipeError


def small(**changes):
    return anchor_free_detector(
        **{"width": 64, "height": 32, "width_multiplier": 0.1, "filters": 16} | changes
    )


def test_boxes_and_scores_per_level_in_tensors_of_their_own(count_params):
    model = anchor_free_detector(classes=3)
    assert model.output_names == ["boxes_8", "scores_8", "boxes_16", "scores_16"]
    assert model.output_shape == [
        (None, 32, 32, 4),
        (None, 32, 32, 3),
        (None, 16, 16, 4),
        (None, 16, 16, 3),
    ]
    assert count_params(anchor_free_detector) < 700_000


@pytest.mark.parametrize(
    ("strides", "context", "stages"), [((16,), False, 5), ((16,), True, 6), ((8,), False, 3)]
)
def test_levels_and_depth_are_configurable(strides, context, stages):
    model = small(strides=strides, context=context)
    assert model.output_names == [f"{kind}_{strides[0]}" for kind in ("boxes", "scores")]
    found = {layer.name.split("_")[0] for layer in model.layers if layer.name.startswith("stage")}
    assert len(found) == stages


def test_before_training_scores_are_the_prior_and_boxes_are_movable():
    boxes, scores = small(strides=(16,), classes=2, seed=1)(np.full((1, 32, 64, 3), 128, np.float32))
    assert np.allclose(scores, PRIOR, atol=0.005)
    assert np.allclose(boxes, 2.0, atol=0.3)


def test_distances_stay_within_what_can_occur(conversions, noise):
    model = small(seed=1)
    conversions.settle(model, noise(32, 64))
    for name in ("boxes_8_raw", "boxes_16_raw"):
        layer = model.get_layer(name)
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel * 1e4, bias])
    outputs = model(noise(32, 64))
    assert (np.asarray(outputs[0]).min(), np.asarray(outputs[0]).max()) == (0.0, 8.0)
    assert np.asarray(outputs[2]).max() == pytest.approx(64 / 16)


def test_what_does_not_fit_is_refused():
    with pytest.raises(RecipeError, match="at least 1 class"):
        small(classes=0)
    with pytest.raises(RecipeError, match="neighbours"):
        small(strides=(8, 32))
    with pytest.raises(RecipeError, match="multiples of 32"):
        small(height=48)
    assert small(height=48, context=False).output_shape[2] == (None, 3, 4, 4)


def test_seeded(same_weights):
    same_weights(lambda seed: small(seed=seed))


@pytest.mark.slow
def test_it_converts(conversions, noise):
    model = small(strides=(8, 16), context=False, classes=2, towers=1, seed=1)
    for name in ("boxes_8_raw", "boxes_16_raw", "scores_8_raw", "scores_16_raw"):
        layer = model.get_layer(name)  # as if trained: predictions that differ from cell to cell
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel * 20, bias * name.startswith("boxes")])
    frames = noise(32, 64, count=6)
    frames[0], frames[1] = frames[0] * 0.2, 255.0  # or all means are alike, and batch norm magnifies rounding
    conversions.settle(model, frames)
    conversions.check_float(model, frames)
    # Untrained, nothing holds int8's rounding down over 30 layers: it follows Keras, loosely.
    for int8, float32 in zip(conversions.int8(model, frames), conversions.keras(model, frames), strict=True):
        assert float32.std() > 0.05
        assert np.corrcoef(int8.ravel(), float32.ravel())[0, 1] > 0.5
