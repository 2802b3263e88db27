"""`bedside run BUNDLE`: process a frame stream."""

from __future__ import annotations

import argparse
import math
import re
import sys
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from bedside.devices.cli.output import console, print_json, print_line, progress_console, table
from bedside.devices.compose import PipelineSpec, Stream
from bedside.devices.findings import Findings, lines
from bedside.devices.overlay.wording import headline
from bedside.devices.profiles import Profile, load_profile
from bedside.devices.running import run_stream
from bedside.devices.sources.options import CaptureOptions
from bedside.runtime.errors import UsageError, printable
from bedside.runtime.result import Outcome, Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a .bedside file, or the name of a starter bundle")
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
        "--smoothing",
        type=fraction,
        metavar="ALPHA",
        help="smooth scores over time: weight of the newest frame, 0 to 1",
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
    profile = load_profile(args.device) if args.device else Profile(name="none")
    capture, engine = profile.capture, profile.engine
    source = args.source or capture.source
    if source is None:
        raise UsageError("no source", hint="give --source URI, or a profile with [capture] source")
    given: dict[str, Any] = {
        "policy": getattr(args, "policy", None) or capture.policy,
        "smoothing": getattr(args, "smoothing", None) or profile.task.smoothing,
    }
    return PipelineSpec(
        bundle=args.bundle,
        source=source,
        sinks=tuple(getattr(args, "sink", ())),
        engine=args.engine,
        engine_preference=engine.preference,
        variant=args.variant or engine.variant,
        threads=args.threads or engine.threads,
        hint=engine.hint,
        roi=profile.screen.roi,
        masks=profile.screen.masks,
        max_age_ms=profile.budget.max_age_ms,
        top_k=profile.task.top_k,
        paced=getattr(args, "paced", False),
        max_frames=getattr(args, "max_frames", None),
        seconds=getattr(args, "seconds", None),
        capture=CaptureOptions(
            width=capture.width,
            height=capture.height,
            fps=capture.fps,
            fourcc=capture.fourcc,
            buffers=capture.buffers,
            adopt_size=capture.adopt_size,
        ),
        **given,
    )


def run(args: argparse.Namespace) -> int:
    """Run the stream and print its summary.

    Returns:
        0; 130 or 143 when a signal ended it. Errors are raised after the summary was printed.
    """
    spec = spec_from(args)
    progress = Watch(total=spec.max_frames, enabled=sys.stderr.isatty() and not args.json)
    found = Findings()

    def see(result: Result) -> None:
        found.add(result)
        progress.see(result)

    stream = Stream(spec, on_result=see)
    # Said with the first result: a stream that never begins has one line to say, its error.
    progress.opening = what_runs(stream, chosen=args.variant is not None and args.engine is not None)
    with progress:
        ended = run_stream(stream)
    summary = {**stream.summary(ended.summary), "findings": found.summary()}
    if args.json:
        print_json(summary)
    elif ended.summary.ledger.captured or ended.summary.error is None:
        print_summary(summary)
    if ended.interrupted is not None:
        return ended.interrupted
    if ended.summary.error is not None:
        raise ended.summary.error
    return 0


def what_runs(stream: Stream, *, chosen: bool) -> str:
    """One line: which variant runs on which engine, and that nobody measured it here."""
    session = stream.loaded.session
    why = "as asked" if chosen else "by default, not by measurement on this host"
    return (
        f"{stream.manifest.name} {stream.manifest.version}: {stream.loaded.variant.id} on {session.engine}, "
        f"{session.options.threads} threads, {why}; goldens hold"
    )


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
            said = result.result if result.outcome is Outcome.OK else None
            what = (
                " ".join(headline(said)).rstrip()
                if said is not None
                else str(result.reason or result.outcome)
            )
            shown = escape(printable(what))
            self._progress.update(self._task, advance=1, description=f"{shown}, age {result.age_ms:.1f} ms")

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
    fps = f"{summary['fps']:.1f}" if summary["fps"] is not None else "-"
    print_line(f"{fps} frames/s, {summary['variant']} on {summary['engine']} {summary['engine_version']}")
    for sink in summary["sinks"]:
        lost = f", {sink['dropped']} dropped" if sink["dropped"] else ""
        print_line(f"{sink['sink']}: {sink['written']} results{lost}")
