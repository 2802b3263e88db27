"""Training of pix2pix (Isola et al., Image-to-image translation with conditional adversarial networks, 2017)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from bedside.export.backend import keras
from bedside.export.data.reading import Examples
from bedside.export.data.types import PictureTarget
from bedside.export.models.building import build_network
from bedside.export.models.pix2pix import patch_discriminator
from bedside.export.models.recipe import Pix2Pix
from bedside.export.recipe import Recipe
from bedside.export.training.adversarial import RATE, Adversaries, Fooling, compiled, train_adversaries
from bedside.export.training.augment import Augmenter
from bedside.export.training.checks import check_examples, training_key
from bedside.export.training.progress import TrainingProgress
from bedside.export.training.result import TrainingResult

#: Weight of the absolute error beside the discriminator (Isola et al., section 6.1).
_ABSOLUTE = 100.0


def train_pix2pix(
    recipe: Recipe,
    train_set: Examples,
    validation: Examples,
    work_dir: Path,
    shown: TrainingProgress,
    notes: tuple[str, ...] = (),
    seconds_now: Callable[[], float] = time.monotonic,
) -> TrainingResult:
    """Train generator and PatchGAN, one step each per batch; the lowest absolute error on the validation split
    decides which epoch is kept.

    Args:
        recipe: `[model]` is a `Pix2Pix`.
        train_set: Frames with the pictures they should become.
        validation: The same.
        work_dir: Where the state is kept.
        shown: Told of every batch and epoch.
        notes: Handed on.
        seconds_now: Monotonic time in seconds.

    Raises:
        RecipeError: Data and model do not fit, the loss is not finite, or memory is short.
        SinkError: The state cannot be written or read.
    """
    model, settings = recipe.model, recipe.training
    assert isinstance(model, Pix2Pix)
    generator = build_network(recipe, ())
    check_examples(generator, train_set, validation)
    discriminator = patch_discriminator(
        width=model.width,
        height=model.height,
        channels=model.channels,
        base=model.base,
        seed=recipe.seed + 100,
    )
    pair = adversaries(
        generator, discriminator, settings.learning_rate or RATE, model.adversarial, settings.average
    )
    patches = discriminator.output_shape[1:]
    augmenter = Augmenter(settings.augment)
    steps = max(1, len(train_set.x) // settings.batch)

    def epoch_steps(epoch: int) -> Iterator[tuple[float, float]]:
        rng = np.random.default_rng((recipe.seed, epoch))
        order = rng.permutation(len(train_set.x))
        for step in range(steps):
            varied = [
                augmenter(train_set.x[i], rng, target=train_set.targets[i])
                for i in order[step * settings.batch : (step + 1) * settings.batch]
            ]
            x = np.stack([pixels for pixels, _ in varied]).astype(np.float32)
            wanted = np.stack([cast(PictureTarget, t).pixels for _, t in varied]).astype(np.float32) / 255.0
            made = keras.ops.convert_to_numpy(generator(x, training=True))
            real, fake = np.ones((len(x), *patches), np.float32), np.zeros((len(x), *patches), np.float32)
            judged = pair.judge(
                [np.concatenate([x, x]), np.concatenate([wanted, made])], np.concatenate([real, fake])
            )
            yield pair.fool(x, [real, wanted]), judged

    frames = validation.x.astype(np.float32)
    truth = [cast(PictureTarget, t).pixels for t in validation.targets]

    def validate() -> float:
        errors = []
        for start in range(0, len(frames), settings.batch):
            made = keras.ops.convert_to_numpy(
                generator(frames[start : start + settings.batch], training=False)
            )
            wanted = np.stack(truth[start : start + settings.batch])
            errors += np.abs(255.0 * np.asarray(made) - wanted).mean(axis=(1, 2, 3)).tolist()
        return float(np.mean(errors))

    return train_adversaries(
        pair,
        epoch_steps,
        steps,
        validate,
        recipe,
        work_dir / training_key(generator, train_set, validation, recipe)[:16],
        shown,
        notes,
        "error",
        seconds_now,
    )


def adversaries(
    generator: Any, discriminator: Any, rate: float, adversarial: float, average: float | None = None
) -> Adversaries:
    """Compile both sides; the generator's loss is the discriminator's plus 100 times the absolute error."""
    pixels = keras.Input(generator.input_shape[1:], name="pixels")
    made = generator(pixels)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    compiled(discriminator, loss, rate)
    to_fool = compiled(
        Fooling(pixels, [discriminator([pixels, made]), made], generator),
        [loss, keras.losses.MeanAbsoluteError()],
        rate,
        average=average,
        loss_weights=[adversarial, _ABSOLUTE],
    )
    return Adversaries(generator, discriminator, discriminator, to_fool)
