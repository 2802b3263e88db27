"""A model that int8 breaks: rescued or refused, never shipped broken; and what the gate holds back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from bedside.export import stages
from bedside.export.adopt.preprocessing import named
from bedside.export.backend import keras
from bedside.export.convert.artifact import ConversionError
from bedside.export.data.types import DataSet, PictureTarget
from bedside.export.gates import gate
from bedside.export.metrics.pictures import ssim
from bedside.export.pipeline import ExportResult, Plan, export_model
from bedside.export.recipe import GateRecipe, QuantizationRecipe
from bedside.runtime import engines
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.tasks import dequantize

L = keras.layers
SIDE = 32
PLAN = Plan(
    name="decoder", quantization=QuantizationRecipe(variants=("tflite-fp32", "tflite-int8", "onnx-int8"))
)


def frames(count: int, seed: int) -> npt.NDArray[np.uint8]:
    """Blurred noise: pictures with structure at the size of the decoder's own."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, SIDE // 4, SIDE // 4, 3), np.uint8)
    return small.repeat(4, axis=1).repeat(4, axis=2)


@pytest.fixture(scope="module")
def decoder() -> Any:
    """Transposed convolutions, two channels between them a thousand times as wide as the others.

    ReLU lets positive factors through, so that the next kernel can take them back: in float it is the same
    function (Nagel et al., "Data-Free Quantization Through Weight Equalization", 2019, section 4.1, the other way
    round). An activation that is quantized per tensor loses all other channels.
    """
    keras.utils.set_random_seed(4)
    pixels = keras.Input((SIDE, SIDE, 3))
    x = L.Rescaling(1 / 127.5, offset=-1)(pixels)
    for filters in (8, 16):
        x = L.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    x = L.Conv2D(16, 3, padding="same", activation="relu")(x)
    for name, filters in (("up1", 16), ("up2", 8)):
        x = L.Conv2DTranspose(filters, 3, strides=2, padding="same", activation="relu", name=name)(x)
    x = L.Conv2D(8, 3, padding="same", activation="relu")(x)
    model = keras.Model(pixels, L.Conv2D(3, 1, activation="sigmoid")(x))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([1.6 * kernel, bias + rng.normal(0, 0.05, bias.shape)])
    kernel, bias = model.get_layer("up1").get_weights()
    kernel[:, :, :2, :] *= 1000.0
    bias[:2] *= 1000.0
    model.get_layer("up1").set_weights([kernel, bias])
    kernel, bias = model.get_layer("up2").get_weights()
    kernel[:, :, :, :2] /= 1000.0
    model.get_layer("up2").set_weights([kernel, bias])
    return model


def pictures(model: Any, x: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    found = keras.ops.convert_to_numpy(model(x.astype(np.float32), training=False))
    return np.rint(found * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def own(decoder: Any, make_data: Callable[..., DataSet]) -> DataSet:
    """Keras is right on every frame, so what a variant loses is what quantization cost."""
    x = frames(64, 1)
    return make_data((), x, None, [PictureTarget(y, "rgb") for y in pictures(decoder, x)])


def export(decoder: Any, own: DataSet, folder: Path, **changes: Any) -> ExportResult:
    plan = msgspec.structs.replace(PLAN, **changes)
    return export_model(decoder, own, folder / "x.bedside", plan, task="translation")


def shipped_pictures(result: ExportResult, decoder: Any) -> dict[str, float]:
    """SSIM to Keras of every variant that is in the bundle, by the runtime's own session, on new frames."""
    x = frames(6, 9)
    wanted, found = pictures(decoder, x), {}
    with open_bundle(result.path) as bundle:
        for variant in bundle.manifest.main.shipped:
            assert variant.file is not None
            session = engines.compile_model(
                engines.preference(variant.format)[0],
                bundle.read(variant.file),
                variant.format,
                SessionOptions(threads=1),
            )
            values = []
            for one, want in zip(x, wanted, strict=True):
                np.copyto(session.input(), one[None])
                picture = dequantize(session.invoke()[0], variant.outputs[0])[0]
                values.append(ssim(np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8), want))
            session.close()
            found[variant.id] = float(np.mean(values))
    return found


def test_what_int8_breaks_is_rescued_and_what_was_kept_is_said(
    decoder: Any, own: DataSet, tmp_path: Path
) -> None:
    result = export(decoder, own, tmp_path)
    report = json.loads(result.report_json.read_text())
    by_id = {v["id"]: v for v in report["variants"]}
    with open_bundle(result.path) as bundle:
        main = bundle.manifest.main
        card = bundle.read(bundle.manifest.card.file).decode()
    for variant in ("tflite-int8", "onnx-int8"):
        record = main.variant(variant)
        assert record is not None
        assert record.refused is None
        assert record.file is not None
        assert record.evaluation is not None
        kept = record.evaluation.kept_float
        assert {"up1", "up2"} & set(kept), "the layers on both sides of the wide tensor"
        assert len(kept) <= 4
        assert tuple(by_id[variant]["kept_float"]) == kept
        assert any(f"{variant} passed with {len(kept)} layers in float" in n for n in result.outcome.notes)
        assert by_id[variant]["layers"], "the error of every layer is in the report"
        assert all(layer in card for layer in kept)
    assert min(shipped_pictures(result, decoder).values()) > 0.97


def test_without_a_rescue_it_is_refused(decoder: Any, own: DataSet, tmp_path: Path) -> None:
    result = export(decoder, own, tmp_path, gate=GateRecipe(rescue=False))
    verdicts = {v.id: v for v in result.outcome.variants}
    for variant in ("tflite-int8", "onnx-int8"):
        assert "SSIM" in (verdicts[variant].refused or "")
        assert not verdicts[variant].shipped
    with open_bundle(result.path) as bundle:
        assert [v.id for v in bundle.manifest.main.shipped] == ["tflite-fp32"]
        assert (bundle.manifest.main.variant("tflite-int8") or 0).file is None  # type: ignore[union-attr]
    # This fails when the gate is taken out: see the next test.
    assert min(shipped_pictures(result, decoder).values()) > 0.97


def test_a_rescue_that_may_keep_too_little_refuses_and_says_how_often_it_tried(
    decoder: Any, own: DataSet, tmp_path: Path
) -> None:
    wanted = QuantizationRecipe(variants=("tflite-fp32", "tflite-int8"))
    result = export(decoder, own, tmp_path, gate=GateRecipe(max_float=0.1), quantization=wanted)
    refused = {v.id: v for v in result.outcome.variants}["tflite-int8"]
    assert not refused.shipped
    assert "mixtures with float layers did not pass either" in (refused.refused or "")
    assert refused.kept_float == ()
    assert refused.layers


def test_where_no_rescue_is_possible_the_numbers_stay(
    decoder: Any, own: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impossible(*_: Any, **__: Any) -> None:
        raise ConversionError("no such operator", where="tflite-int8")

    monkeypatch.setattr(stages, "rescue", impossible)
    wanted = QuantizationRecipe(variants=("tflite-fp32", "tflite-int8"))
    result = export(decoder, own, tmp_path, quantization=wanted)
    refused = {v.id: v for v in result.outcome.variants}["tflite-int8"]
    assert refused.measured is not None
    assert "SSIM" in (refused.refused or "")
    assert (refused.refused or "").endswith("it cannot be rescued: no such operator")


def test_what_would_be_shipped_without_the_gate(
    decoder: Any, own: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "verdict", lambda *a, **k: None)
    result = export(decoder, own, tmp_path)
    found = shipped_pictures(result, decoder)
    assert set(found) == {"tflite-fp32", "tflite-int8", "onnx-int8"}
    assert found["tflite-fp32"] > 0.99
    assert found["tflite-int8"] < 0.9, "else the tests above prove nothing"
    assert found["onnx-int8"] < 0.9


def test_the_preprocessing_is_part_of_what_is_gated(decoder: Any, own: DataSet, tmp_path: Path) -> None:
    """A truth made with other pixels than the device's shows as a model that is no better than its input."""
    inner = keras.Model(decoder.layers[2].input, decoder.output)
    with pytest.raises(Exception, match=r"ignores the frame|against Keras|holdout frames"):
        export_model(
            inner,
            own,
            tmp_path / "x.bedside",
            msgspec.structs.replace(PLAN, gate=GateRecipe(minimum=0.95)),
            task="translation",
            preprocessing=named("none"),
        )
    assert list(tmp_path.iterdir()) == []
