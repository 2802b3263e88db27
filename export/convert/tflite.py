"""TFLite variants: fp32, fp16, dynamic-range, full int8, and int16 activations with int8 weights."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt
import tensorflow as tf

from bedside.export.adopt.pixel_model import PixelModel
from bedside.export.convert.artifact import ConversionError
from bedside.export.convert.outputs import in_model_order
from bedside.export.convert.quiet import gist, quiet

#: Precisions that need a calibration set.
CALIBRATED = ("int8", "int16x8")


def convert_tflite(model: PixelModel, precision: str, calibration: npt.NDArray[Any] | None = None) -> bytes:
    """Convert to TFLite. The file takes `(1, H, W, C) uint8` pixels, or `(1, D) float32` latents.

    Args:
        model: With raw pixels, or a latent, for an input.
        precision: `fp32`, `fp16` (float16 weights), `dynamic` (int8 weights, float activations), `int8` (all of
            it) or `int16x8` (int16 activations, int8 weights; outputs stay float).
        calibration: For `int8` and `int16x8`: `(N, *shape)`, uint8 training frames with black and white among
            them, or float32 latents; see `bedside.export.convert.calibration`.

    Returns:
        The file, its outputs in the order of `model.outputs`. Those of an int8 file are uint8 (scale 1/256
        where it ends in a softmax), so nothing in it is float: accelerators that know integers only can run
        all of it. A latent input stays float32 and is quantized inside.

    Raises:
        ConversionError: The converter refuses, in one line.
    """
    where = f"tflite-{precision}"
    if precision in CALIBRATED and calibration is None:
        raise ConversionError(f"{precision} needs a calibration set", where=where)
    # The converter quantizes a float input by itself; a uint8 one would leave CAST and QUANTIZE behind. For
    # int16 activations there is no other way: pixels are no int16.
    graph = model.float32 if precision == "int8" else model.uint8
    # Where an output has no integer form, float outputs are better than no file.
    answers = (tf.uint8, tf.float32) if precision == "int8" else (tf.float32,)
    failures: list[str] = []
    with quiet() as written:
        for load, answer in itertools.product((_from_keras, _from_saved_model), answers):
            try:
                data = load(graph, lambda c, a=answer: _configure(c, model, precision, calibration, a))
            except Exception as error:
                failures.append(gist(error, written()))
            else:
                return in_model_order(data, shapes(model), where)
    # Later attempts fail for the same reason or for a less telling one.
    raise ConversionError(failures[0], where=where)


def shapes(model: PixelModel) -> tuple[tuple[int, ...], ...]:
    """Of the outputs, batch of 1 included, in the order of `model.outputs`."""
    return tuple(tuple(output.shape) for output in model.float32.outputs)


def feed(calibration: npt.NDArray[Any], dtype: str) -> Callable[[], Iterator[list[npt.NDArray[Any]]]]:
    """A calibration set as TensorFlow wants it: one `(1, *shape)` tensor at a time, of the graph's dtype."""

    def samples() -> Iterator[list[npt.NDArray[Any]]]:
        for sample in calibration:
            yield [sample[None].astype(dtype)]

    return samples


def _configure(
    converter: Any, model: PixelModel, precision: str, calibration: npt.NDArray[Any] | None, answer: Any
) -> bytes:
    ops = tf.lite.OpsSet
    if precision != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        assert calibration is not None
        converter.representative_dataset = feed(calibration, "float32")
        converter.target_spec.supported_ops = [ops.TFLITE_BUILTINS_INT8]
        if not model.latent:
            converter.inference_input_type = tf.uint8
        converter.inference_output_type = answer
    if precision == "int16x8":
        assert calibration is not None
        converter.representative_dataset = feed(calibration, model.uint8.inputs[0].dtype)
        converter.target_spec.supported_ops = [
            ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            ops.TFLITE_BUILTINS,
        ]
    return bytes(converter.convert())


def _from_keras(graph: Any, convert: Callable[[Any], bytes]) -> bytes:
    return convert(tf.lite.TFLiteConverter.from_keras_model(graph))


def _from_saved_model(graph: Any, convert: Callable[[Any], bytes]) -> bytes:
    # Some Keras 3 models convert only by way of a SavedModel (keras-team/keras#20160 and its kin).
    with tempfile.TemporaryDirectory(prefix="bedside-") as folder:
        saved = str(Path(folder) / "saved")
        graph.export(saved, verbose=False)
        return convert(tf.lite.TFLiteConverter.from_saved_model(saved))
