"""Bundles made of the tiny models, with goldens recorded on this host."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bedside.runtime import engines
from bedside.runtime.bundle.decode import ClassificationDecode
from bedside.runtime.bundle.manifest import InputSpec, Manifest, Provenance
from bedside.runtime.packing import BundleDraft, GoldenInput, ModelDraft, VariantDraft, build

ASSETS = Path(__file__).resolve().parents[1] / "assets"

#: Variant id, model file, precision.
VARIANTS = (
    ("tflite-int8", "tiny_int8.tflite", "int8"),
    ("tflite-fp32", "tiny_uint8.tflite", "fp32"),
    ("onnx-fp32", "tiny_fp32.onnx", "fp32"),
    ("onnx-int8", "tiny_int8.onnx", "int8"),
)


def draft(**fields: Any) -> BundleDraft:
    """A classifier of 16x16 pictures: four variants, one more that its gate refused, three golden frames."""
    frames = np.random.default_rng(8).integers(0, 256, (3, 48, 64, 3), np.uint8)
    variants = [
        VariantDraft(
            id=name, format=Path(file).suffix[1:], precision=precision, data=(ASSETS / file).read_bytes()
        )  # type: ignore[arg-type]
        for name, file, precision in VARIANTS
    ]
    refused = VariantDraft(
        id="tflite-dynamic",
        format="tflite",
        precision="dynamic",
        data=variants[1].data,
        refused="accuracy drops by 0.08",
    )
    model = ModelDraft(
        input=InputSpec(width=16, height=16, resize="letterbox"),
        outputs=("scores",),
        decode=ClassificationDecode(labels=("a", "b", "c", "d", "e")),
        variants=(*variants, refused),
        frames=tuple(GoldenInput(pixels=f) for f in frames),
        samples=np.random.default_rng(9).integers(0, 256, (2, 16, 16, 3), np.uint8),
        default="tflite-int8",
    )
    return BundleDraft(
        name="tiny",
        version="1.0.0",
        task="classification",
        description="For tests.",
        intended_use="Tests only.",
        models={"main": model},
        card="# Tiny\n",
        provenance=Provenance(created_utc="2024-05-17T00:00:00Z"),
        **fields,
    )


@pytest.fixture(scope="session")
def built() -> tuple[Manifest, dict[str, bytes]]:
    """The manifest and the members of that bundle."""
    for needed in ("litert", "onnxruntime"):
        if not engines.status(needed).available:
            pytest.skip(f"recording goldens needs {needed}: {engines.status(needed).reason}")
    return build(draft())
