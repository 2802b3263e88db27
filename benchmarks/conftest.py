"""Fixtures of the benchmarks: real bundles, frames of a device's size, and the host in every JSON file."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from platformdirs import user_cache_dir

from bedside.devices.probe import probe
from bedside.devices.sources import open_source
from bedside.devices.starters import resolve
from bedside.runtime import engines
from bedside.runtime.bundle.decode import ClassificationDecode
from bedside.runtime.bundle.manifest import (
    EngineGolden,
    FileRef,
    Golden,
    InputSpec,
    Model,
    Variant,
    VariantGolden,
)
from bedside.runtime.bundle.reader import Bundle, open_bundle
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.golden import GoldenReport
from bedside.runtime.loading import Loaded, open_session

HERE = Path(__file__).resolve().parent

# Benchmarks share modules beside them; pytest imports tests by path alone.
sys.path.insert(0, str(HERE))

#: Clips and models that take a while to make.
CACHE = Path(user_cache_dir("bedside")) / "benchmarks"

#: Longer than any run that is not about overload: a clip that begins again is opened again.
CLIP_FRAMES = 1260

FULL_HD = "synthetic:ultrasound?size=1920x1080&frames=16"


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Describe the host the way `bedside probe` does."""
    machine_info["bedside"] = msgspec.to_builtins(probe())


@pytest.fixture(scope="session")
def starter() -> Path:
    return resolve("modality-cnn")


@pytest.fixture(scope="session")
def bundle(starter: Path) -> Iterator[Bundle]:
    with open_bundle(starter) as opened:
        yield opened


@pytest.fixture(scope="session")
def full_hd() -> list[np.ndarray]:
    """Sixteen 1080p frames in memory, `(1080, 1920, 3) uint8`."""
    source = open_source(FULL_HD)
    source.open()
    frames = []
    while (frame := source.read()) is not None:
        frames.append(frame.pixels.copy())
        frame.release()
    source.close()
    return frames


@pytest.fixture(scope="session")
def clip() -> str:
    """A 1080p60 H.264 clip: the one that peers are compared on, made once and kept below the user's cache."""
    path = CACHE / f"endoscopy-1080p60-{CLIP_FRAMES}.mp4"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import clip; "
        "clip.make_clip(Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[2]).parent)"
    )
    words = [sys.executable, "-c", code, str(HERE / "peers"), str(path), str(CLIP_FRAMES)]
    made = subprocess.run(words, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no H.264 clip: {(made.stderr.strip().splitlines() or ['no reason'])[-1]}")
    return str(path)


@pytest.fixture(scope="session")
def classifier(bundle: Bundle) -> Iterator[Loaded]:
    """MobileNetV2 224 in int8 on LiteRT with one thread; the starter where TensorFlow is absent.

    Converted in a process of its own, so that TensorFlow takes neither memory nor threads from what is measured.
    """
    path = CACHE / "mobilenet-v2-224-int8.tflite"
    CACHE.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        subprocess.run(
            [sys.executable, str(HERE / "mobilenet.py"), str(path)], capture_output=True, check=False
        )
    options = SessionOptions(threads=1)
    if path.is_file():
        loaded = without_goldens(path.read_bytes(), 224, options)
    else:
        loaded = open_session(bundle, variant="tflite-int8", engine="litert", options=options)
    yield loaded
    loaded.session.close()


def without_goldens(data: bytes, side: int, options: SessionOptions) -> Loaded:
    """A classifier with random weights: only its speed is asked."""
    session = engines.compile_model("litert", data, "tflite", options)
    ref = FileRef(file="golden/x.npy", sha256="0" * 64, bytes=1)
    labels = tuple(f"class {k}" for k in range(session.outputs[0].shape[-1]))
    variant = Variant(
        id="tflite-int8",
        format="tflite",
        precision="int8",
        sha256="0" * 64,
        bytes=len(data),
        inputs=session.inputs,
        outputs=session.outputs,
    )
    model = Model(
        input=InputSpec(width=side, height=side),
        outputs=tuple(tensor.name for tensor in session.outputs),
        decode=ClassificationDecode(labels=labels),
        variants=(variant,),
        golden=Golden(
            engine=EngineGolden(input=ref),
            variants=(VariantGolden(variant=variant.id, outputs=(ref,), tolerance=0.05),),
        ),
        default=variant.id,
    )
    report = GoldenReport(
        engine="litert", variant=variant.id, tolerance=0.05, samples=0, error=0.0, errors=()
    )
    return Loaded(session, model, variant, report)


@pytest.fixture(scope="session")
def rounds() -> int:
    """Alternating pairs of whatever is compared; fewer only to see that a benchmark works."""
    return int(os.environ.get("BEDSIDE_ROUNDS", "20"))


class Interval(msgspec.Struct, frozen=True):
    """A median and where it lies with 95 % confidence, NaN with fewer than six values."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


@pytest.fixture(scope="session")
def interval() -> Callable[[Sequence[float]], Interval]:
    """The median of one value per pair with its distribution-free interval, between order statistics (David and
    Nagaraja, Order Statistics, 2003, section 7.1)."""

    def of(values: Sequence[float]) -> Interval:
        ordered, outside, place = sorted(values), 0.0, None
        for k in range(len(ordered) // 2):
            outside += 2 * math.comb(len(ordered), k) / 2 ** len(ordered)
            if outside > 0.05:
                break
            place = k
        low, high = (math.nan, math.nan) if place is None else (ordered[place], ordered[-1 - place])
        return Interval(statistics.median(ordered), low, high)

    return of
