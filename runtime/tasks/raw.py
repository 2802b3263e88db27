"""Outputs of a model whose task bedside does not know, summarised."""

from __future__ import annotations

import numpy as np

from bedside.runtime.answers import Raw, RawOutput
from bedside.runtime.bundle.manifest import TensorSpec
from bedside.runtime.engines.protocol import Array
from bedside.runtime.tasks.protocol import View, check_finite, dequantize


class RawDecoder:
    """Extremes and position of the maximum, per output, in real values."""

    needs_input = False

    def decode(self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...], view: View) -> Raw:
        """One summary per output, in order; see `TaskDecoder.decode`."""
        check_finite(outputs, specs)
        return Raw(tuple([_summary(array, spec) for array, spec in zip(outputs, specs, strict=True)]))

    def reset(self) -> None:
        """Nothing to forget."""


def _summary(array: Array, spec: TensorSpec) -> RawOutput:
    # The scale is positive, so the extremes of the codes are those of the values: three numbers are
    # dequantized.
    extremes = np.array([array.min(), array.max()])
    low, high = dequantize(extremes, spec).tolist()
    return RawOutput(name=spec.name, shape=array.shape, min=low, max=high, argmax=int(array.argmax()))
