"""Makes the tiny models beside this file. Needs the `export` extra; run it by hand, commit what it writes.

    python tests/assets/make_models.py

The models exist so that the engine contract suite can run where there is no TensorFlow and no `onnx` package:
on the device environments that CI builds. Weights are random and seeded. Everything here is bedside's own.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnx
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parent
SIZE, CLASSES, SAMPLES = 16, 5, 8
#: Old enough for onnxruntime 1.20 and OpenVINO 2025.0.
OPSET, IR_VERSION = 17, 8


def weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Of the tiny CNN: 3x3x3 to 4, 3x3x4 to 6, dense 96 to 5; OIHW and (in, out)."""
    return {
        "conv1": rng.normal(0, 0.35, (4, 3, 3, 3)).astype(np.float32),
        "bias1": rng.normal(0, 0.1, 4).astype(np.float32),
        "conv2": rng.normal(0, 0.35, (6, 4, 3, 3)).astype(np.float32),
        "bias2": rng.normal(0, 0.1, 6).astype(np.float32),
        "dense": rng.normal(0, 0.6, (6 * 4 * 4, CLASSES)).astype(np.float32),
        "bias3": rng.normal(0, 0.1, CLASSES).astype(np.float32),
    }


def graph(x: tf.Tensor, w: dict[str, np.ndarray]) -> tuple[tf.Tensor, tf.Tensor]:
    """`(1, 16, 16, 3) float32` in 0..255 to class probabilities and the last feature map."""
    x = x / 255.0
    for conv, bias in (("conv1", "bias1"), ("conv2", "bias2")):
        kernel = tf.constant(w[conv].transpose(2, 3, 1, 0))
        x = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME") + w[bias])
        x = tf.nn.max_pool2d(x, 2, 2, "VALID")
    flat = tf.reshape(x, [-1, 6 * 4 * 4])
    return tf.nn.softmax(flat @ w["dense"] + w["bias3"]), x


def concrete(function: object, *specs: tf.TensorSpec) -> tuple[list[object], tf.Module]:
    """One traced function, with something to keep it alive."""
    module = tf.Module()
    traced = tf.function(function).get_concrete_function(*specs)
    return [traced], module


def converter(function: object, shape: tuple[int | None, ...]) -> tf.lite.TFLiteConverter:
    """A converter of a function of one float32 tensor."""
    functions, module = concrete(function, tf.TensorSpec(shape, tf.float32, name="pixels"))
    return tf.lite.TFLiteConverter.from_concrete_functions(functions, module)


def representative(frames: np.ndarray) -> object:
    """Calibration set; the all-0 and all-255 frames pin the input scale to exactly (1.0, 0)."""

    def generate() -> object:
        for frame in (np.zeros_like(frames[:1]), np.full_like(frames[:1], 255), *frames[:, None]):
            yield [frame.astype(np.float32)]

    return generate


def make_tflite(w: dict[str, np.ndarray], frames: np.ndarray) -> dict[str, bytes]:
    """The .tflite half."""
    shape = (1, SIZE, SIZE, 3)
    made: dict[str, bytes] = {}
    made["tiny_fp32.tflite"] = converter(lambda pixels: {"scores": graph(pixels, w)[0]}, shape).convert()
    cast = tf.lite.TFLiteConverter.from_concrete_functions(
        *concrete(
            lambda pixels: {"scores": graph(tf.cast(pixels, tf.float32), w)[0]},
            tf.TensorSpec(shape, tf.uint8, name="pixels"),
        )
    )
    made["tiny_uint8.tflite"] = cast.convert()
    quantized = converter(lambda pixels: {"scores": graph(pixels, w)[0]}, shape)
    quantized.optimizations = [tf.lite.Optimize.DEFAULT]
    quantized.representative_dataset = representative(frames)
    quantized.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    quantized.inference_input_type = tf.uint8
    quantized.inference_output_type = tf.int8
    made["tiny_int8.tflite"] = quantized.convert()
    # Named against the alphabet, so that an engine which sorts its outputs is caught.
    made["two_outputs.tflite"] = converter(
        lambda pixels: {"a_features": graph(pixels, w)[1], "b_scores": graph(pixels, w)[0]}, shape
    ).convert()
    # What Keras makes: the batch is -1 in the file, and 1 once tensors are allocated.
    made["batch.tflite"] = converter(
        lambda pixels: {"scores": graph(pixels, w)[0]}, (None, *shape[1:])
    ).convert()
    made["dynamic.tflite"] = converter(
        lambda pixels: {"mean": tf.reduce_mean(pixels, axis=[1, 2])}, (1, None, None, 3)
    ).convert()
    flex = converter(lambda pixels: {"y": tf.math.atan(pixels)}, shape)
    flex.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    made["flex_op.tflite"] = flex.convert()
    custom = converter(lambda pixels: {"y": tf.math.bessel_i0e(pixels)}, shape)
    custom.allow_custom_ops = True
    made["custom_op.tflite"] = custom.convert()
    return made


def onnx_graph(w: dict[str, np.ndarray], outputs: tuple[str, ...], batch: int | str = 1) -> onnx.ModelProto:
    """The same CNN as `graph`, uint8 in, NHWC outside and NCHW inside."""
    initializers = [numpy_helper.from_array(value, name) for name, value in w.items()]
    initializers.append(numpy_helper.from_array(np.float32(255.0).reshape(()), "range"))
    initializers.append(numpy_helper.from_array(np.array([-1, 96], np.int64), "flat_shape"))
    nodes = [
        helper.make_node("Cast", ["pixels"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["real", "range"], ["unit"]),
        helper.make_node("Transpose", ["unit"], ["x0"], perm=[0, 3, 1, 2]),
    ]
    for k in (1, 2):
        nodes += [
            helper.make_node("Conv", [f"x{k - 1}", f"conv{k}", f"bias{k}"], [f"c{k}"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"c{k}"], [f"r{k}"]),
            helper.make_node("MaxPool", [f"r{k}"], [f"x{k}"], kernel_shape=[2, 2], strides=[2, 2]),
        ]
    nodes += [
        helper.make_node("Transpose", ["x2"], ["features"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["features", "flat_shape"], ["flat"]),
        helper.make_node("Gemm", ["flat", "dense", "bias3"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=-1),
    ]
    shapes = {"scores": [batch, CLASSES], "features": [batch, 4, 4, 6]}
    return finish(
        nodes,
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [batch, SIZE, SIZE, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in outputs],
        initializers,
    )


def finish(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    initializers: list[onnx.TensorProto] | None = None,
    domains: tuple[str, ...] = (),
) -> onnx.ModelProto:
    """A model of the pinned opset and IR version."""
    imports = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(d, 1) for d in domains)]
    made = helper.make_model(
        helper.make_graph(nodes, "tiny", inputs, outputs, initializers or []), opset_imports=imports
    )
    made.ir_version = IR_VERSION
    return made


def make_onnx(w: dict[str, np.ndarray], frames: np.ndarray) -> dict[str, bytes]:
    """The .onnx half."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [{"pixels": frame} for frame in frames[:, None]]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return self.left.pop() if self.left else None

    made = {
        "tiny_fp32.onnx": onnx_graph(w, ("scores",)),
        "two_outputs.onnx": onnx_graph(w, ("scores", "features")),
        "batch.onnx": onnx_graph(w, ("scores",), "batch"),
    }
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "a.onnx", Path(folder) / "b.onnx"
        onnx.save(made["tiny_fp32.onnx"], source)
        quantize_static(
            source,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "MaxPool", "Gemm"],
        )
        made["tiny_int8.onnx"] = onnx.load(target)

    def tensor(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    made["dynamic.onnx"] = finish(
        [helper.make_node("GlobalAveragePool", ["x"], ["y"])],
        [tensor("x", [1, 3, "height", "width"])],
        [tensor("y", [1, 3, 1, 1])],
    )
    made["custom_op.onnx"] = finish(
        [helper.make_node("Polyp", ["x"], ["y"], domain="com.acme")],
        [tensor("x", [1, 4])],
        [tensor("y", [1, 4])],
        domains=("com.acme",),
    )
    made["unknown_op.onnx"] = finish(
        [helper.make_node("Lesionize", ["x"], ["y"])], [tensor("x", [1, 4])], [tensor("y", [1, 4])]
    )
    outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    entry = outside.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    made["external_data.onnx"] = finish(
        [helper.make_node("Add", ["x", "w"], ["y"])], [tensor("x", [1, 4])], [tensor("y", [1, 4])], [outside]
    )
    zero = numpy_helper.from_array(np.zeros(4, np.float32), "zero")
    made["not_finite.onnx"] = finish(
        [helper.make_node("Div", ["x", "zero"], ["y"])], [tensor("x", [1, 4])], [tensor("y", [1, 4])], [zero]
    )
    return {name: value.SerializeToString() for name, value in made.items()}


def references(w: dict[str, np.ndarray], frames: np.ndarray, made: dict[str, bytes]) -> dict[str, np.ndarray]:
    """Expected outputs: float models from TensorFlow, int8 models from the reference engine of the format."""
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    exact = [graph(tf.constant(frame[None].astype(np.float32)), w) for frame in frames]
    out = {
        "frames": frames,
        "scores": np.concatenate([scores.numpy() for scores, _ in exact]),
        "features": np.concatenate([features.numpy() for _, features in exact]),
    }
    interpreter = Interpreter(model_content=made["tiny_int8.tflite"])
    interpreter.allocate_tensors()
    (entry,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    if entry["quantization"] != (1.0, 0):
        raise SystemExit(f"input quantization is {entry['quantization']}, not (1.0, 0)")
    codes = []
    for frame in frames:
        interpreter.set_tensor(entry["index"], frame[None])
        interpreter.invoke()
        codes.append(interpreter.get_tensor(answer["index"])[0])
    out["tiny_int8.tflite"] = np.stack(codes)
    session = onnxruntime.InferenceSession(made["tiny_int8.onnx"], providers=["CPUExecutionProvider"])
    out["tiny_int8.onnx"] = np.concatenate([session.run(None, {"pixels": f[None]})[0] for f in frames])
    return out


def main() -> None:
    """Write every file."""
    rng = np.random.default_rng(20_240_517)
    w = weights(rng)
    frames = rng.integers(0, 256, (SAMPLES, SIZE, SIZE, 3), np.uint8)
    made = make_tflite(w, frames) | make_onnx(w, frames)
    for name, data in sorted(made.items()):
        (HERE / name).write_bytes(data)
        print(f"{name:24s} {len(data):6d} bytes")  # noqa: T201 - a script that is run by hand
    np.savez(HERE / "tiny.npz", **references(w, frames, made))


if __name__ == "__main__":
    main()
