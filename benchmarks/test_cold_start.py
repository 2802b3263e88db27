"""From nothing to the first result, and the memory it takes: each measurement is a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bedside.runtime import engines

#: Prints seconds from the interpreter's start to the first result, and the peak resident memory.
_FIRST_RESULT = """
import json, resource, sys, time
import psutil
from bedside.devices.compose import PipelineSpec, Stream
bundle, engine, variant = sys.argv[1:]
spec = PipelineSpec(bundle=bundle, source="sample:echo-cine", engine=engine, variant=variant, max_frames=1)
stream = Stream(spec)
summary = stream.run()
assert summary.ledger.processed == 1, summary
seconds = time.time() - psutil.Process().create_time()
print(json.dumps({"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""

_IMPORT = """
import json, resource, time
import psutil
import bedside.devices.compose
seconds = time.time() - psutil.Process().create_time()
print(json.dumps({"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def measured(script: str, *arguments: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


CASES = [
    (s.id, variant)
    for s in engines.statuses()
    if s.version is not None
    for variant in ("tflite-int8", "onnx-int8")
    if variant.split("-")[0] in s.formats
]


@pytest.mark.parametrize(("engine", "variant"), CASES)
def test_first_result(benchmark, starter: Path, engine, variant):
    seen: list[dict[str, float]] = []
    benchmark.group = "cold start to the first result"
    benchmark.pedantic(lambda: seen.append(measured(_FIRST_RESULT, str(starter), engine, variant)), rounds=5)
    benchmark.extra_info["seconds_in_process"] = sorted(s["seconds"] for s in seen)
    benchmark.extra_info["peak_mb"] = max(s["peak_mb"] for s in seen)


def test_import(benchmark):
    seen: list[dict[str, float]] = []
    benchmark.group = "cold start to the first result"
    benchmark.pedantic(lambda: seen.append(measured(_IMPORT)), rounds=5)
    benchmark.extra_info["peak_mb"] = max(s["peak_mb"] for s in seen)
