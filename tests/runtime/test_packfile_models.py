"""Models that other people made, packed with a page of TOML and decoded to results."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from bedside.runtime import engines
from bedside.runtime.answers import Raw, Segmentation, TaskResult
from bedside.runtime.bundle.manifest import Manifest
from bedside.runtime.engines import SessionOptions
from bedside.runtime.frame import Pixels
from bedside.runtime.packfile import draft_from, read_packfile
from bedside.runtime.packing import build
from bedside.runtime.preprocess import Preprocessor
from bedside.runtime.tasks import View, make_task

DEEPLAB = """
name = "deeplab-bird"
version = "1.0.0"
description = "DeepLab v3 on MobileNet v2 0.5, PASCAL VOC 2012."
intended_use = "Tests."
licence = "Apache-2.0"

[input]
width = 513
height = 513
color = "bgr"

[model]
precision = "uint8"
outputs = ["classes"]

[decode]
task = "segmentation"
labels = ["background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "table", "dog", "horse", "motorbike", "person", "plant", "sheep", "sofa", "train", "screen"]
scores = "labels"
"""

# A single-shot detector whose boxes are offsets from anchors that its file does not state.
SSD = """
name = "ssd-slim"
version = "1.0.0"
description = "Single-shot detector, 1118 anchors."
intended_use = "Tests."
licence = "Apache-2.0"

[input]
width = 160
height = 120
channels = 1
color = "gray"
dtype = "int8"
normalization = { mean = [128], std = [1] }
quantization = { scale = 1.0, zero_point = 0 }

[model]
precision = "int8"
outputs = ["offsets", "scores"]
"""


def packed(folder: Path, text: str, model: Path) -> tuple[Manifest, dict[str, bytes]]:
    if not engines.status("litert").available:
        pytest.skip(f"recording goldens needs litert: {engines.status('litert').reason}")
    toml = folder / "pack.toml"
    toml.write_text(text, encoding="utf-8")
    return build(draft_from(read_packfile(toml), folder, model))


def answer(manifest: Manifest, members: dict[str, bytes], frame: Pixels) -> TaskResult:
    model = manifest.main
    (variant,) = model.variants
    assert variant.file is not None
    session = engines.compile_model(
        "litert", members[variant.file], variant.format, SessionOptions(threads=1)
    )
    try:
        where = Preprocessor(model.input)(frame, "bgr", session.input())
        outputs = session.invoke()
        return make_task(model.decode).decode(outputs, variant.outputs, View(where, (0.5, 0.5)))
    finally:
        session.close()


def test_deeplab_finds_the_bird(data_root: Path, tmp_path: Path) -> None:
    """As published: intersection over union with Coral's mask above 0.90; here of the outlines, filled."""
    folder = data_root / "models" / "coral"
    manifest, members = packed(tmp_path, DEEPLAB, folder / "deeplabv3_mnv2_dm05_pascal_quant.tflite")
    assert manifest.task == "segmentation"
    bird = cv2.imread(str(folder / "bird_segmentation.bmp"))
    mask = cv2.imread(str(folder / "bird_segmentation_mask.bmp"), cv2.IMREAD_UNCHANGED) == 3
    # Twice as high as wide: outlines return to the frame, not to the model's square.
    tall = np.asarray(cv2.resize(bird, (513, 1026), interpolation=cv2.INTER_NEAREST), np.uint8)
    found = answer(manifest, members, tall)
    assert isinstance(found, Segmentation)
    region = found.regions[0]
    assert (region.label, region.score) == ("bird", 1.0)
    assert region.area_mm2 == pytest.approx(region.area_px / 4)
    filled = np.zeros((1026, 513), np.uint8)
    outlines = [np.rint((np.array(c) - 0.5) * 16).astype(np.int32) for c in region.contours]
    cv2.fillPoly(filled, outlines, 1, shift=4)
    truth = np.repeat(mask, 2, axis=0)
    inside = filled.astype(bool)
    assert (inside & truth).sum() / (inside | truth).sum() > 0.90
    assert inside.sum() == pytest.approx(region.area_px, rel=0.02)


def test_a_detector_with_unknown_anchors_is_handed_on_raw(data_root: Path, tmp_path: Path) -> None:
    model = data_root / "models" / "emza" / "ssd_slim_120x160x1_v1_int8.tflite"
    manifest, members = packed(tmp_path, SSD, model)
    assert manifest.task == "raw"
    found = answer(manifest, members, np.full((240, 320, 3), 100, np.uint8))
    assert isinstance(found, Raw)
    assert [o.shape for o in found.outputs] == [(1, 1118, 4), (1, 1118, 2)]
    assert 0 <= found.outputs[1].min <= found.outputs[1].max <= 1
