"""A small three-class problem, a model that learned it, and one export, for all tests of the exporter; and data
sets of any task out of arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bedside.export.data.types import DataSet, Item, Split, SplitName, Target
from bedside.runtime.bundle.manifest import DataSource

SIDE = 16
LABELS = ("flat", "ramp down", "ramp right")


def draw(
    count: int, seed: int, low: int = 0, high: int = 90
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Noise, and noise on a ramp downwards or to the right: `(N, 16, 16, 3) uint8` within 0..179."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % len(LABELS)
    ramp = np.arange(SIDE) * 90 // SIDE
    x = rng.integers(low, high, (count, SIDE, SIDE, 3))
    x = x + ramp[None, :, None, None] * (y == 1)[:, None, None, None]
    x = x + ramp[None, None, :, None] * (y == 2)[:, None, None, None]
    return x.astype(np.uint8), y.astype(np.int64)


def split_of(
    name: SplitName,
    x: npt.NDArray[np.uint8],
    y: npt.NDArray[np.int64],
    targets: Sequence[Target] = (),
) -> Split:
    """Frames `(N, H, W, C)` as a split, every frame a group of its own."""
    color = "gray" if x.shape[3] == 1 else "rgb"
    items = tuple(
        Item(
            key=f"{name}/{i:04d}",
            label=int(y[i]),
            group=f"{name}{i}",
            load=lambda i=i: (x[i], color),  # type: ignore[misc]
            sha256=hashlib.sha256(x[i].tobytes()).hexdigest(),
            target=(lambda i=i: targets[i]) if targets else None,  # type: ignore[misc]
        )
        for i in range(len(x))
    )
    return Split(name=name, items=items, sha256=hashlib.sha256(x.tobytes()).hexdigest(), groups=len(x))


def split(name: SplitName, count: int, seed: int) -> Split:
    """A split of drawn frames."""
    return split_of(name, *draw(count, seed))


def data_of(
    labels: tuple[str, ...],
    x: npt.NDArray[np.uint8],
    y: npt.NDArray[np.int64] | None = None,
    targets: Sequence[Target] = (),
) -> DataSet:
    """Half of the frames for training, an eighth for validation and for calibration each, the rest held out."""
    y = np.zeros(len(x), np.int64) if y is None else y
    ends = [0, *(len(x) * eighths // 8 for eighths in (4, 5, 6, 8))]
    names: tuple[SplitName, ...] = ("train", "validation", "calibration", "holdout")
    return DataSet(
        labels,
        *(
            split_of(name, x[start:stop], y[start:stop], targets[start:stop])
            for name, start, stop in zip(names, ends[:-1], ends[1:], strict=True)
        ),
    )


@pytest.fixture(scope="session")
def make_data() -> Callable[..., DataSet]:
    """See `data_of`."""
    return data_of


@pytest.fixture(scope="session")
def data() -> DataSet:
    return DataSet(
        labels=LABELS,
        train=split("train", 180, 1),
        validation=split("validation", 30, 2),
        calibration=split("calibration", 60, 4),
        holdout=split("holdout", 90, 3),
        sources=(
            DataSource(name="drawn ramps", licence="CC0", citation="This test.", note="No patient in it"),
        ),
    )


@pytest.fixture(scope="session")
def learned() -> Any:
    """A Sequential with Rescaling in front and softmax at the end that knows the three classes."""
    from bedside.export.backend import keras

    layers = keras.layers
    keras.utils.set_random_seed(5)
    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(16, activation="relu"),
            layers.Dense(3, activation="softmax"),
        ],
        name="learned",
    )
    x, y = draw(300, 1)
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(x.astype(np.float32), y, epochs=6, verbose=0)
    return model


@pytest.fixture(scope="session")
def exported(learned: Any, data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The whole export of `learned`: every variant, bundle, report."""
    from bedside.export.pipeline import Plan, export_model

    out: Path = tmp_path_factory.mktemp("export") / "ramps.bedside"
    plan = Plan(name="ramps", description="Tells ramps apart.", intended_use="Tests.", licence="Apache-2.0")
    return export_model(learned, data, out, plan)
