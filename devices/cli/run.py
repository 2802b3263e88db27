"""`bedside run BUNDLE`: process a frame stream."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from bedside.devices.cli.output import console, print_json, print_line, progress_console, table
from bedside.devices.compose import PipelineSpec
from bedside.devices.findings import lines
from bedside.devices.frame_budget import HEADER, frame_budget, to_rows
from bedside.devices.host.grants import Grant, refusals
from bedside.devices.ladder_words import ladder_lines, step_line
from bedside.devices.profiles import Profile, load_profile
from bedside.devices.running import run_stream
from bedside.devices.sessions.plan import StreamPlan, plan_of, spec_of
from bedside.devices.sessions.unit import PlannedStream, in_few_words, what_runs
from bedside.devices.tracing import trace_path, write_trace
from bedside.runtime.errors import printable
from bedside.runtime.result import Result
from bedside.runtime.stream.ladder import Step
from bedside.runtime.stream.trace import Trace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "bundle",
        metavar="BUNDLE",
        help="a .bedside file, or the name of a starter bundle; or SESSION.toml, with several streams",
    )
    add_stream_arguments(parser)
    parser.add_argument(
        "--sink",
        action="append",
        default=[],
        metavar="URI",
        help="jsonl:PATH, video:PATH.webm or null:; may be repeated",
    )
    parser.add_argument(
        "--policy", choices=("latest", "all"), help="newest frame, or every frame (default: by the source)"
    )
    parser.add_argument("--max-frames", type=positive_int, metavar="N", help="stop after N captured frames")
    parser.add_argument("--seconds", type=positive, metavar="S", help="stop after S seconds")
    parser.add_argument(
        "--paced", action="store_true", help="play a recording at its own frame rate, as a live stream"
    )
    parser.add_argument(
        "--pace", type=positive, metavar="FPS", help="like --paced, at another number of frames per second"
    )
    parser.add_argument(
        "--jitter",
        type=positive,
        metavar="MS",
        help="hand paced frames over late by a random time of this spread, as a real device does",
    )
    parser.add_argument(
        "--smoothing",
        type=fraction,
        metavar="ALPHA",
        help="smooth scores over time: weight of the newest frame, 0 to 1",
    )
    parser.add_argument(
        "--trace",
        type=trace_file,
        metavar="FILE.json",
        help="record where the time of every frame goes, for ui.perfetto.dev; the last frames are kept",
    )
    parser.add_argument(
        "--ladder",
        choices=("on", "off"),
        help="whether a live stream steps down to cheaper variants under stress (default: as the profile says)",
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object on standard output")


def add_stream_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that say what runs on what, shared with `bench`."""
    parser.add_argument("--device", metavar="PROFILE", help="a profile's name or the path of its TOML file")
    parser.add_argument(
        "--source",
        metavar="URI",
        help="a video, image, DICOM or folder; camera:0; sample:echo-cine; "
        "synthetic:ultrasound?fps=60&size=1920x1080&frames=300",
    )
    parser.add_argument("--engine", metavar="E", help="litert, tflite, onnxruntime or openvino")
    parser.add_argument("--variant", metavar="V", help="id of a variant in the bundle")
    parser.add_argument("--threads", type=thread_count, metavar="N", help="threads of the engine")


#: More threads than this only slow an engine down, and some crash the process when the system refuses them.
MOST_THREADS = 256


def positive_int(text: str) -> int:
    """A whole number of at least 1."""
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def thread_count(text: str) -> int:
    """A whole number from 1 to `MOST_THREADS`."""
    value = positive_int(text)
    if value > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{text} threads; at most {MOST_THREADS} are allowed")
    return value


def positive(text: str) -> float:
    """A number above 0."""
    value = _number(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and below 1e9")
    return value


def trace_file(text: str) -> Path:
    """A path that ends in `.json`."""
    try:
        return trace_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def fraction(text: str) -> float:
    """A number above 0, at most 1."""
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and at most 1")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def spec_from(args: argparse.Namespace) -> PipelineSpec:
    """The plain data of a run: the profile, with the options of the command line over it.

    Raises:
        UsageError: There is no source.
        ProfileError: The profile is unknown or mistyped.
    """
    return plan_from(args).spec


def plan_from(args: argparse.Namespace) -> StreamPlan:
    """The plan of a run; see `spec_from`.

    Raises:
        UsageError: There is no source.
        ProfileError: The profile is unknown or mistyped.
    """
    profile = load_profile(args.device) if args.device else Profile(name="none")
    asked = getattr(args, "ladder", None)
    spec = spec_of(
        profile,
        bundle=args.bundle,
        source=args.source,
        sinks=tuple(getattr(args, "sink", ())),
        engine=args.engine,
        variant=args.variant,
        threads=args.threads,
        policy=getattr(args, "policy", None),
        smoothing=getattr(args, "smoothing", None),
        paced=getattr(args, "paced", False),
        pace_fps=getattr(args, "pace", None),
        jitter_ms=getattr(args, "jitter", None) or 0.0,
        max_frames=getattr(args, "max_frames", None),
        seconds=getattr(args, "seconds", None),
        ladder=msgspec.structs.replace(profile.ladder, enabled=asked == "on") if asked else None,
    )
    return plan_of(profile, spec)


def run(args: argparse.Namespace) -> int:
    """Run the stream, or the streams of a session file, and print what came of it.

    Returns:
        0; 130 or 143 when a signal ended it; of a session the worst of its streams. Errors of a single stream are
        raised after the summary was printed.
    """
    if args.bundle.endswith(".toml"):
        from bedside.devices.cli import session

        return session.run(args)
    plan = plan_from(args)
    progress = Watch(total=plan.spec.max_frames, enabled=sys.stderr.isatty() and not args.json)
    trace = Trace() if args.trace is not None else None
    stream = PlannedStream(plan, on_result=progress.see, trace=trace, on_step=progress.step)
    stream.load()
    # Said with the first result: a stream that never begins has one line to say, its error.
    progress.opening = what_runs(stream.stream)
    with progress:
        ended = run_stream(stream)
    summary = stream.summary(ended.summary)
    if trace is not None:
        summary |= save_trace(args.trace, trace, summary, plan.name)
    if args.json:
        print_json(summary)
    elif ended.summary.ledger.captured or ended.summary.error is None:
        print_summary(summary)
    if ended.interrupted is not None:
        return ended.interrupted
    if ended.summary.error is not None:
        raise ended.summary.error
    return 0


def save_trace(path: Path, trace: Trace, summary: dict[str, Any], stream: str) -> dict[str, Any]:
    """Write the trace, and sum it up for the summary.

    Raises:
        SinkError: It cannot be written.
    """
    about = {
        key: summary[key] for key in ("name", "version", "variant", "engine", "threads", "source", "ledger")
    }
    write_trace(path, trace, {"stream": stream, **about})
    stages = frame_budget(trace.events())
    return {"trace": str(path), "frame_budget": [stage.to_dict() for stage in stages]}


class Watch:
    """On standard error: an opening line with the first result, then a progress line on terminals.

    Attributes:
        opening: What to say with the first result.
    """

    def __init__(self, total: int | None, enabled: bool) -> None:
        columns = (
            TextColumn("{task.completed} frames"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=progress_console(), disable=not enabled, transient=True)
        self._task = self._progress.add_task("", total=total)
        self._enabled = enabled
        self.opening: str | None = None

    def see(self, result: Result) -> None:
        """Show a result."""
        if self.opening is not None:
            line, self.opening = printable(self.opening), None
            self._progress.console.print(Text(line), soft_wrap=True)
        if self._enabled:
            shown = escape(printable(in_few_words(result)))
            self._progress.update(self._task, advance=1, description=f"{shown}, age {result.age_ms:.1f} ms")

    def step(self, step: Step) -> None:
        """Tell of a step of the ladder."""
        self._progress.console.print(Text(printable(step_line(step))), soft_wrap=True)

    def __enter__(self) -> Watch:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()


def ledger_line(ledger: dict[str, Any]) -> str:
    """The ledger as its equation."""
    parts = [f"{ledger['processed']} processed"]
    for column in ("dropped", "withheld", "failed"):
        parts += [f"{count} {column} ({reason})" for reason, count in ledger[column].items()]
    if ledger["in_flight"]:
        parts.append(f"{ledger['in_flight']} in flight")
    return f"{ledger['captured']} captured = " + " + ".join(parts)


def host_lines(setup: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was asked of the host: one line with all that was granted, and one for each refusal."""
    grants = [msgspec.convert(grant, Grant) for grant in setup]
    granted: dict[tuple[str, str], list[str]] = {}
    for grant in grants:
        # Every run collects between frames: nobody asked for it by name.
        if grant.granted and grant.what != "garbage collection":
            whose = granted.setdefault((grant.what, grant.have), [])
            whose += [] if grant.who == "process" else [grant.who]
    parts = [
        f"{what}{' of ' if whose else ''}{', '.join(whose)}: {have}"
        for (what, have), whose in granted.items()
    ]
    return [f"host: {'; '.join(parts)}"] * bool(parts) + [f"host: {g.line}" for g in refusals(grants)]


def print_summary(summary: dict[str, Any]) -> None:
    """Ledger and latency, for people."""
    out = console()
    print_line(ledger_line(summary["ledger"]))
    for name, text in lines(summary.get("findings", {})):
        print_line(f"{name}: {text}")
    rows = []
    for stage, values in summary["latency_ms"].items():
        rows.append(
            (
                stage,
                *(
                    f"{values[q]:.3f}" if q in values else "-"
                    for q in ("p50", "p90", "p95", "p99", "p99.9", "max")
                ),
                values.get("samples", 0),
            )
        )
    header = ("ms", "p50", "p90", "p95", "p99", "p99.9", "max", "samples")
    out.print(table("Latency (- : too few samples to say)", header, rows, right=range(1, 8)))
    if summary.get("frame_budget"):
        out.print(
            table("Where the time of a frame goes", HEADER, to_rows(summary["frame_budget"]), range(1, 5))
        )
    fps = f"{summary['fps']:.1f}" if summary["fps"] is not None else "-"
    print_line(f"{fps} frames/s, {summary['variant']} on {summary['engine']} {summary['engine_version']}")
    for line in ladder_lines(summary["ladder"]) if "ladder" in summary else ():
        print_line(line)
    for line in host_lines(summary.get("host", {}).get("setup", ())):
        print_line(line)
    for sink in summary["sinks"]:
        lost = f", {sink['dropped']} dropped" if sink["dropped"] else ""
        print_line(f"{sink['sink']}: {sink['written']} results{lost}")
