"""What augmentation does, to look at before a training: frames beside varied copies, with their targets."""

from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import numpy as np

from bedside.export.data.loading import load_data
from bedside.export.data.reading import Examples, read_examples
from bedside.export.data.types import BoxesTarget, MaskTarget, PictureTarget, Split, Target
from bedside.export.recipe import Recipe
from bedside.export.reports import drawing
from bedside.export.steps import Silent, Steps
from bedside.export.training.augment import Augmenter
from bedside.export.training.batches import screen_classes
from bedside.runtime.errors import SinkError, UsageError
from bedside.runtime.frame import Color, Pixels
from bedside.runtime.preprocess import Preprocessor

_MARK = (255, 255, 255)
_UNJUDGED = "#808080"


def augmentation_sheet(
    recipe: Recipe, *, root: Path | None = None, frames: int = 6, copies: int = 5, steps: Steps | None = None
) -> Pixels:
    """The contact sheet of a recipe's training frames.

    Args:
        recipe: `[data]`, `[input]`, `[training.augment]`, the size of the model and `seed` count.
        root: Where relative paths of the recipe start.
        frames: How many, evenly spread over the training split.
        copies: Varied copies of each.
        steps: Who watches.

    Returns:
        See `contact_sheet`.

    Raises:
        RecipeError: Data cannot be read, or `screen_labels` names no class.
    """
    steps = steps or Silent()
    with steps.step("read data") as progress:
        data = load_data(recipe.data, seed=recipe.seed, root=root, progress=progress)
    items = data.train.items
    chosen = sorted({round(i) for i in np.linspace(0, len(items) - 1, frames)})
    split = msgspec.structs.replace(data.train, items=tuple(items[i] for i in chosen))
    return sheet_of(recipe, split, data.labels, copies)


def write_sheet(path: Path, sheet: Pixels) -> None:
    """Write a contact sheet.

    Args:
        path: `.png` or `.jpg`.
        sheet: `(H, W, 3) uint8` BGR.

    Raises:
        UsageError: The ending says another format.
        SinkError: The file cannot be written.
    """
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError("a contact sheet is a .png or a .jpg", where=str(path))
    _, data = cv2.imencode(path.suffix, sheet)
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise SinkError(f"cannot be written: {error.strerror or error}", where=str(path)) from None


def sheet_of(recipe: Recipe, split: Split, labels: tuple[str, ...], copies: int) -> Pixels:
    """The contact sheet of a few items; see `augmentation_sheet`."""
    spec = recipe.input_spec()
    if spec.latent is not None:
        spec = msgspec.structs.replace(spec, latent=None, dtype="uint8")
    examples = read_examples(split, Preprocessor(spec), spec)
    augment = recipe.training.augment
    return contact_sheet(
        examples,
        Augmenter(augment),
        color=spec.color,
        copies=copies,
        screen=screen_classes(augment.screen_labels, labels),
        seed=recipe.seed,
    )


def contact_sheet(
    examples: Examples,
    augmenter: Augmenter,
    *,
    color: Color,
    copies: int = 5,
    screen: list[bool] | None = None,
    seed: int = 0,
) -> Pixels:
    """One row per frame: as it is, with a white edge, then varied copies.

    Masks are outlined in the colours of their classes, grey around what is not judged; boxes are drawn; a picture
    that the frame should become stands to its right.

    Args:
        examples: A few.
        augmenter: As the training has it.
        color: Channel order of the frames.
        copies: Per frame.
        screen: Per class whether a frame may be put on a scanner's screen; None: all.
        seed: Of the variation.

    Returns:
        `(H, W, 3) uint8` BGR.
    """
    every: list[Pixels] = []
    for index in range(len(examples.y)):
        pixels = examples.x[index]
        target = examples.targets[index] if examples.targets else None
        allowed = screen is None or screen[int(examples.y[index])]
        rng = np.random.default_rng((seed, index))
        cells = [_cell(pixels, target, color)]
        cv2.rectangle(cells[0], (0, 0), (cells[0].shape[1] - 1, cells[0].shape[0] - 1), _MARK, 2)
        cells += [_cell(*augmenter(pixels, rng, target=target, screen=allowed), color) for _ in range(copies)]
        every += cells
    return drawing.grid(every, copies + 1)


def _cell(pixels: Pixels, target: Target | None, color: Color) -> Pixels:
    """A frame with its target on it, BGR."""
    canvas = drawing.picture(pixels, color)
    if isinstance(target, PictureTarget):
        return np.concatenate([canvas, drawing.picture(target.pixels, target.color)], axis=1)
    if isinstance(target, MaskTarget):
        for k in np.unique(target.classes):
            if k:
                css = _UNJUDGED if k == 255 else drawing.class_color(int(k))
                drawing.outline(canvas, target.classes == k, css)
    elif isinstance(target, BoxesTarget):
        for corners, label in zip(target.boxes, target.labels, strict=True):
            css = drawing.class_color(int(label) + 1)
            drawing.box(canvas, corners.tolist(), canvas.shape[1] / pixels.shape[1], css)
    return canvas
