"""Exports of every task without training: answers are drawn, everything that shows them is real."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from bedside.export.convert.artifact import Artifact
from bedside.export.gates.evaluate import Holdout
from bedside.export.gates.marks import Measured
from bedside.export.metrics.precision import Found
from bedside.export.recipe import GateRecipe
from bedside.export.reports.cases import Cases, Shown
from bedside.export.reports.outcome import ExportOutcome, SplitSummary, Training, VariantResult
from bedside.export.reports.picture_samples import generated, translated
from bedside.export.reports.samples import detected, segmented
from bedside.export.tasks.kits import kit_for
from bedside.export.tasks.protocol import Samples
from bedside.runtime.bundle.decode import (
    Decode,
    DetectionDecode,
    GenerationDecode,
    SegmentationDecode,
    TranslationDecode,
)
from bedside.runtime.bundle.manifest import InputSpec, Task

SIDE, COUNT = 48, 20
TASKS: tuple[Task, ...] = ("segmentation", "detection", "translation", "generation")


class Told(msgspec.Struct, frozen=True):
    """An outcome and its cases."""

    outcome: ExportOutcome
    shown: tuple[Shown, ...]


@pytest.fixture(scope="session")
def told() -> dict[Task, Told]:
    """Per task; the variant is a little worse than Keras."""
    return {task: _tell(task) for task in TASKS}


def _tell(task: Task) -> Told:
    rng = np.random.default_rng(3)
    labels = {"segmentation": ("background", "polyp", "tool"), "detection": ("polyp", "clip")}.get(task, ())
    decode, inputs, truth, keras, rows = _drawn(task, labels, rng)
    spec = InputSpec(width=SIDE, height=SIDE)
    if task == "generation":
        spec = InputSpec(width=SIDE, height=SIDE, dtype="float32", latent=inputs.shape[1])
    samples = Samples(inputs, truth, tuple(f"g{i // 2}" for i in range(COUNT)), _keys())
    kit = kit_for(task, labels)
    marks = kit.mark(keras, samples)
    holdout = Holdout(kit, decode, spec, samples, tuple(keras), marks, ())
    measured = Measured(
        marks=kit.mark(rows, samples),
        agreement=kit.agreement(rows, keras),
        difference=0.01,
        engine="litert 2",
        invoke_ms=1.5,
        rows=tuple(rows),
    )
    artifact = Artifact(id="tflite-int8", format="tflite", precision="int8", data=b"", inputs=(), outputs=())
    cases = Cases(samples, tuple(keras), tuple(rows), "tflite-int8", artifact, holdout, spec)
    show: Any = {
        "segmentation": segmented,
        "detection": detected,
        "translation": translated,
        "generation": generated,
    }[task]
    outcome = ExportOutcome(
        name=f"drawn-{task}", version="1.0.0", task=task, description="Drawn.", intended_use="Tests.",
        authors="", licence="", origin="trained by its recipe", labels=labels, input=spec,
        normalization="Rescaling", parameters=1234, decode=decode, sources=(),
        splits=(SplitSummary("holdout", COUNT, COUNT // 2, "ab" * 32, (COUNT,)),),
        calibration_samples=20, seed=1, tools={"keras": "3"}, created_utc="2026-01-01T00:00:00Z",
        gate=GateRecipe(), reference=marks,
        variants=(VariantResult("tflite-int8", "tflite", "int8", 12345, measured, None, True),),
        default="tflite-int8",
        training=Training({"loss": (1.0, 0.5), "val_loss": (1.1, 0.7), "dice": (0.1, 0.4)}, 2, 3.0),
    )  # fmt: skip
    return Told(outcome, show(cases, decode))


def _keys() -> tuple[str, ...]:
    return tuple(f"drawn/{i:03d}" for i in range(COUNT))


def _drawn(task: Task, labels: tuple[str, ...], rng: Any) -> tuple[Decode, Any, Any, Any, Any]:
    frames = rng.integers(0, 60, (COUNT, SIDE, SIDE, 3)).astype(np.uint8)
    if task == "generation":
        pictures = [_blurred(f) for f in frames]
        worse = [np.clip(p.astype(int) + 9, 0, 255).astype(np.uint8) for p in pictures]
        real = rng.permutation(np.stack([_blurred(f) for f in frames[::-1]]))
        latents = rng.standard_normal((COUNT, 8), np.float32)
        return GenerationDecode(), latents, list(real), pictures, worse
    boxes = rng.integers(4, 20, (COUNT, 2, 2))
    masks = np.zeros((COUNT, SIDE, SIDE), np.uint8)
    for i, ((x, y), (w, h)) in enumerate(boxes):
        frames[i, y : y + h + 6, x : x + w + 6] += 120
        masks[i, y : y + h + 6, x : x + w + 6] = 1 + i % 2
    if task == "segmentation":
        keras = [np.roll(m, 1, axis=1) for m in masks]
        return (
            SegmentationDecode(labels=labels),
            frames,
            list(masks),
            keras,
            [np.roll(m, 2, 0) for m in masks],
        )
    if task == "translation":
        noisy = np.clip(frames.astype(int) + rng.integers(-40, 40, frames.shape), 0, 255).astype(np.uint8)
        return TranslationDecode(), noisy, list(frames), list(frames), [_blurred(f) for f in frames]
    truth = [
        Found(np.array([[x, y, x + w + 6, y + h + 6]], np.float32), np.ones(1, np.float32), np.array([i % 2]))
        for i, ((x, y), (w, h)) in enumerate(boxes)
    ]
    keras = [Found(t.boxes + 1, np.full(1, 0.9, np.float32), t.labels) for t in truth]
    false = np.array([[0, 0, 9, 9]], np.float32)
    rows = [
        Found(
            np.concatenate([k.boxes, false]),
            np.array([0.8, 0.6], np.float32),
            np.array([int(k.labels[0]), 0]),
        )
        if i % 3 == 0
        else k
        for i, k in enumerate(keras)
    ]
    return DetectionDecode(labels=labels), frames, truth, keras, rows


def _blurred(frame: Any) -> Any:
    import cv2

    return cv2.GaussianBlur(frame, (0, 0), 1.2)
