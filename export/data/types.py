"""What a data set is to the exporter: items that can be loaded, in splits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.runtime.bundle.manifest import DataSource
from bedside.runtime.frame import Color, Pixels

SplitName = Literal["train", "validation", "calibration", "holdout"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "calibration", "holdout")

#: Called with `(done, total)`; both count items.
Progress = Callable[[int, int], None]
Loader = Callable[[], tuple[Pixels, Color]]


#: Class of mask pixels that are neither learned nor scored: letterbox padding, for one.
UNJUDGED = 255


class MaskTarget(msgspec.Struct, frozen=True):
    """Segmentation: the class of every captured pixel.

    Attributes:
        classes: `(H, W) uint8` indices into the labels; 255: not judged.
    """

    classes: npt.NDArray[np.uint8]


class BoxesTarget(msgspec.Struct, frozen=True):
    """Detection: boxes in captured-frame pixels.

    Attributes:
        boxes: `(N, 4) float32`, half-open `x0, y0, x1, y1`; N may be 0.
        labels: `(N,) int64` indices into the labels.
    """

    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


class PictureTarget(msgspec.Struct, frozen=True):
    """Translation: what the frame should become.

    Attributes:
        pixels: `(H, W, C) uint8`, the size of the frame.
        color: Channel order.
    """

    pixels: Pixels
    color: Color


Target = MaskTarget | BoxesTarget | PictureTarget
TargetLoader = Callable[[], Target]


class Item(msgspec.Struct, frozen=True):
    """One labelled frame, not yet read.

    Attributes:
        key: Stable id, for example the path relative to the data root, with `#frame` for one of several.
        label: Index into the labels; splits are stratified by it. 0 where a frame as a whole has no class.
        group: Frames of one group (subject, sequence, video, DICOM object) never end up in two splits.
        load: Reads it: `(H, W, C) uint8` and its channel order. Raises `RecipeError` that names the file.
        sha256: Of the content: file bytes, array bytes, or a generator's parameters. Equal content, equal
            digest.
        split: The split it has to be in, None where it may be drawn.
        target: Reads what is to be learned, where the label does not say it; None for classification, and
            where the frame itself is learned. Raises `RecipeError` that names the file.
        target_sha256: Of what `target` reads; empty where the label says it all.
        plain: Reads the frame as it was before something was simulated on it; None: as `load` does. This is what
            is looked at for near-duplicates.
        drawn: Whether a generator makes it. No two of those are looked at for near-duplicates.
    """

    key: str
    label: int
    group: str
    load: Loader
    sha256: str
    split: SplitName | None = None
    target: TargetLoader | None = None
    target_sha256: str = ""
    plain: Loader | None = None
    drawn: bool = False


class Split(msgspec.Struct, frozen=True):
    """One split, in a stable order.

    Attributes:
        name: `train`, `validation`, `calibration` or `holdout`.
        items: Its items, sorted by key.
        sha256: Digest over key, label, content and target digest of every item, in order.
        groups: How many groups it has.
    """

    name: SplitName
    items: tuple[Item, ...]
    sha256: str
    groups: int

    def counts(self, classes: int) -> npt.NDArray[np.int64]:
        """Items per class, `(classes,) int64`."""
        return np.bincount([item.label for item in self.items], minlength=classes).astype(np.int64)


class Found(msgspec.Struct, frozen=True):
    """What an adapter found, before it is split.

    Attributes:
        labels: Class names.
        items: All of them. Those with `split` set stay there.
        draw: Splits that may be drawn into.
        labelled: Whether `Item.label` is an index into `labels`. If not, it is 0, and frames have no class.
        prune: Where the data's own splits share a frame: leave it out of the one that matters less (training,
            then validation, then calibration), in place of an error.
        sources: Of the data.
        notes: What a reader of the report must know.
    """

    labels: tuple[str, ...]
    items: tuple[Item, ...]
    draw: tuple[SplitName, ...]
    labelled: bool = True
    prune: bool = False
    sources: tuple[DataSource, ...] = ()
    notes: tuple[str, ...] = ()


class DataSet(msgspec.Struct, frozen=True):
    """A data set in splits that share no group, no content and no near-duplicate.

    Attributes:
        labels: Class names, in the order of the model's output. Segmentation: the background first.
        train: What weights and int8 ranges see.
        validation: What early stopping sees.
        calibration: What temperature and conformal sets are fitted on; may be empty.
        holdout: What the gate sees, and nothing before it.
        sources: Where the data is from, with licences.
        notes: What a reader of the report must know, for example how groups were found.
    """

    labels: tuple[str, ...]
    train: Split
    validation: Split
    calibration: Split
    holdout: Split
    sources: tuple[DataSource, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def splits(self) -> tuple[Split, ...]:
        """Train, validation and calibration where there is one, holdout."""
        every = (self.train, self.validation, self.calibration, self.holdout)
        return tuple(split for split in every if split.items or split.name in ("train", "holdout"))
