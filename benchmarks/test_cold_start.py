"""From nothing to the first result, and the memory it takes: each measurement is a process of its own.

`bedside run` is held against a minimal script that imports the same libraries, loads the same file and replays the
same goldens, in alternating pairs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from pairs import alternate, verdict

from bedside.runtime import engines

#: Issue 4, 5: of time and of peak memory.
RATIO = 1.25

HERE = Path(__file__).resolve().parent

#: Seconds and growth in memory of each variant of a bundle, opened one after the other: the rungs of a ladder.
_RUNGS = """
import json, sys, time
import psutil
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.loading import open_session
path, engine = sys.argv[1:]
rows, kept = [], []
with open_bundle(path) as bundle:
    for variant in bundle.manifest.main.shipped:
        rss, begin = psutil.Process().memory_info().rss, time.perf_counter()
        try:
            kept.append(open_session(bundle, variant=variant.id, engine=engine, options=SessionOptions(threads=1)))
        except Exception as error:
            rows.append({"variant": variant.id, "refused": str(error)})
            continue
        seconds = time.perf_counter() - begin
        grown = (psutil.Process().memory_info().rss - rss) / 1e6
        rows.append({"variant": variant.id, "seconds": seconds, "mb": grown})
print(json.dumps(rows))
"""

#: Starts a process out of a small one: a child's peak begins with the memory of its parent (getrusage(2)), and
#: pytest's is larger than what is measured.
_LAUNCHER = """
import json, os, subprocess, sys, time
begin = time.monotonic_ns()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
said = process.stdout.read()
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
print(json.dumps([begin, usage.ru_maxrss, process.returncode, said]))
"""

_IMPORT = "import bedside.devices.compose"


class Start(NamedTuple):
    """One process: seconds from before it was made to its first result, and its peak memory in 10^6 bytes."""

    seconds: float
    peak_mb: float


def started(words: list[str], first_ns) -> Start:
    """Run a process to its end.

    Args:
        words: Of its command line.
        first_ns: From its standard output to the monotonic stamp of its first result.
    """
    launched = subprocess.run(
        [sys.executable, "-S", "-c", _LAUNCHER, *words], check=True, capture_output=True, text=True
    )
    begin_ns, peak_kib, code, said = json.loads(launched.stdout)
    assert code == 0, said
    return Start((first_ns(said) - begin_ns) / 1e9, peak_kib * 1024 / 1e6)


def ours(bundle: Path, engine: str, variant: str, results: Path) -> Start:
    """`bedside run`, as it is installed, to its first result."""
    words = [
        sys.executable,
        "-m",
        "bedside.devices.cli.main",
        "run",
        str(bundle),
        "--source",
        "sample:echo-cine",
    ]
    words += ["--engine", engine, "--variant", variant, "--threads", "1", "--max-frames", "1"]
    words += ["--sink", f"jsonl:{results}", "--json"]

    def first(said: str) -> int:
        assert json.loads(said.splitlines()[-1])["ledger"]["processed"] == 1, said
        return json.loads(results.read_text().splitlines()[0])["published_ns"]

    return started(words, first)


def theirs(bundle: Path, engine: str, variant: str) -> Start:
    """The minimal script."""
    script = str(HERE / "minimal_start.py")
    return started([sys.executable, script, str(bundle), engine, variant], lambda said: int(said.split()[-1]))


CASES = [
    (s.id, variant)
    for s in engines.statuses()
    if s.version is not None and s.id in ("litert", "onnxruntime")
    for variant in ("tflite-int8", "onnx-int8")
    if variant.split("-")[0] in s.formats
]


@pytest.mark.parametrize(("engine", "variant"), CASES)
def test_first_result(benchmark, starter: Path, engine, variant, tmp_path: Path, capsys):
    found = {}

    def compare() -> None:
        found["runs"] = alternate(
            lambda: ours(starter, engine, variant, tmp_path / "r.jsonl"),
            lambda: theirs(starter, engine, variant),
        )

    benchmark.group = "cold start to the first result"
    benchmark.pedantic(compare, rounds=1)
    runs = found["runs"]
    ratio, noise = runs.ratios(lambda s: s.seconds)
    memory, noise_mb = runs.ratios(lambda s: s.peak_mb)
    mine, script = runs.pairs[-1]
    benchmark.extra_info.update(ratio=ratio, noise=noise, memory_ratio=memory, noise_memory=noise_mb)
    benchmark.extra_info.update(seconds=mine.seconds, peak_mb=mine.peak_mb)
    with capsys.disabled():
        print(
            f"\ncold start, {variant} on {engine}, {len(runs.pairs)} pairs; last pair {mine.seconds:.2f} s and "
            f"{mine.peak_mb:.0f} MB, the script {script.seconds:.2f} s and {script.peak_mb:.0f} MB"
        )
        print(f"  seconds over the script's: {ratio}; identical code: {noise}")
        print(f"  peak memory over the script's: {memory}; identical code: {noise_mb}")
        print(verdict(ratio.median <= RATIO, f"time at most {RATIO} times"))
        print(verdict(memory.median <= RATIO, f"memory at most {RATIO} times"))


@pytest.mark.parametrize("engine", sorted({engine for engine, _ in CASES}))
def test_rungs(benchmark, starter: Path, engine, capsys):
    """What each further rung of a ladder costs."""
    seen = []

    def measure() -> None:
        done = subprocess.run(
            [sys.executable, "-c", _RUNGS, str(starter), engine], check=True, capture_output=True, text=True
        )
        seen.append(json.loads(done.stdout.splitlines()[-1]))

    benchmark.group = "rungs of a ladder"
    benchmark.pedantic(measure, rounds=1)
    benchmark.extra_info["rungs"] = seen[-1]
    with capsys.disabled():
        print(f"\nrungs on {engine}, one after the other, goldens replayed:")
        for row in seen[-1]:
            if "seconds" in row:
                print(f"  {row['variant']}: {1e3 * row['seconds']:.0f} ms, {row['mb']:.1f} MB")


def test_import(benchmark):
    benchmark.group = "cold start to the first result"
    benchmark.pedantic(lambda: subprocess.run([sys.executable, "-c", _IMPORT], check=True), rounds=5)
