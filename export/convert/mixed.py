"""int8 files of which some layers stay in float: what the search for them builds on, for both formats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bedside.export.adopt.pixel_model import PixelModel
from bedside.export.convert.artifact import KINDS, ConversionError
from bedside.export.convert.layers import Layer
from bedside.runtime import engines
from bedside.runtime.bundle.manifest import Format
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.packing import run_samples

Outputs = tuple[npt.NDArray[np.float32], ...]

#: An output that varies less than this, relative to its magnitude, does not vary.
_NOISE = 1e-3

#: Variants that layers can be kept in float of.
VARIANTS = ("tflite-int8", "onnx-int8")


class Mixer(Protocol):
    """A float model, calibrated once, that int8 files with any of its layers are made of.

    Attributes:
        format: Of the files.
        layers: In the order of the graph; those that have an integer form.
        methods: Ways to get from what calibration saw to ranges, the plain one first.
    """

    format: Format
    layers: tuple[Layer, ...]
    methods: tuple[str, ...]

    def reference(self) -> bytes:
        """The float file that errors are measured against."""
        ...

    def build(self, quantized: Sequence[Layer], method: str) -> bytes:
        """A file in which these layers are int8 and all others are float.

        Raises:
            ConversionError: The quantizer refuses, in one line.
        """
        ...


def mixer(model: PixelModel, variant: str, calibration: npt.NDArray[Any]) -> Mixer:
    """Of the variant's format.

    Args:
        model: To be quantized.
        variant: One of `VARIANTS`.
        calibration: `(N, *shape)`, as for the converters.

    Raises:
        ConversionError: The model does not convert, or a package is not here.
    """
    # Both bring heavy packages along.
    if KINDS[variant][0] == "tflite":
        try:
            from bedside.export.convert.mixed_tflite import TfliteMixer
        except ImportError as error:
            raise ConversionError(
                f"cannot be mixed with float layers: {error}",
                where=variant,
                hint="pip install ai-edge-quantizer",
            ) from None
        return TfliteMixer(model, calibration)
    from bedside.export.convert.mixed_onnx import OnnxMixer

    return OnnxMixer(model, calibration)


def outputs(data: bytes, format: Format, samples: npt.NDArray[Any]) -> Outputs:
    """What the format's own engine gives for `(N, *shape)` samples, dequantized.

    Raises:
        BedsideError: The engine refuses the file.
    """
    session = engines.compile_model(engines.preference(format)[0], data, format, SessionOptions(threads=1))
    try:
        return run_samples(session, samples)
    finally:
        session.close()


def output_error(found: Outputs, reference: Outputs) -> float:
    """Root mean square error over the reference's standard deviation; of the worst output.

    1 means: as wrong as a constant. Below a thousandth of the output's magnitude, variation is taken for noise.
    """
    errors = []
    for f, r in zip(found, reference, strict=True):
        error = math.sqrt(float(np.mean(np.square(f.astype(np.float64) - r))))
        spread = max(float(r.std(dtype=np.float64)), _NOISE * float(np.abs(r).max())) or 1.0
        errors.append(error / spread if math.isfinite(error) else math.inf)
    return max(errors)
