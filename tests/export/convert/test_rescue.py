"""A decoder that int8 breaks for real, and what gets it back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema

from bedside.export.adopt.pixel_model import PixelModel
from bedside.export.backend import keras
from bedside.export.convert.artifact import ConversionError
from bedside.export.convert.calibration import with_extremes
from bedside.export.convert.describe import describe
from bedside.export.convert.layers import grouped
from bedside.export.convert.mixed import VARIANTS, mixer, output_error, outputs
from bedside.export.convert.onnx import convert_onnx
from bedside.export.convert.rescue import Rescued, rescue
from bedside.export.convert.sensitivity import layer_errors
from bedside.export.convert.tflite import convert_tflite
from bedside.runtime.bundle.manifest import InputSpec, Quantization

L = keras.layers
SIDE = 32
SPEC = InputSpec(width=SIDE, height=SIDE)
#: Of an output's standard deviation; what the tests take for a gate.
TOLERANCE = 0.1
_OPS = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


def decoder(x: Any) -> list[Any]:
    x = L.Rescaling(1 / 127.5, offset=-1, name="rescaling")(x)
    for name, filters in (("down1", 8), ("down2", 16)):
        x = L.Conv2D(filters, 3, strides=2, padding="same", activation="relu", name=name)(x)
    x = L.Conv2D(16, 3, padding="same", activation="relu", name="middle")(x)
    for name, filters in (("up1", 16), ("up2", 8)):
        x = L.Conv2DTranspose(filters, 3, strides=2, padding="same", activation="relu", name=name)(x)
    x = L.Conv2D(8, 3, padding="same", activation="relu", name="last")(x)
    return [L.Conv2D(3, 1, activation="sigmoid", name="picture")(x)]


def widen(model: Any, first: str, second: str, channels: list[int], factor: float) -> None:
    """Scale some channels between two transposed convolutions up, and down again: the same function in float.

    ReLU lets positive factors through (Nagel et al., "Data-Free Quantization Through Weight Equalization",
    2019, section 4.1, the other way round). An activation quantized per tensor loses all other channels.
    """
    kernel, bias = model.get_layer(first).get_weights()
    kernel[:, :, channels, :] *= factor
    bias[channels] *= factor
    model.get_layer(first).set_weights([kernel, bias])
    kernel, bias = model.get_layer(second).get_weights()
    kernel[:, :, :, channels] /= factor
    model.get_layer(second).set_weights([kernel, bias])


def frames(count: int, seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


CALIBRATION = with_extremes(frames(24, 0))
HOLDOUT = frames(8, 1)


def build(wrap: Any, factor: float) -> PixelModel:
    keras.utils.set_random_seed(4)
    model: PixelModel = wrap(decoder, (SIDE, SIDE, 3), ("picture",))
    rng = np.random.default_rng(0)
    for layer in model.reference.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([1.6 * kernel, bias + rng.normal(0, 0.05, bias.shape)])
    if factor != 1:
        before = model.predict(HOLDOUT)[0]
        widen(model.reference, "up1", "up2", [0, 1], factor)
        np.testing.assert_allclose(model.predict(HOLDOUT)[0], before, atol=1e-5)
    return model


@pytest.fixture(scope="module")
def broken(wrap: Any) -> PixelModel:
    return build(wrap, 1000.0)


@pytest.fixture(scope="module")
def sound(wrap: Any) -> PixelModel:
    return build(wrap, 1.0)


def holdout_error(model: PixelModel, variant: str, data: bytes) -> float:
    found = outputs(data, "tflite" if variant.startswith("tflite") else "onnx", HOLDOUT)
    return output_error(found, model.predict(HOLDOUT))


def gate(model: PixelModel, variant: str, asked: list[float]) -> Callable[[bytes], bool]:
    def judge(data: bytes) -> bool:
        asked.append(holdout_error(model, variant, data))
        return asked[-1] <= TOLERANCE

    return judge


def int8(model: PixelModel, variant: str) -> bytes:
    convert = convert_tflite if variant.startswith("tflite") else convert_onnx
    return convert(model, "int8", CALIBRATION)


@pytest.fixture(scope="module", params=VARIANTS)
def rescued(request: pytest.FixtureRequest, broken: PixelModel) -> tuple[str, Rescued, list[float]]:
    asked: list[float] = []
    variant: str = request.param
    found = rescue(broken, variant, CALIBRATION, gate(broken, variant, asked))
    return variant, found, asked


@pytest.mark.parametrize("variant", VARIANTS)
def test_int8_collapses(broken: PixelModel, sound: PixelModel, variant: str) -> None:
    assert holdout_error(broken, variant, int8(broken, variant)) > 1.0, "no better than a constant"
    assert holdout_error(sound, variant, int8(sound, variant)) <= TOLERANCE, (
        "but for the wide channels it works"
    )


def test_the_fewest_layers_in_float_bring_it_back(
    rescued: tuple[str, Rescued, list[float]], broken: PixelModel
) -> None:
    variant, found, asked = rescued
    assert found.data is not None
    assert found.kept == ("up1", "up2"), "both sides of the wide tensor, and nothing else"
    assert len(found.kept) < len(found.layers) / 2
    assert holdout_error(broken, variant, found.data) <= TOLERANCE
    assert found.tried == len(asked) <= 4
    assert sum(error <= TOLERANCE for error in asked) >= 1 > sum(error <= TOLERANCE for error in asked[:-1])
    assert found.full_error > 1.0 > TOLERANCE > found.error
    assert len(found.data) > found.full_bytes, "keeping layers in float costs bytes"


def test_the_file_is_really_mixed(rescued: tuple[str, Rescued, list[float]]) -> None:
    variant, found, _ = rescued
    assert found.data is not None
    artifact = describe(variant, found.data, SPEC)
    assert artifact.inputs[0].dtype == "uint8"
    if variant == "tflite-int8":
        assert artifact.inputs[0].quantization == Quantization(scale=1.0, zero_point=0)
        integer, real = tflite_kernels(found.data)
    else:
        integer, real = onnx_kernels(found.data)
    assert integer == 5, "down1, down2, middle, last, picture"
    assert real == 2, "up1, up2"


def tflite_kernels(data: bytes) -> tuple[int, int]:
    """How many convolutions compute in int8, and how many in float."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    types = [
        graph.tensors[op.outputs[0]].type
        for op in graph.operators
        if _OPS[model.operatorCodes[op.opcodeIndex].builtinCode] in ("CONV_2D", "TRANSPOSE_CONV")
    ]
    return types.count(schema.TensorType.INT8), types.count(schema.TensorType.FLOAT32)


def onnx_kernels(data: bytes) -> tuple[int, int]:
    graph = onnx.load_from_string(data).graph
    dequantized = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    weights = [n.input[1] in dequantized for n in graph.node if n.op_type in ("Conv", "ConvTranspose")]
    return weights.count(True), weights.count(False)


def test_every_layer_has_its_error(rescued: tuple[str, Rescued, list[float]]) -> None:
    _, found, _ = rescued
    errors = {layer.name: layer.error for layer in found.layers}
    assert {"rescaling", "down1", "down2", "middle", "up1", "up2", "last", "picture"} <= set(errors)
    assert all(error is not None for error in errors.values())
    wide = [errors.pop(name) for name in ("up1", "up2")]
    assert min(e for e in wide if e is not None) > 10 * max(e for e in errors.values() if e is not None)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_cannot_be_rescued_is_said(broken: PixelModel, variant: str) -> None:
    asked: list[bytes] = []
    found = rescue(broken, variant, CALIBRATION, lambda data: bool(asked.append(data)), max_float=3)
    assert (found.data, found.kept) == (None, ())
    assert found.tried == len(asked) >= 2
    assert found.layers


def test_a_limit_of_layers_holds(broken: PixelModel) -> None:
    asked: list[float] = []
    found = rescue(broken, "tflite-int8", CALIBRATION, gate(broken, "tflite-int8", asked), max_float=1)
    assert found.data is None, "one layer is not enough"


def test_sensitivity_of_a_sound_model(sound: PixelModel) -> None:
    seen: list[tuple[int, int]] = []
    found = layer_errors(sound, "tflite-int8", CALIBRATION, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(found), len(found))
    assert all(layer.error is not None and 0 < layer.error < TOLERANCE for layer in found)


@pytest.mark.parametrize("variant", VARIANTS)
def test_other_calibrations_make_files_that_take_pixels(sound: PixelModel, variant: str) -> None:
    made = mixer(sound, variant, with_extremes(frames(40, 3)))
    plain = made.build(made.layers, made.methods[0])
    for method in made.methods[1:]:
        data = made.build(made.layers, method)
        assert data != plain
        assert describe(variant, data, SPEC).inputs[0].dtype == "uint8"
        assert holdout_error(sound, variant, data) <= 2 * TOLERANCE


@pytest.mark.parametrize("variant", VARIANTS)
def test_pixels_that_would_be_misread_are_refused(sound: PixelModel, variant: str) -> None:
    made = mixer(sound, variant, frames(10, 3) // 2)
    with pytest.raises(ConversionError, match=r"expected \(1, "):
        made.build(made.layers, made.methods[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_latents_and_several_outputs_keep_their_order(wrap: Any, variant: str) -> None:
    def two(z: Any) -> list[Any]:
        x = L.Reshape((4, 4, 8))(L.Dense(128, activation="relu", name="dense")(z))
        x = L.Conv2DTranspose(6, 3, strides=2, padding="same", activation="relu", name="up")(x)
        # The same shape twice: only the values tell them apart.
        return [L.Conv2D(2, 1, activation=a, name=f"to_{a}")(x) for a in ("tanh", "sigmoid")]

    keras.utils.set_random_seed(4)
    model: PixelModel = wrap(two, (10,), ("b", "a"))
    latents = np.random.default_rng(0).standard_normal((40, 10)).astype(np.float32)
    made = mixer(model, variant, latents)
    layers = [layer for layer in made.layers if layer.name != "dense"]
    data = made.build(layers, made.methods[0])
    spec = InputSpec(width=8, height=8, dtype="float32", latent=10)
    artifact = describe(variant, data, spec)
    assert artifact.inputs[0].dtype == "float32"
    found = outputs(data, artifact.format, latents)
    assert output_error(found, model.predict(latents)) <= TOLERANCE
    assert output_error(found[::-1], model.predict(latents)) > 1.0


def test_operators_become_layers() -> None:
    found = grouped(
        [
            ("net_1/net_1/conv2d_1/Relu;net_1/net_1/conv2d_1/convolution", "CONV_2D", "a"),
            ("net_1/net_1/block_1/conv2d_1_1/BiasAdd", "CONV_2D", "b"),
            ("net_1/net_1/block_1/conv2d_1_1/Relu", "RELU", "c"),
            ("Transpose__5", "TRANSPOSE", "d"),
        ]
    )
    assert [(layer.name, layer.op, layer.members) for layer in found] == [
        ("conv2d", "CONV_2D", ("a",)),
        ("block/conv2d_1", "CONV_2D + RELU", ("b", "c")),
        ("Transpose__5", "TRANSPOSE", ("d",)),
    ]


def test_two_layers_never_share_a_name() -> None:
    found = grouped([("net/x/Relu", "X", "1"), ("net/y/Relu", "X", "2"), ("x", "Y", "3")])
    assert [layer.name for layer in found] == ["net/x", "y", "x"]


def test_error_is_that_of_the_worst_output() -> None:
    rng = np.random.default_rng(0)
    reference = tuple(rng.normal(0, s, (4, 5)).astype(np.float32) for s in (1, 100))
    assert output_error(reference, reference) == 0
    assert output_error((reference[0], np.full_like(reference[1], reference[1].mean())), reference) == (
        pytest.approx(1, rel=1e-5)
    )
    assert output_error((reference[0] * np.nan, reference[1]), reference) == np.inf
    constant = (np.full((4, 5), 0.5, np.float32),)
    assert output_error((constant[0] + np.float32(1e-6),), constant) == pytest.approx(0.002, rel=0.1)
    nothing = (np.zeros((4, 5), np.float32),)
    assert output_error(nothing, nothing) == 0
