"""Data sets and recipes for trainings that last a second."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bedside.export.data.recipe import SyntheticData
from bedside.export.data.types import DataSet, Item, Split, SplitName, Target
from bedside.export.models.recipe import Cnn
from bedside.export.recipe import Recipe, TrainingRecipe


def split_of(
    name: SplitName,
    x: npt.NDArray[np.uint8],
    y: npt.NDArray[np.int64],
    targets: Sequence[Target] = (),
) -> Split:
    """Every frame a group of its own."""
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


def data_of(
    labels: tuple[str, ...],
    train: tuple[Any, ...],
    validation: tuple[Any, ...],
) -> DataSet:
    """Train and validation; each `(x, y)` or `(x, y, targets)`."""
    return DataSet(
        labels=labels,
        train=split_of("train", *train),
        validation=split_of("validation", *validation),
        calibration=split_of("calibration", *(part[:0] for part in validation)),
        holdout=split_of("holdout", *validation),
    )


def recipe_of(model: Any = None, **training: Any) -> Recipe:
    """A recipe with no data of its own."""
    return Recipe(
        name="tiny",
        data=SyntheticData(),
        seed=5,
        model=model or Cnn(width=22, height=22, channels=1, width_multiplier=0.25),
        training=TrainingRecipe(
            **{"epochs": 4, "batch": 8, "patience": 0, "learning_rate": 0.003} | training
        ),
    )


def bright_and_dark(count: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Dark pictures are 0, bright ones 1."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 2
    x = np.clip(rng.normal(60 + 120 * y[:, None, None, None], 25, (count, 22, 22, 1)), 0, 255)
    return x.astype(np.uint8), y.astype(np.int64)


@pytest.fixture(scope="session")
def make_recipe() -> Callable[..., Recipe]:
    return recipe_of


@pytest.fixture(scope="session")
def make_data() -> Callable[..., DataSet]:
    return data_of


@pytest.fixture(scope="session")
def shades() -> DataSet:
    return data_of(("dark", "bright"), bright_and_dark(48, 1), bright_and_dark(16, 2))
