"""Frames with what is to be learned from them, laid into the model's input by the device's own preprocessing."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.data.types import (
    UNJUDGED,
    BoxesTarget,
    Item,
    MaskTarget,
    PictureTarget,
    Progress,
    Split,
    Target,
)
from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.errors import BedsideError, RecipeError
from bedside.runtime.frame import Color, Pixels
from bedside.runtime.geometry import Fit
from bedside.runtime.preprocess import Preprocessor

#: A box of which less is left, in model pixels, is not in the picture.
_SLIVER = 1e-3


class Examples(msgspec.Struct, frozen=True):
    """A split, read.

    Attributes:
        x: `(N, H, W, C) uint8`, model input.
        y: `(N,) int64`, labels.
        targets: Per item, in model-input pixels; empty where items have none.
        fits: Per item, the way back to captured-frame pixels.
    """

    x: npt.NDArray[np.uint8]
    y: npt.NDArray[np.int64]
    targets: tuple[Target, ...]
    fits: tuple[Fit, ...]


def load_with_target(item: Item) -> tuple[Pixels, Color, Target | None]:
    """Read a frame and what is to be learned from it, and check that they fit each other.

    Returns:
        `(H, W, C) uint8`, its channel order, and the target in its pixels; None where the item has none.

    Raises:
        RecipeError: One cannot be read, a mask or target picture has another size than the frame, or a box lies
            outside.
    """
    pixels, color = item.load()
    if item.target is None:
        return pixels, color, None
    target = item.target()
    height, width = pixels.shape[:2]
    if isinstance(target, BoxesTarget):
        _check_boxes(item, target, width, height)
    else:
        what, shape = (
            ("mask", target.classes.shape)
            if isinstance(target, MaskTarget)
            else ("target", target.pixels.shape)
        )
        if shape[:2] != (height, width):
            raise RecipeError(
                f"{item.key}: the {what} is {shape[1]}x{shape[0]}, its frame {width}x{height} pixels",
                where="data",
            )
    return pixels, color, target


def read_examples(
    split: Split, preprocessor: Preprocessor, spec: InputSpec, progress: Progress | None = None
) -> Examples:
    """Read every item with its target, each file once.

    Args:
        split: What to read; either all items have a target, or none.
        preprocessor: Of `spec`.
        spec: Must ask for `uint8` pixels in `nhwc` layout, which is what bedside exports.
        progress: Called after every item.

    Raises:
        RecipeError: Items cannot be read or preprocessed: the first few are named, and how many there are.
    """
    if spec.dtype != "uint8" or spec.layout != "nhwc":
        raise RecipeError(
            f"data sets become uint8 nhwc arrays; this input is {spec.dtype} {spec.layout}", where="input"
        )
    x = np.empty((len(split.items), *spec.shape[1:]), np.uint8)
    y = np.array([item.label for item in split.items], np.int64)
    targets: list[Target] = []
    fits: list[Fit] = []
    bad: list[str] = []
    for index, item in enumerate(split.items):
        try:
            pixels, color, target = load_with_target(item)
            fits.append(preprocessor(pixels, color, x[index : index + 1]))
            if target is not None:
                targets.append(to_input(target, fits[-1], preprocessor, spec))
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
    if targets and len(targets) != len(split.items):
        raise RecipeError(
            f"{len(split.items) - len(targets)} items have no target, others have", where="data"
        )
    return Examples(x, y, tuple(targets), tuple(fits))


def read_pixels(
    split: Split, preprocessor: Preprocessor, spec: InputSpec, progress: Progress | None = None
) -> npt.NDArray[np.uint8]:
    """The frames alone, `(N, H, W, C) uint8`: targets are not read; see `read_examples`."""
    frames = tuple(msgspec.structs.replace(item, target=None) for item in split.items)
    return read_examples(msgspec.structs.replace(split, items=frames), preprocessor, spec, progress).x


def read_targets(
    split: Split, preprocessor: Preprocessor, spec: InputSpec, progress: Progress | None = None
) -> tuple[Target, ...]:
    """What is to be learned from every item, in model-input pixels; see `read_examples`, which reads it with them.

    Returns:
        Per item: `MaskTarget` `(H, W) uint8` by nearest neighbour, 255 in letterbox padding; `BoxesTarget` clipped
        to the part of the frame that the model sees, boxes outside of it left out; or `PictureTarget` `(H, W, C)`
        in the colours of `spec`. Empty where items have none.
    """
    return read_examples(split, preprocessor, spec, progress).targets


def to_input(target: Target, fit: Fit, preprocessor: Preprocessor, spec: InputSpec) -> Target:
    """Move a target from captured-frame to model-input pixels.

    Args:
        target: In captured-frame pixels.
        fit: Where the frame came to lie, as the preprocessor said.
        preprocessor: Of `spec`; target pictures go through it.
        spec: The model's input.
    """
    if isinstance(target, MaskTarget):
        return MaskTarget(_mask_to_input(target.classes, fit, spec))
    if isinstance(target, BoxesTarget):
        return _boxes_to_input(target, fit)
    out = np.empty(spec.shape, np.uint8)
    preprocessor(target.pixels, target.color, out)
    return PictureTarget(out[0], spec.color)


def _mask_to_input(classes: npt.NDArray[np.uint8], fit: Fit, spec: InputSpec) -> npt.NDArray[np.uint8]:
    crop, inner = fit.crop, fit.inner
    seen = classes[crop.y : crop.y1, crop.x : crop.x1]
    out = np.full((spec.height, spec.width), UNJUDGED, np.uint8)
    # The exact form takes the pixel under the centre; the plain one is up to half a step off (OpenCV docs).
    out[inner.y : inner.y1, inner.x : inner.x1] = cv2.resize(
        np.ascontiguousarray(seen), (inner.width, inner.height), interpolation=cv2.INTER_NEAREST_EXACT
    )
    return out


def _boxes_to_input(target: BoxesTarget, fit: Fit) -> BoxesTarget:
    scale = np.array([fit.transform.sx, fit.transform.sy] * 2)
    shift = np.array([fit.transform.tx, fit.transform.ty] * 2)
    inner = fit.inner
    boxes = target.boxes * scale + shift
    boxes[:, 0::2] = boxes[:, 0::2].clip(inner.x, inner.x1)
    boxes[:, 1::2] = boxes[:, 1::2].clip(inner.y, inner.y1)
    # Rounding leaves slivers of boxes that end where the crop begins.
    seen = (boxes[:, 2] - boxes[:, 0] > _SLIVER) & (boxes[:, 3] - boxes[:, 1] > _SLIVER)
    return BoxesTarget(boxes[seen].astype(np.float32), target.labels[seen])


def _check_boxes(item: Item, target: BoxesTarget, width: int, height: int) -> None:
    limits = np.array([width, height, width, height], np.float32)
    outside = (target.boxes < 0).any(1) | (target.boxes > limits).any(1)
    if outside.any():
        box = ", ".join(f"{value:g}" for value in target.boxes[outside][0])
        raise RecipeError(
            f"{item.key}: the box [{box}] does not lie in its frame of {width}x{height} pixels", where="data"
        )
