"""Outputs of a model whose task bedside does not know, summarised."""

from __future__ import annotations

import numpy as np

from bedside.runtime.bundle.manifest import TensorSpec
from bedside.runtime.engines.protocol import Array
from bedside.runtime.result import Raw, RawOutput
from bedside.runtime.tasks.protocol import Scores, check_finite, dequantize


class RawDecoder:
    """Extremes and position of the maximum, per output, in real values."""

    def decode(self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...]) -> Raw:
        """One summary per output, in order; see `TaskDecoder.decode`."""
        check_finite(outputs, specs)
        return Raw(tuple([_summary(array, spec) for array, spec in zip(outputs, specs, strict=True)]))

    def dense(self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...]) -> Scores:
        """All outputs in real values, flattened and joined in order; see `TaskDecoder.dense`."""
        check_finite(outputs, specs)
        real = [dequantize(array, spec).reshape(-1) for array, spec in zip(outputs, specs, strict=True)]
        return np.concatenate(real)

    def reset(self) -> None:
        """Nothing to forget."""


def _summary(array: Array, spec: TensorSpec) -> RawOutput:
    # The scale is positive, so the extremes of the codes are those of the values: three numbers are
    # dequantized.
    extremes = np.array([array.min(), array.max()])
    low, high = dequantize(extremes, spec).tolist()
    return RawOutput(name=spec.name, shape=array.shape, min=low, max=high, argmax=int(array.argmax()))
