"""The architectures of the field, as strangers write them, from the Keras model to answers on the device's side.

They are not trained, but for the autoencoders: the model's own answers are taken for the truth. On a holdout where
Keras is right, it shows whether the bundle still is.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bedside.export.adopt.graph import Adopted, adopt
from bedside.export.adopt.options import AdoptOptions
from bedside.export.adopt.preprocessing import named
from bedside.export.adopt.structure import parts
from bedside.export.backend import keras
from bedside.export.data.types import BoxesTarget, DataSet, MaskTarget, PictureTarget
from bedside.export.gates.evaluate import keras_rows
from bedside.export.pipeline import Plan, export_model
from bedside.export.recipe import GateRecipe, InputRecipe, QuantizationRecipe
from bedside.export.tasks.kits import kit_for
from bedside.export.tasks.protocol import Samples
from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.clock import MonotonicClock
from bedside.runtime.drawing import draw
from bedside.runtime.frame import Frame
from bedside.runtime.loading import open_session
from bedside.runtime.preprocess import Preprocessor
from bedside.runtime.stream.inference import Inference
from bedside.runtime.tasks import make_task

Frames = npt.NDArray[np.uint8]

COUNT = 64
VARIANTS = ("tflite-fp32", "tflite-int8", "onnx-fp32")
QUICK = ("binary cnn", "flat autoencoder", "grid detector")
#: Nobody knows the classes of a network that was never trained: what is kept of its answers is what counts.
GATE = GateRecipe(relative=0.9, worst_class=0.0, min_agreement=0.5, rescue=False)


#: TensorFlow's converter folds the mean of `resnet50.preprocess_input` into the input's codes, so that the file no
#: longer reads pixels as the camera has them: refused rather than guessed.
REFUSED = {"deeplab": "could not be converted: reads a pixel p as"}


def _plain() -> Any:
    """The models of `tests/export/adopt`: tests are no package."""
    path = Path(__file__).parent / "adopt" / "plain_models.py"
    if "plain_models" not in sys.modules:
        spec = importlib.util.spec_from_file_location("plain_models", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["plain_models"] = module
        spec.loader.exec_module(module)
    return sys.modules["plain_models"].PLAIN


PLAIN = _plain()


def pictures(
    shape: tuple[int, ...],
) -> tuple[Frames, npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """A noisy ramp with a square that is bright on some and dark on others, anywhere; the square; 1 for bright."""
    rng = np.random.default_rng(1)
    height, width, channels = shape
    x = np.linspace(60, 180, width)[None, None, :, None] + rng.integers(
        -9, 10, (COUNT, height, width, channels)
    )
    side = height // 2
    corners, kinds = rng.integers(0, height - side, (COUNT, 2)), rng.integers(0, 2, COUNT)
    for i, (left, top) in enumerate(corners):
        x[i, top : top + side, left : left + side] += (-60, 60)[kinds[i]]
    squares = np.concatenate([corners, corners + side], axis=1).astype(np.float32)
    return np.clip(x, 0, 255).astype(np.uint8), squares, kinds.astype(np.int64)


def before(model: Any, x: Frames, preprocessing: str | None) -> Any:
    """What the author feeds."""
    fed = x.astype(np.float32)
    if preprocessing is not None:
        scale, offset = named(preprocessing).arrays(x.shape[-1])
        fed = fed * scale + offset
    inputs = getattr(model, "inputs", None)
    return fed if inputs is None else fed.reshape(len(x), *inputs[0].shape[1:])


def centred(model: Any, fed: Any) -> None:
    """Shift the last bias so that every class is the answer somewhere; weights that only chance has seen often
    prefer one of them everywhere."""
    last = next(layer for layer in reversed(model.layers) if getattr(layer, "bias", None) is not None)
    p = keras.ops.convert_to_numpy(model(fed, training=False))
    kind = getattr(last.activation, "__name__", "linear")
    if kind == "sigmoid":
        p = np.log(p / (1 - p))
    elif kind == "softmax":
        p = np.log(p)
    kernel, bias = last.get_weights()
    last.set_weights([kernel, bias - np.median(p, axis=tuple(range(p.ndim - 1)))])


def scattered(model: Any) -> None:
    """Make the boxes of weights of chance depend on the frame; else one answer fits all of them."""
    boxes = [output for output in parts(model.output) if output[1].shape[-1] == 4]
    for layer in model.layers:
        if getattr(layer, "kernel", None) is not None and any(layer.output is box for _, box in boxes):
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel * 6, bias])


def own_answers(adopted: Adopted, task: str, labels: tuple[str, ...], spec: InputSpec, x: Any) -> list[Any]:
    keys = tuple(str(i) for i in range(len(x)))
    kit = kit_for(task, labels)  # type: ignore[arg-type]
    return keras_rows(adopted.model, kit, adopted.decode, spec, Samples(x, [], keys, keys))[0]


def taught(name: str, model: Any, make_data: Callable[..., DataSet]) -> DataSet:
    """Data on which the model is right."""
    _, task, labels, preprocessing, _ = PLAIN[name]
    adopted, _ = adopted_as_stated(name, model)
    shape = adopted.model.shape
    if task == "generation":
        latents = np.random.default_rng(2).standard_normal((COUNT, *shape)).astype(np.float32)
        height, width, channels = (int(n) for n in adopted.model.reference.outputs[0].shape[1:])
        spec = InputSpec(
            width=width, height=height, channels=1 if channels == 1 else 3,
            color="gray" if channels == 1 else "rgb", dtype="float32", latent=shape[0],
        )  # fmt: skip
        drawn = np.stack(own_answers(adopted, task, labels, spec, latents))
        return make_data((), drawn.reshape(COUNT, height, width, channels))
    x, squares, kinds = pictures(shape)
    spec = InputSpec(
        width=shape[1], height=shape[0], channels=1 if shape[2] == 1 else 3,
        color="gray" if shape[2] == 1 else "rgb",
    )  # fmt: skip
    fed = before(model, x, preprocessing)
    match task:
        case "classification":
            centred(model, fed)
            rows = own_answers(adopted_as_stated(name, model)[0], task, labels, spec, x)
            return make_data(labels, x, np.stack(rows).argmax(axis=1))
        case "segmentation":
            centred(model, fed)
            rows = own_answers(adopted_as_stated(name, model)[0], task, labels, spec, x)
            return make_data(labels, x, None, [MaskTarget(row) for row in rows])
        case "reconstruction":
            low, high = adopted.decode.low, adopted.decode.high
            picture = (x / 255.0 * (high - low) + low).astype(np.float32)
            outputs = getattr(model, "outputs", None) or ()  # a subclass has none
            coded = len(outputs) > 1
            flat = picture if coded or not outputs else picture.reshape(COUNT, *model.output_shape[1:])
            model.compile(keras.optimizers.Adam(5e-3), ["mse", None] if coded else "mse")
            model.fit(fed, [flat, None] if coded else flat, batch_size=8, epochs=15, verbose=0)
            return make_data((), x)
        case "translation":
            rows = own_answers(adopted, task, labels, spec, x)
            return make_data((), x, None, [PictureTarget(r, spec.color) for r in rows])
        case _ if name == "box regressor":
            truth = squares[:, None] / np.float32(shape[0])
            model.compile(keras.optimizers.Adam(3e-3), ["mse", "sparse_categorical_crossentropy"])
            model.fit(fed, [truth[:, 0], kinds], batch_size=8, epochs=60, verbose=0)
            return make_data(
                labels, x, None, [BoxesTarget(b[None], k[None]) for b, k in zip(squares, kinds, strict=True)]
            )
        case _:
            scattered(model)
            rows = own_answers(adopted_as_stated(name, model)[0], task, labels, spec, x)
            return make_data(labels, x, None, [BoxesTarget(r.boxes[:3], r.labels[:3]) for r in rows])


def adopted_as_stated(name: str, model: Any) -> tuple[Adopted, dict[str, Any]]:
    _, task, labels, preprocessing, said = PLAIN[name]
    said = dict(said)
    stated = {
        "preprocessing": None if preprocessing is None else named(preprocessing),
        "size": said.pop("size", None),
    }
    channels = said.pop("channels", None)
    options = AdoptOptions(**said)
    found = adopt(model, task, labels, channels=channels, options=options, **stated)
    return found, {
        **stated,
        "options": options,
        "input": InputRecipe(color="gray" if channels == 1 else None),
    }


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in PLAIN]
)
def test_plain_form_to_answers(name: str, make_data: Callable[..., DataSet], tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    builder, task, labels, _, _ = PLAIN[name]
    model = builder()
    data = taught(name, model, make_data)
    _, stated = adopted_as_stated(name, model)
    plan = Plan(name="plain", quantization=QuantizationRecipe(variants=VARIANTS), gate=GATE)
    result = export_model(model, data, tmp_path / "plain.bedside", plan, task=task, **stated)

    verdicts = {v.id: v for v in result.outcome.variants}
    for variant in ("tflite-fp32", "onnx-fp32"):
        assert verdicts[variant].shipped, verdicts[variant].refused
        assert verdicts[variant].measured.agreement >= 0.99
    if name in REFUSED:
        assert REFUSED[name] in (verdicts["tflite-int8"].refused or "")
    else:
        assert verdicts["tflite-int8"].measured is not None, verdicts["tflite-int8"].refused
    assert verdicts["tflite-int8"].shipped is (verdicts["tflite-int8"].refused is None)
    with open_bundle(result.path) as bundle:
        bundle.verify_all()
        assert bundle.manifest.task == task
        for shipped in bundle.manifest.main.shipped:
            loaded = open_session(bundle, variant=shipped.id)
            try:
                if task == "generation":
                    drawn = [pixels for pixels, _ in draw(loaded, 3)]
                    assert len({pixels.tobytes() for pixels in drawn}) == 3
                    continue
                decoder = make_task(loaded.model.decode)
                preprocess = Preprocessor(loaded.model.input)
                answer = Inference(loaded, preprocess, decoder, MonotonicClock())
                for number, item in enumerate(data.holdout.items[:3]):
                    pixels, color = item.load()
                    found = answer(Frame(pixels, number, 0, color=color)).result
                    assert found is not None
                    if task == "classification":
                        assert found.label in labels
            finally:
                loaded.session.close()


def test_quick_ones_exist() -> None:
    assert set(QUICK) <= set(PLAIN)
