"""What all tests of networks need: counting weights without making them, and running what the converters give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import tensorflow as tf
import tf2onnx
from ai_edge_litert.interpreter import Interpreter
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from bedside.export.backend import keras
from bedside.export.convert.quiet import quiet

Arrays = list[npt.NDArray[np.float32]]


class Conversions:
    """One network in the forms that travel, run on the same inputs `(N, ...) float32`."""

    def keras(self, model: Any, inputs: npt.NDArray[np.float32]) -> Arrays:
        return [np.asarray(out) for out in _outputs(model(inputs, training=False))]

    def tflite(self, model: Any, inputs: npt.NDArray[np.float32]) -> Arrays:
        return self._run(self._convert(model, None), inputs)

    def int8(self, model: Any, inputs: npt.NDArray[np.float32]) -> Arrays:
        """All integers inside, floats in and out; calibrated on the inputs themselves."""
        return self._run(self._convert(model, inputs), inputs)

    def onnx(self, model: Any, inputs: npt.NDArray[np.float32]) -> Arrays:
        shape = (1, *inputs.shape[1:])
        signature = [tf.TensorSpec(shape, tf.float32, name="input")]
        names = [f"output_{i}" for i in range(len(model.outputs))]

        def call(x: Any) -> Any:
            return dict(zip(names, _outputs(model(x, training=False)), strict=True))

        with quiet():
            function = tf.function(call, input_signature=signature)
            proto, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=17)
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        runs = [session.run(names, {session.get_inputs()[0].name: x[None]}) for x in inputs]
        return [np.concatenate(parts) for parts in zip(*runs, strict=True)]

    def settle(self, model: Any, inputs: npt.NDArray[np.float32]) -> None:
        """Give batch norms the statistics of the inputs: without them an untrained network fades to nothing."""
        norms = [x for x in model._flatten_layers() if isinstance(x, keras.layers.BatchNormalization)]
        for norm in norms:
            norm.momentum = 0.0
        model(inputs, training=True)

    def check_float(self, model: Any, inputs: npt.NDArray[np.float32], tolerance: float = 1e-4) -> None:
        """TFLite fp32 in LiteRT and ONNX in ONNX Runtime give what Keras gives, to 1e-4 of 1 or of the largest."""
        expected = self.keras(model, inputs)
        for found in (self.tflite(model, inputs), self.onnx(model, inputs)):
            for out, want in zip(found, expected, strict=True):
                assert out.shape == want.shape
                assert np.abs(out - want).max() <= tolerance * max(1.0, np.abs(want).max())

    def check_int8(self, model: Any, inputs: npt.NDArray[np.float32], correlation: float = 0.98) -> None:
        """Every output of the int8 form varies as Keras' does, over frames and places."""
        for out, want in zip(self.int8(model, inputs), self.keras(model, inputs), strict=True):
            assert out.shape == want.shape
            found = np.corrcoef((out - out.mean(0)).ravel(), (want - want.mean(0)).ravel())[0, 1]
            assert found >= correlation

    def _convert(self, model: Any, calibration: npt.NDArray[np.float32] | None) -> bytes:
        # By way of a frozen function: a SavedModel of the variables in between takes three times as long.
        signature = [tf.TensorSpec((1, *model.inputs[0].shape[1:]), tf.float32, name="input")]
        with quiet():
            function = tf.function(lambda x: _outputs(model(x, training=False)), input_signature=signature)
            frozen = convert_variables_to_constants_v2(function.get_concrete_function())
            converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
            if calibration is not None:
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
                converter.representative_dataset = lambda: ([x[None]] for x in calibration)
                converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            return bytes(converter.convert())

    def _run(self, file: bytes, inputs: npt.NDArray[np.float32]) -> Arrays:
        interpreter = Interpreter(model_content=file)
        interpreter.allocate_tensors()
        outputs = sorted(interpreter.get_output_details(), key=lambda output: str(output["name"]))
        runs = []
        for x in inputs:
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x[None])
            interpreter.invoke()
            runs.append([interpreter.get_tensor(output["index"]) for output in outputs])
        return [np.concatenate(parts) for parts in zip(*runs, strict=True)]


@pytest.fixture(scope="session")
def conversions() -> Conversions:
    return Conversions()


@pytest.fixture
def noise() -> Callable[..., npt.NDArray[np.float32]]:
    """`(count, height, width, channels)` pixels 0..255, coarse enough to look like something."""

    def draw(height: int, width: int, channels: int = 3, count: int = 6) -> npt.NDArray[np.float32]:
        rng = np.random.default_rng(7)
        coarse = rng.integers(0, 256, (count, -(-height // 8), -(-width // 8), channels))
        fine = rng.integers(-30, 31, (count, height, width, channels))
        large = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]
        return np.clip(large + fine, 0, 255).astype(np.float32)

    return draw


@pytest.fixture
def count_params() -> Callable[[Callable[[], Any]], int]:
    """Of a network whose weights are declared but never drawn: VGG16 has half a gigabyte of them."""

    def count(build: Callable[[], Any]) -> int:
        with keras.StatelessScope(initialize_variables=False):
            return int(build().count_params())

    return count


@pytest.fixture
def same_weights() -> Callable[[Callable[[int], Any]], None]:
    """A seed decides the first weights, and no two layers of equal shape begin alike."""

    def check(build: Callable[[int], Any]) -> None:
        first, again, other = (build(seed).get_weights() for seed in (3, 3, 4))
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))
        drawn = [w.tobytes() for w in first if w.ndim > 1 and w.std() > 0]
        assert len(set(drawn)) == len(drawn)

    return check


def _outputs(result: Any) -> list[Any]:
    return list(result) if isinstance(result, list | tuple) else [result]
