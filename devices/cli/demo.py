"""`bedside demo`: the whole path on real frames, in ten seconds, with something to look at."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import cv2
import msgspec
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from bedside.devices.cli.output import print_json, print_line, progress_console
from bedside.devices.cli.run import positive, print_summary
from bedside.devices.compose import PipelineSpec, Stream
from bedside.devices.findings import Findings
from bedside.devices.probe import probe
from bedside.devices.run_report import Thumbnail, from_results, write_report
from bedside.devices.running import run_stream
from bedside.devices.sessions.unit import what_runs
from bedside.devices.sources.synthetic import SyntheticSource
from bedside.runtime.answers import Classification
from bedside.runtime.result import Result
from bedside.runtime.results_file import read_results

STARTER = "modality-cnn"
ECHO_CINE = "sample:echo-cine"
RECIPE = "demo-from-scratch"

#: Frames of the overlay that the report shows.
PICTURES = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("bedside-demo"),
        metavar="FOLDER",
        help="where to write (default: bedside-demo)",
    )
    parser.add_argument(
        "--seconds", type=positive, default=10.0, metavar="S", help="how long to run (default: 10)"
    )
    parser.add_argument(
        "--from-scratch",
        action="store_true",
        help="make the model first: synthetic data, training, conversion, quantization, gate",
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object on standard output")


def run(args: argparse.Namespace) -> int:
    """Run it, and write `results.jsonl`, `overlay.webm` and `report.html`.

    Returns:
        0; 130 or 143 when a signal ended it, with every file whole.
    """
    folder: Path = args.output
    bundle, source, loop = STARTER, ECHO_CINE, True
    if args.from_scratch:
        bundle = str(export_from_scratch(folder, quiet=args.json))
        source, loop = "synthetic:classes?fps=30&seed=2026", False
    results, overlay, report = folder / "results.jsonl", folder / "overlay.webm", folder / "report.html"
    spec = PipelineSpec(
        bundle=bundle,
        source=source,
        sinks=(f"jsonl:{results}", f"video:{overlay}"),
        paced=True,
        loop=loop,
        seconds=args.seconds,
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.1f} s"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=progress_console(), disable=args.json or not sys.stderr.isatty()
    ) as progress:
        task = progress.add_task(f"streaming {source}", total=args.seconds)
        first: list[int] = []
        found = Findings()

        def see(result: Result) -> None:
            found.add(result)
            first[:] = first or [result.captured_ns]
            progress.update(task, completed=(result.captured_ns - first[0]) / 1e9)

        stream = Stream(spec, on_result=see)
        progress.console.print(Text(what_runs(stream)), soft_wrap=True)
        ended = run_stream(stream)
    summary = {**stream.summary(ended.summary), "findings": found.summary()}
    right = agreement(source, results) if args.from_scratch else None
    write_report(
        report,
        from_results(
            f"bedside demo: {stream.manifest.name} on {source}",
            summary,
            read_results(results) if results.exists() else (),
            limits={"seconds": args.seconds, "max_age_ms": spec.max_age_ms},
            host=msgspec.to_builtins(probe()),
            thumbnails=pictures(overlay),
            notes=() if right is None else (f"{right:.1%} of the results name the class that was drawn.",),
        ),
    )
    if args.json:
        files = {"results": str(results), "overlay": str(overlay), "report": str(report)}
        print_json({**summary, "files": files, "right": right})
    else:
        print_summary(summary)
        if right is not None:
            print_line(f"{right:.1%} of the results name the class that was drawn")
        for path, what in (
            (results, "every result"),
            (overlay, "what a screen would show"),
            (report, "open it in a browser"),
        ):
            if path.exists():
                print_line(f"{path}: {what}")
    if ended.interrupted is not None:
        return ended.interrupted
    if ended.summary.error is not None:
        raise ended.summary.error
    return 0


def export_from_scratch(folder: Path, *, quiet: bool) -> Path:
    """The workstation half: `bedside export demo-from-scratch`.

    Raises:
        UsageError: TensorFlow is not installed.
    """
    path = folder / "demo-from-scratch.bedside"
    # By name: the device half must not know the workstation half.
    export: Any = importlib.import_module("bedside.export.cli")
    parser = argparse.ArgumentParser()
    export.add_arguments(parser)
    export.run(parser.parse_args([RECIPE, "-o", str(path), *(["--json"] if quiet else [])]))
    return path


def agreement(source: str, results: Path) -> float | None:
    """Fraction of the results that name what the generator drew; None without results."""
    drawn = SyntheticSource.from_uri(source)
    drawn.open()
    right = [
        r.result.label == drawn.truth(r.seq).label
        for r in read_results(results)
        if isinstance(r.result, Classification)
    ]
    drawn.close()
    return sum(right) / len(right) if right else None


def pictures(overlay: Path) -> list[Thumbnail]:
    """A few frames out of the overlay video, evenly spread."""
    if not overlay.exists():
        return []
    video = cv2.VideoCapture(str(overlay))
    try:
        step = max(1, int(video.get(cv2.CAP_PROP_FRAME_COUNT)) // PICTURES)
        found: list[Thumbnail] = []
        index = 0
        while len(found) < PICTURES and video.grab():
            if index % step == step // 2:
                there, pixels = video.retrieve()
                if there:
                    found.append(Thumbnail(pixels.astype("uint8", copy=False), f"frame {index}"))
            index += 1
        return found
    finally:
        video.release()
