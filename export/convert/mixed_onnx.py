"""Mixed int8 and float ONNX files, through ONNX Runtime's quantizer and the nodes it is told to leave out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
import onnx

from bedside.export.adopt.pixel_model import PixelModel
from bedside.export.convert.artifact import ConversionError
from bedside.export.convert.layers import Layer, grouped
from bedside.export.convert.onnx import (
    QUANTIZABLE,
    calibrated,
    convert_onnx,
    guarded,
    prepare,
    quantize,
)
from bedside.export.convert.quiet import gist, quiet
from bedside.runtime.bundle.manifest import Format

_WHERE = "onnx-int8"
#: Samples that the methods see which keep histograms of every activation.
_HISTOGRAM_SAMPLES = 64


class OnnxMixer:
    """See `bedside.export.convert.mixed.Mixer`.

    Args:
        model: To be quantized.
        calibration: `(N, *shape)`.

    Raises:
        ConversionError: The model does not convert.
    """

    format: Format = "onnx"
    methods: tuple[str, ...] = ("MinMax", "Percentile", "Entropy")

    def __init__(self, model: PixelModel, calibration: npt.NDArray[Any]) -> None:
        self._latent = model.latent
        self._calibration = calibration
        self._ranges: dict[str, Any] = {}
        self._float = convert_onnx(model, "fp32")
        with quiet() as written:
            try:
                self._prepared = prepare(model)
            except Exception as error:
                reason = gist(error, written())
            else:
                self.layers = _layers(self._prepared)
                return
        raise ConversionError(reason, where=_WHERE)

    def reference(self) -> bytes:
        """The float file."""
        return self._float

    def build(self, quantized: Sequence[Layer], method: str = "MinMax") -> bytes:
        """See `Mixer.build`."""
        wanted = {member for layer in quantized for member in layer.members}
        kept = [m for layer in self.layers for m in layer.members if m not in wanted]

        def made() -> onnx.ModelProto:
            return quantize(self._prepared, self._range(method), latent=self._latent, keep=kept)

        return guarded(made, _WHERE)

    def _range(self, method: str) -> Any:
        if method not in self._ranges:
            seen = self._calibration
            if method != "MinMax":
                seen = seen[:: max(1, len(seen) // _HISTOGRAM_SAMPLES)]
            self._ranges[method] = calibrated(self._prepared, seen, latent=self._latent, method=method)
        return self._ranges[method]


def _layers(prepared: onnx.ModelProto) -> tuple[Layer, ...]:
    """Layers that the quantizer has an integer form of."""
    return grouped(
        [
            (node.name, node.op_type, node.name)
            for node in prepared.graph.node
            if node.op_type in QUANTIZABLE and node.op_type != "Softmax"
        ]
    )
