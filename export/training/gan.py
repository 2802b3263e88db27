"""Training of a DCGAN (Radford et al., 2016; layout and losses of Goodfellow et al., 2014)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bedside.export.backend import keras
from bedside.export.data.reading import Examples
from bedside.export.metrics.pictures import frechet_distance, texture_features
from bedside.export.models.building import build_network
from bedside.export.models.dcgan import dcgan_discriminator
from bedside.export.models.recipe import Dcgan
from bedside.export.recipe import Recipe
from bedside.export.training.adversarial import RATE, Adversaries, Fooling, compiled, train_adversaries
from bedside.export.training.augment import Augmenter
from bedside.export.training.checks import check_pictures, training_key
from bedside.export.training.progress import TrainingProgress
from bedside.export.training.result import TrainingResult
from bedside.export.training.same_for_both import SameForBoth

#: Pictures drawn to judge an epoch.
_JUDGED = 256


def train_gan(
    recipe: Recipe,
    train_set: Examples,
    validation: Examples,
    work_dir: Path,
    shown: TrainingProgress,
    notes: tuple[str, ...] = (),
    seconds_now: Callable[[], float] = time.monotonic,
) -> TrainingResult:
    """Train generator and discriminator against each other, one step each per batch.

    Kept are the generator's weights of the epoch whose pictures' texture is closest to the validation split's.

    Args:
        recipe: `[model]` is a `Dcgan`.
        train_set: Real frames.
        validation: Real frames that decide which epoch is kept.
        work_dir: Where the state is kept.
        shown: Told of every batch and epoch.
        notes: Handed on.
        seconds_now: Monotonic time in seconds.

    Raises:
        RecipeError: Too few frames, the loss is not finite, or memory is short.
        SinkError: The state cannot be written or read.
    """
    model, settings = recipe.model, recipe.training
    assert isinstance(model, Dcgan)
    check_pictures(train_set, validation)
    generator = build_network(recipe, ())
    discriminator = dcgan_discriminator(
        width=model.width,
        height=model.height,
        channels=model.channels,
        base=model.base,
        seed=recipe.seed + 100,
    )
    pair = adversaries(
        generator,
        discriminator,
        settings.learning_rate or RATE,
        average=settings.average,
        seed=recipe.seed + 200 if model.vary_both else None,
    )
    augmenter = Augmenter(settings.augment)
    steps = max(1, len(train_set.x) // settings.batch)

    def epoch_steps(epoch: int) -> Iterator[tuple[float, float]]:
        rng = np.random.default_rng((recipe.seed, epoch))
        order = rng.permutation(len(train_set.x))
        for step in range(steps):
            chosen = order[step * settings.batch : (step + 1) * settings.batch]
            real = np.stack([augmenter(train_set.x[i], rng)[0] for i in chosen])
            latents = rng.standard_normal((len(real), model.latent)).astype(np.float32)
            drawn = keras.ops.convert_to_numpy(generator(latents, training=True))
            x = np.concatenate([scaled(real), drawn])
            y = np.concatenate([np.ones((len(real), 1)), np.zeros((len(drawn), 1))]).astype(np.float32)
            judged = pair.judge(x, y)
            fooled = pair.fool(
                rng.standard_normal((len(real), model.latent)).astype(np.float32),
                np.ones((len(real), 1), np.float32),
            )
            yield fooled, judged

    wanted = texture_features(validation.x)
    fixed = np.random.default_rng(recipe.seed).standard_normal((_JUDGED, model.latent)).astype(np.float32)

    def validate() -> float:
        return frechet_distance(texture_features(drawn_pictures(generator, fixed)), wanted)

    return train_adversaries(
        pair,
        epoch_steps,
        steps,
        validate,
        recipe,
        work_dir / training_key(generator, train_set, validation, recipe)[:16],
        shown,
        notes,
        "texture distance",
        seconds_now,
    )


def adversaries(
    generator: Any, discriminator: Any, rate: float, *, average: float | None = None, seed: int | None = None
) -> Adversaries:
    """Compile both sides with Adam and binary cross-entropy on logits.

    Args:
        generator: From latents to pictures.
        discriminator: From pictures to logits.
        rate: Learning rate of both.
        average: Momentum of the average of the generator's weights; None: none.
        seed: Of `SameForBoth` in front of the discriminator; None: nothing is varied there.
    """
    latent = keras.Input(generator.input_shape[1:], name="latent")
    frame = keras.Input(discriminator.input_shape[1:], name="frame")
    drawn = generator(latent)
    seen = (frame, drawn) if seed is None else (SameForBoth(seed)(frame), SameForBoth(seed + 1)(drawn))
    to_judge = keras.Model(frame, discriminator(seen[0]), name="to_judge")
    to_fool = Fooling(latent, discriminator(seen[1]), generator)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    return Adversaries(
        generator,
        discriminator,
        compiled(to_judge, loss, rate),
        compiled(to_fool, loss, rate, average=average),
    )


def scaled(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Pixels 0..255 to -1..1, the range of the generator's tanh."""
    return pixels.astype(np.float32) / 127.5 - 1.0


def drawn_pictures(generator: Any, latents: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Pictures of latents, `(N, H, W, C) uint8`.

    Args:
        generator: Trained.
        latents: `(N, D) float32`.
    """
    parts = [
        np.asarray(keras.ops.convert_to_numpy(generator(latents[i : i + 64], training=False)))
        for i in range(0, len(latents), 64)
    ]
    return np.clip(np.rint((np.concatenate(parts) + 1.0) * 127.5), 0, 255).astype(np.uint8)
