"""Two 1080p30 streams with two bundles on one box: what the second does to the ages of the first.

A pair is two sessions of the same length, one with an ordinary neighbour and one with a neighbour that is made slow
on purpose: by a model that takes three frame intervals, or by a source that draws 4K pictures as fast as the
processor lets it. Pairs alternate (A B B A). Streams are processes by default; the same on threads shows what one
interpreter lock costs. The slow model is made with the `onnx` package (extra `export`) and runs on ONNX Runtime.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bedside.devices.compose import PipelineSpec
from bedside.devices.sessions.loading import Session
from bedside.devices.sessions.plan import StreamPlan
from bedside.devices.sessions.shares import shared_out
from bedside.devices.sessions.supervise import run_session
from bedside.runtime import engines
from bedside.runtime.bundle.decode import ClassificationDecode
from bedside.runtime.bundle.manifest import InputSpec, Provenance
from bedside.runtime.bundle.writer import write_bundle
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.latency import percentiles
from bedside.runtime.packing import BundleDraft, GoldenInput, ModelDraft, VariantDraft, build
from bedside.runtime.results_file import read_results
from bedside.runtime.synthetic import golden_frames

FPS = 30.0
INTERVAL_MS = 1e3 / FPS

#: Of a session. The first second of each is left out: caches are cold, and the neighbour is still loading.
SECONDS, SETTLE_S = 6.0, 1.0

#: Done when: the other stream's median age stays within this factor, its p99 within one frame interval.
MEDIAN_RATIO = 1.20

SIDE, CHANNELS = 128, 64


def slow_model(convolutions: int) -> bytes:
    """An `.onnx` file with that many 3x3 convolutions at full size, uint8 pixels in, two scores out."""
    onnx = pytest.importorskip("onnx")
    make, kind = onnx.helper, onnx.TensorProto
    rng = np.random.default_rng(0)
    nodes = [
        make.make_node("Cast", ["pixels"], ["real"], to=kind.FLOAT),
        make.make_node("Transpose", ["real"], ["x0"], perm=[0, 3, 1, 2]),
    ]
    weights = []
    for k in range(convolutions):
        shape = (CHANNELS, 3 if k == 0 else CHANNELS, 3, 3)
        # Keeps the range of values from layer to layer (He et al. 2015, section 2.2).
        scale = np.sqrt(2 / np.prod(shape[1:]))
        weights.append(onnx.numpy_helper.from_array(rng.normal(0, scale, shape).astype(np.float32), f"w{k}"))
        nodes.append(make.make_node("Conv", [f"x{k}", f"w{k}"], [f"c{k}"], pads=[1, 1, 1, 1]))
        nodes.append(make.make_node("Relu", [f"c{k}"], [f"x{k + 1}"]))
    dense = rng.normal(0, 1e-3, (CHANNELS, 2)).astype(np.float32)
    weights.append(onnx.numpy_helper.from_array(dense, "dense"))
    nodes += [
        make.make_node("GlobalAveragePool", [f"x{convolutions}"], ["pooled"]),
        make.make_node("Flatten", ["pooled"], ["flat"]),
        make.make_node("MatMul", ["flat", "dense"], ["logits"]),
        make.make_node("Softmax", ["logits"], ["scores"], axis=-1),
    ]
    graph = make.make_graph(
        nodes,
        "slow",
        [make.make_tensor_value_info("pixels", kind.UINT8, [1, SIDE, SIDE, 3])],
        [make.make_tensor_value_info("scores", kind.FLOAT, [1, 2])],
        weights,
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 13)])
    model.ir_version = 8
    data: bytes = model.SerializeToString()
    return data


def invoke_ms(data: bytes) -> float:
    """The faster half of a few invocations on one thread, in ms."""
    session = engines.compile_model("onnxruntime", data, "onnx", SessionOptions(threads=1))
    taken = []
    for _ in range(6):
        begin = time.perf_counter_ns()
        session.invoke()
        taken.append((time.perf_counter_ns() - begin) / 1e6)
    session.close()
    return statistics.median(sorted(taken)[:3])


@pytest.fixture(scope="module")
def slow_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose model takes at least three frame intervals on one thread of this host."""
    if not next(s for s in engines.statuses() if s.id == "onnxruntime").available:
        pytest.skip("needs onnxruntime")
    few = invoke_ms(slow_model(3))
    data = slow_model(max(4, round(3 * 3.3 * INTERVAL_MS / few)))
    main = ModelDraft(
        input=InputSpec(width=SIDE, height=SIDE),
        outputs=("scores",),
        decode=ClassificationDecode(labels=("one", "other")),
        variants=(VariantDraft(id="onnx-fp32", format="onnx", precision="fp32", data=data),),
        frames=tuple(GoldenInput(pixels, color) for pixels, color in golden_frames(1, (64, 48))),
    )
    draft = BundleDraft(
        name="slow",
        version="1.0.0",
        task="classification",
        description="Drawn weights, slow on purpose.",
        intended_use="None.",
        models={"main": main},
        card="# slow\n",
        provenance=Provenance(created_utc="2026-01-01T00:00:00+00:00"),
    )
    path = tmp_path_factory.mktemp("slow") / "slow.bedside"
    write_bundle(path, *build(draft))
    return path


def stream(name: str, folder: Path, seconds: float, **spec: Any) -> StreamPlan:
    given = {"paced": True, "seconds": seconds, "sinks": (f"jsonl:{folder / name}.jsonl",), **spec}
    return StreamPlan(spec=PipelineSpec(stream=name, **given))


def watched_ages(
    neighbour: str, isolation: str, slow: Path, folder: Path, seconds: float = SECONDS
) -> tuple[list[float], dict[str, Any]]:
    """Ages in ms of the first stream's results, and the summary of its neighbour.

    Args:
        neighbour: `ordinary`, `slow model` or `slow source`.
        isolation: `process` or `thread`.
        slow: Bundle of the slow model.
        folder: For result files.
        seconds: Of the session.
    """
    others: dict[str, dict[str, Any]] = {
        "ordinary": {
            "bundle": "polyp-segmentation",
            "source": "synthetic:endoscopy?size=1920x1080&fps=30&loop=8",
        },
        "slow model": {"bundle": str(slow), "source": "synthetic:endoscopy?size=1920x1080&fps=30&loop=8"},
        "slow source": {
            "bundle": "polyp-segmentation",
            "source": "synthetic:ultrasound?size=3840x2160&fps=30",
        },
    }
    first = stream(
        "watched",
        folder,
        seconds,
        bundle="nerve-segmentation",
        source="synthetic:ultrasound?size=1920x1080&fps=30&loop=8",
    )
    plans, _ = shared_out([first, stream("neighbour", folder, seconds, **others[neighbour])])
    ended = run_session(Session(name="pair", isolation=isolation, plans=plans), lambda event: None)  # type: ignore[arg-type]
    assert [end.error for end in ended.streams] == [None, None]
    results = list(read_results(folder / "watched.jsonl"))
    begin = results[0].captured_ns
    ages = [r.age_ms for r in results if r.captured_ns - begin > SETTLE_S * 1e9]
    summary = ended.streams[1].summary
    assert summary is not None
    return ages, summary


@pytest.mark.parametrize("isolation", ["process", "thread"])
@pytest.mark.parametrize("neighbour", ["slow model", "slow source"])
def test_a_slow_neighbour(
    benchmark: Any,
    neighbour: str,
    isolation: str,
    slow_bundle: Path,
    tmp_path: Path,
    rounds: int,
    interval: Callable[[Sequence[float]], Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = functools.partial(watched_ages, isolation=isolation, slow=slow_bundle, folder=tmp_path)
    calm: list[list[float]] = []
    loud: list[list[float]] = []
    speeds: list[float] = []

    def pair() -> None:
        for kind in (("ordinary", neighbour), (neighbour, "ordinary"))[len(calm) % 2]:
            ages, other = run(kind)
            (calm if kind == "ordinary" else loud).append(ages)
            if kind == neighbour:
                speeds.append(other["fps"] or 0.0)

    benchmark.group = "a slow stream beside another, 1080p30"
    benchmark.pedantic(pair, rounds=rounds)
    medians = [statistics.median(ages) for ages in calm], [statistics.median(ages) for ages in loud]
    ratio = interval([b / a for a, b in zip(*medians, strict=True)])
    # Of identical code: sessions with an ordinary neighbour, each with the next one.
    noise = interval([b / a for a, b in zip(medians[0], medians[0][1:], strict=False)] or [1.0])
    pooled = [percentiles([round(age * 1e6) for ages in side for age in ages]) for side in (calm, loud)]
    assert pooled[0] is not None and pooled[1] is not None
    tails = [found.p99 for found in pooled if found is not None]
    benchmark.extra_info.update(
        median_ratio=str(ratio),
        noise=str(noise),
        p99_calm_ms=tails[0],
        p99_loud_ms=tails[1],
        slow_fps=max(speeds),
    )
    with capsys.disabled():
        print(
            f"\n{neighbour}, a {isolation} for each stream, {rounds} alternating pairs: median age of the other "
            f"{pooled[0].p50:.2f} ms beside an ordinary one, {pooled[1].p50:.2f} ms beside the slow one; ratio "
            f"{ratio}, of identical sessions {noise}; p99 {tails[0]} and {tails[1]} ms; "
            f"the slow one gave {max(speeds):.1f} results a second at most"
        )
    assert max(speeds) < 0.8 * FPS, "the neighbour was not slow"
    if isolation == "process" and rounds >= 20:
        assert ratio.high <= MEDIAN_RATIO
        assert tails[0] is not None and tails[1] is not None and tails[1] - tails[0] <= INTERVAL_MS
