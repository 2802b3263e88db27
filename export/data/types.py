"""What a data set is to the exporter: items that can be loaded, in three splits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.runtime.bundle.manifest import DataSource, InputSpec
from bedside.runtime.errors import BedsideError, RecipeError
from bedside.runtime.frame import Color, Pixels
from bedside.runtime.preprocess import Preprocessor

SplitName = Literal["train", "validation", "holdout"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "holdout")

#: Called with `(done, total)`; both count items.
Progress = Callable[[int, int], None]
Loader = Callable[[], tuple[Pixels, Color]]


class Item(msgspec.Struct, frozen=True):
    """One labelled frame, not yet read.

    Attributes:
        key: Stable id, for example the path relative to the data root, with `#frame` for one of several.
        label: Index into the labels.
        group: Frames of one group (subject, sequence, video, DICOM object) never end up in two splits.
        load: Reads it: `(H, W, C) uint8` and its channel order. Raises `RecipeError` that names the file.
        sha256: Of the content: file bytes, array bytes, or a generator's parameters. Equal content, equal
            digest.
        split: The split it has to be in, None where it may be drawn.
    """

    key: str
    label: int
    group: str
    load: Loader
    sha256: str
    split: SplitName | None = None


class Split(msgspec.Struct, frozen=True):
    """One split, in a stable order.

    Attributes:
        name: `train`, `validation` or `holdout`.
        items: Its items, sorted by key.
        sha256: Digest over key, label and content digest of every item, in order.
        groups: How many groups it has.
    """

    name: SplitName
    items: tuple[Item, ...]
    sha256: str
    groups: int

    def counts(self, classes: int) -> npt.NDArray[np.int64]:
        """Items per class, `(classes,) int64`."""
        return np.bincount([item.label for item in self.items], minlength=classes).astype(np.int64)


class ClassificationData(msgspec.Struct, frozen=True):
    """A labelled data set in three splits that share no group and no content.

    Attributes:
        labels: Class names, in the order of the model's output.
        train: What weights and calibration see.
        validation: What early stopping sees.
        holdout: What the gate sees, and nothing before it.
        sources: Where the data is from, with licences.
        notes: What a reader of the report must know, for example how groups were found.
    """

    labels: tuple[str, ...]
    train: Split
    validation: Split
    holdout: Split
    sources: tuple[DataSource, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def splits(self) -> tuple[Split, Split, Split]:
        """Train, validation, holdout."""
        return self.train, self.validation, self.holdout


def to_arrays(
    split: Split, preprocessor: Preprocessor, spec: InputSpec, progress: Progress | None = None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Read every item and run it through the device's own preprocessing.

    Args:
        split: What to read.
        preprocessor: Of `spec`.
        spec: Must ask for `uint8` pixels in `nhwc` layout, which is what bedside exports.
        progress: Called after every item.

    Returns:
        Pixels `(N, H, W, C) uint8` and labels `(N,) int64`, in the order of the items.

    Raises:
        RecipeError: Items cannot be read or preprocessed: the first few are named, and how many there are.
    """
    if spec.dtype != "uint8" or spec.layout != "nhwc":
        raise RecipeError(
            f"data sets become uint8 nhwc arrays; this input is {spec.dtype} {spec.layout}", where="input"
        )
    x = np.empty((len(split.items), *spec.shape[1:]), np.uint8)
    y = np.array([item.label for item in split.items], np.int64)
    bad: list[str] = []
    for index, item in enumerate(split.items):
        try:
            pixels, color = item.load()
            preprocessor(pixels, color, x[index : index + 1])
        except BedsideError as error:
            bad.append(error.what if item.key in error.what else f"{item.key}: {error.what}")
        if progress is not None:
            progress(index + 1, len(split.items))
    if bad:
        raise RecipeError(
            f"{len(bad)} of {len(split.items)} items of the {split.name} split cannot be read: "
            f"{'; '.join(bad[:3])}",
            where="data",
            hint="repair or remove them; nothing is skipped silently",
        )
    return x, y
