"""Conversion as the device sees it: every file through the engine's own report of its tensors."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from bedside.export.adopt.graph import adopt as adopt_any
from bedside.export.adopt.pixel_model import PixelModel
from bedside.export.adopt.preprocessing import named
from bedside.export.backend import keras
from bedside.export.convert.artifact import KINDS, Artifact, ConversionError
from bedside.export.convert.calibration import with_extremes
from bedside.export.convert.describe import check_input, describe
from bedside.export.convert.onnx import convert_onnx, take_pixels
from bedside.export.convert.tflite import convert_tflite
from bedside.runtime import engines
from bedside.runtime.bundle.manifest import InputSpec, Quantization, TensorSpec
from bedside.runtime.engines import SessionOptions
from bedside.runtime.packing import run_samples

L = keras.layers
SIDE = 16
SPEC = InputSpec(width=SIDE, height=SIDE)
INT8 = ("tflite-int8", "onnx-int8")


def adopt(model: Any, **words: Any) -> PixelModel:
    return adopt_any(model, "classification", ("a", "b", "c"), **words).model


def frames(count: int, high: int = 256, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, high, (count, SIDE, SIDE, 3), np.uint8)


#: Calibration frames that never get brighter than 178: alone they would give an input scale of 0.7.
DIM = frames(20, 179)


def convert(variant: str, model: PixelModel, calibration: npt.NDArray[np.uint8]) -> bytes:
    form, precision = KINDS[variant]
    return (convert_tflite if form == "tflite" else convert_onnx)(model, precision, calibration)


def body() -> list[Any]:
    return [L.Conv2D(4, 3, activation="relu", padding="same"), L.GlobalAveragePooling2D(), L.Dense(3)]


def functional(first: Any) -> Any:
    pixels = keras.Input((SIDE, SIDE, 3))
    x = first(pixels)
    for layer in body():
        x = layer(x)
    return keras.Model(pixels, L.Softmax()(x))


STRANGERS = {
    "sequential, rescaling": lambda: adopt(
        keras.Sequential([keras.Input((SIDE, SIDE, 3)), L.Rescaling(1 / 127.5, offset=-1), *body()])
    ),
    "sequential, raw": lambda: adopt(
        keras.Sequential([keras.Input((SIDE, SIDE, 3)), *body()]), preprocessing=named("none")
    ),
    "functional, imagenet given": lambda: adopt(functional(lambda x: x), preprocessing=named("imagenet")),
    "functional, operators": lambda: adopt(functional(keras.applications.mobilenet_v2.preprocess_input)),
    "functional, normalization": lambda: adopt(
        functional(L.Normalization(mean=[90.0, 100.0, 110.0], variance=[2500.0] * 3))
    ),
}


@pytest.fixture(scope="module", params=list(STRANGERS))
def stranger(request: pytest.FixtureRequest) -> PixelModel:
    keras.utils.set_random_seed(3)
    model: PixelModel = STRANGERS[request.param]()
    return model


@pytest.mark.parametrize("variant", ["tflite-fp32", "tflite-int8", "onnx-fp32", "onnx-int8"])
def test_takes_pixels_and_answers_as_keras(stranger: PixelModel, variant: str) -> None:
    artifact = describe(variant, convert(variant, stranger, with_extremes(DIM)), SPEC)
    tensor = artifact.inputs[0]
    assert (tensor.shape, tensor.dtype) == ((1, SIDE, SIDE, 3), "uint8")
    assert tensor.quantization in (None, Quantization(scale=1.0, zero_point=0))
    samples = frames(8, 179, seed=9)
    keras_says = stranger.predict(samples)[0]
    scale = np.abs(keras_says).max()
    for answer in answers(artifact, samples):
        # An untrained model separates nothing, so int8 has the least to hold on to.
        assert np.abs(answer - keras_says).max() <= (0.05 if variant in INT8 else 1e-5) * scale


def answers(artifact: Artifact, samples: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
    """Of every engine here that reads the format, with one and with two threads."""
    found = []
    for status in engines.statuses():
        if status.available and artifact.format in status.formats:
            for threads in (1, 2):
                options = SessionOptions(threads=threads)
                session = engines.compile_model(status.id, artifact.data, artifact.format, options)
                found.append(run_samples(session, samples, artifact.outputs)[0])
                session.close()
    assert found
    return found


@pytest.fixture(scope="module")
def plain() -> PixelModel:
    keras.utils.set_random_seed(3)
    return adopt(
        keras.Sequential(
            [
                keras.Input((SIDE, SIDE, 3)),
                L.Rescaling(1 / 255),
                L.Conv2D(4, 3, activation="relu"),
                L.Flatten(),
                L.Dense(24, activation="relu"),
                L.Dense(3, activation="softmax"),
            ]
        )
    )


@pytest.mark.parametrize("variant", INT8)
def test_a_calibration_set_without_white_is_refused(plain: PixelModel, variant: str) -> None:
    with pytest.raises(ConversionError, match=r"expected (1 \* \(p - 0\)|\(1, 0\))"):
        describe(variant, convert(variant, plain, DIM), SPEC)


def test_int8_input_is_exactly_pixels(plain: PixelModel) -> None:
    artifact = describe("tflite-int8", convert("tflite-int8", plain, with_extremes(DIM)), SPEC)
    assert artifact.inputs[0].quantization == Quantization(scale=1.0, zero_point=0)
    assert artifact.outputs[0].dtype == "uint8"
    assert artifact.outputs[0].quantization == Quantization(scale=1 / 256, zero_point=0)


def test_int8_onnx_has_no_float_in_front(plain: PixelModel) -> None:
    graph = onnx.load_from_string(convert("onnx-int8", plain, with_extremes(DIM))).graph
    users = [node.op_type for node in graph.node if graph.input[0].name in node.input]
    assert users == ["DequantizeLinear"]
    weights = {node.op_type for node in graph.node}
    assert "Cast" not in weights
    conv = next(node for node in graph.node if node.op_type == "Conv")
    scales = next(n for n in graph.node if n.output[0] == conv.input[1]).input[1]
    assert next(t.dims for t in graph.initializer if t.name == scales) == [4], (
        "weights are quantized per channel"
    )


@pytest.mark.parametrize("variant", list(KINDS))
def test_the_same_model_gives_the_same_bytes(plain: PixelModel, variant: str) -> None:
    first, second = (convert(variant, plain, with_extremes(DIM)) for _ in range(2))
    assert first == second


def test_sizes_follow_the_precision(plain: PixelModel) -> None:
    sizes = {v: len(convert(v, plain, with_extremes(DIM))) for v in KINDS if v.startswith("tflite")}
    assert sizes["tflite-fp32"] > 1.5 * sizes["tflite-fp16"] > 1.5 * sizes["tflite-int8"]


def test_a_channel_swap_inside_the_model_costs_only_the_int8_tflite() -> None:
    keras.utils.set_random_seed(3)
    swapped = adopt(functional(keras.applications.resnet.preprocess_input))
    with pytest.raises(ConversionError, match="channel swap"):
        describe("tflite-int8", convert("tflite-int8", swapped, with_extremes(DIM)), SPEC)
    describe("onnx-fp32", convert("onnx-fp32", swapped, with_extremes(DIM)), SPEC)


def test_converters_stay_silent(plain: PixelModel, capfd: pytest.CaptureFixture[str]) -> None:
    for variant in INT8:
        convert(variant, plain, with_extremes(DIM))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("variant", INT8)
def test_int8_needs_a_calibration_set(plain: PixelModel, variant: str) -> None:
    form, precision = KINDS[variant]
    with pytest.raises(ConversionError, match="calibration set"):
        (convert_tflite if form == "tflite" else convert_onnx)(plain, precision)


def test_exact_gelu_reaches_onnx() -> None:
    keras.utils.set_random_seed(3)
    gelu = [L.Conv2D(4, 3, activation="gelu"), L.Conv2D(4, 3, activation="gelu"), L.GlobalAveragePooling2D()]
    model = adopt(keras.Sequential([keras.Input((SIDE, SIDE, 3)), L.Rescaling(1 / 255), *gelu, L.Dense(3)]))
    samples = frames(4, 179)
    keras_says = model.predict(samples)[0]
    for variant, allowed in (("onnx-fp32", 1e-5), ("onnx-int8", 0.05)):
        artifact = describe(variant, convert(variant, model, with_extremes(DIM)), SPEC)
        for answer in answers(artifact, samples):
            assert np.abs(answer - keras_says).max() <= allowed * np.abs(keras_says).max()


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ("tflite-fp32", "no TFLite kernel for tf.Betainc"),
        ("onnx-fp32", "no ONNX operator for Betainc"),
        ("onnx-int8", "no ONNX operator for Betainc"),
    ],
)
def test_what_no_kernel_computes_is_named(
    variant: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    class Beta(L.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return tf.math.betainc(x, x, x)

    model = adopt(
        keras.Sequential([keras.Input((SIDE, SIDE, 3)), L.Rescaling(1 / 256, offset=0.001), Beta(), *body()])
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConversionError) as caught:
        convert(variant, model, DIM)
    assert str(caught.value) == f"{variant}: {said}"
    assert list(tmp_path.iterdir()) == [], "converters leave files in the working directory"


def test_check_input_tells_both_sides() -> None:
    tensor = TensorSpec(name="x", shape=(1, 8, 8, 3), dtype="float32")
    with pytest.raises(
        ConversionError, match=r"takes \[1, 8, 8, 3\] float32, expected \[1, 16, 16, 3\] uint8"
    ):
        check_input("tflite-fp32", (tensor,), SPEC)


def test_take_pixels_refuses_another_zero_point() -> None:
    helper, proto = onnx.helper, onnx.TensorProto
    shape = [1, 2]
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", proto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", proto.FLOAT, shape)],
        [helper.make_tensor("s", proto.FLOAT, [], [1.0]), helper.make_tensor("z", proto.UINT8, [], [3])],
    )
    with pytest.raises(ConversionError, match=r"\(1, 3\)"):
        take_pixels(helper.make_model(graph))
