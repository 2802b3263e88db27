"""`bedside generate BUNDLE -n 100 -o FOLDER`: pictures drawn by a generator, for training and calibration sets."""

from __future__ import annotations

import argparse
import re
import sys
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from bedside.devices.cli.output import print_json, print_line, progress_console
from bedside.devices.cli.run import positive_int, thread_count
from bedside.devices.sinks.failure import sink_error
from bedside.devices.store.resolving import resolve
from bedside.devices.trust import open_trusted
from bedside.runtime import engines
from bedside.runtime.bundle.reader import Bundle
from bedside.runtime.drawing import draw
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.errors import SinkError, UsageError
from bedside.runtime.frame import Color, Pixels
from bedside.runtime.loading import open_session

#: One folder holds no more: file names have six digits.
MOST = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("bundle", metavar="BUNDLE", help="of the task generation, or a starter's name")
    parser.add_argument(
        "-n", "--count", type=_count, default=100, metavar="N", help="how many (default: 100)"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="a new or empty folder for PNG files",
    )
    parser.add_argument(
        "--seed", type=_seed, default=0, metavar="S", help="other pictures with another one (default: 0)"
    )
    parser.add_argument("--engine", metavar="E", help="litert, tflite, onnxruntime or openvino")
    parser.add_argument("--variant", metavar="V", help="id of a variant in the bundle")
    parser.add_argument("--threads", type=thread_count, metavar="N", help="threads of the engine")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Draw, write, and say what drew them.

    Returns:
        0. Everything else is an error; pictures that were written before it stay.
    """
    with open_trusted(resolve(args.bundle)) as (bundle, _):
        if bundle.manifest.task != "generation":
            raise UsageError(
                f"is a bundle for {bundle.manifest.task}, it draws nothing",
                where=str(bundle.path),
                hint="give one whose task is generation, for example of the recipe ultrasound-gan",
            )
        summary = _draw_all(bundle, args)
    if args.json:
        print_json(summary)
    else:
        print_line(
            f"{args.output}: {args.count} pictures by {summary['name']} {summary['version']}, seed {args.seed}, "
            f"{summary['variant']} on {summary['engine']}; goldens hold; bundle {summary['bundle']}"
        )
    return 0


def _draw_all(bundle: Bundle, args: argparse.Namespace) -> dict[str, object]:
    options = SessionOptions(threads=args.threads or engines.default_threads())
    loaded = open_session(bundle, variant=args.variant, engine=args.engine, options=options)
    try:
        _prepare(args.output)
        columns = ("drawing", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        shown = sys.stderr.isatty() and not args.json
        with Progress(*columns, console=progress_console(), disable=not shown, transient=True) as progress:
            drawn = draw(loaded, args.count, seed=args.seed)
            for number, (pixels, color) in enumerate(progress.track(drawn, total=args.count)):
                _write(args.output / f"{number:06d}.png", pixels, color)
        session = loaded.session
        return {
            "output": str(args.output),
            "pictures": args.count,
            "seed": args.seed,
            "width": loaded.model.input.width,
            "height": loaded.model.input.height,
            "channels": loaded.model.input.channels,
            "name": bundle.manifest.name,
            "version": bundle.manifest.version,
            "bundle": bundle.digest,
            "variant": loaded.variant.id,
            "engine": session.engine,
            "engine_version": engines.status(session.engine).version,
            "threads": session.options.threads,
        }
    finally:
        loaded.session.close()


def _prepare(folder: Path) -> None:
    """A folder that holds nothing: drawn pictures must not end up among patients'."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        occupied = next(folder.iterdir(), None)
    except OSError as error:
        raise sink_error(str(folder), "cannot be written to", error) from None
    if occupied is not None:
        raise SinkError("is not empty", where=str(folder), hint="name a new folder; nothing is overwritten")


def _write(path: Path, pixels: Pixels, color: Color) -> None:
    if color == "rgb":
        pixels = np.ascontiguousarray(pixels[:, :, ::-1])
    _, encoded = cv2.imencode(".png", pixels)
    try:
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise sink_error(str(path), "cannot be written", error) from None


def _count(text: str) -> int:
    value = positive_int(text)
    if value > MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {MOST}")
    return value


def _seed(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)
