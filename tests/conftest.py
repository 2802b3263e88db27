"""Fixtures of the whole suite."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bedside.runtime import engines
from bedside.runtime.bundle.manifest import ClassificationDecode, InputSpec, Provenance
from bedside.runtime.bundle.writer import write_bundle
from bedside.runtime.packing import BundleDraft, GoldenInput, ModelDraft, VariantDraft, build
from bedside.runtime.result import SCHEMA, Anchor, Classification, Outcome, Result, Score

try:
    from hypothesis import settings
except ModuleNotFoundError:  # the environments of devices, which run the contract suites only
    pass
else:
    # A busy machine is no failure: no test asserts how long something takes.
    settings.register_profile("bedside", deadline=None)
    settings.load_profile("bedside")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Real images, clips and third-party models; see README, "Data for tests"."""
    named = os.environ.get("BEDSIDE_DATA")
    root = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (root / "README.md").is_file():
        pytest.skip("real data is absent: set BEDSIDE_DATA to its folder")
    return root


@pytest.fixture(scope="session")
def make_result() -> Callable[..., Result]:
    """A plausible result of one frame; any field can be given."""

    def make(seq: int = 0, **fields: Any) -> Result:
        top = (Score(0, "ultrasound", 0.91), Score(1, "endoscopy", 0.06), Score(2, "neither", 0.03))
        result = Result(
            schema=SCHEMA,
            session="5e5510ff",
            stream="main",
            boot="b007",
            anchor=Anchor(1_000, 1_700_000_000_000_000_000),
            seq=seq,
            captured_ns=1_000_000_000 + seq * 33_333_333,
            published_ns=1_008_000_000 + seq * 33_333_333,
            age_ms=8.0,
            pts_ns=None,
            reference=None,
            outcome=Outcome.OK,
            reason=None,
            task="classification",
            result=Classification(label="ultrasound", index=0, score=0.91, top=top),
            bundle="ab12cd34" * 8,
            variant="tflite-int8",
            engine="litert",
            precision="int8",
        )
        return msgspec.structs.replace(result, **fields)

    return make


#: The models of tests/assets that take uint8 pixels: id, file, precision.
_TINY = (
    ("tflite-fp32", "tiny_uint8.tflite", "fp32"),
    ("tflite-int8", "tiny_int8.tflite", "int8"),
    ("onnx-fp32", "tiny_fp32.onnx", "fp32"),
    ("onnx-int8", "tiny_int8.onnx", "int8"),
)


@pytest.fixture(scope="session")
def tiny_draft() -> BundleDraft:
    """A bundle around the 16x16, five-class models of tests/assets, before its goldens are recorded.

    Holds the formats that an engine of this environment reads: on a device there may be one.
    """
    from bedside.runtime.synthetic import golden_frames

    readable = {f for status in engines.statuses() if status.available for f in status.formats}
    assets = Path(__file__).parent / "assets"
    variants = tuple(
        VariantDraft(id=name, format=fmt, precision=precision, data=(assets / file).read_bytes())
        for name, file, precision in _TINY
        if (fmt := file.partition(".")[2]) in readable
    )
    model = ModelDraft(
        input=InputSpec(width=16, height=16),
        outputs=("scores",),
        decode=ClassificationDecode(labels=("liver", "kidney", "heart", "colon", "other")),
        variants=variants,
        frames=tuple(GoldenInput(pixels, color) for pixels, color in golden_frames(2, (64, 48))),
    )
    return BundleDraft(
        name="tiny",
        version="1.0.0",
        task="classification",
        description="Random weights, for tests.",
        intended_use="None.",
        models={"main": model},
        card="# tiny\n",
        provenance=Provenance(created_utc="2026-01-01T00:00:00+00:00"),
    )


@pytest.fixture(scope="session")
def tiny_bundle(tiny_draft: BundleDraft, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_draft` as a file; copy it before changing it."""
    path = tmp_path_factory.mktemp("bundle") / "tiny.bedside"
    write_bundle(path, *build(tiny_draft))
    return path
