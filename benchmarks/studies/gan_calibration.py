"""The second use of `gan_uses.py`: a calibration set when patients' frames may not leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from gan_frames import Drawer, Frames, Task

from bedside.export.steps import Steps
from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.drawing import draw
from bedside.runtime.errors import UsageError
from bedside.runtime.loading import open_session

#: Side of the pictures.
SIDE = 64
#: Steps of the model that is quantized.
_STEPS = 300
#: Frames of a calibration set.
_FRAMES = 128


class Ranges(msgspec.Struct, frozen=True):
    """One calibration set.

    Attributes:
        name: Where its frames are from.
        accuracy: Of the int8 file.
        interval: 95 % (Wilson).
        agreement: Of its decisions with Keras.
        difference: Mean absolute difference of its probabilities from those of Keras.
    """

    name: str
    accuracy: float
    interval: tuple[float, float]
    agreement: float
    difference: float


class CalibrationStudy(msgspec.Struct, frozen=True):
    """The second use.

    Attributes:
        task: Name.
        keras: Accuracy of the float model.
        interval: 95 % (Wilson).
        tested: Frames.
        frames: Of each calibration set.
        generator: Which DCGAN drew.
        sets: One by one.
    """

    task: str
    keras: float
    interval: tuple[float, float]
    tested: int
    frames: int
    generator: str
    sets: tuple[Ranges, ...]


def calibration_sets(task: Task, gan: Path | None, steps: int, watch: Steps) -> CalibrationStudy:
    """The second use, see the top of this file."""
    from bedside.export.adopt.graph import adopt
    from bedside.export.convert.calibration import Calibration, with_extremes
    from bedside.export.convert.describe import describe
    from bedside.export.convert.tflite import convert_tflite
    from bedside.export.gates.evaluate import evaluate_keras, measure
    from bedside.export.tasks import protocol
    from bedside.export.tasks.kits import kit_for

    with watch.step("train the model") as progress:
        model = _classifier(task, progress)
    generator, drawn = _drawn(task, gan, steps, watch)
    spec = InputSpec(width=SIDE, height=SIDE, channels=1, color="gray", interpolation="area")
    adopted = adopt(model, "classification", task.labels)
    kit = kit_for("classification", task.labels)
    keys = tuple(str(i) for i in range(len(task.test_x)))
    truth = [int(k) for k in task.test_y]
    samples = protocol.Samples(task.test_x, truth, task.test_groups, keys)
    holdout = evaluate_keras(adopted.model, kit, adopted.decode, spec, samples)
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(task.x))[:_FRAMES]
    noise = rng.integers(0, 256, (_FRAMES, SIDE, SIDE, 1), np.uint8)
    sets = {
        "real frames": Calibration.from_frames(task.x[chosen], "real").frames,
        "drawn by the DCGAN": Calibration.from_frames(drawn, "drawn").frames,
        "uniform noise": Calibration.from_frames(noise, "noise").frames,
        "black and white alone": with_extremes(np.empty((0, SIDE, SIDE, 1), np.uint8)),
    }
    keras_scores, ranges = np.stack(holdout.rows), []
    with watch.step("quantize") as progress:
        for done, (name, frames) in enumerate(sets.items(), start=1):
            artifact = describe("tflite-int8", convert_tflite(adopted.model, "int8", frames), spec)
            found = measure(artifact, holdout)
            difference = float(np.abs(np.stack(found.rows) - keras_scores).mean())
            ranges.append(Ranges(name, found.marks.value, found.marks.interval, found.agreement, difference))
            progress(done, len(sets))
    marks = holdout.marks
    return CalibrationStudy(
        task=task.name,
        keras=marks.value,
        interval=marks.interval,
        tested=len(task.test_y),
        frames=len(chosen),
        generator=generator,
        sets=tuple(ranges),
    )


def _classifier(task: Task, progress: Any) -> Any:
    from bedside.export.backend import keras
    from bedside.export.models.mobilenet import mobilenet
    from bedside.export.training.augment import Augmenter

    shape = {"width": SIDE, "height": SIDE, "channels": 1, "classes": len(task.labels)}
    model = mobilenet(**shape, width_multiplier=0.35, seed=1)
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    rng, vary = np.random.default_rng(0), Augmenter(task.augment)
    for step in range(_STEPS):
        chosen = rng.integers(0, len(task.x), 24)
        batch = np.stack([vary(frame, rng)[0] for frame in task.x[chosen]])
        model.train_on_batch(batch.astype(np.float32), task.y[chosen])
        progress(step + 1, _STEPS)
    return model


def _drawn(task: Task, gan: Path | None, steps: int, watch: Steps) -> tuple[str, Frames]:
    """A generator's name, and what it drew."""
    if gan is None:
        drawer = Drawer(SIDE, 1)
        with watch.step("train a DCGAN"):
            drawer.train(task.x, steps, mirror=task.augment.flip_horizontal)
        return f"trained here for {steps} steps on {len(task.x)} frames", drawer.draw(_FRAMES)
    with open_bundle(gan) as bundle:
        loaded = open_session(bundle)
        try:
            drawn = np.stack([pixels for pixels, _ in draw(loaded, _FRAMES)])
        finally:
            loaded.session.close()
        name = f"{bundle.manifest.name} {bundle.manifest.version}"
    if drawn.shape[1:] != (SIDE, SIDE, 1):
        raise UsageError(f"draws {drawn.shape[1:]}, expected {SIDE}x{SIDE} in gray", where=str(gan))
    return name, drawn
