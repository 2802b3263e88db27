"""What `Model.decode` may say of the model's tensors: the rules that the schema cannot say, task by task."""

from __future__ import annotations

import math
from collections.abc import Iterable

from bedside.runtime.bundle.decode import (
    ClassificationDecode,
    DetectionDecode,
    GenerationDecode,
    RawDecode,
    ReconstructionDecode,
    SegmentationDecode,
    TranslationDecode,
)
from bedside.runtime.bundle.manifest import InputSpec, Model, Quantization, TensorSpec, Variant

_AS_THEY_ARE = Quantization(scale=1.0, zero_point=0)


def check_decode(where: str, model: Model) -> None:
    """Check that every output that `decode` names is there, with a shape that its task can read.

    Args:
        where: Path of the model, for the message.
        model: As the schema read it.

    Raises:
        ValueError: One line that names the key and both values.
    """
    decode = model.decode
    if (model.input.latent is not None) != isinstance(decode, GenerationDecode):
        have = "a latent" if model.input.latent is not None else "a picture"
        raise ValueError(
            f"{where}.input: {have}, but decode is {task_of(model)!r}; generation takes a latent"
        )
    if isinstance(decode, RawDecode):
        return
    for key, index in _named(model):
        if index >= len(model.outputs):
            raise ValueError(f"{where}.decode.{key}: {index}, the model has {len(model.outputs)} outputs")
    if isinstance(decode, (ReconstructionDecode, TranslationDecode, GenerationDecode)):
        _check_range(f"{where}.decode", decode)
    if isinstance(decode, (ReconstructionDecode, TranslationDecode)) and not takes_pixels(model.input):
        raise ValueError(
            f"{where}.input: {model.input.dtype} {model.input.layout}, but a {task_of(model)} is compared with "
            "uint8 nhwc pixels without a quantization"
        )
    if isinstance(decode, TranslationDecode):
        colors = {decode.color, model.input.color}
        if len(colors) > 1 and "gray" not in colors:
            raise ValueError(
                f"{where}.input.color: {model.input.color!r}, but decode.color is {decode.color!r}: "
                "what changed could not be told"
            )
    for v in model.variants:
        _check_shapes(f"{where}.variants.{v.id}.outputs", model, v)


def takes_pixels(spec: InputSpec) -> bool:
    """Whether the tensor holds the pixels themselves, `(1, H, W, C) uint8`."""
    plain = spec.quantization in (None, _AS_THEY_ARE) and spec.normalization is None
    return spec.latent is None and spec.dtype == "uint8" and spec.layout == "nhwc" and plain


def task_of(model: Model) -> str:
    """Name of the task that `decode` is for."""
    return str(type(model.decode).__struct_config__.tag)


def _named(model: Model) -> Iterable[tuple[str, int]]:
    """Every output that `decode` reads, with its key."""
    decode = model.decode
    if isinstance(decode, DetectionDecode):
        yield from ((f"boxes.{i}", k) for i, k in enumerate(decode.boxes))
        yield from ((f"scores.{i}", k) for i, k in enumerate(decode.scores))
        return
    if not isinstance(decode, RawDecode):
        yield "output", decode.output
    if isinstance(decode, ClassificationDecode) and decode.map is not None:
        yield "map", decode.map
    if isinstance(decode, ReconstructionDecode) and decode.code is not None:
        yield "code", decode.code


def _check_range(where: str, decode: ReconstructionDecode | TranslationDecode | GenerationDecode) -> None:
    if not (math.isfinite(decode.low) and math.isfinite(decode.high) and decode.low < decode.high):
        raise ValueError(f"{where}: low {decode.low} and high {decode.high} are no range of values")
    if not isinstance(decode, ReconstructionDecode) or decode.out is None:
        return
    if decode.out.distance_scale is not None and decode.code is None:
        raise ValueError(
            f"{where}.out.distance_scale: {decode.out.distance_scale}, but no output is the code"
        )


def _check_shapes(where: str, model: Model, v: Variant) -> None:
    decode, spec = model.decode, model.input
    if isinstance(decode, ClassificationDecode):
        classes = math.prod(v.outputs[decode.output].shape)
        if classes != len(decode.labels):
            raise ValueError(
                f"{where}: decode has {len(decode.labels)} labels, {v.id} gives {classes} scores"
            )
        if decode.map is not None:
            _expect(
                where, v.outputs[decode.map], "class activation maps", (1, None, None, len(decode.labels))
            )
    elif isinstance(decode, SegmentationDecode):
        _check_segmentation(where, decode, v.outputs[decode.output])
    elif isinstance(decode, DetectionDecode):
        _check_detection(where, decode, v)
    elif isinstance(decode, ReconstructionDecode):
        _expect(where, v.outputs[decode.output], "a reconstruction", spec.shape)
        if decode.code is not None:
            _expect(where, v.outputs[decode.code], "a code", (1, None))
    elif isinstance(decode, (TranslationDecode, GenerationDecode)):
        channels = 1 if decode.color == "gray" else 3
        made: tuple[int | None, ...] = (1, None, None, channels)
        if isinstance(decode, GenerationDecode):
            made = (1, spec.height, spec.width, channels)
        _expect(where, v.outputs[decode.output], f"a {decode.color} picture", made)


def _check_segmentation(where: str, decode: SegmentationDecode, tensor: TensorSpec) -> None:
    count = len(decode.labels)
    shape = tensor.shape
    # One value per pixel may go without an axis of its own.
    single = decode.scores == "labels" or count == 2
    if single and len(shape) == 3 and shape[0] == 1:
        return
    channels = shape[1 if decode.layout == "nchw" else 3] if len(shape) == 4 else 0
    if decode.scores == "labels" or (single and channels == 1):
        count = 1
    wanted = (1, count, None, None) if decode.layout == "nchw" else (1, None, None, count)
    _expect(where, tensor, f"a map of {len(decode.labels)} classes", wanted)


def _check_detection(where: str, decode: DetectionDecode, v: Variant) -> None:
    if len(decode.boxes) != len(decode.scores):
        raise ValueError(f"{where}: decode has {len(decode.boxes)} boxes and {len(decode.scores)} scores")
    if (decode.units == "cells") and decode.coding != "ltrb":
        raise ValueError(f"{where}: decode.units 'cells' needs the coding 'ltrb', it is {decode.coding!r}")
    classes = len(decode.labels) + (decode.background != "none")
    for boxes, scores in zip(decode.boxes, decode.scores, strict=True):
        # Distances need to know their cell, so the grid has to be in the shape.
        grid: tuple[int | None, ...] = (None, None) if decode.coding == "ltrb" else (None,)
        if len(v.outputs[boxes].shape) == 4:
            grid = (None, None)
        _expect(where, v.outputs[boxes], "boxes", (1, *grid, 4))
        _expect(where, v.outputs[scores], "scores", (*v.outputs[boxes].shape[:-1], classes))


def _expect(where: str, tensor: TensorSpec, what: str, shape: tuple[int | None, ...]) -> None:
    fits = len(tensor.shape) == len(shape) and all(
        want in (None, have) for want, have in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("?" if d is None else str(d) for d in shape)
        raise ValueError(f"{where}: {tensor.name!r} has the shape {list(tensor.shape)}, {what} is [{wanted}]")
