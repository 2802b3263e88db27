"""TFLite variants: fp32, fp16, dynamic-range and full int8."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from bedside.export.adopt.graph import PixelModel
from bedside.export.convert.artifact import ConversionError
from bedside.export.convert.quiet import gist, quiet


def convert_tflite(
    model: PixelModel, precision: str, calibration: npt.NDArray[np.uint8] | None = None
) -> bytes:
    """Convert to TFLite. The file takes `(1, H, W, C) uint8` pixels.

    Args:
        model: With raw pixels for an input.
        precision: `fp32`, `fp16` (float16 weights), `dynamic` (int8 weights, float activations) or `int8`
            (all of it).
        calibration: For `int8`: `(N, H, W, C) uint8` training frames, black and white among them; see
            `bedside.export.convert.calibration`.

    Returns:
        The file. An int8 file gives uint8 scores of scale 1/256 where it ends in a softmax, so nothing in it
        is
        float: accelerators that know integers only can run all of it.

    Raises:
        ConversionError: The converter refuses, in one line.
    """
    if precision == "int8" and calibration is None:
        raise ConversionError("int8 needs a calibration set", where="tflite-int8")
    # The converter quantizes a float input by itself; a uint8 one would leave CAST and QUANTIZE behind.
    graph = model.float32 if precision == "int8" else model.uint8

    def configure(converter: Any) -> bytes:
        if precision != "fp32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "fp16":
            converter.target_spec.supported_types = [tf.float16]
        if precision == "int8":
            converter.representative_dataset = _frames(calibration)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.uint8
            converter.inference_output_type = tf.uint8
        return bytes(converter.convert())

    with quiet() as written:
        try:
            return configure(tf.lite.TFLiteConverter.from_keras_model(graph))
        except Exception as first:
            # Some Keras 3 models convert only by way of a SavedModel (keras-team/keras#20160 and its kin).
            try:
                with tempfile.TemporaryDirectory(prefix="bedside-") as folder:
                    saved = str(Path(folder) / "saved")
                    graph.export(saved, verbose=False)
                    return configure(tf.lite.TFLiteConverter.from_saved_model(saved))
            except Exception as second:
                # The second attempt fails for the same reason or for a less telling one.
                reason = gist(first, written()) or gist(second)
    raise ConversionError(reason, where=f"tflite-{precision}")


def _frames(
    calibration: npt.NDArray[np.uint8] | None,
) -> Callable[[], Iterator[list[npt.NDArray[np.float32]]]]:
    def frames() -> Iterator[list[npt.NDArray[np.float32]]]:
        for frame in calibration if calibration is not None else ():
            yield [frame[None].astype(np.float32)]

    return frames
