"""The first use of `gan_uses.py`: more training samples for a small set."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from gan_frames import Drawer, Frames, Labels, Task, variables

from bedside.export.steps import Steps
from bedside.export.training.augment_recipe import AugmentRecipe

#: Side of the pictures.
SIDE = 28
#: Drawn frames per class and real one.
_TIMES = 8
#: Steps of the classifier.
_STEPS = 240


class Arm(msgspec.Struct, frozen=True):
    """One way to train, over seeds.

    Attributes:
        name: What it learned from.
        accuracy: On the test frames, per seed.
        mean: Over seeds.
        interval: 95 % of the mean (Student's t over seeds; a seed draws the real frames, too).
        gain: Mean difference from real frames alone, seed by seed.
        gain_interval: 95 %.
    """

    name: str
    accuracy: tuple[float, ...]
    mean: float
    interval: tuple[float, float]
    gain: float = 0.0
    gain_interval: tuple[float, float] = (0.0, 0.0)


class Samples(msgspec.Struct, frozen=True):
    """The first use.

    Attributes:
        task: Name.
        classes: How many.
        real: Frames per class.
        drawn: Frames per class.
        tested: Frames.
        arms: Ways to train.
    """

    task: str
    classes: int
    real: int
    drawn: int
    tested: int
    arms: tuple[Arm, ...]


def more_samples(task: Task, real: int, seeds: int, steps: int, watch: Steps) -> Samples:
    """The first use, see the top of this file."""
    found: dict[str, list[float]] = {}
    with watch.step(f"{task.name}, {real} real") as progress:
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            chosen = np.concatenate(
                [
                    rng.choice(np.flatnonzero(task.y == k), real, replace=False)
                    for k in range(len(task.labels))
                ]
            )
            x, y = task.x[chosen], task.y[chosen]
            drawer, parts = Drawer(SIDE, seed), []
            for label in range(len(task.labels)):
                drawer.train(x[y == label], steps, mirror=task.augment.flip_horizontal)
                parts.append(drawer.draw(_TIMES * real))
            more = np.concatenate([x, *parts])
            of = np.concatenate([y, np.repeat(np.arange(len(task.labels)), _TIMES * real)])
            classifier = Classifier(len(task.labels), seed)
            for name, (a, b), augment in (
                ("real", (x, y), None),
                ("real, augmented", (x, y), task.augment),
                ("real and drawn", (more, of), None),
                ("real and drawn, augmented", (more, of), task.augment),
            ):
                # Half of every batch is real: drawn frames outnumber them.
                classifier.train(a, b, augment, real=len(x))
                found.setdefault(name, []).append(classifier.accuracy(task))
            progress(seed + 1, seeds)
    base = found["real"]
    return Samples(
        task=task.name,
        classes=len(task.labels),
        real=real,
        drawn=_TIMES * real,
        tested=len(task.test_y),
        arms=tuple(arm(name, values, base) for name, values in found.items()),
    )


class Classifier:
    """The textbook CNN, trained anew from the same first weights.

    Args:
        classes: How many.
        seed: Of weights and order.
    """

    def __init__(self, classes: int, seed: int) -> None:
        from bedside.export.backend import keras
        from bedside.export.models.cnn import textbook_cnn

        shape = {"width": SIDE, "height": SIDE, "channels": 1, "classes": classes}
        self._model = textbook_cnn(**shape, width_multiplier=0.5, dense=32, seed=seed)
        self._model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
        self._model.optimizer.build(self._model.trainable_variables)
        self._first = [v.numpy() for v in variables(self._model)]
        self._seed = seed

    def train(self, x: Frames, y: Labels, augment: AugmentRecipe | None, *, real: int) -> None:
        """A fixed number of steps; the first `real` frames are half of every batch where there are more."""
        from bedside.export.training.augment import Augmenter

        for variable, value in zip(variables(self._model), self._first, strict=True):
            variable.assign(value)
        rng, vary = np.random.default_rng(self._seed), Augmenter(augment or AugmentRecipe())
        for _ in range(_STEPS):
            chosen = rng.integers(0, real, 32)
            if len(x) > real:
                chosen[16:] = rng.integers(real, len(x), 16)
            batch = np.stack([vary(frame, rng)[0] for frame in x[chosen]])
            self._model.train_on_batch(batch.astype(np.float32), y[chosen])

    def accuracy(self, task: Task) -> float:
        """On the test frames."""
        scores = self._model.predict_on_batch(task.test_x.astype(np.float32))
        return float((scores.argmax(axis=1) == task.test_y).mean())


def arm(name: str, accuracy: Sequence[float], base: Sequence[float]) -> Arm:
    """With intervals."""
    mean, interval = student(accuracy)
    gain, gain_interval = student(np.subtract(accuracy, base).tolist())
    return Arm(name, tuple(accuracy), mean, interval, gain, gain_interval)


def student(values: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Mean and its 95 % interval (Student's t); the mean itself where there is one value."""
    from scipy import stats

    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, (mean, mean)
    spread = float(np.std(values, ddof=1)) / len(values) ** 0.5
    half = float(stats.t.ppf(0.975, len(values) - 1)) * spread
    return mean, (mean - half, mean + half)
