"""From somebody's Keras model to graphs that take raw pixels, and the manifest's words for what they give.

Every variant that bedside ships takes `uint8` pixels 0..255; whatever normalization the model was trained
with is inside the graph. So the device has one input contract, and an int8 variant needs no float at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.adopt.box_outputs import detection
from bedside.export.adopt.class_outputs import classification, segmentation
from bedside.export.adopt.contracts import check_task
from bedside.export.adopt.endings import UNKNOWN, endings
from bedside.export.adopt.inputs import Front, float_input, frames, latents
from bedside.export.adopt.options import AdoptOptions
from bedside.export.adopt.outputs import Output, Part, Probe, Reading, tell
from bedside.export.adopt.picture_outputs import generation, reconstruction, translation
from bedside.export.adopt.pixel_model import PixelModel
from bedside.export.adopt.preprocessing import Preprocessing
from bedside.export.adopt.structure import parts
from bedside.export.backend import keras
from bedside.export.models.activation_maps import with_maps
from bedside.runtime.bundle.decode import ClassificationDecode, Decode
from bedside.runtime.bundle.manifest import Task
from bedside.runtime.errors import UsageError

_PROBES = 4
#: The manifest has room for that many.
_MOST_OUTPUTS = 64

_CONTRACTS: dict[str, Callable[[Probe], Reading]] = {
    "classification": classification,
    "segmentation": segmentation,
    "detection": detection,
    "reconstruction": reconstruction,
    "translation": translation,
    "generation": generation,
}


class Adopted(msgspec.Struct, frozen=True):
    """A model that fits its task.

    Attributes:
        model: Its graphs.
        decode: How their outputs are read.
        notes: What a reader of the report must know.
    """

    model: PixelModel
    decode: Decode
    notes: tuple[str, ...] = ()


def adopt(
    model: Any,
    task: Task,
    labels: tuple[str, ...] = (),
    *,
    preprocessing: Preprocessing | None = None,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    options: AdoptOptions | None = None,
    where: str = "model",
) -> Adopted:
    """Hold a Keras model to the contract of its task, and give it raw pixels for an input.

    What fits is said by `bedside.export.adopt.contracts.requirements`.

    Args:
        model: Sequential, functional, or a subclassed model that was called or built once.
        task: What it does.
        labels: In the order of its scores; a segmentation's begin with the background, a detection's have none.
            Tasks without classes ignore them.
        preprocessing: What the model expects of its input; None: it must begin with Rescaling or
            Normalization.
        size: `(width, height)`, for models that take any size, and for flat and subclassed ones.
        channels: For flat and subclassed models, which do not tell.
        options: What the author says of the outputs where it cannot be read.
        where: Named in errors.

    Raises:
        UsageError: It does not fit, or what it expects or gives is not known. Nothing is guessed.
    """
    check_task(task)
    options = options or AdoptOptions()
    options.check()
    model = float_input(model, where)
    if task == "generation":
        front = latents(model, preprocessing, where)
    else:
        front = frames(model, preprocessing, size, channels, where)
    traced, outputs = _probed(model, front, where)
    probe = Probe(
        outputs=outputs,
        shape=front.shape,
        labels=labels,
        options=options,
        pixel_range=front.pixel_range,
        color=None if front.preprocessing is None else front.preprocessing.color,
        where=where,
    )
    reading = _CONTRACTS[task](probe)
    core = model
    if isinstance(reading.decode, ClassificationDecode) and options.maps and reading.decode.map is None:
        core, reading = _mapped(model, reading, front)
    if core is model:  # what was probed is what is exported: one trace less of a large model
        reference = _finished(*traced, reading.parts)
    else:
        reference = _graph(core, front, reading.parts, None, "float32")
    single = _graph(core, front, reading.parts, 1, "float32")
    made = PixelModel(
        reference=reference,
        float32=single,
        uint8=single if task == "generation" else _graph(core, front, reading.parts, 1, "uint8"),
        shape=front.shape,
        outputs=tuple(part.name for part in reading.parts),
        normalization=front.normalization,
        color=probe.color,
    )
    return Adopted(made, reading.decode, reading.notes)


def _probed(model: Any, front: Front, where: str) -> tuple[tuple[Any, list[Any]], tuple[Output, ...]]:
    """The model called on raw pixels: its symbolic input and outputs, and what noise makes of each."""
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((_PROBES, *front.shape))
    if len(front.shape) == 3:
        drawn = rng.integers(0, 256, (_PROBES, *front.shape)).astype(np.float64)
    try:
        inputs, x = _inner(front, None, "float32")
        symbolic = parts(model(x, training=False))
        graph = keras.Model(inputs, [tensor for _, tensor in symbolic])
        values, again = (_values(graph, drawn.astype(np.float32)) for _ in range(2))
    except UsageError:
        raise
    except Exception as error:  # whatever a stranger's call() raises
        told = f"cannot be called on (1, {', '.join(map(str, front.inner))}): {_cause(error)}"
        raise UsageError(told, where=where) from None
    if not symbolic or len(symbolic) > _MOST_OUTPUTS:
        raise UsageError(f"gives {len(symbolic)} outputs", where=where)
    ends = endings(model)
    found = []
    for i, ((path, tensor), name) in enumerate(zip(symbolic, _names(model, symbolic), strict=True)):
        shape = tuple(tensor.shape[1:])
        if any(d is None for d in shape):
            what = f"the output {name!r} has a dynamic shape {tell(shape)} for a fixed input"
            raise UsageError(what, where=where, hint="a device needs fixed shapes: select outside the model")
        if values[i].shape != (_PROBES, *shape):
            what = (
                f"the output {name!r} has the shape {tuple(values[i].shape)} for {_PROBES} frames, expected "
            )
            raise UsageError(f"{what}{(_PROBES, *shape)}", where=where, hint="keep the batch first")
        if not np.isfinite(values[i]).all():
            raise UsageError(
                "gives NaN or Inf on noise", where=where, hint="check the weights and the preprocessing"
            )
        if not np.allclose(values[i], again[i], rtol=1e-3, atol=1e-4):
            what = f"the output {name!r} differs when the same input comes again"
            raise UsageError(what, where=where, hint="draw no random numbers outside training")
        found.append(Output(i, name, shape, values[i], ends.get(path, UNKNOWN)))
    return (inputs, [tensor for _, tensor in symbolic]), tuple(found)


def _cause(error: BaseException) -> str:
    """The first line of what happened; Keras prints it in bold between where it was and with what."""
    text = str(error)
    bold = re.search(r"\x1b\[1m(.*?)\x1b\[0m", text, re.DOTALL)
    text = text if bold is None else bold.group(1).rsplit("Error encountered:", 1)[-1]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def _names(model: Any, symbolic: list[tuple[str, Any]]) -> list[str]:
    """The keys of a dict, else the names of the layers that give the outputs."""
    paths = [path for path, _ in symbolic]
    names = list(getattr(model, "output_names", None) or [])
    keyed = any(not step.isdigit() for path in paths for step in path.split("/") if step)
    return paths if keyed or len(names) != len(paths) else names


def _values(graph: Any, inputs: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    out = graph(inputs, training=False)
    return [np.asarray(keras.ops.convert_to_numpy(part), np.float32) for _, part in parts(out)]


def _mapped(model: Any, reading: Reading, front: Front) -> tuple[Any, Reading]:
    """The classifier with class activation maps as a second output, where it ends in the right way."""
    replace = msgspec.structs.replace
    try:
        extended = with_maps(model)
    except (AttributeError, TypeError, ValueError):
        extended = None  # an architecture that cannot be taken apart
    if extended is None or front.shape != front.inner:
        note = (
            "no class activation maps: the model does not end in global average pooling and one dense layer"
        )
        return model, replace(reading, notes=(*reading.notes, note))
    part = Part("map", lambda tensors: tensors[1])
    decode = replace(reading.decode, map=len(reading.parts))
    return extended, replace(reading, decode=decode, parts=(*reading.parts, part))


def _inner(front: Front, batch: int | None, dtype: str) -> tuple[Any, Any]:
    """The input of a graph, and what the model is called on."""
    # A fixed name: tensors in the converted files are called after it, and the same input gives the same
    # bytes.
    name = "pixels" if len(front.shape) == 3 else "latent"
    inputs = keras.Input(batch_shape=(batch, *front.shape), dtype=dtype, name=name)
    x = keras.ops.cast(inputs, "float32") if dtype != "float32" else inputs
    if front.preprocessing is not None:
        scale, offset = front.preprocessing.arrays(front.shape[-1])
        if not np.all(scale == 1.0):
            x = x * scale
        if np.any(offset != 0.0):
            x = x + offset
    if front.inner != front.shape:
        x = keras.ops.reshape(x, (-1 if batch is None else batch, *front.inner))
    return inputs, x


def _graph(model: Any, front: Front, wanted: tuple[Part, ...], batch: int | None, dtype: str) -> Any:
    """A functional model from pixels to the wanted outputs, a list in their order."""
    inputs, x = _inner(front, batch, dtype)
    return _finished(inputs, [tensor for _, tensor in parts(model(x, training=False))], wanted)


def _finished(inputs: Any, tensors: list[Any], wanted: tuple[Part, ...]) -> Any:
    """The functional model that ends in the wanted outputs, whatever type a stranger gives them."""
    outputs = []
    for part in wanted:
        x = part.make(tensors)
        x = x if x.dtype == "float32" else keras.ops.cast(x, "float32")
        # Named, so that every converter can tell the outputs apart whatever it does to their order.
        outputs.append(keras.layers.Identity(name=f"output_{part.name}")(x))
    return keras.Model(inputs, outputs, name="bedside")
