"""An int8 model that failed its gate, with the fewest layers in float that make it pass.

Which layers, is decided on the calibration set alone: they are ranked by what each loses when it alone is int8
(`bedside.export.convert.sensitivity`), and the worst 1, 2, 4, 8, ... are kept in float. The gate, which looks
at the holdout, is asked once per candidate, and only of candidates whose calibration error is lower than that
of every one that failed; after the first that passes, the number is bisected downwards. So the holdout answers
some `2 log2(layers)` questions of yes or no, each of them recorded in `Rescued.tried`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy.typing as npt

from bedside.export.adopt.pixel_model import PixelModel
from bedside.export.convert.artifact import ConversionError
from bedside.export.convert.mixed import Mixer, Outputs, mixer, output_error, outputs
from bedside.export.convert.sensitivity import LayerError as LayerError
from bedside.export.convert.sensitivity import Progress, measured, probes
from bedside.runtime.errors import EngineError

#: A candidate is worth a look at the holdout if its calibration error is at most this fraction of the best that
#: failed: differences below are noise.
_BETTER = 0.98


class Rescued(msgspec.Struct, frozen=True):
    """What came of it.

    Attributes:
        data: The file that passed; None if none did.
        kept: Names of the layers that stayed in float, in the order of the graph.
        tried: How often the gate was asked.
        layers: Every layer with its error, in the order of the graph.
        method: How the passing file's ranges were calibrated.
        full_bytes: Size of the file with every layer int8, made by the same means; what keeping layers cost is
            the difference to `len(data)`. 0 if there is no such file.
        full_error: Error at the worst output with every layer int8, as in `LayerError`.
        error: The same of the file that passed, or of the best that failed.
    """

    data: bytes | None
    kept: tuple[str, ...]
    tried: int
    layers: tuple[LayerError, ...]
    method: str
    full_bytes: int
    full_error: float
    error: float


def rescue(
    model: PixelModel,
    variant: str,
    calibration: npt.NDArray[Any],
    judge: Callable[[bytes], bool],
    *,
    max_float: int | float = 0.5,
    progress: Progress | None = None,
) -> Rescued:
    """Find the fewest layers that have to stay in float.

    Other ways to calibrate come first where the format has them (ONNX: percentile, entropy): a file that passes
    with them is int8 in every layer.

    Args:
        model: Whose int8 file failed.
        variant: `tflite-int8` or `onnx-int8`.
        calibration: `(N, *shape)`, as for the converters.
        judge: The gate: whether a file passes.
        max_float: Most layers that may stay in float: a number, or (as a float) a fraction of all.
        progress: Called with layers measured and layers in all.

    Raises:
        ConversionError: The model does not convert at all.
    """
    made = mixer(model, variant, calibration)
    samples = probes(calibration)
    search = _Search(made, samples, outputs(made.reference(), made.format, samples), judge)
    try:
        full_error, full = search.candidate(0, made.methods[0])
    except (ConversionError, EngineError):  # one operator may be all that stands in the way
        full_error, full = math.inf, b""
    search.best = full_error  # known to have failed: the file that brought us here
    layers = measured(made, samples, search.reference, progress)
    # A layer that is never int8 by itself goes last: keeping it in float can only matter beside others.
    search.ranking = sorted(range(len(layers)), key=lambda i: -(layers[i].error or 0.0))
    most = max_float if isinstance(max_float, int) else math.floor(max_float * len(layers))
    most = min(most, len(layers) - 1)  # with none left it would not be int8

    method, keep, passed = made.methods[0], 0, None
    for other in made.methods[1:]:
        before = search.best
        passed = search.ask(0, other)
        if passed is not None or search.best < before:
            method = other
        if passed is not None:
            break
    failed = 0
    while passed is None and failed < most:
        keep = min(max(1, 2 * failed), most)
        passed = search.ask(keep, method)
        failed = keep if passed is None else failed
    while passed is not None and keep - failed > 1:
        middle = (keep + failed) // 2
        fewer = search.ask(middle, method, always=True)
        if fewer is None:
            failed = middle
        else:
            keep, passed = middle, fewer
    return Rescued(
        data=None if passed is None else passed[1],
        kept=() if passed is None else tuple(layers[i].name for i in sorted(search.ranking[:keep])),
        tried=search.tried,
        layers=layers,
        method=method,
        full_bytes=len(full),
        full_error=full_error,
        error=search.best if passed is None else passed[0],
    )


class _Search:
    """Candidates, and what the gate said of them."""

    def __init__(
        self, made: Mixer, samples: npt.NDArray[Any], reference: Outputs, judge: Callable[[bytes], bool]
    ) -> None:
        self.made = made
        self.samples = samples
        self.reference = reference
        self.judge = judge
        self.ranking: list[int] = []
        self.best = math.inf
        self.tried = 0

    def candidate(self, keep: int, method: str) -> tuple[float, bytes]:
        """Calibration error and file with the worst `keep` layers in float."""
        left = set(self.ranking[:keep])
        data = self.made.build([layer for i, layer in enumerate(self.made.layers) if i not in left], method)
        return output_error(outputs(data, self.made.format, self.samples), self.reference), data

    def ask(self, keep: int, method: str, *, always: bool = False) -> tuple[float, bytes] | None:
        """The candidate if it passes; None if it fails, or is not worth asking."""
        try:
            error, data = self.candidate(keep, method)
        except (ConversionError, EngineError):
            return None
        if not always and error > _BETTER * self.best:
            return None
        self.tried += 1
        if self.judge(data):
            return error, data
        self.best = min(self.best, error)
        return None
