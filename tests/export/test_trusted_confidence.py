"""What a bundle says of its own confidence holds on frames that nothing saw: coverage and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from bedside.export.backend import keras
from bedside.export.data.drawn import find_synthetic
from bedside.export.data.recipe import SyntheticData
from bedside.export.data.types import DataSet, Item, Split, SplitName
from bedside.export.metrics.confidence import coverage_interval, expected_calibration_error
from bedside.export.pipeline import ExportResult, Plan, export_model
from bedside.export.recipe import QuantizationRecipe
from bedside.runtime.answers import Classification
from bedside.runtime.bundle.decode import ClassificationDecode
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.clock import MonotonicClock
from bedside.runtime.frame import Frame
from bedside.runtime.loading import open_session
from bedside.runtime.preprocess import Preprocessor
from bedside.runtime.stream.inference import Inference
from bedside.runtime.tasks import make_task

PLAN = Plan(name="confident", quantization=QuantizationRecipe(variants=("tflite-fp32",)))


def dealt(items: Sequence[Item], labels: tuple[str, ...], counts: tuple[int, int, int, int]) -> DataSet:
    """Shuffled and dealt item by item: calibration and holdout are exchangeable, as the interval supposes."""
    order = np.random.default_rng(11).permutation(len(items))
    ends = np.cumsum([0, *counts])
    assert ends[-1] <= len(items)
    names: tuple[SplitName, ...] = ("train", "validation", "calibration", "holdout")
    splits = [
        Split(name=name, items=tuple(items[i] for i in order[a:b]), sha256=f"{a:064x}", groups=int(b - a))
        for name, a, b in zip(names, ends[:-1], ends[1:], strict=True)
    ]
    return DataSet(labels, *splits)


def classifier(side: int, channels: int, classes: int, data: DataSet, epochs: int) -> Any:
    """Small, and trained for so long on so little that it is too sure of itself."""
    keras.utils.set_random_seed(7)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((side, side, channels)),
            layers.Rescaling(1 / 127.5, offset=-1),
            layers.Conv2D(12, 3, strides=2, activation="relu"),
            layers.Conv2D(24, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(classes, activation="softmax"),
        ]
    )
    x = np.stack([item.load()[0] for item in data.train.items]).astype(np.float32)
    y = np.array([item.label for item in data.train.items])
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=64, epochs=epochs, verbose=0)
    return model


def on_the_device(result: ExportResult, data: DataSet) -> tuple[float, float]:
    """Fraction of the holdout whose prediction set holds the truth, and the calibration error, by the runtime."""
    held, sure, right = [], [], []
    with open_bundle(result.path) as bundle:
        decode = bundle.manifest.main.decode
        assert isinstance(decode, ClassificationDecode)
        loaded = open_session(bundle)
        answer = Inference(loaded, Preprocessor(loaded.model.input), make_task(decode), MonotonicClock())
        for number, item in enumerate(data.holdout.items):
            pixels, color = item.load()
            found = answer(Frame(pixels, number, 0, color=color)).result
            assert isinstance(found, Classification)
            assert found.set is not None
            held.append(data.labels[item.label] in found.set.labels)
            sure.append(found.score)
            right.append(found.index == item.label)
        loaded.session.close()
    error = expected_calibration_error(np.array(sure, np.float32), np.array(right))
    return float(np.mean(held)), error


def check(result: ExportResult, data: DataSet, within: tuple[float, float]) -> None:
    confidence = result.outcome.confidence
    assert confidence is not None
    assert confidence.wanted == 0.9
    # A set holds at least the best class: where that alone is right nearly as often as the sets should be, they
    # hold the truth more often than was asked for.
    assert result.outcome.reference.value < 0.8
    coverage, error = on_the_device(result, data)
    assert within[0] <= coverage <= within[1]
    assert coverage == pytest.approx(confidence.coverage, abs=2 / len(data.holdout.items))
    assert confidence.after <= max(confidence.before / 2, 0.02)
    assert error <= max(confidence.before / 2, 0.02)


@pytest.mark.slow
def test_ten_textures_with_five_thousand_of_each(tmp_path: Path) -> None:
    recipe = SyntheticData(content="classes-hard", samples=1300, width=32, height=32)
    found = find_synthetic(recipe, seed=3)
    data = dealt(found.items, found.labels, (500, 400, 5000, 5000))
    channels = data.train.items[0].load()[0].shape[2]
    model = classifier(32, channels, len(found.labels), data, 12)
    result = export_model(model, data, tmp_path / "x.bedside", PLAN)
    assert result.outcome.confidence is not None
    assert result.outcome.confidence.samples == result.outcome.reference.samples == 5000
    check(result, data, (0.89, 0.91))


def larynx_patches(root: Path, side: int, most: int) -> list[Item]:
    """Patches of larynx pictures, the class is that of the middle pixel: seven tissues that look alike."""
    pairs = []
    folder = root / "endoscopy" / "larynx"
    for image in sorted((folder / "images").rglob("*.jpg")):
        mask = folder / "labels" / image.relative_to(folder / "images").with_suffix(".png")
        if mask.is_file():
            pairs.append((image, mask))
    assert pairs, "the larynx pictures lie elsewhere"
    rng, items = np.random.default_rng(5), []
    each = -(-most // len(pairs))
    for image, mask in pairs:
        pixels = cv2.cvtColor(cv2.imread(str(image), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        classes = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)
        for k in range(each):
            top, left = (int(rng.integers(0, n - side)) for n in classes.shape)
            patch: npt.NDArray[np.uint8] = pixels[top : top + side, left : left + side].copy()
            label = int(classes[top + side // 2, left + side // 2])
            key = f"{image.parent.name}/{image.stem}/{k}"
            items.append(
                Item(key, label, key, lambda patch=patch: (patch, "rgb"), f"{len(items):064x}")  # type: ignore[misc]
            )
    return items


@pytest.mark.slow
def test_tissue_of_the_larynx(data_root: Path, tmp_path: Path) -> None:
    items = larynx_patches(data_root, 24, 6000)
    labels = tuple(f"class {k}" for k in range(max(i.label for i in items) + 1))
    data = dealt(items, labels, (500, 200, 1500, 2000))
    model = classifier(24, 3, len(labels), data, 60)
    result = export_model(model, data, tmp_path / "x.bedside", PLAN)
    check(result, data, coverage_interval(1500, 2000, 0.9))
