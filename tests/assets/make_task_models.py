"""Makes the tiny models of tasks other than plain classification. Run by hand, like `make_models.py` beside it.

    python tests/assets/make_task_models.py

- `tiny_guard`: a linear autoencoder (principal components) of smooth 16x16 pictures, with its whitened code. It
  really tells smooth pictures from others, so that tests of a guard need no fake.
- `tiny_map`: five classes, with class activation maps beside the scores.
- `tiny_generator`: a latent of 8 numbers to a picture.
"""

from __future__ import annotations

import numpy as np
import onnx
import tensorflow as tf
from make_models import HERE, SIZE, concrete, finish, representative, weights
from onnx import TensorProto, helper, numpy_helper

HALF = SIZE // 2
FLAT = HALF * HALF * 3
CODE = LATENT = 6

Weights = dict[str, np.ndarray]


def smooth(rng: np.random.Generator, count: int) -> np.ndarray:
    """Ramps of any colour and direction, `(count, 16, 16, 3) uint8`."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / (SIZE - 1) - 0.5
    slope = rng.uniform(-80, 80, (count, 2, 1, 1, 1))
    base = rng.uniform(100, 150, (count, 1, 1, 3))
    ramp = slope[:, 0] * x[None, :, :, None] + slope[:, 1] * y[None, :, :, None]
    return np.clip(np.rint(base + ramp), 0, 255).astype(np.uint8)


def guard_weights(frames: np.ndarray) -> Weights:
    """Principal components of the frames at half the size; the code is whitened."""
    small = frames.reshape(-1, HALF, 2, HALF, 2, 3).mean(axis=(2, 4)).reshape(len(frames), FLAT) / 255.0
    mean = small.mean(axis=0)
    _, singular, rows = np.linalg.svd(small - mean, full_matrices=False)
    spread = singular[:CODE] / np.sqrt(len(frames) - 1)
    spread = np.maximum(
        spread, 0.02
    )  # the last component is rounding noise; a whitened one would be noise too
    encode = rows[:CODE].T / spread
    return {
        "encode": encode.astype(np.float32),
        "encode_bias": (-mean @ encode).astype(np.float32),
        "decode": (rows[:CODE] * spread[:, None]).astype(np.float32),
        "decode_bias": mean.astype(np.float32),
    }


def guard_graph(x: tf.Tensor, w: Weights) -> tuple[tf.Tensor, tf.Tensor]:
    """`(1, 16, 16, 3) float32` in 0..255 to the reconstruction in 0..1 and the code."""
    x = tf.nn.avg_pool2d(x / 255.0, 2, 2, "VALID")
    code = tf.reshape(x, [-1, FLAT]) @ w["encode"] + w["encode_bias"]
    flat = tf.nn.relu(code @ w["decode"] + w["decode_bias"])
    return tf.image.resize(tf.reshape(flat, [-1, HALF, HALF, 3]), [SIZE, SIZE], "nearest"), code


def map_graph(x: tf.Tensor, w: Weights) -> tuple[tf.Tensor, tf.Tensor]:
    """`(1, 16, 16, 3) float32` in 0..255 to class activation maps and the softmax of their means."""
    x = tf.nn.relu(
        tf.nn.conv2d(x / 255.0, tf.constant(w["conv1"].transpose(2, 3, 1, 0)), 1, "SAME") + w["bias1"]
    )
    maps = tf.nn.conv2d(tf.nn.max_pool2d(x, 4, 4, "VALID"), tf.constant(w["head"]), 1, "SAME")
    return maps, tf.nn.softmax(tf.reduce_mean(maps, axis=[1, 2]))


def generator_graph(z: tf.Tensor, w: Weights) -> tf.Tensor:
    """`(1, 6) float32` to a picture in -1..1."""
    small = tf.reshape(tf.nn.tanh(z @ w["draw"]), [-1, HALF, HALF, 3])
    return tf.image.resize(small, [SIZE, SIZE], "nearest")


def tflite(graph: object, frames: np.ndarray | None, shape: tuple[int, ...] = (1, SIZE, SIZE, 3)) -> bytes:
    """A float model of `graph`, or, with frames, an int8 one that takes uint8 pixels."""
    functions, module = concrete(graph, tf.TensorSpec(shape, tf.float32, name="x"))
    made = tf.lite.TFLiteConverter.from_concrete_functions(functions, module)
    if frames is not None:
        made.optimizations = [tf.lite.Optimize.DEFAULT]
        made.representative_dataset = representative(frames)
        made.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        made.inference_input_type, made.inference_output_type = tf.uint8, tf.int8
    return made.convert()


def of_pixels(graph: object) -> bytes:
    """A float model that takes uint8 pixels."""
    functions, module = concrete(
        lambda pixels: graph(tf.cast(pixels, tf.float32)),
        tf.TensorSpec((1, SIZE, SIZE, 3), tf.uint8, name="x"),
    )
    return tf.lite.TFLiteConverter.from_concrete_functions(functions, module).convert()


def upsampled(name: str, out: str) -> list[onnx.NodeProto]:
    """`(1, 192)` to `(1, 16, 16, 3)`, the nearest of 8x8."""
    return [
        helper.make_node("Reshape", [name, "half"], [f"{out}_half"]),
        helper.make_node("Transpose", [f"{out}_half"], [f"{out}_planes"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "Resize",
            [f"{out}_planes", "", "twice"],
            [f"{out}_large"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        helper.make_node("Transpose", [f"{out}_large"], [out], perm=[0, 2, 3, 1]),
    ]


def guard_onnx(w: Weights) -> bytes:
    """`guard_graph` in ONNX."""
    constants = [numpy_helper.from_array(value, name) for name, value in w.items()]
    constants += [
        numpy_helper.from_array(np.float32(255.0).reshape(()), "range"),
        numpy_helper.from_array(np.array([-1, FLAT], np.int64), "flat"),
        numpy_helper.from_array(np.array([-1, HALF, HALF, 3], np.int64), "half"),
        numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice"),
    ]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["real", "range"], ["unit"]),
        helper.make_node("Transpose", ["unit"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Transpose", ["pooled"], ["small"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["small", "flat"], ["row"]),
        helper.make_node("Gemm", ["row", "encode", "encode_bias"], ["code"]),
        helper.make_node("Gemm", ["code", "decode", "decode_bias"], ["real_row"]),
        helper.make_node("Relu", ["real_row"], ["made_row"]),
        *upsampled("made_row", "picture"),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, SIZE, SIZE, 3])
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, SIZE, SIZE, 3])
    code = helper.make_tensor_value_info("code", TensorProto.FLOAT, [1, CODE])
    return finish(nodes, [pixels], [code, picture], constants).SerializeToString()


def generator_onnx(w: Weights) -> bytes:
    """`generator_graph` in ONNX."""
    constants = [
        numpy_helper.from_array(w["draw"], "draw"),
        numpy_helper.from_array(np.array([-1, HALF, HALF, 3], np.int64), "half"),
        numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice"),
    ]
    nodes = [
        helper.make_node("MatMul", ["latent", "draw"], ["row"]),
        helper.make_node("Tanh", ["row"], ["made_row"]),
        *upsampled("made_row", "picture"),
    ]
    latent = helper.make_tensor_value_info("latent", TensorProto.FLOAT, [1, LATENT])
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, SIZE, SIZE, 3])
    return finish(nodes, [latent], [picture], constants).SerializeToString()


def main() -> None:
    """Write every file."""
    rng = np.random.default_rng(20_240_518)
    frames = smooth(rng, 2_000)
    guard = guard_weights(frames)
    maps = weights(rng) | {"head": rng.normal(0, 0.8, (1, 1, 4, 5)).astype(np.float32)}
    draw = {"draw": rng.normal(0, 0.5, (LATENT, FLAT)).astype(np.float32)}

    def reconstructed(x: tf.Tensor) -> dict[str, tf.Tensor]:
        picture, code = guard_graph(x, guard)
        return {"a_code": code, "b_picture": picture}

    def mapped(x: tf.Tensor) -> dict[str, tf.Tensor]:
        values, scores = map_graph(x, maps)
        return {"a_scores": scores, "b_map": values}

    calibration = np.concatenate([frames[:100], rng.integers(0, 256, (20, SIZE, SIZE, 3), np.uint8)])
    made = {
        "tiny_guard_fp32.tflite": of_pixels(reconstructed),
        "tiny_guard_int8.tflite": tflite(reconstructed, calibration),
        "tiny_guard_fp32.onnx": guard_onnx(guard),
        "tiny_map_fp32.tflite": of_pixels(mapped),
        "tiny_map_int8.tflite": tflite(mapped, calibration),
        "tiny_generator_fp32.tflite": tflite(
            lambda z: {"picture": generator_graph(z, draw)}, None, (1, LATENT)
        ),
        "tiny_generator_fp32.onnx": generator_onnx(draw),
    }
    for name, data in sorted(made.items()):
        (HERE / name).write_bytes(data)
        print(f"{name:28s} {len(data):6d} bytes")  # noqa: T201 - a script that is run by hand


if __name__ == "__main__":
    main()
