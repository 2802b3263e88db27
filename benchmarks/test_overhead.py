"""What bedside itself costs per frame, beside the bare loop, in one run.

The bare loop is what an engineer writes first: resize, swap colours into the input, invoke. The pipeline does
that and captures, accounts, stamps, decodes, publishes and writes. Rounds alternate (A B B A).
"""

from __future__ import annotations

import itertools
import statistics
import time
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from bedside.devices.compose import boot_id
from bedside.devices.sinks import make_sink
from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.bundle.reader import Bundle
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.loading import Loaded, open_session
from bedside.runtime.preprocess import Preprocessor
from bedside.runtime.result import Result
from bedside.runtime.stream.pipeline import Pipeline, StreamIdentity
from bedside.runtime.tasks import make_task
from bedside.runtime.testing.sources import ArraySource

ROUNDS = 20
FRAMES = 200

#: Per-frame budget for everything that is not decoding, resizing or invoking.
BUDGET_US = 150.0


def linear(loaded: Loaded) -> InputSpec:
    """The model's input with OpenCV's default resize, so that both loops resize by the very same call."""
    return msgspec.structs.replace(loaded.model.input, interpolation="linear")


def bare(loaded: Loaded, frames, count: int) -> tuple[list[float], float]:
    session, spec = loaded.session, linear(loaded)
    small = np.empty((spec.height, spec.width, 3), np.uint8)
    walls = []
    cpu = time.process_time_ns()
    for i in range(count):
        t0 = time.perf_counter_ns()
        cv2.resize(frames[i % len(frames)], (spec.width, spec.height), dst=small)
        cv2.cvtColor(small, cv2.COLOR_BGR2RGB, dst=session.input()[0])
        session.invoke()
        walls.append((time.perf_counter_ns() - t0) / 1e3)
    return walls, (time.process_time_ns() - cpu) / 1e3 / count


def through_pipeline(loaded: Loaded, frames, count: int, sinks: list[str]) -> tuple[list[float], float]:
    published: list[int] = []

    def see(result: Result) -> None:
        published.append(result.published_ns)

    pipeline = Pipeline(
        ArraySource([frames[i % len(frames)] for i in range(count)]),
        loaded,
        Preprocessor(linear(loaded)),
        make_task(loaded.model.decode),
        [make_sink(uri) for uri in sinks],
        StreamIdentity(
            session="bench", stream="main", boot=boot_id(), task="classification", bundle="0" * 64
        ),
        on_result=see,
    )
    cpu = time.process_time_ns()
    summary = pipeline.run()
    used = (time.process_time_ns() - cpu) / 1e3 / count
    assert summary.ledger.processed == count
    return [(b - a) / 1e3 for a, b in itertools.pairwise(published)], used


@pytest.mark.parametrize("sinks", [["null:"], ["jsonl"]], ids=["null", "jsonl"])
def test_overhead_full_hd(benchmark, bundle: Bundle, full_hd, tmp_path: Path, sinks, capsys):
    uris = [f"jsonl:{tmp_path / 'results.jsonl'}" if s == "jsonl" else s for s in sinks]
    loaded = open_session(bundle, variant="tflite-int8", engine="litert", options=SessionOptions(threads=1))
    rows: list[tuple[float, float, float, float]] = []

    def round_trip() -> None:
        if len(rows) % 2:
            pipe, pipe_cpu = through_pipeline(loaded, full_hd, FRAMES, uris)
            plain, plain_cpu = bare(loaded, full_hd, FRAMES)
        else:
            plain, plain_cpu = bare(loaded, full_hd, FRAMES)
            pipe, pipe_cpu = through_pipeline(loaded, full_hd, FRAMES, uris)
        rows.append((statistics.median(plain), statistics.median(pipe), plain_cpu, pipe_cpu))

    benchmark.group = "the whole pipeline beside the bare loop, 1080p"
    round_trip()  # to warm up, not counted
    rows.clear()
    benchmark.pedantic(round_trip, rounds=ROUNDS)
    loaded.session.close()
    plain, pipe, plain_cpu, pipe_cpu = (statistics.median(column) for column in zip(*rows, strict=True))
    cost = statistics.median(b - a for a, b, _, _ in rows)
    benchmark.extra_info.update(
        bare_us=plain, pipeline_us=pipe, cost_us=cost, bare_cpu_us=plain_cpu, pipeline_cpu_us=pipe_cpu
    )
    with capsys.disabled():
        print(
            f"\n1080p, {ROUNDS} alternating rounds of {FRAMES} frames, sink {sinks[0]}: bare loop {plain:.0f} us, "
            f"pipeline {pipe:.0f} us, bedside itself {cost:+.0f} us a frame "
            f"(processor time {plain_cpu:.0f} and {pipe_cpu:.0f} us); budget {BUDGET_US:.0f} us"
        )
