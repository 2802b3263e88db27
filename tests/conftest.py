"""Fixtures of the whole suite."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bedside.runtime import engines
from bedside.runtime.answers import Classification, Score
from bedside.runtime.bundle.decode import (
    ClassificationDecode,
    GenerationDecode,
    OutOfDistribution,
    ReconstructionDecode,
)
from bedside.runtime.bundle.manifest import InputSpec, Provenance
from bedside.runtime.bundle.writer import write_bundle
from bedside.runtime.packing import BundleDraft, GoldenInput, ModelDraft, VariantDraft, build
from bedside.runtime.result import SCHEMA, Anchor, Outcome, Result

try:
    from hypothesis import settings
except ModuleNotFoundError:  # the environments of devices, which run the contract suites only
    pass
else:
    # A busy machine is no failure: no test asserts how long something takes.
    settings.register_profile("bedside", deadline=None)
    settings.load_profile("bedside")


# A shell lets what it starts in the background ignore Ctrl-C, for all its descendants; some tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Real images, clips and third-party models; see README, "Data for tests"."""
    named = os.environ.get("BEDSIDE_DATA")
    root = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (root / "README.md").is_file():
        pytest.skip("real data is absent: set BEDSIDE_DATA to its folder")
    return root


@pytest.fixture(scope="session", autouse=True)
def user_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty folder for what bedside keeps: what somebody tuned on this host must not choose what tests run."""
    folder = tmp_path_factory.mktemp("user-data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder))
        yield folder


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


#: The guard's threshold: smooth pictures score below it, noise and black frames above.
GUARD = ReconstructionDecode(
    output=1,
    code=0,
    out=OutOfDistribution(error_scale=8.0, distance_scale=2.5, threshold=1.0, false_alarm=0.01, samples=500),
)


def _variants(name: str) -> tuple[VariantDraft, ...]:
    """Every file of tests/assets of that model which an engine of this environment reads."""
    readable = {f for status in engines.statuses() if status.available for f in status.formats}
    found = []
    for path in sorted((Path(__file__).parent / "assets").glob(f"{name}_*")):
        fmt, precision = path.suffix[1:], path.stem.rpartition("_")[2]
        if fmt in readable:
            found.append(VariantDraft(f"{fmt}-{precision}", fmt, precision, path.read_bytes()))  # type: ignore[arg-type]
    return tuple(found)


@pytest.fixture(scope="session")
def smooth_frames() -> tuple[GoldenInput, ...]:
    """Ramps of any colour, 64x48, such as the guard of tests/assets knows."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:48, 0:64]
    made = []
    for _ in range(4):
        slope = rng.uniform(-30, 30, 2)
        ramp = rng.uniform(110, 140, 3) + (slope[0] * (x / 63 - 0.5) + slope[1] * (y / 47 - 0.5))[..., None]
        made.append(GoldenInput(np.rint(ramp).astype(np.uint8), "rgb"))
    return tuple(made)


@pytest.fixture(scope="session")
def guarded_draft(tiny_draft: BundleDraft, smooth_frames: tuple[GoldenInput, ...]) -> BundleDraft:
    """`tiny_draft` with a guard that sees the captured frame."""
    variants = _variants("tiny_guard")
    guard = ModelDraft(
        input=InputSpec(width=16, height=16),
        outputs=("code", "picture"),
        decode=GUARD,
        variants=variants,
        frames=smooth_frames,
    )
    main = msgspec.structs.replace(tiny_draft.models["main"], variants=tiny_draft.models["main"].variants[:1])
    return msgspec.structs.replace(tiny_draft, name="tiny-guarded", models={"main": main, "guard": guard})


@pytest.fixture(scope="session")
def guarded_bundle(guarded_draft: BundleDraft, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`guarded_draft` as a file; copy it before changing it."""
    path = tmp_path_factory.mktemp("bundle") / "tiny-guarded.bedside"
    write_bundle(path, *build(guarded_draft))
    return path


@pytest.fixture(scope="session")
def generator_draft(tiny_draft: BundleDraft) -> BundleDraft:
    """A bundle around the generator of tests/assets: 6 numbers to a 16x16 picture."""
    main = ModelDraft(
        input=InputSpec(width=16, height=16, dtype="float32", latent=6),
        outputs=("picture",),
        decode=GenerationDecode(),
        variants=_variants("tiny_generator"),
    )
    return msgspec.structs.replace(
        tiny_draft, name="tiny-generator", task="generation", models={"main": main}
    )
