"""From somebody's Keras model to graphs that take raw pixels.

Every variant that bedside ships takes `uint8` pixels 0..255; whatever normalization the model was trained
with is inside the graph. So the device has one input contract, and an int8 variant needs no float at all.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.adopt.preprocessing import NAMES, Preprocessing
from bedside.export.adopt.topology import Head, Leading, head, leading
from bedside.export.backend import keras
from bedside.runtime.errors import UsageError

Scores = Literal["probabilities", "logits"]
Shape = tuple[int, int, int]

#: Probabilities of one sample may miss 1 by this much: float32 softmax over thousands of classes.
_SUM_TOLERANCE = 1e-3
_PROBES = 8
_CHOICES = f"--preprocessing {'|'.join(NAMES)}, or --scale and --offset, or --mean and --std"


class PixelModel(msgspec.Struct, frozen=True):
    """A classifier whose input is raw pixels.

    Attributes:
        reference: `(N, H, W, C) float32` pixels 0..255 to `(N, K) float32`; what every variant is compared
            with.
        float32: The same with a batch of 1, for full-integer conversion, whose converters quantize the input
            themselves.
        uint8: `(1, H, W, C) uint8` to `(1, K) float32`: a cast, then the same; for everything else.
        shape: `(H, W, C)`.
        classes: K.
        scores: What the outputs are.
        normalization: For the report: what happens to pixels, and how that is known.
        color: Channel order that the model wants, where the preprocessing says so.
    """

    reference: Any
    float32: Any
    uint8: Any
    shape: Shape
    classes: int
    scores: Scores
    normalization: str
    color: Literal["rgb", "bgr", "gray"] | None = None

    def predict(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Probabilities of the Keras model, `(N, K) float32`, for `(N, H, W, C) uint8` pixels."""
        raw = np.asarray(
            keras.ops.convert_to_numpy(self.reference(pixels.astype(np.float32), training=False)), np.float32
        )
        return softmax(raw) if self.scores == "logits" else raw


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Softmax along the last axis, shifted by the maximum so that nothing overflows."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), np.float32)


def adopt(
    model: Any,
    *,
    preprocessing: Preprocessing | None = None,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    scores: Scores | None = None,
    where: str = "model",
) -> PixelModel:
    """Check that a Keras model is an image classifier, and give it raw pixels for an input.

    Args:
        model: Sequential, functional, or a subclassed model that was called or built once.
        preprocessing: What the model expects of its input; None: it must begin with Rescaling or
            Normalization.
        size: `(width, height)`, for models that take any size and for subclassed ones.
        channels: For subclassed models that do not remember their input.
        scores: What the outputs are, where it cannot be read from the last activation.
        where: Named in errors.

    Raises:
        UsageError: It is no image classifier, or the preprocessing is not known. Nothing is guessed.
    """
    model = _float_input(model, where)
    shape = _shape(model, size, channels, where)
    found = leading(model, shape)
    readable = getattr(model, "inputs", None) is not None
    chosen, normalization = _decide(preprocessing, found, readable, where)
    try:
        reference = _wrap(model, chosen, shape, None, "float32", where)
        single = _wrap(model, chosen, shape, 1, "float32", where)
        pixels = _wrap(model, chosen, shape, 1, "uint8", where)
    except UsageError:
        raise
    except Exception as error:  # whatever a stranger's call() raises
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise UsageError(
            f"cannot be called on (1, {', '.join(map(str, shape))}): {first[:200]}", where=where
        ) from None
    classes = int(single.outputs[0].shape[-1])
    adopted = PixelModel(
        reference=reference,
        float32=single,
        uint8=pixels,
        shape=shape,
        classes=classes,
        scores="logits",
        normalization=normalization,
        color=chosen.color if chosen is not None else None,
    )
    return msgspec.structs.replace(adopted, scores=_scores(head(model), adopted, scores, where))


def _shape(model: Any, size: tuple[int, int] | None, channels: int | None, where: str) -> Shape:
    """`(H, W, C)` of the input."""
    inputs = getattr(model, "inputs", None)
    if inputs is not None and len(inputs) != 1:
        names = ", ".join(t.name for t in inputs)
        raise UsageError(f"has {len(inputs)} inputs ({names}), a classifier of frames has one", where=where)
    known: tuple[int | None, ...]
    if inputs is not None:
        known = tuple(inputs[0].shape)
    else:
        built = (model.get_build_config() or {}).get("input_shape") if model.built else None
        # A subclassed model remembers only the shape of its first call, which is as good as stated.
        known = tuple(built) if built else (None, None, None, channels)
    if len(known) != 4:
        hint = "bedside exports classifiers of 2-D frames, (batch, height, width, channels)"
        raise UsageError(
            f"takes an input of rank {len(known)} {_tell(known)}, expected rank 4", where=where, hint=hint
        )
    _, height, width, depth = known
    depth = depth or channels
    if inputs is None and depth is None:
        hint = "call it on one batch first, or give the size and the channels (--size and --color)"
        raise UsageError("does not say which frames it takes", where=where, hint=hint)
    if depth not in (1, 3):
        hint = "channels come last and are 1 or 3; convert a channels-first model before exporting it"
        raise UsageError(f"takes {depth} channels in {_tell(known)}, expected 1 or 3", where=where, hint=hint)
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
        raise UsageError(f"takes frames of any size, {_tell(known)}", where=where, hint=hint)
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


def _wrap(
    model: Any, preprocessing: Preprocessing | None, shape: Shape, batch: int | None, dtype: str, where: str
) -> Any:
    # Fixed names: tensors in the converted files are called after them, and the same input gives the same
    # bytes.
    pixels = keras.Input(batch_shape=(batch, *shape), dtype=dtype, name="pixels")
    x = keras.ops.cast(pixels, "float32") if dtype != "float32" else pixels
    if preprocessing is not None:
        scale, offset = preprocessing.arrays(shape[2])
        if not np.all(scale == 1.0):
            x = x * scale
        if np.any(offset != 0.0):
            x = x + offset
    return keras.Model(pixels, _single(model(x, training=False), where), name="bedside")


def _single(output: Any, where: str) -> Any:
    """The one `(N, K)` output."""
    parts = (
        list(output.values())
        if isinstance(output, dict)
        else list(output)
        if isinstance(output, list | tuple)
        else [output]
    )
    if len(parts) != 1:
        raise UsageError(
            f"has {len(parts)} outputs, a classifier has one", where=where, hint="export one head"
        )
    shape = tuple(parts[0].shape)
    if len(shape) != 2:
        hint = "flatten or pool before the last layer; other tasks are not exported as classification"
        raise UsageError(
            f"gives an output {_tell(shape)}, classification needs (None, K)", where=where, hint=hint
        )
    if shape[1] is None or shape[1] < 2:
        hint = "give a two-class model two outputs with softmax, so that every class has a score of its own"
        raise UsageError(f"gives {shape[1]} output, classification needs at least 2", where=where, hint=hint)
    return parts[0]


def _scores(last: Head, model: PixelModel, given: Scores | None, where: str) -> Scores:
    """What the outputs are: as read from the graph, checked against what comes out of it."""
    noise = np.random.default_rng(0).integers(0, 256, (_PROBES, *model.shape), np.uint8)
    rows = model.reference(noise.astype(np.float32), training=False)
    out = np.asarray(keras.ops.convert_to_numpy(rows), np.float64)
    if not np.isfinite(out).all():
        raise UsageError(
            "gives NaN or Inf on noise", where=where, hint="check the weights and the preprocessing"
        )
    distribution = bool(
        out.min() >= -_SUM_TOLERANCE and np.abs(out.sum(axis=1) - 1.0).max() <= _SUM_TOLERANCE
    )
    if last == "sigmoid" and given is None:
        hint = "end it with softmax, one output per class; several labels at once are not a classification"
        raise UsageError(f"ends in a sigmoid over {model.classes} outputs", where=where, hint=hint)
    says: Scores | None = given or {"softmax": "probabilities", "linear": "logits"}.get(last)  # type: ignore[assignment]
    if says == "probabilities" and not distribution:
        total = out.sum(axis=1)
        raise UsageError(
            f"gives 'probabilities' that sum to {total.min():.3g}..{total.max():.3g}, expected 1",
            where=where,
            hint="a softmax over the wrong axis, or logits: then say --scores logits",
        )
    if says is None:
        if not distribution:
            hint = "say --scores logits if softmax is to be applied to them"
            raise UsageError(
                "its outputs are neither a softmax nor linear, as far as can be read", where=where, hint=hint
            )
        says = "probabilities"
    return says


def _float_input(model: Any, where: str) -> Any:
    """The same model with a float32 input: one that declares integers would truncate what comes before it."""
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


def _tell(shape: tuple[Any, ...]) -> str:
    return f"({', '.join(str(d) for d in shape)})"
