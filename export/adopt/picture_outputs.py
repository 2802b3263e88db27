"""The contracts of reconstruction, translation and generation: outputs that are pictures."""

from __future__ import annotations

from math import prod
from typing import Any

from bedside.export.adopt.options import Color
from bedside.export.adopt.outputs import (
    Output,
    Part,
    Probe,
    Reading,
    chosen,
    listed,
    single,
    taken,
    tell,
    unused,
)
from bedside.export.backend import keras
from bedside.runtime.bundle.decode import GenerationDecode, ReconstructionDecode, TranslationDecode

_RANGE_HINT = "--range LOW,HIGH: the output values that mean pixel 0 and pixel 255"
#: Pixel ranges closer than this are the same: 1/255 is written with few digits.
_CLOSE = 1e-2


def reconstruction(probe: Probe) -> Reading:
    """Hold outputs to the contract of reconstruction.

    Raises:
        UsageError: They do not fit, or what their values mean is not known.
    """
    picture, code = _picture_and_code(probe)
    low, high = _range(probe, picture)
    parts, notes = [_shaped(probe, picture)], []
    if code is None:
        notes.append(
            "the model gives no code: whether a frame is unlike the others is told by the error alone"
        )
    else:
        parts.append(taken("code", code))
    used = (picture,) if code is None else (picture, code)
    decode = ReconstructionDecode(low=low, high=high, code=None if code is None else 1)
    return Reading(decode, tuple(parts), (*notes, *unused(probe, used)))


def translation(probe: Probe) -> Reading:
    """Hold outputs to the contract of translation.

    Raises:
        UsageError: They do not fit, or what their values mean is not known.
    """
    picture = single(probe, "translation has one")
    color = _color(probe, picture)
    low, high = _range(probe, picture)
    decode = TranslationDecode(low=low, high=high, color=color)
    return Reading(decode, (taken("picture", picture),), unused(probe, (picture,)))


def generation(probe: Probe) -> Reading:
    """Hold outputs to the contract of generation.

    Raises:
        UsageError: They do not fit, or what their values mean is not known.
    """
    picture = single(probe, "generation has one")
    color = _color(probe, picture)
    low, high = _range(probe, picture)
    decode = GenerationDecode(low=low, high=high, color=color)
    return Reading(decode, (taken("picture", picture),), unused(probe, (picture,)))


def _picture_and_code(probe: Probe) -> tuple[Output, Output | None]:
    """The output that is the input again, and the code where there is one."""
    outputs, options = probe.outputs, probe.options
    pixels = prod(probe.shape)
    code = None if options.code is None else chosen(probe, options.code, "--code")
    if options.output is not None:
        picture = chosen(probe, options.output, "--output-is")
    else:
        fitting = [o for o in outputs if o.shape in (probe.shape, (pixels,)) and o is not code]
        if len(fitting) != 1:
            which = "none" if not fitting else "more than one"
            what = f"{which} of the outputs {listed(outputs)} is the input again, {tell(probe.shape)}"
            raise probe.refuse(what, "--output-is says which one counts" if fitting else "")
        picture = fitting[0]
    if picture.shape not in (probe.shape, (pixels,)):
        what = f"gives {picture}, a reconstruction has the shape of the input, {tell(probe.shape)}"
        raise probe.refuse(what)
    if code is None and len(outputs) == 2:
        code = outputs[1 - picture.index]
    if code is not None and (len(code.shape) != 1 or code.index == picture.index):
        raise probe.refuse(f"gives the code {code}, expected (None, D)", "flatten it")
    return picture, code


def _shaped(probe: Probe, picture: Output) -> Part:
    """The reconstruction with the shape of the input."""
    if picture.shape == probe.shape:
        return taken("reconstruction", picture)

    def unflatten(tensors: list[Any]) -> Any:
        return keras.ops.reshape(tensors[picture.index], (-1, *probe.shape))

    return Part("reconstruction", unflatten)


def _color(probe: Probe, picture: Output) -> Color:
    """Channel order of an output picture."""
    if len(picture.shape) != 3 or picture.shape[2] not in (1, 3):
        hint = "channels come last and are 1 or 3; reshape a flat picture"
        raise probe.refuse(f"gives {picture}, a picture is (None, h, w, 1 or 3)", hint)
    given, gray = probe.options.color, picture.shape[2] == 1
    if given is not None and (given == "gray") != gray:
        raise probe.refuse(f"gives {picture.shape[2]} channels, {given} was asked for")
    if gray:
        return "gray"
    return given or ("bgr" if probe.color == "bgr" else "rgb")


def _range(probe: Probe, picture: Output) -> tuple[float, float]:
    """The values that mean pixel 0 and pixel 255."""
    options, ending = probe.options, picture.ending
    found = ending.range if ending.head in ("sigmoid", "tanh") else None
    values = picture.values
    if options.low is not None and options.high is not None:
        if found is not None and (options.low < found[0] - _CLOSE or options.high > found[1] + _CLOSE):
            what = f"ends in {ending.head}, which gives {found[0]:g}..{found[1]:g}, --range says "
            raise probe.refuse(f"{what}{options.low:g},{options.high:g}", "leave --range out")
        return options.low, options.high
    if found is None:
        what = f"ends in neither a sigmoid nor tanh: {values.min():.3g}..{values.max():.3g} on noise may be"
        raise probe.refuse(f"{what} anything", _RANGE_HINT)
    if ending.head == "tanh" and not ending.scaled and _same(probe.pixel_range, (0.0, 1.0)):
        # Trained on its own input it would have learned 0..1 and never used the lower half.
        what = "takes pixels as 0..1 and ends in tanh: its pictures may be 0..1 or -1..1"
        raise probe.refuse(what, _RANGE_HINT)
    return found


def _same(a: tuple[float, float] | None, b: tuple[float, float]) -> bool:
    return a is not None and abs(a[0] - b[0]) < _CLOSE and abs(a[1] - b[1]) < _CLOSE
