"""pix2pix: the paper's sizes, skips, the patch that one logit sees, conversion."""

import numpy as np
import pytest

from bedside.export.backend import keras
from bedside.export.models.pix2pix import patch_discriminator, pix2pix_generator
from bedside.runtime.errors import RecipeError


def test_the_papers_sizes(count_params):
    # TensorFlow's pix2pix tutorial counts 54,425,859 and 2,770,433. It has a batch norm in the bottleneck and
    # no biases where a batch norm is missing.
    bottleneck_norm, biases = 4 * 512, 64 + 512
    generator = count_params(lambda: pix2pix_generator(upsampling="transposed"))
    assert generator == 54_425_859 - bottleneck_norm + biases
    assert count_params(patch_discriminator) == 2_770_433 + 64


def test_the_depth_fits_the_frame():
    full = pix2pix_generator(base=1)
    assert full.get_layer("down8").output.shape == (None, 1, 1, 8)
    shallow = pix2pix_generator(width=96, height=64, channels=1, output_channels=3, base=2)
    assert shallow.get_layer("down5").output.shape == (None, 2, 3, 16)
    assert shallow.output_shape == (None, 64, 96, 3)
    assert pix2pix_generator(width=28, height=28, base=2).get_layer("down2").output.shape == (None, 7, 7, 4)


def test_skips_join_stages_of_equal_size():
    model = pix2pix_generator(width=32, height=32, base=2, depth=3)
    for index in (1, 2):
        upper, skipped = model.get_layer(f"up{index}_skip").input
        assert upper.shape == skipped.shape
        assert skipped is model.get_layer(f"down{index}_relu").output


@pytest.mark.parametrize(("stages", "field"), [(1, 16), (2, 34), (3, 70)])
def test_one_logit_sees_one_patch(stages, field):
    side = 96
    model = patch_discriminator(width=side, height=side, channels=1, stages=stages, base=4, seed=1)
    logits = model.output_shape[1]
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1, side, side, 1)).astype(np.float32)
    target = rng.random((1, side, side, 1)).astype(np.float32)

    def logit(changed):
        return float(np.asarray(model([changed, target]))[0, logits // 2, logits // 2, 0])

    before = logit(pixels)
    seen = []
    for x in range(side):
        changed = pixels.copy()
        changed[:, :, x] = 255 - changed[:, :, x]
        if logit(changed) != before:
            seen.append(x)
    assert seen == list(range(seen[0], seen[0] + field))


def test_both_inputs_of_the_discriminator_arrive_in_the_same_range():
    model = patch_discriminator(width=32, height=32, channels=1, stages=1, base=2)
    pair = keras.Model(model.inputs, model.get_layer("pair").output)
    white = [np.full((1, 32, 32, 1), value, np.float32) for value in (255.0, 1.0)]
    assert np.allclose(np.asarray(pair(white)), 1.0)
    assert np.allclose(np.asarray(pair([0 * x for x in white])), -1.0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"width": 36, "depth": 3}, "multiples of 8"),
        ({"width": 30}, "multiples of 4"),
        ({"depth": 1}, "no skip"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, says):
    with pytest.raises(RecipeError, match=says):
        pix2pix_generator(**{"width": 32, "height": 32, "base": 2} | arguments)


def test_a_frame_smaller_than_the_discriminator_is_refused():
    assert patch_discriminator(width=24, height=24, base=2).output_shape == (None, 1, 1, 1)
    with pytest.raises(RecipeError, match="at least 24"):
        patch_discriminator(width=23, height=24)
    with pytest.raises(RecipeError, match="no patch"):
        patch_discriminator(stages=0)


@pytest.mark.parametrize("build", [pix2pix_generator, patch_discriminator])
def test_seeded(build, same_weights):
    same_weights(lambda seed: build(width=32, height=32, base=2, seed=seed))


@pytest.mark.parametrize("upsampling", ["bilinear", "transposed"])
def test_the_generator_converts(upsampling, conversions, noise):
    model = pix2pix_generator(width=32, height=32, depth=3, base=4, upsampling=upsampling, seed=1)
    pixels = noise(32, 32)
    conversions.settle(model, pixels)
    assert 0 <= conversions.keras(model, pixels)[0].min() <= conversions.keras(model, pixels)[0].max() <= 1
    conversions.check_float(model, pixels)
    conversions.check_int8(model, pixels, correlation=0.9)
