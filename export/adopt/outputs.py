"""The outputs of a model as they are found: shapes, last activations, and values on noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.adopt.contracts import HELP
from bedside.export.adopt.endings import UNKNOWN, Ending
from bedside.export.adopt.options import AdoptOptions, Color, Which
from bedside.runtime.bundle.decode import Decode
from bedside.runtime.errors import UsageError


class Output(msgspec.Struct, frozen=True):
    """One output.

    Attributes:
        index: Position among the outputs.
        name: The key of a dict, or the name of the layer that gives it.
        shape: Without the batch; every dimension is known.
        ending: How it ends.
        values: `(N, *shape)` on frames of noise, or on drawn latents.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    values: npt.NDArray[np.float32]
    ending: Ending = UNKNOWN

    def __str__(self) -> str:
        """For messages: `'boxes' (None, 100, 4)`."""
        return f"{self.name!r} {tell(self.shape)}"


class Probe(msgspec.Struct, frozen=True):
    """What is known of a model when its outputs are held to a contract.

    Attributes:
        outputs: All of them.
        shape: Of the input, without the batch.
        labels: Of the data.
        options: What the author says.
        pixel_range: What pixels 0 and 255 are to the model; None where it differs between channels.
        color: Channel order of the input, where the preprocessing says so.
        where: Named in errors.
    """

    outputs: tuple[Output, ...]
    shape: tuple[int, ...]
    labels: tuple[str, ...] = ()
    options: AdoptOptions = AdoptOptions()
    pixel_range: tuple[float, float] | None = None
    color: Color | None = None
    where: str = "model"

    def refuse(self, what: str, hint: str = "") -> UsageError:
        """The error to raise; its hint ends with where the list of what fits is found."""
        return UsageError(what, where=self.where, hint=f"{hint}; {HELP}" if hint else HELP)


class Part(msgspec.Struct, frozen=True):
    """One output of the exported graphs.

    Attributes:
        name: Of the output in the bundle.
        make: From the model's symbolic outputs, in their order, to this output.
    """

    name: str
    make: Callable[[list[Any]], Any]


class Reading(msgspec.Struct, frozen=True):
    """What a contract made of the outputs.

    Attributes:
        decode: For the manifest; its indices are positions in `parts`.
        parts: Outputs of the exported graphs.
        notes: What a reader of the report must know.
    """

    decode: Decode
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()


def taken(name: str, output: Output) -> Part:
    """An output as it is."""
    return Part(name, lambda tensors: tensors[output.index])


def chosen(probe: Probe, which: Which, option: str) -> Output:
    """The output that an author names.

    Raises:
        UsageError: There is none, or more than one of that name.
    """
    found = [o for o in probe.outputs if which in (o.index, o.name)]
    if len(found) != 1:
        what = f"{option} names {which!r}, {'none' if not found else 'several'} of the outputs"
        raise UsageError(f"{what} {listed(probe.outputs)}", where=probe.where)
    return found[0]


def single(probe: Probe, needs: str) -> Output:
    """The one output that counts.

    Raises:
        UsageError: There are several, and nobody said which.
    """
    if probe.options.output is not None:
        return chosen(probe, probe.options.output, "--output-is")
    if len(probe.outputs) != 1:
        what = f"has {len(probe.outputs)} outputs {listed(probe.outputs)}, {needs}"
        raise probe.refuse(what, "--output-is says which one counts")
    return probe.outputs[0]


def unused(probe: Probe, used: tuple[Output, ...]) -> tuple[str, ...]:
    """A note on outputs that are left out."""
    left = tuple(o for o in probe.outputs if all(o.index != u.index for u in used))
    return (f"not exported: the outputs {listed(left)}",) if left else ()


def listed(outputs: tuple[Output, ...]) -> str:
    """Outputs in words, a dozen at most."""
    return ", ".join(map(str, outputs[:12])) + (", ..." if len(outputs) > 12 else "")


def tell(shape: tuple[Any, ...]) -> str:
    """A shape with its batch: `(None, 4)`."""
    return f"({', '.join(map(str, (None, *shape)))})"
