"""Two networks against each other: only one learns at a time, both learn, and a kill loses nothing."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bedside.export.backend import keras
from bedside.export.data.reading import Examples
from bedside.export.data.types import PictureTarget
from bedside.export.models.building import build_network
from bedside.export.models.dcgan import dcgan_discriminator, dcgan_generator
from bedside.export.models.pix2pix import patch_discriminator, pix2pix_generator
from bedside.export.models.recipe import Dcgan, Pix2Pix
from bedside.export.steps import Silent
from bedside.export.training import gan, pix2pix
from bedside.export.training.progress import Silent as SilentTraining
from bedside.export.training.run import train
from bedside.runtime.errors import RecipeError

RNG = np.random.default_rng(1)


def values(variables: Any) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


def changed(before: list[np.ndarray], after: list[np.ndarray]) -> list[bool]:
    return [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]


def unconditional() -> tuple[Any, Any, Any]:
    generator = dcgan_generator(width=16, height=16, base=4, latent=8, seed=1)
    discriminator = dcgan_discriminator(width=16, height=16, base=4, seed=2)
    pair = gan.adversaries(generator, discriminator, 2e-3)
    frames, latents = RNG.uniform(-1, 1, (4, 16, 16, 1)), RNG.standard_normal((4, 8))
    ones = np.ones((4, 1), np.float32)
    return (
        pair,
        lambda: pair.judge(frames.astype(np.float32), ones),
        lambda: pair.fool(latents.astype(np.float32), ones),
    )


def conditional() -> tuple[Any, Any, Any]:
    generator = pix2pix_generator(width=32, height=32, channels=1, base=4, depth=3, seed=1)
    discriminator = patch_discriminator(width=32, height=32, channels=1, base=4, seed=2)
    pair = pix2pix.adversaries(generator, discriminator, 2e-3, 1.0)
    x = RNG.uniform(0, 255, (4, 32, 32, 1)).astype(np.float32)
    wanted = (x / 255).astype(np.float32)
    real = np.ones((4, *discriminator.output_shape[1:]), np.float32)
    return pair, lambda: pair.judge([x, wanted], real), lambda: pair.fool(x, [real, wanted])


@pytest.mark.parametrize("make", [unconditional, conditional])
def test_only_one_of_the_two_learns_at_a_time(make: Any) -> None:
    pair, judge, fool = make()
    for _ in range(2):  # the second round finds both steps traced
        for step, learns, stays in (
            (judge, pair.discriminator, pair.generator),
            (fool, pair.generator, pair.discriminator),
        ):
            mine, others = values(learns.trainable_variables), values(stays.trainable_variables)
            assert np.isfinite(step())
            assert all(changed(mine, values(learns.trainable_variables)))
            assert not any(changed(others, values(stays.trainable_variables)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [28, 56, 64])
def test_the_textbook_sizes_build(side: int, channels: int, make_recipe: Any) -> None:
    model = Dcgan(width=side, height=side, channels=channels, base=4)
    generator = build_network(make_recipe(model), ())
    discriminator = dcgan_discriminator(width=side, height=side, channels=channels, base=4)
    drawn = gan.drawn_pictures(generator, RNG.standard_normal((2, 100)).astype(np.float32))
    assert drawn.shape == (2, side, side, channels) and drawn.dtype == np.uint8
    assert discriminator(gan.scaled(drawn)).shape == (2, 1)
    pair = gan.adversaries(generator, discriminator, 2e-4)
    assert len(pair.models["to_fool"].trainable_variables) == len(generator.trainable_variables)


def blobs(count: int, seed: int, side: int) -> np.ndarray:
    """Bright disks near the middle of dark frames."""
    rng = np.random.default_rng(seed)
    frames = np.full((count, side, side, 1), 20, np.uint8)
    for frame in frames:
        centre = tuple(int(v) for v in rng.integers(side // 2 - 2, side // 2 + 3, 2))
        cv2.circle(frame, centre, side // 4, 230, cv2.FILLED)
    return frames


def test_a_gan_learns_and_goes_on_after_a_kill(tmp_path: Path, make_recipe: Any, make_data: Any) -> None:
    x, y = blobs(32, 1, 16), np.zeros(32, np.int64)
    data = make_data((), (x, y), (x[:16], y[:16]))
    model = Dcgan(width=16, height=16, channels=1, base=8, latent=8)
    recipe = make_recipe(model, epochs=6, batch=8, learning_rate=2e-3)
    whole = train(recipe, data, tmp_path / "whole", Silent())
    history = whole.history
    assert set(history) == {"loss", "discriminator", "val_loss", "val_texture distance"}
    assert min(history["val_loss"]) < history["val_loss"][0], "pictures become like the real ones"
    assert np.std(history["loss"]) > 0 and np.std(history["discriminator"]) > 0
    assert whole.model.output_shape == (None, 16, 16, 1)

    class Dying(SilentTraining):
        def step(self, epoch: int, step: int) -> None:
            if epoch == 3:
                raise KeyboardInterrupt

    steps = Silent()
    steps.training = Dying()
    with pytest.raises(KeyboardInterrupt):
        train(recipe, data, tmp_path / "cut", steps)
    resumed = train(recipe, data, tmp_path / "cut", Silent())
    assert resumed.resumed_from == 3
    assert resumed.history == whole.history
    assert not any(changed(values(resumed.model.weights), values(whole.model.weights)))


def test_pix2pix_learns_to_invert(tmp_path: Path, make_recipe: Any, make_data: Any) -> None:
    x, y = blobs(24, 1, 32), np.zeros(24, np.int64)
    targets = [PictureTarget(255 - frame, "gray") for frame in x]
    data = make_data((), (x, y, targets), (x[:8], y[:8], targets[:8]))
    model = Pix2Pix(width=32, height=32, channels=1, base=4, depth=3)
    recipe = make_recipe(model, epochs=5, batch=8, learning_rate=3e-3)
    result = train(recipe, data, tmp_path, Silent())
    errors = result.history["val_error"]
    assert min(errors) < 0.8 * errors[0]
    assert result.best_epoch == 1 + int(np.argmin(errors))
    made = result.model(x[:8].astype(np.float32), training=False)
    found = np.abs(255 * keras.ops.convert_to_numpy(made) - (255.0 - x[:8])).mean()
    assert found == pytest.approx(min(errors), rel=1e-3)


def test_a_single_frame_has_no_spread(tmp_path: Path, make_recipe: Any) -> None:
    one = Examples(blobs(1, 1, 16), np.zeros(1, np.int64), (), ())
    recipe = make_recipe(Dcgan(width=16, height=16, channels=1, base=4))
    with pytest.raises(RecipeError, match="train split has 1 frame"):
        gan.train_gan(recipe, one, one, tmp_path, SilentTraining())
