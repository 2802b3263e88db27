"""Many frames: memory, descriptors and threads stay what they are, and the ledger is exact."""

from __future__ import annotations

import gc
from pathlib import Path

import msgspec
import psutil
import pytest

from bedside.devices.compose import PipelineSpec
from bedside.devices.profiles import HostSection
from bedside.devices.sessions.plan import StreamPlan
from bedside.devices.sessions.unit import PlannedStream
from bedside.runtime.result import Result

#: What resident memory may grow by, in bytes: the allocator's own slack. One kept object of 56 bytes a frame would
#: show at a million frames seven times over.
SLACK = 8 << 20


class Sample(msgspec.Struct, frozen=True):
    """What the process holds."""

    rss: int
    descriptors: int
    threads: int


@pytest.mark.fault("P3")
@pytest.mark.parametrize("frames", [5000, pytest.param(1_000_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("collection", ["idle", "automatic"])
def test_nothing_grows(frames: int, collection: str, bundle: Path) -> None:
    process = psutil.Process()
    samples: list[Sample] = []
    counted = 0

    def look(result: Result) -> None:
        nonlocal counted
        counted += 1
        if counted % (frames // 10) == 0:
            samples.append(Sample(process.memory_info().rss, process.num_fds(), process.num_threads()))

    spec = PipelineSpec(
        bundle=str(bundle),
        source=f"synthetic:ultrasound?size=64x64&loop=4&frames={frames}",
        sinks=("jsonl:/dev/null", "null:"),
        threads=1,
    )
    host = HostSection(collection=collection)  # type: ignore[arg-type]
    gc.collect()
    stream = PlannedStream(StreamPlan(spec=spec, host=host), on_result=look)
    before = process.num_fds()
    stream.load()
    summary = stream.run()
    ledger = summary.ledger
    assert summary.error is None
    assert (ledger.captured, ledger.processed, ledger.in_flight) == (frames, frames, 0)
    assert {sink.written for sink in summary.sinks[:1]} == {counted} == {frames}
    assert len(samples) == 10
    # The first tenth fills pools, rings and the allocator's arenas.
    first, rest = samples[0], samples[1:]
    assert max(sample.rss for sample in rest) - first.rss <= SLACK
    assert {sample.descriptors for sample in rest} == {first.descriptors}
    # The capture thread may end before the last results are out.
    assert {sample.threads for sample in rest} <= {first.threads, first.threads - 1}
    assert process.num_fds() <= before
    # A recording leaves no idle time: garbage is bounded all the same.
    if collection == "idle":
        collected = stream.summary(summary)["host"]["collected"]
        assert collected["freed"] < 1000
