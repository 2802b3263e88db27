"""What the ladder does when somebody else takes the processor: a stream at a cadence, and in the middle of it a
load on the same cores.

Three phases: alone, under load, alone again. Printed for each: ages of what was shown, what was lost and why; then
how long after the load began the first deadline was missed, how long after that the stream stepped down, and how
long after the load ended it stood on its preferred rung again. The limits of issue 4: a step within one second of
misses, no shown result older than the limit, and back at the top.

    python benchmarks/studies/ladder_under_load.py --bundle modality-cnn --variant tflite-fp32 --max-age-ms 50
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from support import print_json, run, show

from bedside.devices.compose import PipelineSpec, Stream
from bedside.devices.profiles import LadderSection
from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.latency import percentiles
from bedside.runtime.result import Outcome, Result
from bedside.runtime.stream.ladder import Step

#: Takes a whole core until it is killed.
_SPIN = "while True: pass"

PHASES = ("alone", "under load", "after it")


class Seen(msgspec.Struct, frozen=True):
    """One result.

    Attributes:
        captured_ns: Stamp of the frame.
        published_ns: When it was published.
        outcome: `ok`, or the reason why nothing was shown.
        every: One frame of so many was worked on.
    """

    captured_ns: int
    published_ns: int
    outcome: str
    every: int


class Marks(msgspec.Struct, frozen=True):
    """When the load began and ended, and when the stream did, in monotonic ns."""

    begin_ns: int
    load_ns: int
    free_ns: int
    end_ns: int


def main() -> None:
    """Run the stream and print."""
    args = _parser().parse_args()
    spec = PipelineSpec(
        bundle=args.bundle,
        source=args.source,
        pace_fps=args.fps,
        variant=args.variant,
        engine=args.engine,
        threads=args.threads,
        max_age_ms=args.max_age_ms,
        seconds=args.alone + args.load + args.after + 60.0,
        ladder=LadderSection(enabled=True, up_s=args.up_s, up_most_s=args.up_most_s),
    )
    found = study(
        spec, args.alone, args.load, args.after, args.processes or 2 * len(cores()), MonotonicClock()
    )
    if args.json:
        print_json(found)
    else:
        report(found)


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--bundle", default="modality-cnn", help="a .bedside file, or a starter's name")
    made.add_argument("--variant", help="preferred variant (default: the bundle's)")
    made.add_argument("--engine", help="its engine")
    made.add_argument("--threads", type=int, metavar="N")
    made.add_argument("--fps", type=float, default=60.0, help="of the stream (default: %(default)g)")
    made.add_argument(
        "--source",
        default="synthetic:ultrasound?size=1920x1080&loop=16",
        help="an endless one (default: %(default)s)",
    )
    made.add_argument("--max-age-ms", type=float, default=100.0, help="default: %(default)g")
    made.add_argument("--up-s", type=float, default=5.0, help="calm before a climb (default: %(default)g)")
    made.add_argument(
        "--up-most-s", type=float, default=20.0, help="after failed ones (default: %(default)g)"
    )
    made.add_argument("--processes", type=int, metavar="N", help="of the load (default: two a core)")
    for name, seconds in (("alone", 10.0), ("load", 15.0), ("after", 60.0)):
        made.add_argument(f"--{name}", type=float, default=seconds, metavar="S", help="default: %(default)g")
    made.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    return made


def cores() -> set[int]:
    """Where this process may run, and so where its load will."""
    return set(os.sched_getaffinity(0))


@contextmanager
def loaded(processes: int) -> Iterator[None]:
    """Processes that take all they get, on the cores of this one."""
    running = [subprocess.Popen([sys.executable, "-c", _SPIN]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.wait()


def study(
    spec: PipelineSpec, alone_s: float, load_s: float, after_s: float, processes: int, clock: Clock
) -> dict[str, Any]:
    """Run a stream through the three phases.

    Args:
        spec: An endless, paced source, with a ladder.
        alone_s: Before the load.
        load_s: Of it.
        after_s: At most after it; ends earlier where the stream is at the top again.
        processes: Of the load.
        clock: Of the stream.
    """
    seen: list[Seen] = []
    steps: list[Step] = []
    top, ended = threading.Event(), threading.Event()

    def see(result: Result) -> None:
        every = 1 if result.ladder is None else result.ladder.every
        said = "ok" if result.outcome is Outcome.OK else str(result.reason)
        seen.append(Seen(result.captured_ns, result.published_ns, said, every))

    def stepped(step: Step) -> None:
        steps.append(step)
        (top.set if step.move.after == 0 else top.clear)()

    stream = Stream(spec, clock=clock, on_result=see, on_step=stepped)
    summaries: list[dict[str, Any]] = []

    def work() -> None:
        try:
            summaries.append(stream.summary(stream.run()))
        finally:
            ended.set()
            top.set()

    worker = threading.Thread(target=work, name="stream")
    begin = clock.now_ns()
    worker.start()
    try:
        ended.wait(alone_s)
        top.clear() if stream.pipeline.ladder.index else top.set()
        with loaded(processes):
            load = clock.now_ns()
            ended.wait(load_s)
        free = clock.now_ns()
        top.wait(after_s)
        ended.wait(min(5.0, after_s))
    finally:
        stream.stop()
        worker.join()
    marks = Marks(begin, load, free, clock.now_ns())
    return {**judge(seen, steps, marks, spec.pace_fps or 30.0), "summary": summaries[0]}


def judge(seen: Sequence[Seen], steps: Sequence[Step], marks: Marks, fps: float) -> dict[str, Any]:
    """What happened, phase by phase, and how fast the ladder was; times in s and ages in ms, None where it did not
    happen."""
    borders = (marks.begin_ns, marks.load_ns, marks.free_ns, marks.end_ns)
    phases = []
    for name, begin, end in zip(PHASES, borders[:-1], borders[1:], strict=True):
        part = [s for s in seen if begin <= s.published_ns < end]
        ages = percentiles([s.published_ns - s.captured_ns for s in part if s.outcome == "ok"])
        phases.append(
            {
                "phase": name,
                "seconds": (end - begin) / 1e9,
                "results": len(part),
                "age_ms": None if ages is None else ages.to_dict(),
                "withheld": dict(Counter(s.outcome for s in part if s.outcome != "ok")),
            }
        )
    missed = first_miss(seen, marks.load_ns, fps)
    down = next(
        (s.move for s in steps if s.move.after > s.move.before and s.move.at_ns >= marks.load_ns), None
    )
    up = next((s.move for s in reversed(steps) if s.move.after == 0 and s.move.at_ns >= marks.free_ns), None)
    return {
        "phases": phases,
        "first_miss_s": None if missed is None else (missed - marks.load_ns) / 1e9,
        "step_down_s": None if down is None or missed is None else (down.at_ns - missed) / 1e9,
        "cause": None if down is None else down.cause,
        "top_again_s": None if up is None else (up.at_ns - marks.free_ns) / 1e9,
        "steps": [s.describe(marks.begin_ns) for s in steps],
    }


def first_miss(seen: Sequence[Seen], begin_ns: int, fps: float) -> int | None:
    """When the first result since `begin_ns` was too old, or took longer than its turn, in ns."""
    before = begin_ns
    for result in seen:
        if result.published_ns >= begin_ns:
            spent = result.published_ns - max(result.captured_ns, before)
            if result.outcome == "stale" or spent > result.every * 1e9 / fps:
                return result.published_ns
        before = result.published_ns
    return None


def report(found: dict[str, Any]) -> None:
    """Tables for people."""
    rows = []
    for phase in found["phases"]:
        ages = phase["age_ms"] or {}
        withheld = ", ".join(f"{count} {reason}" for reason, count in phase["withheld"].items())
        numbers = [f"{ages[q]:.1f}" if q in ages else "-" for q in ("p50", "p99", "max")]
        rows.append(
            (phase["phase"], f"{phase['seconds']:.1f}", str(phase["results"]), *numbers, withheld or "0")
        )
    show("Ages of what was shown, ms", ("phase", "s", "results", "p50", "p99", "max", "withheld"), rows)
    steps = [
        (f"{s['at_s']:.2f}", f"{s['before']} to {s['after']}", s["cause"], s["detail"])
        for s in found["steps"]
    ]
    show("Steps", ("at, s", "rung", "cause", "what was seen"), steps)

    def told(value: float | None) -> str:
        return "never" if value is None else f"{value:.2f} s"

    print(f"first miss after the load began: {told(found['first_miss_s'])}")
    print(f"step down after the first miss:  {told(found['step_down_s'])} ({found['cause']})")
    print(f"top again after the load ended:  {told(found['top_again_s'])}")
    print(f"frames: {found['summary']['ledger']}")


if __name__ == "__main__":
    sys.exit(run(main))
