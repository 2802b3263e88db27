"""Weights out of a `.tflite` file: read exactly, put where they belong, or refused in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bedside.export.backend import keras
from bedside.export.convert.quiet import quiet
from bedside.export.models.light_segmenter import light_segmenter
from bedside.export.models.pretrained import block, initialize, read_folded
from bedside.runtime.errors import RecipeError

FRAMES = np.random.default_rng(1).integers(0, 256, (20, 32, 32, 3)).astype(np.uint8)
#: Layers of the encoder, the stem among them: the first block has no expansion.
CONVOLUTIONS = 1 + 2 + 13 * 3


@pytest.fixture(scope="module")
def published(data_root: Path) -> Path:
    """A DeepLab of TensorFlow's model zoo, its batch norms folded, its weights uint8."""
    return data_root / "models" / "coral" / "deeplabv3_mnv2_dm05_pascal_quant.tflite"


def small(**changes: Any) -> Any:
    return light_segmenter(**{"width": 32, "height": 32, "seed": 0, **changes})


def tflite(layers: list[Any], path: Path, shape: tuple[int, ...] = (8, 8, 3)) -> Path:
    import tensorflow as tf

    with quiet():
        converter = tf.lite.TFLiteConverter.from_keras_model(keras.Sequential([keras.Input(shape), *layers]))
        path.write_bytes(converter.convert())
    return path


def test_every_convolution_of_the_encoder_is_set(published: Path):
    network = small()
    before = {layer.name: layer.get_weights() for layer in network.layers if layer.weights}
    names = initialize(network, published, FRAMES)
    assert len(names) == CONVOLUTIONS and names[0] == "Conv" and names[-1] == "expanded_conv_13_project"
    for name, old in before.items():
        same = all(
            np.array_equal(a, b) for a, b in zip(old, network.get_layer(name).get_weights(), strict=True)
        )
        assert same == (name.removesuffix("_bn") not in names), name


def test_the_encoder_computes_what_the_file_computes(published: Path):
    """At the file's own size, whose padding is symmetric, against the file's own interpreter."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        str(published),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    y, x = np.mgrid[:513, :513]
    frame = np.stack([x * 255 // 512, y * 255 // 512, 127 + 100 * np.sin(x / 9) * np.cos(y / 7)], -1)[None]
    frame = frame.astype(np.uint8)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], frame)
    interpreter.invoke()

    network = small()
    initialize(network, published, FRAMES)
    wanted = ("expanded_conv_project_bn", "expanded_conv_5_add", "expanded_conv_12_add")
    body = keras.Model(network.input, [network.get_layer(name).output for name in wanted])
    any_size = keras.models.clone_model(
        body, input_tensors=keras.Input((513, 513, 3)), clone_function=lambda layer: layer
    )
    outputs = any_size.predict(frame.astype(np.float32), verbose=0)
    details = {d["name"].split(";")[0]: d for d in interpreter.get_tensor_details() if d["dtype"] == np.uint8}
    for name, mine in zip(wanted, outputs, strict=True):
        tail = {"expanded_conv_project_bn": "expanded_conv/project/add_fold"}.get(
            name, name.replace("_add", "/add")
        )
        detail = details[f"MobilenetV2/{tail}"]
        scale, zero = detail["quantization"]
        theirs = (interpreter.get_tensor(detail["index"]).astype(np.float32) - zero) * scale
        # Activations of the file are uint8, so that errors add up with depth.
        assert np.corrcoef(theirs.ravel(), mine.ravel())[0, 1] > 0.98, name
        assert abs(theirs.std() / mine.std() - 1) < 0.05, name


def test_batch_norms_are_put_in_without_changing_the_function(published: Path):
    network = small()
    initialize(network, published, FRAMES)
    folded, norm = read_folded(published)["Conv"], network.get_layer("Conv_bn")
    convolution = keras.Model(network.input, [network.get_layer("Conv").output, norm.output])
    unseen = np.random.default_rng(2).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    raw, normalized = convolution.predict(unseen, verbose=0)
    assert np.array_equal(network.get_layer("Conv").get_weights()[0], folded.kernel)
    assert np.allclose(normalized, raw + folded.bias, atol=1e-4)
    # And on the frames, what goes into scale and shift has mean 0 and deviation 1.
    values = convolution.predict(FRAMES.astype(np.float32), verbose=0)[0]
    gamma, _, mean, variance = norm.get_weights()
    assert np.allclose(mean, values.mean((0, 1, 2)), atol=1e-4)
    assert np.allclose(variance, values.var((0, 1, 2)), rtol=1e-3, atol=1e-5)
    assert np.allclose(gamma, np.sqrt(variance + norm.epsilon), rtol=1e-4)


def test_batch_norms_need_frames(published: Path):
    for frames in (FRAMES[:0], FRAMES[:, :16]):
        with pytest.raises(RecipeError, match="frames for the batch norms"):
            initialize(small(), published, frames)


def test_the_front_can_be_frozen(published: Path):
    network = small()
    initialize(network, published, FRAMES, frozen=4)
    frozen = {layer.name for layer in network.layers if layer.weights and not layer.trainable}
    assert {block(name.removesuffix("_bn")) for name in frozen} == {0, 1, 2, 3}
    assert network.get_layer("expanded_conv_3_expand").trainable
    assert network.get_layer("logits").trainable


def test_one_channel_gets_the_sum_of_the_colours(published: Path):
    grey, colour = small(channels=1), small()
    initialize(grey, published, FRAMES[..., :1])
    initialize(colour, published, FRAMES)
    kernels = [network.get_layer("Conv").get_weights()[0] for network in (grey, colour)]
    assert kernels[0].shape == (3, 3, 1, 16)
    assert np.allclose(kernels[0], kernels[1].sum(2, keepdims=True), atol=1e-6)


def test_float_files_are_read_as_well(tmp_path: Path):
    import tensorflow as tf

    class Stem(tf.Module):
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            self.kernel = tf.Variable(rng.standard_normal((3, 3, 3, 4)).astype(np.float32))
            self.bias = tf.Variable(rng.standard_normal(4).astype(np.float32))

        @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3))])
        def run(self, x: Any) -> Any:
            with tf.name_scope("MobilenetV2/Conv/"):
                x = tf.nn.conv2d(x, self.kernel, 1, "SAME", name="Conv2D")
                return tf.nn.relu6(tf.nn.bias_add(x, self.bias, name="BiasAdd"), name="Relu6")

    stem, path = Stem(), tmp_path / "float.tflite"
    with quiet():
        function = stem.run.get_concrete_function()
        path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([function], stem).convert())
    found = read_folded(path)
    assert set(found) == {"Conv"}
    assert np.array_equal(found["Conv"].kernel, stem.kernel.numpy())
    assert np.array_equal(found["Conv"].bias, stem.bias.numpy())


def test_what_is_not_needed_is_refused(tmp_path: Path, published: Path):
    with pytest.raises(RecipeError, match=r"gone\.tflite: cannot be read: No such file"):
        initialize(small(), tmp_path / "gone.tflite", FRAMES)
    text = tmp_path / "text.tflite"
    text.write_text("not a flatbuffer")
    with pytest.raises(RecipeError, match="no file to take weights from"):
        initialize(small(), text, FRAMES)
    other = tflite([keras.layers.Conv2D(2, 3, name="other")], tmp_path / "other.tflite")
    with pytest.raises(RecipeError, match="no convolution of a MobileNetV2"):
        initialize(small(), other, FRAMES)
    with pytest.raises(RecipeError, match=r"Conv: the file has \(3, 3, 3, 16\).*width_multiplier 1"):
        initialize(small(width_multiplier=0.5), published, FRAMES)
    inputs = keras.Input((8, 8, 3))
    foreign = keras.Model(inputs, keras.layers.Conv2D(2, 3, name="other")(inputs))
    with pytest.raises(RecipeError, match="no layers that pretrained weights fit"):
        initialize(foreign, published, FRAMES)


def test_a_truncated_file_is_refused(tmp_path: Path, published: Path):
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(published.read_bytes()[:400_000])
    with pytest.raises(RecipeError, match="no file to take weights from"):
        initialize(small(), cut, FRAMES)


def test_blocks_are_counted_from_the_stem():
    names = ("Conv", "expanded_conv_depthwise", "expanded_conv_1_expand", "expanded_conv_13_project")
    assert [block(name) for name in names] == [0, 1, 2, 14]
    with pytest.raises(ValueError, match="no layer"):
        block("decoder4_reduce")
