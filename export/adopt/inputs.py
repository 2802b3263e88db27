"""What a model takes: frames or a latent, and what it expects pixels to be."""

from __future__ import annotations

from math import prod
from typing import Any

import msgspec

from bedside.export.adopt.contracts import HELP
from bedside.export.adopt.outputs import tell
from bedside.export.adopt.preprocessing import NAMES, Preprocessing
from bedside.export.adopt.topology import Leading, leading, walk
from bedside.export.backend import keras
from bedside.runtime.errors import UsageError

_CHOICES = f"--preprocessing {'|'.join(NAMES)}, or --scale and --offset, or --mean and --std"


class Front(msgspec.Struct, frozen=True):
    """How inputs reach a model.

    Attributes:
        shape: `(H, W, C)` of a frame, or `(D,)` of a latent.
        inner: Shape that the model itself takes; another one where frames go in flat.
        preprocessing: Put before the model; None where it brings its own.
        normalization: For the report: what happens to pixels, and how that is known.
        pixel_range: What pixels 0 and 255 become; None where that differs between channels.
    """

    shape: tuple[int, ...]
    inner: tuple[int, ...]
    preprocessing: Preprocessing | None
    normalization: str
    pixel_range: tuple[float, float] | None


def frames(
    model: Any,
    preprocessing: Preprocessing | None,
    size: tuple[int, int] | None,
    channels: int | None,
    where: str,
) -> Front:
    """How frames reach a model.

    Args:
        model: With a float32 input (`float_input`).
        preprocessing: What the model expects of its input; None: it must begin with Rescaling or
            Normalization.
        size: `(width, height)`, for models that take any size, and for flat and subclassed ones.
        channels: For flat and subclassed models, which do not tell.
        where: Named in errors.

    Raises:
        UsageError: The input is no frame, or what it expects of pixels is not known.
    """
    known = _known(model, size, channels, where)
    if len(known) == 1:
        shape = _flat_shape(known[0], size, channels, where)
        inner: tuple[int, ...] = (prod(shape),)
    else:
        shape = inner = _frame_shape(model, known, size, channels, where)
    found = leading(model, inner)
    readable = getattr(model, "inputs", None) is not None
    chosen, normalization = _decide(preprocessing, found, readable, where)
    return Front(shape, inner, chosen, normalization, _pixel_range(chosen, found))


def latents(model: Any, preprocessing: Preprocessing | None, where: str) -> Front:
    """How latent vectors reach a model.

    Raises:
        UsageError: The input is no latent of a fixed length.
    """
    if preprocessing is not None:
        raise UsageError(
            "a latent has no preprocessing", where=where, hint="leave --preprocessing and the like out"
        )
    known = _known(model, None, None, where)
    sizes = [d for d in known if d != 1] or [1]
    if len(known) not in (1, 3) or len(sizes) != 1 or sizes[0] is None:
        what = f"takes an input {tell(known)}, generation needs a latent (None, D)"
        raise UsageError(what, where=where, hint=f"D is fixed; {HELP}")
    length = int(sizes[0])
    inner = tuple(int(d or 1) for d in known)
    return Front((length,), inner, None, f"none: the input is {length} standard normal numbers", None)


def float_input(model: Any, where: str) -> Any:
    """The same model with a float32 input: one that declares integers would truncate what comes before it.

    Raises:
        UsageError: It is no Keras model, computes in another precision, or has its channels first.
    """
    if not isinstance(model, keras.Model):
        raise UsageError(f"is a {type(model).__name__}, not a Keras model", where=where)
    policies = {layer.compute_dtype for layer in model._flatten_layers() if layer.compute_dtype is not None}
    if policies - {"float32"}:
        hint = "set every layer's dtype_policy to float32, or save it and export the .keras file"
        raise UsageError(
            f"computes in {', '.join(sorted(policies - {'float32'}))}, expected float32",
            where=where,
            hint=hint,
        )
    for layer in walk(model):
        if getattr(layer, "data_format", None) == "channels_first":
            raise UsageError(
                f"layer {layer.name!r} takes channels first",
                where=where,
                hint="channels come last: build it with data_format='channels_last' and set the weights",
            )
    inputs = getattr(model, "inputs", None)
    if inputs is None or len(inputs) != 1 or inputs[0].dtype == "float32":
        return model
    try:
        clone = keras.models.clone_model(
            model, input_tensors=keras.Input(inputs[0].shape[1:], dtype="float32")
        )
        clone.set_weights(model.get_weights())
    except (ValueError, TypeError, AttributeError) as error:
        what = f"declares {inputs[0].dtype} pixels and cannot be rebuilt with float32: {error}"
        raise UsageError(what, where=where, hint="declare the Input as float32") from None
    return clone


def _known(
    model: Any, size: tuple[int, int] | None, channels: int | None, where: str
) -> tuple[int | None, ...]:
    """Shape of the one input without its batch, as far as the model says it."""
    inputs = getattr(model, "inputs", None)
    if inputs is not None:
        if len(inputs) != 1:
            names = ", ".join(t.name for t in inputs)
            raise UsageError(
                f"has {len(inputs)} inputs ({names}), a model of frames has one",
                where=where,
                hint="fix the others in a model around it",
            )
        return tuple(inputs[0].shape[1:])
    built = (model.get_build_config() or {}).get("input_shape") if model.built else None
    if isinstance(built, dict) or (built and isinstance(built[0], list | tuple)):
        raise UsageError("has several inputs, a model of frames has one", where=where)
    # A subclassed model remembers only the shape of its first call, which is as good as stated.
    return tuple(built[1:]) if built else (None, None, channels)


def _flat_shape(
    length: int | None, size: tuple[int, int] | None, channels: int | None, where: str
) -> tuple[int, int, int]:
    """`(H, W, C)` of frames that a model takes as one row of numbers, rows first, channels last."""
    if size is None or channels is None:
        hint = "a flat frame (None, height * width * channels) needs --size and --color"
        raise UsageError(
            f"takes an input of rank 2 {tell((length,))}, expected rank 4", where=where, hint=hint
        )
    width, height = size
    if length not in (None, height * width * channels):
        what = f"takes {length} numbers, {width}x{height} with {channels} channels are {height * width * channels}"
        raise UsageError(what, where=where)
    return height, width, channels


def _frame_shape(
    model: Any,
    known: tuple[int | None, ...],
    size: tuple[int, int] | None,
    channels: int | None,
    where: str,
) -> tuple[int, int, int]:
    """`(H, W, C)` of the input."""
    if len(known) != 3:
        hint = "bedside exports models of 2-D frames, (batch, height, width, channels)"
        raise UsageError(
            f"takes an input of rank {len(known) + 1} {tell(known)}, expected rank 4", where=where, hint=hint
        )
    height, width, depth = known
    depth = depth or channels
    if getattr(model, "inputs", None) is None and depth is None:
        hint = "call it on one batch first, or give the size and the channels (--size and --color)"
        raise UsageError("does not say which frames it takes", where=where, hint=hint)
    if depth not in (1, 3):
        hint = "channels come last and are 1 or 3; convert a channels-first model before exporting it"
        raise UsageError(f"takes {depth} channels in {tell(known)}, expected 1 or 3", where=where, hint=hint)
    if channels is not None and channels != depth:
        raise UsageError(
            f"takes {depth} channels, {channels} were asked for", where=where, hint="leave --color out"
        )
    if size is not None:
        if (width or size[0], height or size[1]) != size:
            raise UsageError(
                f"takes frames of {width}x{height}, --size says {size[0]}x{size[1]}",
                where=where,
                hint="leave --size out",
            )
        width, height = size
    if height is None or width is None:
        hint = "a bundle has one size: give --size WIDTHxHEIGHT"
        raise UsageError(f"takes frames of any size, {tell(known)}", where=where, hint=hint)
    return int(height), int(width), int(depth)


def _decide(
    given: Preprocessing | None, found: Leading | None, readable: bool, where: str
) -> tuple[Preprocessing | None, str]:
    """What is put in front of the model, and how that is told."""
    if given is not None and given.name != "none":
        if found is not None and found.plausible:
            raise UsageError(
                f"begins with {found}; {given} on top of that would normalize twice",
                where=where,
                hint="leave the preprocessing out, the model brings its own",
            )
        return given, f"given: {given}"
    if given is not None:
        return None, f"given: none, pixels 0..255 go in as they are{f' ({found})' if found else ''}"
    if found is None:
        what = "does not begin with Rescaling or Normalization"
        if not readable:
            what = "is a subclassed model: what it expects of pixels cannot be read from it"
        raise UsageError(what, where=where, hint=f"say {_CHOICES}")
    if not found.plausible:
        raise UsageError(
            f"begins with {found}, which is no range for 0..255", where=where, hint=f"say {_CHOICES}"
        )
    return None, f"found in the model: {found}"


def _pixel_range(chosen: Preprocessing | None, found: Leading | None) -> tuple[float, float] | None:
    """What pixels 0 and 255 are to the first layer that learns."""
    if chosen is not None:
        if len(set(chosen.scale)) != 1 or len(set(chosen.offset)) != 1:
            return None
        return chosen.offset[0], 255.0 * chosen.scale[0] + chosen.offset[0]
    return (0.0, 255.0) if found is None else (found.low, found.high)
