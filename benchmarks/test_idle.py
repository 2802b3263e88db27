"""What a stream at 30 frames a second takes of the processor while it mostly waits.

Beside the same clip decoded, resized and invoked by hand at the same cadence. Each run is a process of its own and
counts processor time between the second and the last second only; pairs alternate (A B B A).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bedside.runtime import engines

FPS, SECONDS = 30.0, 8.0

#: Done when: above decode, resize and invoke, at most this part of one core.
BUDGET_CORES = 0.05

# Both print processor seconds per second. The clip's length in frames is FPS * SECONDS.
_BEDSIDE = """
import json, sys, time
from bedside.devices.compose import PipelineSpec
from bedside.devices.sessions.plan import StreamPlan
from bedside.devices.sessions.unit import PlannedStream
bundle, engine, variant, clip, fps, frames = sys.argv[1:]
fps, frames = float(fps), int(frames)
marks = {}
def see(result):
    if result.seq in (int(fps), frames - int(fps)):
        marks[result.seq] = time.process_time(), time.monotonic()
spec = PipelineSpec(bundle=bundle, source=clip, engine=engine, variant=variant, threads=1, pace_fps=fps,
                    sinks=("jsonl:/dev/null",))
stream = PlannedStream(StreamPlan(spec=spec), on_result=see)
stream.load()
summary = stream.run()
assert summary.error is None and summary.ledger.captured == frames, summary
(c0, t0), (c1, t1) = marks.values()
print(json.dumps((c1 - c0) / (t1 - t0)))
"""

_BARE = """
import json, sys, time
import cv2, numpy as np
from bedside.devices.starters import resolve
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.loading import open_session
bundle, engine, variant, clip, fps, frames = sys.argv[1:]
fps, frames = float(fps), int(frames)
with open_bundle(resolve(bundle)) as opened:
    loaded = open_session(opened, variant=variant, engine=engine, options=SessionOptions(threads=1))
spec, session = loaded.model.input, loaded.session
capture = cv2.VideoCapture(clip)
small = np.empty((spec.height, spec.width, 3), np.uint8)
picture = None
begin, marks = time.monotonic(), {}
for i in range(frames):
    time.sleep(max(0.0, begin + i / fps - time.monotonic()))
    _, picture = capture.read(picture)
    cv2.resize(picture, (spec.width, spec.height), dst=small, interpolation=cv2.INTER_AREA)
    cv2.cvtColor(small, cv2.COLOR_BGR2RGB, dst=session.input()[0])
    session.invoke()
    if i in (int(fps), frames - int(fps)):
        marks[i] = time.process_time(), time.monotonic()
(c0, t0), (c1, t1) = marks.values()
print(json.dumps((c1 - c0) / (t1 - t0)))
"""

CASES = [
    (s.id, variant)
    for s in engines.statuses()
    if s.available
    for variant in ("tflite-int8", "onnx-int8")
    if variant.split("-")[0] in s.formats
]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 1080p clip of `SECONDS` at `FPS`, Motion JPEG: what OpenCV can write everywhere."""
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (1920, 1080))
    y, x = np.mgrid[0:1080, 0:1920]
    for i in range(int(FPS * SECONDS)):
        picture = ((x + y) // 8 + 3 * i).astype(np.uint8)
        writer.write(np.dstack((picture, picture[::-1], picture)))
    writer.release()
    return path


def cores_used(script: str, *arguments: object) -> float:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(("engine", "variant"), CASES)
def test_idle(
    benchmark: Any,
    engine: str,
    variant: str,
    starter: Path,
    clip: Path,
    rounds: int,
    interval: Callable[[Sequence[float]], Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = (starter, engine, variant, clip, FPS, int(FPS * SECONDS))
    used: dict[str, list[float]] = {_BARE: [], _BEDSIDE: []}

    def pair() -> None:
        order = (_BARE, _BEDSIDE) if len(used[_BARE]) % 2 else (_BEDSIDE, _BARE)
        for script in order:
            used[script].append(cores_used(script, *arguments))

    benchmark.group = "processor use at 30 frames a second, 1080p"
    benchmark.pedantic(pair, rounds=rounds)
    bare, ours = (interval(values) for values in used.values())
    above = interval([b - a for a, b in zip(*used.values(), strict=True)])
    noise = interval([b - a for a, b in zip(used[_BARE], used[_BARE][1:], strict=False)] or [0.0])
    benchmark.extra_info.update(bare=str(bare), bedside=str(ours), above=str(above), noise=str(noise))
    with capsys.disabled():
        print(
            f"\n{engine}, {variant}, {rounds} alternating pairs, in cores: decode, resize and invoke {bare}, "
            f"bedside {ours}, above it {above}, identical code {noise}; budget {BUDGET_CORES}"
        )
    if rounds >= 20:
        assert above.high <= BUDGET_CORES
