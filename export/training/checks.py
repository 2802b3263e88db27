"""What every training loop needs: what it depends on, and what can go wrong in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np

from bedside.export.data.reading import Examples
from bedside.export.recipe import Recipe
from bedside.runtime.errors import RecipeError


def training_key(network: Any, train_set: Examples, validation: Examples, recipe: Recipe) -> str:
    """Digest (hex) of all that a training depends on: settings, seed, initial weights, data."""
    digest = hashlib.sha256(msgspec.json.encode((recipe.model, recipe.training, recipe.seed)))

    def add(arrays: Iterable[Any]) -> None:
        for array in arrays:
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)

    add(network.get_weights())
    for examples in (train_set, validation):
        add((examples.x, examples.y))
        for target in examples.targets:
            add(v for v in msgspec.structs.astuple(target) if isinstance(v, np.ndarray))
    return digest.hexdigest()


def check_examples(network: Any, train_set: Examples, validation: Examples) -> None:
    """Look before training at what would fail in its midst. There may be no validation frames.

    Raises:
        RecipeError: A split is empty, or frames are not of the network's size.
    """
    wanted = tuple(network.input_shape[1:])
    for name, examples in (("train", train_set), ("validation", validation)):
        if len(examples.y) == 0:
            if name == "validation":
                continue
            raise RecipeError(f"the {name} split is empty", where="training")
        if tuple(examples.x.shape[1:]) != wanted:
            raise RecipeError(
                f"{name} frames are {examples.x.shape[1:]}, the model takes {wanted}", where="training"
            )


def check_pictures(train_set: Examples, validation: Examples) -> None:
    """As `check_examples`, for networks whose input is no frame.

    Raises:
        RecipeError: A split is too small to have a spread.
    """
    for name, examples in (("train", train_set), ("validation", validation)):
        if len(examples.y) < 2:
            raise RecipeError(
                f"the {name} split has {len(examples.y)} frame(s), at least 2 are needed", where="training"
            )


def check_classes(train_set: Examples, labels: tuple[str, ...]) -> None:
    """Whether a classifier can learn every class.

    Raises:
        RecipeError: A label is no class, or a class has no training frame.
    """
    counts = np.bincount(train_set.y, minlength=len(labels))
    if len(counts) > len(labels):
        raise RecipeError(
            f"labels go up to {len(counts) - 1}, there are {len(labels)} classes", where="training"
        )
    absent = [label for label, count in zip(labels, counts, strict=True) if not count]
    if absent:
        raise RecipeError(f"no training frames for {', '.join(absent)}", where="training")


class memory_errors:
    """Turns a backend's lack of memory into one line; each has a class of its own for it."""

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None and _is_memory(error):
            raise RecipeError(
                f"out of memory while training: {' '.join(str(error).split())[:160]}",
                where="training",
                hint="a smaller training.batch, model.width and model.height, or a narrower network",
            ) from None


def _is_memory(error: BaseException) -> bool:
    name, text = type(error).__name__, str(error)
    if isinstance(error, MemoryError) or name in ("ResourceExhaustedError", "OutOfMemoryError"):
        return True
    # Compiled code has one class for everything.
    return name in ("XlaRuntimeError", "JaxRuntimeError", "InternalError") and (
        "RESOURCE_EXHAUSTED" in text or "out of memory" in text.lower()
    )
