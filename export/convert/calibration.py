"""The calibration set: training frames that show the quantizers which ranges occur."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.data.reading import read_pixels
from bedside.export.data.types import Item, Progress, Split
from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.preprocess import Preprocessor

#: Fewer training frames than this are used where there are no more, and the report says so (TensorFlow's
#: guide recommends 100 to 500: "Post-training integer quantization").
ENOUGH = 100


class Calibration(msgspec.Struct, frozen=True):
    """Samples for the quantizers.

    Attributes:
        frames: `(N + 2, H, W, C) uint8`: N frames, then a black and a white one; or `(N, D) float32` latents.
        samples: N.
        note: What a reader must know, empty where there is nothing.
    """

    frames: npt.NDArray[Any]
    samples: int
    note: str = ""

    @classmethod
    def from_frames(cls, frames: npt.NDArray[np.uint8], note: str) -> Calibration:
        """Frames that are at hand, for example drawn by a generator because patient images may not leave.

        Args:
            frames: `(N, H, W, C) uint8`, as the model takes them.
            note: Where they come from.

        Raises:
            ValueError: They are no such array, or none.
        """
        if frames.ndim != 4 or frames.dtype != np.uint8 or not len(frames):
            raise ValueError(
                f"calibration frames are {frames.shape} {frames.dtype}, expected (N, H, W, C) uint8"
            )
        return cls(frames=with_extremes(frames), samples=len(frames), note=note)


def calibrate(
    train: Split, spec: InputSpec, samples: int, seed: int, progress: Progress | None = None
) -> Calibration:
    """Draw frames from the training split, and from no other.

    Classes take turns, and within a class its groups do, so that a long cine does not crowd out other
    subjects.

    Args:
        train: The training split.
        spec: Of the model's input; frames go through the device's own preprocessing.
        samples: How many at most.
        seed: Of the draw.
        progress: Called after every frame.
    """
    if train.name != "train":
        raise ValueError(f"calibration uses the training split, not {train.name}")
    items = draw(train.items, samples, seed)
    subset = Split(
        name="train", items=tuple(items), sha256=train.sha256, groups=len({i.group for i in items})
    )
    frames = read_pixels(subset, Preprocessor(spec), spec, progress)
    note = ""
    if len(items) < ENOUGH:
        note = f"int8 calibration saw {len(items)} training frames; {ENOUGH} or more are recommended"
    return Calibration(frames=with_extremes(frames), samples=len(items), note=note)


def calibration_latents(size: int, samples: int, seed: int) -> Calibration:
    """Standard normal latents, as a generator gets them on the device; they have no black and no white.

    Args:
        size: D, numbers of a latent.
        samples: N.
        seed: Of the draw.
    """
    latents = np.random.default_rng(seed).standard_normal((samples, size), np.float32)
    return Calibration(frames=latents, samples=samples)


def draw(items: tuple[Item, ...], samples: int, seed: int) -> list[Item]:
    """At most `samples` items: classes in turn, groups in turn within a class, at random within a group."""
    rng = np.random.default_rng(seed)
    queues: dict[int, dict[str, list[Item]]] = defaultdict(lambda: defaultdict(list))
    for index in rng.permutation(len(items)):
        queues[items[index].label][items[index].group].append(items[index])
    drawn: list[Item] = []
    while queues and len(drawn) < samples:
        for label in sorted(queues):
            groups = queues[label]
            name = next(iter(groups))
            group = groups.pop(name)
            drawn.append(group.pop())
            if group:
                groups[name] = group  # to the back
            if not groups:
                del queues[label]
            if len(drawn) == samples:
                break
    return drawn


def with_extremes(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The frames, then an all-0 and an all-255 one.

    Without them the input scale follows the brightest pixel that was seen: frames within 0..179 gave 0.70,
    and the device's raw pixels were silently misread. They also teach the ranges of a blank and of a
    saturated screen.
    """
    shape = (1, *frames.shape[1:])
    return np.concatenate([frames, np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)])
