"""Where each microsecond of a frame goes: a paced 1080p60 H.264 clip through a starter, as a table from the trace.

Writes OUT/frame_budget.md, OUT/frame_budget.json and OUT/trace.json (for ui.perfetto.dev). The stream is the one
that `bedside run --paced --trace` makes.

  python benchmarks/studies/frame_budget.py OUT                        a minute; leave the machine alone meanwhile
  python benchmarks/studies/frame_budget.py OUT --frames 90 --clip X   shows that it works
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from platformdirs import user_cache_dir
from support import markdown, run, save, show

from bedside.devices.compose import PipelineSpec
from bedside.devices.frame_budget import HEADER, frame_budget, to_rows
from bedside.devices.probe import probe
from bedside.devices.sessions.plan import StreamPlan
from bedside.devices.sessions.unit import PlannedStream
from bedside.devices.tracing import write_trace
from bedside.runtime.bundle.writer import replacing
from bedside.runtime.errors import SourceError
from bedside.runtime.stream.trace import Trace

#: A minute at 60 a second.
FRAMES = 3600

#: Of the clip; it is played over and over.
CLIP_FRAMES = 1260

PEERS = Path(__file__).resolve().parents[1] / "peers"


def drawn_clip(cache: Path) -> Path:
    """The clip that peers are compared on, made once and kept.

    Raises:
        SourceError: There is no encoder.
    """
    path = cache / f"endoscopy-1080p60-{CLIP_FRAMES}.mp4"
    # Its makers find each other as scripts in one folder do.
    code = "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import clip; "
    code += "clip.make_clip(Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[2]).parent)"
    words = [sys.executable, "-c", code, str(PEERS), str(path), str(CLIP_FRAMES)]
    made = subprocess.run(words, capture_output=True, text=True, check=False)
    if made.returncode:
        why = (made.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SourceError(f"cannot be made: {why}", where="clip", hint="give --clip X.mp4")
    return path


def measure(args: argparse.Namespace, clip: Path) -> tuple[dict[str, Any], Trace]:
    """Play the clip; the summary of the run, and its trace.

    Raises:
        BedsideError: The bundle or the clip is refused.
    """
    trace = Trace(frames=args.frames)
    spec = PipelineSpec(
        bundle=args.bundle,
        source=str(clip),
        variant=args.variant,
        engine=args.engine,
        threads=args.threads,
        paced=True,
        pace_fps=args.fps,
        loop=True,
        max_frames=args.frames,
        sinks=(f"jsonl:{args.out / 'results.jsonl'}",),
    )
    stream = PlannedStream(StreamPlan(spec=spec), trace=trace)
    stream.load()
    ended = stream.run()
    if ended.error is not None:
        raise ended.error
    return stream.summary(ended), trace


def page(found: dict[str, Any]) -> str:
    """The table as it stands in the documentation."""
    cpu = found["host"]["cpu"]
    ledger = found["ledger"]
    head = (
        f"{found['name']} ({found['variant']} on {found['engine']} {found['engine_version']}, {found['threads']} "
        f"thread{'s' if found['threads'] != 1 else ''}), 1080p H.264 at {found['fps_asked']:g} frames a second, "
        f"{ledger['captured']} frames, {ledger['captured'] - ledger['processed']} without a result; "
        f"{cpu['model']}, {cpu['physical_cores']} cores.\n\n"
    )
    rows = [list(row) for row in to_rows(found["frame_budget"])]
    tail = (
        "\nMedians need not add up. Percentiles from p95 on are upper bounds at 0.99 confidence; a dash means too "
        "few frames to say. What has no share of the age happens on another thread, or after the age was taken.\n"
    )
    return head + markdown(HEADER, rows, numbers=range(1, 5)) + tail


def study(argv: Sequence[str] | None = None) -> None:
    """Read the command line, measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the table and the trace")
    parser.add_argument("--bundle", default="modality-cnn", metavar="B", help="a bundle or a starter's name")
    parser.add_argument("--variant", default="tflite-int8", metavar="V")
    parser.add_argument("--engine", default="litert", metavar="E")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--fps", type=float, default=60.0, metavar="F")
    parser.add_argument("--frames", type=int, default=FRAMES, metavar="N")
    parser.add_argument("--clip", type=Path, metavar="X.mp4", help="in place of a drawn one")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    clip = args.clip or drawn_clip(Path(user_cache_dir("bedside")) / "benchmarks")
    summary, trace = measure(args, clip)
    stages = [stage.to_dict() for stage in frame_budget(trace.events())]
    for stage in stages:
        # Where the results went is nobody's business but this run's.
        stage["stage"] = stage["stage"].partition(":")[0]
    keys = ("name", "version", "bundle", "variant", "engine", "engine_version", "threads", "ledger", "source")
    host = msgspec.to_builtins(probe())
    found = {key: summary[key] for key in keys}
    found |= {"fps_asked": args.fps, "frame_budget": stages, "host": host}
    write_trace(args.out / "trace.json", trace, {key: summary[key] for key in keys})
    save(args.out / "frame_budget.json", found)
    with replacing(args.out / "frame_budget.md") as file:
        file.write(page(found).encode())
    if args.json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        show("Where each microsecond of a frame goes", HEADER, to_rows(stages))


if __name__ == "__main__":
    sys.exit(run(study))
