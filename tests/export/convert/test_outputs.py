"""Any number of outputs, in the order of the model, whatever order a converter likes; latents too."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema

from bedside.export.adopt.pixel_model import PixelModel
from bedside.export.backend import keras
from bedside.export.convert.artifact import KINDS, Artifact, ConversionError
from bedside.export.convert.calibration import with_extremes
from bedside.export.convert.describe import describe
from bedside.export.convert.onnx import convert_onnx
from bedside.export.convert.outputs import in_model_order
from bedside.export.convert.tflite import convert_tflite
from bedside.runtime import engines
from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.engines import SessionOptions
from bedside.runtime.packing import run_samples

L = keras.layers
SIDE = 16
SPEC = InputSpec(width=SIDE, height=SIDE)
#: Twelve outputs: `output_10` sorts before `output_2`. Their names sort in yet another order.
NAMES = tuple(f"{'scores' if k % 2 else 'boxes'}-{11 - k}" for k in range(12))
ALLOWED = {"fp32": 1e-5, "fp16": 5e-3, "dynamic": 0.03, "int8": 0.05, "int16x8": 0.01}


def many(x: Any) -> list[Any]:
    """Twelve heads: every second one has the shape of its neighbour, so shapes alone do not tell them apart."""
    x = L.Rescaling(1 / 127.5, offset=-1)(x)
    x = L.Conv2D(6, 3, strides=2, padding="same", activation="relu")(x)
    return [L.Conv2D(1 + k // 2, 1, activation="sigmoid" if k % 2 else "relu")(x) for k in range(len(NAMES))]


def generator(z: Any) -> list[Any]:
    x = L.Reshape((4, 4, 8))(L.Dense(128)(z))
    x = L.LeakyReLU(0.2)(L.BatchNormalization()(x))
    return [L.Conv2DTranspose(3, 5, strides=4, padding="same", activation="tanh")(x)]


@pytest.fixture(scope="module")
def heads(wrap: Any) -> PixelModel:
    keras.utils.set_random_seed(4)
    model: PixelModel = wrap(many, (SIDE, SIDE, 3), NAMES)
    return model


@pytest.fixture(scope="module")
def latents(wrap: Any) -> PixelModel:
    keras.utils.set_random_seed(4)
    model: PixelModel = wrap(generator, (10,), ("picture",))
    return model


def frames(count: int, seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


def normal(count: int, seed: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, 10)).astype(np.float32)


def convert(variant: str, model: PixelModel, calibration: npt.NDArray[Any]) -> bytes:
    form, precision = KINDS[variant]
    return (convert_tflite if form == "tflite" else convert_onnx)(model, precision, calibration)


def worst(artifact: Artifact, samples: npt.NDArray[Any], expected: tuple[npt.NDArray[Any], ...]) -> float:
    """Largest relative error of any output, over the engines here that read the format."""
    errors = []
    for status in engines.statuses():
        if status.available and artifact.format in status.formats:
            session = engines.compile_model(
                status.id, artifact.data, artifact.format, SessionOptions(threads=2)
            )
            found = run_samples(session, samples, artifact.outputs)
            session.close()
            assert [f.shape for f in found] == [e.shape for e in expected]
            errors += [np.abs(f - e).max() / np.abs(e).max() for f, e in zip(found, expected, strict=True)]
    return float(max(errors))


@pytest.mark.parametrize("variant", list(KINDS))
def test_outputs_come_in_the_order_of_the_model(heads: PixelModel, variant: str) -> None:
    # Samples that calibration saw: what is beyond its ranges would be clipped, whatever the order.
    calibration = frames(20, 1)
    samples = calibration[:4]
    artifact = describe(variant, convert(variant, heads, with_extremes(calibration)), SPEC)
    assert worst(artifact, samples, heads.predict(samples)) <= ALLOWED[artifact.precision]
    if artifact.format == "onnx":
        assert tuple(spec.name for spec in artifact.outputs) == NAMES
    if variant == "tflite-int8":
        assert {spec.dtype for spec in artifact.outputs} == {"uint8"}
        assert all(spec.quantization is not None for spec in artifact.outputs)


@pytest.mark.parametrize("variant", list(KINDS))
def test_a_latent_stays_float32(latents: PixelModel, variant: str) -> None:
    spec = InputSpec(width=SIDE, height=SIDE, dtype="float32", latent=10)
    calibration = normal(50, 1)
    samples = calibration[:8]
    artifact = describe(variant, convert(variant, latents, calibration), spec)
    assert (artifact.inputs[0].shape, artifact.inputs[0].dtype) == ((1, 10), "float32")
    assert worst(artifact, samples, latents.predict(samples)) <= ALLOWED[artifact.precision]
    if variant == "tflite-int8":
        assert artifact.outputs[0].dtype == "uint8"
    if variant == "onnx-int8":
        ops = {node.op_type for node in onnx.load_from_string(artifact.data).graph.node}
        assert {"QuantizeLinear", "DequantizeLinear"} <= ops


def test_reordering_touches_nothing_else(heads: PixelModel) -> None:
    data = convert_tflite(heads, "fp32")
    shapes = tuple(tuple(o.shape) for o in heads.float32.outputs)
    assert in_model_order(data, shapes, "tflite-fp32") == data, "once ordered it stays"
    buffer = bytearray(data)
    indices = schema.Model.GetRootAsModel(buffer, 0).Subgraphs(0).OutputsAsNumpy()
    indices[:] = indices[::-1].copy()
    assert bytes(buffer) != data
    assert in_model_order(bytes(buffer), shapes, "tflite-fp32") == data


def test_a_file_with_other_outputs_is_refused(heads: PixelModel) -> None:
    data = convert_tflite(heads, "fp32")
    shapes = tuple(tuple(o.shape) for o in heads.float32.outputs)
    with pytest.raises(ConversionError, match="12 outputs, the model 11"):
        in_model_order(data, shapes[:-1], "tflite-fp32")
    with pytest.raises(ConversionError, match=r"outputs are \[1, 8, 8, 1\].*the model's \[1, 8, 8, 6\]"):
        in_model_order(data, shapes[::-1], "tflite-fp32")


def test_a_file_that_loads_but_does_not_run_is_no_variant(wrap: Any) -> None:
    def normalized(x: Any) -> list[Any]:
        x = L.LayerNormalization()(L.Rescaling(1 / 255)(x))
        return [L.Dense(2)(L.Flatten()(x))]

    model: PixelModel = wrap(normalized, (SIDE, SIDE, 3), ("scores",))
    data = convert_tflite(model, "int16x8", with_extremes(frames(8, 1)))
    with pytest.raises(ConversionError, match=r"does not run: .*SquaredDifference"):
        describe("tflite-int16x8", data, SPEC)
