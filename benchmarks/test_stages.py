"""Each stage of a frame by itself: preprocess at a device's frame sizes, every engine, decode."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bedside.runtime import engines
from bedside.runtime.bundle.decode import ClassificationDecode
from bedside.runtime.bundle.manifest import InputSpec, TensorSpec
from bedside.runtime.bundle.reader import Bundle
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.geometry import Rect
from bedside.runtime.loading import open_session
from bedside.runtime.preprocess import Preprocessor
from bedside.runtime.tasks import make_task
from bedside.runtime.testing.views import make_view

HERE = [s.id for s in engines.statuses() if s.version is not None]
VARIANTS = ("tflite-fp32", "tflite-int8", "onnx-fp32", "onnx-int8")


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("interpolation", ["linear", "area"])
def test_preprocess_full_hd(benchmark, full_hd, resize, interpolation):
    spec = InputSpec(width=224, height=224, resize=resize, interpolation=interpolation)
    preprocess = Preprocessor(spec, masks=(Rect(0, 0, 400, 60),))
    out = np.empty(spec.shape, np.uint8)
    frames = itertools.cycle(full_hd)
    benchmark.group = "preprocess 1080p to 224"
    benchmark(lambda: preprocess(next(frames), "bgr", out))


@pytest.mark.parametrize("engine", HERE)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("threads", [1, 2])
def test_invoke(benchmark, bundle: Bundle, engine, variant, threads):
    status = next(s for s in engines.statuses() if s.id == engine)
    found = bundle.manifest.main.variant(variant)
    if found is None or found.file is None or found.format not in status.formats:
        pytest.skip(f"{engine} does not run {variant}")
    loaded = open_session(bundle, variant=variant, engine=engine, options=SessionOptions(threads=threads))
    benchmark.group = f"invoke {bundle.manifest.name} {variant}"
    benchmark(loaded.session.invoke)
    loaded.session.close()


@pytest.mark.parametrize("classes", [3, 1000])
def test_decode_classification(benchmark, classes):
    task = make_task(ClassificationDecode(labels=tuple(str(i) for i in range(classes))))
    scores = np.random.default_rng(0).dirichlet(np.ones(classes)).astype(np.float32)[None]
    spec = TensorSpec(name="probabilities", shape=(1, classes), dtype="float32")
    view = make_view()
    benchmark.group = "decode"
    benchmark(lambda: task.decode((scores,), (spec,), view))
