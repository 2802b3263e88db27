"""Writes MobileNetV2 224 with random weights in full int8: `python mobilenet.py OUT.tflite`. Needs TensorFlow."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from bedside.export.adopt.graph import adopt
from bedside.export.convert.calibration import with_extremes
from bedside.export.convert.tflite import convert_tflite
from bedside.export.models.mobilenet import mobilenet

LABELS = tuple(f"class {k}" for k in range(10))


def main() -> None:
    path = Path(sys.argv[1])
    graph = mobilenet(width=224, height=224, classes=len(LABELS), width_multiplier=1.0, seed=1)
    pictures = np.random.default_rng(0).integers(0, 256, (8, 224, 224, 3), np.uint8)
    data = convert_tflite(adopt(graph, "classification", LABELS).model, "int8", with_extremes(pictures))
    partial = path.with_suffix(".part")
    partial.write_bytes(data)
    partial.replace(path)


if __name__ == "__main__":
    main()
