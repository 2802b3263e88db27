"""What a frame costs in memory: real sessions of the starter bundles, some hundred frames, counted byte by byte.

The bounds are documented here and nowhere else. `tracemalloc` sees every allocation of Python and numpy, and what
OpenCV hands back as arrays; what engines allocate inside is theirs.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from bedside.devices.sources import open_source
from bedside.devices.starters import resolve
from bedside.runtime import engines
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.clock import MonotonicClock
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.frame import Frame
from bedside.runtime.loading import Loaded, open_session
from bedside.runtime.preprocess import Preprocessor
from bedside.runtime.stream.inference import Inference
from bedside.runtime.tasks import make_task

#: Bundle, engine, variant, source, and the most bytes that a frame may have in hand at once.
#:
#: A classification is a handful of small objects. A detection adds the candidates above the threshold. A
#: segmentation traces outlines on a grid of twice the size of what it found, at most (2 * 256 + 1)^2 bytes twice,
#: and collects the scores in the mask as float32. A reconstruction codes a map of 32 x 32 cells in float64.
CASES = [
    ("modality-cnn", "litert", "tflite-int8", "synthetic:ultrasound", 8_000),
    ("modality-cnn", "onnxruntime", "onnx-int8", "synthetic:ultrasound", 8_000),
    ("modality-cnn", "openvino", "onnx-int8", "synthetic:ultrasound", 8_000),
    ("polyp-detection", "litert", "tflite-int8", "synthetic:endoscopy", 40_000),
    ("polyp-segmentation", "litert", "tflite-int8", "synthetic:endoscopy", 2 * 513**2 + 5 * 256**2),
    ("colon-autoencoder", "litert", "tflite-int8", "synthetic:endoscopy", 64_000),
]
WARM, FRAMES = 30, 200

#: What may be left after `FRAMES` frames: interned integers, dictionaries that were resized.
LEFT = 24_000


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def case(request: pytest.FixtureRequest) -> Iterator[tuple[Loaded, list[Frame], int]]:
    name, engine, variant, source, bound = request.param
    if not engines.status(engine).available:
        pytest.skip(f"{engine}: {engines.status(engine).reason}")
    opened = open_source(f"{source}?size=640x480&frames=4")
    opened.open()
    frames = []
    while (frame := opened.read()) is not None:
        frames.append(Frame(frame.pixels.copy(), frame.seq, 0, color=frame.color))
        frame.release()
    opened.close()
    with open_bundle(resolve(name)) as bundle:
        loaded = open_session(bundle, variant=variant, engine=engine, options=SessionOptions(threads=1))
    yield loaded, frames, bound
    loaded.session.close()


def test_a_frame_leaves_nothing_behind_and_takes_little(case: tuple[Loaded, list[Frame], int]) -> None:
    loaded, frames, bound = case
    infer = Inference(
        loaded, Preprocessor(loaded.model.input), make_task(loaded.model.decode), MonotonicClock()
    )
    for i in range(WARM):
        infer(frames[i % len(frames)])
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        peaks = np.zeros(FRAMES, np.int64)
        for i in range(FRAMES):
            tracemalloc.reset_peak()
            now = tracemalloc.get_traced_memory()[0]
            infer(frames[i % len(frames)])
            peaks[i] = tracemalloc.get_traced_memory()[1] - now
        gc.collect()
        left = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert left < LEFT, f"{left} bytes are left after {FRAMES} frames"
    assert peaks.max() <= bound, f"a frame takes up to {peaks.max()} bytes, allowed are {bound}"


def test_preprocess_allocates_no_picture() -> None:
    """The plain path resizes into the engine's memory: views are made, pictures are not."""
    from bedside.runtime.bundle.manifest import InputSpec

    frame = np.zeros((480, 640, 3), np.uint8)
    for spec in (
        InputSpec(width=224, height=224, color="bgr"),
        InputSpec(width=224, height=224, color="rgb", resize="letterbox"),
        InputSpec(width=224, height=224, color="rgb", interpolation="area"),
    ):
        preprocess, out = Preprocessor(spec), np.empty(spec.shape, np.uint8)
        preprocess(frame, "bgr", out)
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(50):
                preprocess(frame, "bgr", out)
            peak = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
        assert peak < 4_000, f"{peak} bytes for {spec}; the smallest picture has {out.nbytes}"
