"""How much each layer loses when it alone is int8.

The usual sensitivity analysis: one layer at a time is quantized, all others stay in float, and the error is
taken at the model's outputs (Wu et al., "Integer Quantization for Deep Learning Inference", 2020, section 4.3).
An error inside the layer would not tell: a tensor with a few channels of a thousandfold range has the usual
signal-to-noise ratio, although everything in its small channels is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.adopt.pixel_model import PixelModel
from bedside.export.convert.artifact import ConversionError
from bedside.export.convert.mixed import Mixer, Outputs, mixer, output_error, outputs
from bedside.runtime.errors import EngineError

Progress = Callable[[int, int], None]

#: Calibration samples that errors are measured on.
PROBES = 16


class LayerError(msgspec.Struct, frozen=True):
    """One layer.

    Attributes:
        name: Of the Keras layer, as far as the file tells.
        op: Types of its operators, in the format's words.
        error: Of the model's worst output with only this layer int8: root mean square error over the output's
            standard deviation, on the calibration set; None where the layer cannot be int8 by itself.
    """

    name: str
    op: str
    error: float | None


def layer_errors(
    model: PixelModel, variant: str, calibration: npt.NDArray[Any], progress: Progress | None = None
) -> tuple[LayerError, ...]:
    """Of every layer, in the order of the graph; for the report, or to see what int8 would cost.

    Args:
        model: To be quantized.
        variant: `tflite-int8` or `onnx-int8`.
        calibration: `(N, *shape)`, as for the converters. The holdout is not looked at.
        progress: Called after every layer.

    Raises:
        ConversionError: The model does not convert.
    """
    made = mixer(model, variant, calibration)
    samples = probes(calibration)
    return measured(made, samples, outputs(made.reference(), made.format, samples), progress)


def measured(
    made: Mixer, samples: npt.NDArray[Any], reference: Outputs, progress: Progress | None = None
) -> tuple[LayerError, ...]:
    """The same with a mixer and the float outputs at hand; one for every layer of the mixer."""
    found = []
    for i, layer in enumerate(made.layers):
        try:
            data = made.build([layer], made.methods[0])
            error = output_error(outputs(data, made.format, samples), reference)
        except (ConversionError, EngineError):
            error = None
        found.append(LayerError(name=layer.name, op=layer.op, error=error))
        if progress is not None:
            progress(i + 1, len(made.layers))
    return tuple(found)


def probes(calibration: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """At most `PROBES` samples, evenly over the set."""
    chosen = np.unique(np.linspace(0, len(calibration) - 1, min(PROBES, len(calibration))).astype(int))
    return np.asarray(calibration[chosen])
