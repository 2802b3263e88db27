"""Every architecture in its plainest Keras form is adopted, and computes what it computed before."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bedside.export.adopt.foreign import load_keras
from bedside.export.adopt.graph import Adopted, adopt
from bedside.export.adopt.options import AdoptOptions
from bedside.export.adopt.preprocessing import named
from bedside.export.adopt.structure import parts
from bedside.export.backend import keras
from bedside.runtime.bundle.decode import (
    ClassificationDecode,
    DetectionDecode,
    GenerationDecode,
    ReconstructionDecode,
    SegmentationDecode,
    TranslationDecode,
)


def _load() -> Any:
    """The module beside this one: tests are no package."""
    name, path = "plain_models", Path(__file__).with_name("plain_models.py")
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


PLAIN = _load().PLAIN

AB, ABC = ("a", "b"), ("a", "b", "c")
DECODE = {
    "textbook cnn": ClassificationDecode(labels=ABC, scores="logits"),
    "binary cnn": ClassificationDecode(labels=AB),
    "alexnet": ClassificationDecode(labels=ABC),
    "vgg": ClassificationDecode(labels=ABC),
    "transfer": ClassificationDecode(labels=ABC, scores="logits", map=1),
    "vit": ClassificationDecode(labels=ABC, scores="logits"),
    "dense autoencoder": ReconstructionDecode(),
    "flat autoencoder": ReconstructionDecode(),
    "subclassed autoencoder": ReconstructionDecode(),
    "convolutional autoencoder": ReconstructionDecode(),
    "autoencoder with a code": ReconstructionDecode(low=-1.0, high=1.0, code=1),
    "dcgan generator": GenerationDecode(color="gray"),
    "generator of 1x1": GenerationDecode(low=0.0, high=1.0),
    "u-net": SegmentationDecode(labels=("background", "polyp")),
    "u-net of four": SegmentationDecode(labels=("background", *ABC)),
    "deeplab": SegmentationDecode(labels=("background", *AB), scores="logits"),
    "pix2pix generator": TranslationDecode(low=-1.0, high=1.0),
    "box regressor": DetectionDecode(labels=ABC),
    "grid detector": DetectionDecode(labels=AB, boxes=(0, 2), scores=(1, 3), coding="ltrb", units="cells"),
    "detr": DetectionDecode(labels=ABC, coding="cxcywh", activation="softmax", background="last", iou=None),
}
#: Where the plain model's outputs, in its own order, are among those of the graph.
ORDER = {"grid detector": (1, 0, 3, 2), "detr": (1, 0)}


def adopted(name: str, model: Any) -> Adopted:
    _, task, labels, preprocessing, said = PLAIN[name]
    said = dict(said)
    return adopt(
        model,
        task,
        labels,
        preprocessing=None if preprocessing is None else named(preprocessing),
        size=said.pop("size", None),
        channels=said.pop("channels", None),
        options=AdoptOptions(**said),
    )


def plain_outputs(name: str, model: Any, inputs: Any, shape: tuple[int, ...]) -> list[Any]:
    """What the author would have got, on what the author would have fed."""
    x = inputs.astype(np.float32)
    if PLAIN[name][3] is not None:
        scale, offset = named(PLAIN[name][3]).arrays(shape[-1])
        x = x * scale + offset
    if getattr(model, "inputs", None) is not None:
        x = x.reshape(len(x), *model.inputs[0].shape[1:])
    found = [keras.ops.convert_to_numpy(part) for _, part in parts(model(x, training=False))]
    if name == "binary cnn":
        found = [np.concatenate([1 - found[0], found[0]], axis=1)]
    return found


@pytest.mark.parametrize("name", PLAIN)
def test_plain_form(name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    made = PLAIN[name][0]()
    made.save(tmp_path / "model.keras")
    model = load_keras(tmp_path / "model.keras")
    result = adopted(name, model)
    assert result.decode == DECODE[name]
    shape = result.model.shape
    rng = np.random.default_rng(2)
    inputs: Any = rng.integers(0, 256, (2, *shape), np.uint8)
    if result.model.latent:
        inputs = rng.standard_normal((2, *shape)).astype(np.float32)
    wanted = plain_outputs(name, made, inputs, shape)
    found = result.model.predict(inputs)
    order = ORDER.get(name, range(len(wanted)))
    assert len(found) == len(wanted) + (name == "transfer")  # and the map
    for want, place in zip(wanted, order, strict=True):
        assert found[place].reshape(want.shape) == pytest.approx(want, rel=1e-4, abs=1e-4)
    for graph, dtype in ((result.model.float32, np.float32), (result.model.uint8, inputs.dtype)):
        one = graph(inputs[:1].astype(dtype), training=False)
        for (_, here), there in zip(parts(one), found, strict=True):
            assert keras.ops.convert_to_numpy(here) == pytest.approx(there[:1], rel=1e-3, abs=1e-4)


def test_every_model_has_an_answer() -> None:
    assert set(DECODE) == set(PLAIN)
